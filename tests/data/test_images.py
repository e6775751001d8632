from pathlib import Path

import cv2
import numpy as np
import pytest

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


def test_aligned_faces_are_not_touched() -> None:
    image = face(0)
    assert images.to_face(image) is image


@pytest.mark.parametrize("size", [16, 111, 200, 256])
def test_square_crops_are_resized(size: int) -> None:
    assert images.to_face(face(0, size)).shape == (112, 112, 3)


@pytest.mark.parametrize("shape", [(112, 92, 3), (200, 201, 3), (8, 8, 3)])
def test_other_shapes_are_refused_with_their_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[0]}"):
        images.to_face(np.zeros(shape, np.uint8))


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
