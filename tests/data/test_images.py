import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

# Pillow is for tests only: it writes the odd images that OpenCV is to read.
from PIL import Image

from mint_keras.data import images, samples
from mint_keras.records import InputError, SampleTable


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def face(value: int, size: int = 112) -> np.ndarray:
    return np.random.default_rng(value).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_decoding_gives_rgb() -> None:
    red = np.zeros((112, 112, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(images.decode(encode(red)), red)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, encode(face(1))[:300]])
def test_bytes_that_are_no_image(content: bytes) -> None:
    with pytest.raises(InputError, match="Expected an image"):
        images.decode(content)


def test_grey_images_become_three_channels() -> None:
    grey = face(0)[..., 0]
    decoded = images.decode(cv2.imencode(".pgm", grey)[1].tobytes())
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


def pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def two_colours() -> np.ndarray:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20] = (200, 0, 0)
    image[20:] = (0, 0, 100)
    return image


ORIENTATION = 0x0112


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
def test_exif_orientation_is_followed(kind: str, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = images.decode(pillow(Image.fromarray(two_colours()), kind, exif=exif))
    expected = np.rot90(two_colours(), turns).astype(int)
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).mean() < 6  # lossy kinds
    corners = decoded[[2, 2, -3, -3], [2, -3, 2, -3]].astype(int)
    assert np.abs(corners - expected[[2, 2, -3, -3], [2, -3, 2, -3]]).max() < 8


