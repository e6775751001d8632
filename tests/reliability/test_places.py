"""What is written says nothing of the machine it was made on, unless somebody asks for it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import cli, formats
from mint_keras.data import images, sample_tables, samples
from studies.reliability import watching


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four people with a face each, and a file that is no photo."""
    folder = tmp_path_factory.mktemp("machine") / "photos"
    for k in range(4):
        (folder / f"p{k}").mkdir(parents=True)
        cv2.imwrite(str(folder / f"p{k}" / "a.png"), np.random.default_rng(k).integers(0, 255, (112, 112, 3), np.uint8))
    (folder / "p0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("no photo")
    return folder


def commands(photos: Path) -> dict[str, list[str]]:
    return {
        "score": ["--bundle", "lab", f"{photos}/p0", f"{photos}/p1/a.png"],
        "inspect": [str(photos), "--num-read", "0"],
        "prepare": ["--input", f"web={photos}", "--treatment", "stored", "--workers", "1"],
    }


@pytest.mark.parametrize("word", ["score", "inspect", "prepare"])
@pytest.mark.parametrize("is_asked", [False, True])
def test_no_file_says_where_it_was_made(word: str, is_asked: bool, photos: Path, tmp_path: Path) -> None:
    asked = ["--absolute-paths"] if is_asked else []
    cli.main([word, *commands(photos)[word], "--out", str(tmp_path / "out"), *asked])
    found = watching.places(tmp_path / "out", (str(photos), str(tmp_path)))
    assert bool(found) == is_asked
    rejected = (tmp_path / "out" / formats.REJECTED).read_text()
    assert ("broken.png" in rejected, str(photos) in rejected) == (True, is_asked)


def test_photos_that_are_named_one_by_one_keep_their_names_apart(photos: Path, tmp_path: Path) -> None:
    from mint_keras.edge.photos import list_photos

    table = list_photos([photos / "p1" / "a.png", photos / "p2" / "a.png"]).table
    assert table.sample_id.tolist() == table.identity.tolist() == ["p1/a.png", "p2/a.png"]
    assert list_photos([photos / "p1" / "a.png"]).table.sample_id.tolist() == ["a.png"]


def test_tables_find_their_photos_where_both_were_moved(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (photos.parent / "tables").mkdir()
    table = samples.list_samples(str(photos))
    sample_tables.write_samples(photos.parent / "tables" / "t.parquet", table)
    again = sample_tables.read_samples(photos.parent / "tables" / "t.parquet")
    assert again.location.tolist() == table.location.tolist()
    for name in ("photos", "tables"):
        (tmp_path / "a" / name).symlink_to(photos.parent / name)
    moved = photos.parent.rename(tmp_path / "moved")
    try:
        again = sample_tables.read_samples(moved / "tables" / "t.parquet")
        assert len(images.read_faces(again)[0]) == 4
        assert str(tmp_path) in str(again.location[0])
    finally:
        moved.rename(photos.parent)
