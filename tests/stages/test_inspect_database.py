from pathlib import Path

import pytest

from mint_keras.data import images
from mint_keras.records import InputError
from mint_keras.stages.inspect_database import InspectDatabase, inspect_database


def test_sheet(tmp_path: Path) -> None:
    paths = ("synthetic:1/web/0-3/2", "synthetic:1/scan/0-3/1")
    text = inspect_database(InspectDatabase(tmp_path / "out", paths, num=4))
    assert "web: 8 images of 4 identities" in text
    height, width, _ = images.decode((tmp_path / "out" / "sheet.png").read_bytes()).shape
    assert width > height > 100


def test_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="12 usable faces"):
        inspect_database(InspectDatabase(tmp_path / "out", ("synthetic:1/web/0-3/2",)))
    assert not (tmp_path / "out").exists()
