"""Encodings against Pillow, which writes and reads JPEG by other code; what OpenCV cannot give is parsed here."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mint_keras.data import images, samples, synthetic, transplant
from mint_keras.records import InputError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FACE = synthetic.render("synthetic:1/web/5/0")


def jpeg(image: np.ndarray = FACE, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def folder(path: Path, encoded: list[bytes], suffix: str = ".jpg") -> Path:
    path.mkdir()
    for number, content in enumerate(encoded):
        (path / f"{number}{suffix}").write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "subsampling"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
@pytest.mark.parametrize("quality", [1, 30, 75, 98])
def test_what_pillow_wrote_is_read(tmp_path: Path, name: str, subsampling: int, quality: int) -> None:
    encoded = jpeg(FACE[:90], quality=quality, subsampling=subsampling, progressive=quality == 30, exif=b"Exif\0\0xy")
    header = transplant.read_header(encoded)
    assert (header.width, header.height, header.sampling) == (112, 90, name)
    tables = Image.open(io.BytesIO(encoded)).quantization
    assert sorted(header.tables[0]) == sorted(tables[0])
    assert sorted(header.tables[1]) == sorted(tables[1])
    found = transplant.estimate(samples.list_samples(str(folder(tmp_path / "d", [encoded]))))
    assert found.encodings == (transplant.Encoding(90, quality, 0.0, name),)
    assert found.sides.tolist() == [90]
    assert not found.silent


def test_the_sampling_that_is_asked_for_is_written() -> None:
    for name in ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", transplant.GREY):
        assert transplant.read_header(transplant.encode(FACE, 80, name)).sampling == name


def test_tables_of_another_encoder_get_the_nearest_quality_and_the_distance_is_said(tmp_path: Path) -> None:
    standard = Image.open(io.BytesIO(jpeg(quality=60))).quantization
    scaled = [[max(1, round(step * 1.1)) for step in standard[number]] for number in (0, 1)]
    encoded = jpeg(qtables=scaled)
    found = transplant.estimate(samples.list_samples(str(folder(tmp_path / "d", [encoded, jpeg(quality=60)]))))
    other, same = found.encodings
    assert 53 <= other.quality < 60  # 10% coarser
    assert 0 < other.deviation < 0.05
    assert same.deviation == 0
    assert "1 of them have tables of another encoder" in found.describe()


def test_what_says_nothing_is_counted_and_not_made_up(tmp_path: Path) -> None:
    png = cv2.imencode(".png", FACE[:64, :64])[1].tobytes()
    place = folder(tmp_path / "d", [png, png, jpeg(quality=80), jpeg(quality=80)[:30], jpeg(FACE[:10])])
    found = transplant.estimate(samples.list_samples(str(place)))
    assert [one.quality for one in found.encodings] == [80]
    assert sorted(found.sides.tolist()) == [64, 64, 112]
    assert sorted(found.silent.values()) == [2, 2]
    assert "1 JPEG files of quality 80 to 80" in found.describe()
    assert "2 samples do not say: no JPEG files" in found.describe()
    drawn = transplant.estimate(samples.list_samples("synthetic:1/web/0-2/1"))
    assert not drawn.encodings
    assert "3 samples do not say: drawn" in drawn.describe()
    with pytest.raises(InputError, match="leave this control out"):
        transplant.transplant(FACE[None], drawn, np.random.default_rng(0))


@pytest.mark.parametrize(("side", "sampling"), [(112, "4:2:0"), (80, "4:4:4"), (160, "4:2:2")])
def test_a_transplanted_face_is_what_a_file_of_the_database_would_be(tmp_path: Path, side: int, sampling: str) -> None:
    crop = images.Framing(side).apply(FACE)
    encoded = transplant.encode(crop, 45, sampling)
    place = folder(tmp_path / "d", [encoded])
    table = samples.list_samples(str(place))
    moved = transplant.transplant(FACE[None], transplant.estimate(table), np.random.default_rng(0))
    (_, as_file), *_ = images.FaceReader().batches(table, 1)
    np.testing.assert_array_equal(moved, as_file)
    assert (moved[0] != FACE).any()


def test_a_grey_database_takes_the_colour(tmp_path: Path) -> None:
    place = folder(tmp_path / "d", [jpeg(FACE[..., 0], quality=90)])
    found = transplant.estimate(samples.list_samples(str(place)))
    assert found.encodings[0].sampling == transplant.GREY
    moved = transplant.transplant(FACE[None], found, np.random.default_rng(0))
    np.testing.assert_array_equal(moved[..., 0], moved[..., 2])


def test_each_face_gets_an_encoding_of_its_own(tmp_path: Path) -> None:
    place = folder(tmp_path / "d", [jpeg(quality=10), jpeg(quality=95)])
    found = transplant.estimate(samples.list_samples(str(place)))
    faces = np.repeat(FACE[None], 20, axis=0)
    moved = transplant.transplant(faces, found, np.random.default_rng(0))
    assert len(np.unique(moved, axis=0)) == 2
    np.testing.assert_array_equal(moved, transplant.transplant(faces, found, np.random.default_rng(0)))


def test_a_damaged_or_strange_file_is_refused_wherever_it_ends() -> None:
    encoded = jpeg(quality=80)
    for end in range(encoded.index(b"\xff\xc0") + 9):
        with pytest.raises(InputError):
            transplant.read_header(encoded[:end])
    table, frame = encoded.index(b"\xff\xdb"), encoded.index(b"\xff\xc0")
    (length,) = struct.unpack(">H", encoded[table + 2 : table + 4])
    strange = {
        "whole quantisation tables": encoded[:table] + encoded[table + 2 + length :],
        "of steps above 0": encoded[: table + 5] + b"\0" + encoded[table + 6 :],
        "another or a damaged": encoded[: frame + 9] + b"\x02" + encoded[frame + 10 :],
        "received factors": encoded[: frame + 11] + b"\x33" + encoded[frame + 12 :],
        "received another": b"\x89PNG" + encoded,
    }
    for message, content in strange.items():
        with pytest.raises(InputError, match=message):
            transplant.read_header(content)


def test_common_resolution_is_what_both_databases_have() -> None:
    small, large = np.array([90] * 94 + [40] * 5 + [30]), np.full(50, 250)
    assert transplant.common_resolution(small, large) == 40
    assert transplant.common_resolution(large, small) == 40
    assert transplant.common_resolution(small, large, share=0.1) == 90
    assert (small < transplant.common_resolution(small, large)).mean() <= 0.05
    assert transplant.common_resolution(large, large + 1) == 0
    assert transplant.common_resolution(large, large + 1, size=300) == 250
    with pytest.raises(InputError, match="both databases"):
        transplant.common_resolution(large, np.empty(0, int))


@pytest.mark.skipif(not DATA.is_dir(), reason="no real databases beside the project (../shared/data)")
def test_real_files() -> None:
    for name, quality, side in (("lfw", 95, 112), ("utkface", 75, 200), ("generated", 90, 256)):
        found = transplant.estimate(samples.list_samples(str(DATA / name)).take(np.arange(0, 1000, 10)))
        assert set(found.encodings) == {transplant.Encoding(side, quality, 0.0, "4:2:0")}
        assert len(found.encodings) == 100
