"""Photos as people have them: turned in many ways, damaged, cut off, of odd depths."""

from __future__ import annotations

import io
import re
import struct
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from mint_keras.data import decoding
from mint_keras.records import InputError

PHOTO = cv2.resize(np.random.default_rng(0).integers(30, 256, (8, 12, 3), dtype=np.uint8), (120, 80))


def encoded(kind: str, image: np.ndarray = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def exif(kind: int, value: int, order: str = "<") -> bytes:
    """EXIF with an orientation as a number of some type: 1 byte, 3 short, 4 long, 8 signed short, 9 signed long."""
    content = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I", 6: "b3x", 8: "h2x", 9: "i"}[kind], value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + mark + struct.pack(order + "IHHHI", 8, 1, 0x112, kind, 1) + content + b"\0\0\0\0"


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", ["JPEG", "WEBP", "PNG"])
def test_an_orientation_of_any_type_is_followed(kind: int, order: str, suffix: str) -> None:
    found = decoding.decode(encoded(suffix, exif=exif(kind, 6, order)))
    assert found.shape == (120, 80, 3)
    assert np.abs(found.astype(int) - np.rot90(PHOTO, -1)).mean() < 12


@pytest.mark.parametrize("how", range(1, 9))
def test_all_turns_are_those_of_opencv(how: int) -> None:
    content = encoded("JPEG", exif=exif(3, how))
    np.testing.assert_array_equal(
        decoding.decode(content), cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    )
    # Pillow writes an AVIF's orientation as turns and mirrors of its header.
    turned = decoding.decode(encoded("AVIF", quality=90, exif=exif(3, how)))
    assert np.abs(turned.astype(int) - decoding.turn(PHOTO, how)).mean() < 12


def test_webp_with_exif_that_has_no_prefix() -> None:
    content = encoded("WEBP", exif=exif(3, 6))
    bare = exif(3, 6)[6:]
    start = content.index(b"EXIF")
    rest = struct.pack("<I", len(bare)) + bare + b"\0" * (len(bare) % 2)
    whole = content[:start] + b"EXIF" + rest
    whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    assert decoding.decode(whole).shape == (120, 80, 3)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_is_none_turns_nothing(value: int) -> None:
    assert decoding.decode(encoded("JPEG", exif=exif(3, value))).shape == PHOTO.shape
    assert decoding.decode(encoded("JPEG", exif=b"Exif\0\0nonsense")).shape == PHOTO.shape


BIG = cv2.resize(np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8), (480, 320))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_jpegs_with_damaged_scans_are_rejected_and_one_without_its_end_is_kept(options: dict[str, object]) -> None:
    content = encoded("JPEG", BIG, quality=90, **options)
    whole = decoding.decode(content)
    for rest in (content[:-2], content[:-1], content + b"\0" * 999, content + b"trailer" * 9):
        np.testing.assert_array_equal(decoding.decode(rest), whole)
    middle = content.index(b"\xff\xda") + (len(content) - content.index(b"\xff\xda")) // 2
    noise = np.random.default_rng(2).integers(0, 255, 4096, dtype=np.uint8).tobytes()
    for hole in (bytes(4096), noise, b"\x55" * 700, b"\xff" * 700):
        with pytest.raises(InputError, match="pixels are damaged: "):
            decoding.decode(content[:middle] + hole + content[middle + len(hole) :])
    for cut in (
        content[:middle],
        content[:middle] + bytes(len(content) - middle),
        content[:-40],
        content[:middle] + content[-2:],
    ):
        with pytest.raises(InputError, match="Expected an image"):
            decoding.decode(cut)


def test_padding_before_the_end_of_a_jpeg_is_no_damage() -> None:
    content = encoded("JPEG", BIG)
    assert decoding.decode(content[:-2] + bytes(8) + content[-2:]).shape == BIG.shape


