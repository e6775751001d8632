import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.commands.inspect_database import InspectDatabase, inspect_database
from mint_keras.data import images
from mint_keras.records import InputError
from mint_keras.report import plots


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three photos of Ann and one of Bo, of two shapes, and two files that are no images."""
    for i, (name, shape) in enumerate(
        [("Ann/1.png", (40, 60)), ("Ann/2.png", (40, 60)), ("Ann/3.png", (50, 20)), ("Bo/1.png", (40, 60))]
    ):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write_png(path, np.full((*shape, 3), 50 * i, np.uint8))
    (tmp_path / "album" / "Bo" / "2.jpg").write_bytes(b"")
    (tmp_path / "album" / "Bo" / "3.heic").write_bytes(b"\0" * 100)
    return tmp_path / "album"


def test_counts_sizes_and_what_cannot_be_read(album: Path, tmp_path: Path) -> None:
    text = inspect_database(InspectDatabase((str(album),), tmp_path / "out", quiet=True)).text
    assert "layout: folders" in text
    assert "6 images, 2 identities" in text
    assert "3 to 3, median 3" in text
    assert "sizes: 60x40 (3), 20x50 (1)" in text
    assert "unreadable: 2 of 6 read" in text
    assert "not square: 4 of 6 read" in text
    (found,) = json.loads((tmp_path / "out" / "inspection.json").read_text())["databases"]
    assert found["sizes"] == {"60x40": 3, "20x50": 1}
    assert found["histogram"]["2"] == 2
    assert (tmp_path / "out" / "rejected.csv").read_text().count("\n") == 3
    assert images.decode((tmp_path / "out" / "sheet.png").read_bytes()).shape[0] > 100


def test_some_of_many_are_read_and_the_rest_is_bounded(tmp_path: Path) -> None:
    config = InspectDatabase(
        ("synthetic:1/web/0-3/10", "synthetic:1/scan/0-3/1"), tmp_path / "out", num=4, num_read=20, quiet=True
    )
    text = inspect_database(config).text
    assert "0 of 20 read; of all 40 at most 13.9% (95%)" in text
    height, width, _ = images.decode((tmp_path / "out" / "sheet.png").read_bytes()).shape
    assert width > height > 100


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "1.jpg").write_bytes(b"")
    text = inspect_database(InspectDatabase((str(tmp_path / "db"),), tmp_path / "out", quiet=True)).text
    assert "unreadable: 1 of 1 read" in text
    assert not (tmp_path / "out" / "sheet.png").exists()


def test_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--num from 1 to 100"):
        inspect_database(InspectDatabase(("synthetic:1/web/0-3/2",), tmp_path / "out", num=0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="received none"):
        inspect_database(InspectDatabase((str(tmp_path / "empty"),), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_sheet_shows_the_images_as_they_are(album: Path, tmp_path: Path) -> None:
    """The one red photo is on the sheet."""
    cv2.imwrite(str(album / "Ann" / "4.png"), np.full((40, 60, 3), (0, 0, 255), np.uint8))
    inspect_database(InspectDatabase((str(album),), tmp_path / "out", quiet=True))
    sheet = images.decode((tmp_path / "out" / "sheet.png").read_bytes()).astype(int)
    assert ((sheet == [255, 0, 0]).all(axis=2)).sum() > 500


def test_the_sheet_is_full_where_enough_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = []
    monkeypatch.setattr(plots, "save_sheet", lambda path, rows, title: sheets.append(rows))
    (tmp_path / "db").mkdir()
    for i in range(40):
        (tmp_path / "db" / f"{i}.jpg").write_bytes(b"")
    for i in range(8):
        images.write_png(tmp_path / "db" / f"{i}.png", np.full((20, 20, 3), i, np.uint8))
    for num, expected in ((6, 6), (12, 8)):
        out = tmp_path / f"out{num}"
        inspect_database(InspectDatabase((str(tmp_path / "db"),), out, num=num, quiet=True))
        values = [int(image[0, 0, 0]) for image in sheets[-1]["db"]]
        assert len(values) == expected
        assert values == sorted(values)
