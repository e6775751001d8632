"""Real databases, where they lie beside the project; skipped elsewhere."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras.data import images, samples
from mint_keras.records import InputError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real databases beside the project (../shared/data)")


def test_lfw_as_recordio() -> None:
    table = samples.list_samples(str(DATA / "lfw"))
    assert len(table) == 7606
    assert len(np.unique(table.people())) == 901
    reader = images.FaceReader()
    (rows, faces), *_ = reader.batches(table.take(np.arange(0, 7606, 500)), 64)
    assert len(rows) == 16
    assert faces.shape == (16, 112, 112, 3)
    assert not reader.rejected
    assert not reader.resized


@pytest.mark.parametrize(("database", "num"), [("utkface", 3000), ("generated", 1200)])
def test_flat_folders_are_resized(database: str, num: int) -> None:
    table = samples.list_samples(str(DATA / database))
    assert len(table) == len(np.unique(table.people())) == num
    reader = images.FaceReader()
    (_, faces), *_ = reader.batches(table.take(np.arange(20)), 20)
    assert len(faces) == reader.resized[database] == 20


def test_faces_that_are_not_square_are_rejected() -> None:
    table = samples.list_samples(str(DATA / "orl"))
    assert len(np.unique(table.people())) == 40
    reader = images.FaceReader()
    assert list(reader.batches(table.take(np.arange(5)), 8)) == []
    assert "92x112" in reader.rejected[0].reason
    with pytest.raises(InputError, match="not found"):
        samples.list_samples(str(DATA / "no-such-database"))