@pytest.mark.parametrize("largest", [1, 15, 100, 255, 300, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P2", b"P5", b"P6"])
def test_netpbm_of_any_depth(kind: bytes, largest: int) -> None:
    values = np.round((PHOTO if kind == b"P6" else PHOTO[..., :1]) / 255 * largest).astype(int)
    body = values.astype(">u2" if largest > 255 else "u1").tobytes()
    if kind == b"P2":
        body = " ".join(map(str, values.ravel())).encode()
    found = decoding.decode(
        b"%s\n# a comment\n120 80\n%d\n" % (kind, largest) + body + (b"\n" if kind == b"P2" else b"")
    )
    assert np.abs(found - values / largest * 255).max() <= 1


@pytest.mark.parametrize("dtype", ["<i2", "<f4"])
def test_tiff_with_a_sign_is_refused_and_not_made_dark(dtype: str) -> None:
    pixels = PHOTO[..., 0].astype(dtype)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.float32) if dtype == "<f4" else pixels.astype("<u2")).save(file, "TIFF")
    content = bytearray(file.getvalue())
    if dtype == "<i2":  # Pillow writes none: SampleFormat takes the place of an entry nobody needs
        entry = re.search(re.escape(struct.pack("<HHI", 0x011C, 3, 1)), bytes(content))
        assert entry is not None
        content[entry.start() : entry.start() + 12] = struct.pack("<HHIHH", 339, 3, 1, 2, 0)
    with pytest.raises(InputError, match="without a sign, received a TIFF"):
        decoding.decode(bytes(content))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32])
def test_tiff_in_colour_with_a_sign_which_pillow_cannot_open(dtype: type) -> None:
    with pytest.raises(InputError, match="without a sign, received a TIFF"):
        decoding.decode(cv2.imencode(".tiff", (PHOTO // 2).astype(dtype))[1].tobytes())


def test_what_opencv_would_not_scale_is_refused() -> None:
    header = b"P7\nWIDTH 120\nHEIGHT 80\nDEPTH 1\nMAXVAL %d\nTUPLTYPE GRAYSCALE\nENDHDR\n"
    grey = PHOTO[..., 0]
    assert (decoding.decode(header % 255 + grey.tobytes()) == grey[..., None]).all()
    real = b"Pf\n120 80\n-1.0\n" + (grey / 255).astype("<f4").tobytes()
    for content in (header % 1023 + grey.astype(">u2").tobytes(), real):
        with pytest.raises(InputError, match="that OpenCV cannot decode"):
            decoding.decode(content)


def test_zeros_behind_a_whole_picture_are_no_damage() -> None:
    for kind in ("AVIF", "JPEG2000", "PNG", "WEBP", "TIFF"):
        content = encoded(kind)
        np.testing.assert_array_equal(decoding.decode(content + bytes(4096)), decoding.decode(content))


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF", "WEBP", "PNG", "JPEG2000", "AVIF", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.71, 0.87])
def test_zeros_where_the_end_should_be(kind: str, share: float) -> None:
    content = encoded(kind)
    assert decoding.decode(content).shape == PHOTO.shape
    kept = int(share * len(content))
    with pytest.raises(InputError, match="Expected an image"):
        decoding.decode(content[:kept] + bytes(len(content) - kept))


BORDERS: dict[str, Callable[[np.ndarray], None]] = {
    "below": lambda image: image[60:].fill(0),
    "above": lambda image: image[:20].fill(0),
    "beside": lambda image: image[:, 90:].fill(0),
    "all": lambda image: image.fill(0),
}


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("border", [*BORDERS, "corner"])
def test_black_borders_are_no_damage(kind: str, border: str) -> None:
    image = PHOTO.copy()
    if border == "corner":
        image[np.add.outer(np.arange(80), np.arange(120)) > 120] = 0
    else:
        BORDERS[border](image)
    np.testing.assert_array_equal(decoding.decode(encoded(kind, image)), image)


def test_heic_gets_a_sentence_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"HEIC .*pip install pillow-heif"):
        decoding.decode(b"\0\0\0\x18ftypheic" + bytes(99))


@pytest.mark.parametrize("how", range(1, 9))
def test_boxes_turn_with_their_pixels(how: int) -> None:
    stored = np.zeros((80, 120, 3), np.uint8)
    stored[10:30, 50:110] = 255
    upright = decoding.turn(stored, how)
    left, top, right, bottom = decoding.turn_box(np.array([50.0, 10, 110, 30]), upright.shape, how).astype(int)
    assert upright[top:bottom, left:right].min() == 255
    assert upright.astype(bool).sum() == 3 * (bottom - top) * (right - left)


@pytest.mark.parametrize("kind", [1, 2, 7, 11])  # bytes, text, undefined, a float: the standard has a long here
def test_a_tag_of_an_odd_type_ends_nothing(kind: int) -> None:
    file = struct.pack("<4sIHHHI4sI", b"II*\0", 8, 1, 254, kind, 1, b"\x01\0\0\0", 0)
    with pytest.raises(InputError):
        decoding.decode(file)