def kinds_of_images() -> dict[str, bytes]:
    rgb = two_colours()
    image = Image.fromarray(rgb)
    others = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)] * 3}
    transparent = Image.fromarray(np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)]))
    return {
        "cmyk": pillow(image.convert("CMYK"), "JPEG"),
        "16 bits": cv2.imencode(".png", rgb[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
        "transparent": pillow(transparent, "PNG"),
        "palette": pillow(image.quantize(4), "PNG"),
        "animated gif": pillow(image, "GIF", **others),
        "animated png": pillow(image, "PNG", **others),
        "animated webp": pillow(image, "WEBP", lossless=True, **others),
    }


@pytest.mark.parametrize("kind", sorted(kinds_of_images()))
def test_every_kind_of_image_becomes_rgb(kind: str) -> None:
    decoded = images.decode(kinds_of_images()[kind])
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded[[2, -3], [5, 5]], two_colours()[[2, -3], [5, 5]], atol=3)


def bomb(width: int, height: int) -> bytes:
    """A PNG of one colour, a few kilobytes for a billion pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(9), bytes(width // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_huge_image_is_refused_before_decoding() -> None:
    encoded = bomb(40_000, 40_000)
    assert len(encoded) < 10**6
    with pytest.raises(InputError, match="more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows"):
        images.decode(encoded)
    assert images.decode(bomb(400, 300)).shape == (300, 400, 3)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp", ".tiff"])
def test_half_an_image_is_none(kind: str) -> None:
    whole = encode(face(1), kind)
    assert images.decode(whole).shape == (112, 112, 3)
    with pytest.raises(InputError, match="Expected an image"):
        images.decode(whole[: len(whole) // 2])


def test_aligned_faces_are_not_touched() -> None:
    image = face(0)
    assert images.FACE.apply(image) is image


@pytest.mark.parametrize("size", [16, 111, 200, 256])
def test_square_crops_are_resized(size: int) -> None:
    assert images.FACE.apply(face(0, size)).shape == (112, 112, 3)


@pytest.mark.parametrize("shape", [(112, 92, 3), (200, 201, 3), (8, 8, 3)])
def test_other_shapes_are_refused_with_their_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[0]}"):
        images.FACE.apply(np.zeros(shape, np.uint8))


def test_of_a_picture_the_central_square_is_taken() -> None:
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = face(1, 40)
    framed = images.Framing(40, is_face=False).apply(picture)
    np.testing.assert_array_equal(framed, face(1, 40))
    upright = images.Framing(40, is_face=False).apply(picture.transpose(1, 0, 2))
    np.testing.assert_array_equal(upright, face(1, 40).transpose(1, 0, 2))


def test_native_resolution_takes_detail_from_larger_images_only() -> None:
    framing = images.Framing(64, is_face=False, native=32)
    small, large = face(1, 32), face(2, 96)
    plain = images.Framing(64, is_face=False)
    np.testing.assert_array_equal(framing.apply(small), plain.apply(small))
    shrunk = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(framing.apply(large), plain.apply(shrunk))
    assert framing.apply(large).shape == (64, 64, 3)
    assert framing.apply(face(3, 64)).std() < face(3, 64).std() / 2  # also where the size is already right


def test_tiny_pictures_are_refused_with_their_size() -> None:
    with pytest.raises(InputError, match="a picture of at least 16 pixels a side, received 200x9"):
        images.Framing(64, is_face=False).apply(np.zeros((9, 200, 3), np.uint8))


def test_manifests_say_nothing_of_faces_as_they_are() -> None:
    assert images.FACE.settings() == images.Framing().settings() == {}
    assert images.Framing(native=50).settings() == {"framing": {"size": 112, "is_face": True, "native": 50}}


def test_png_round_trip(tmp_path: Path) -> None:
    images.write_png(tmp_path / "deep" / "face.png", face(3))
    np.testing.assert_array_equal(images.decode((tmp_path / "deep" / "face.png").read_bytes()), face(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five people: four usable images, and a broken one, an empty one and a wide one in their midst."""
    for number in range(4):
        images.write_png(tmp_path / "db" / f"p{number}" / "a.png", face(number, 112 if number else 150))
    (tmp_path / "db" / "p1" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"\0" * 99)
    (tmp_path / "db" / "p2" / "empty.png").touch()
    (tmp_path / "db" / "p9").mkdir()
    (tmp_path / "db" / "p9" / "wide.png").write_bytes(encode(np.zeros((50, 90, 3), np.uint8)))
    return tmp_path / "db"


def test_reader_skips_counts_and_names_what_it_cannot_use(folder: Path) -> None:
    table, reader = samples.list_samples(str(folder)), images.FaceReader()
    batches = list(reader.batches(table, batch_size=3))
    assert [len(rows) for rows, _ in batches] == [3, 1]
    used = table.take(np.concatenate([rows for rows, _ in batches]))
    assert used.identity.tolist() == ["p0", "p1", "p2", "p3"]
    assert sorted(Path(r.location).name for r in reader.rejected) == ["broken.jpg", "empty.png", "wide.png"]
    assert dict(reader.resized) == {"db": 1}
    np.testing.assert_array_equal(batches[0][1][1], face(1))


def test_decode_to_keeps_only_usable_rows(folder: Path, tmp_path: Path) -> None:
    table, reader = samples.list_samples(str(folder)), images.FaceReader()
    rows, faces = reader.decode_to(tmp_path / "faces.npy", table)
    assert len(rows) == len(faces) == 4
    np.testing.assert_array_equal(faces[3], face(3))
    assert table.identity[rows].tolist() == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_faces_of_a_table_are_those_of_the_reader(folder: Path, batch_size: int) -> None:
    table = samples.list_samples(str(folder))
    rows, faces = images.read_faces(table, images.Framing(48), batch_size)
    ((expected_rows, expected),) = images.FaceReader(images.Framing(48)).batches(table, 64)
    assert rows.tolist() == expected_rows.tolist() == [0, 1, 3, 5]
    np.testing.assert_array_equal(faces, expected)
    unusable = np.setdiff1d(np.arange(len(table)), rows)
    for nothing in (table.take(unusable), table.take(np.empty(0, int))):
        rows, faces = images.read_faces(nothing)
        assert (rows.shape, rows.dtype, faces.shape, faces.dtype) == ((0,), int, (0, 112, 112, 3), np.uint8)


def test_digest_follows_the_pixels(folder: Path) -> None:
    def digest() -> str:
        reader = images.FaceReader()
        list(reader.batches(samples.list_samples(str(folder)), 2))
        return reader.digest

    before = digest()
    assert digest() == before
    images.write_png(folder / "p3" / "a.png", face(77))
    assert digest() != before


def test_a_missing_file_is_rejected_not_fatal(tmp_path: Path) -> None:
    columns = (["a", "b"], ["d", "d"], ["x", "y"], [str(tmp_path / "gone.png"), "synthetic:1/web/0/0"])
    reader = images.FaceReader()
    ((rows, _),) = reader.batches(SampleTable(*(np.array(c) for c in columns)), 8)
    assert rows.tolist() == [1]
    assert "No such file" in reader.rejected[0].reason


def test_all_unreadable_gives_no_batch(tmp_path: Path) -> None:
    columns = (["a"], ["d"], ["x"], [str(tmp_path / "gone.png")])
    assert list(images.FaceReader().batches(SampleTable(*(np.array(c) for c in columns)), 8)) == []
