from pathlib import Path

import numpy as np

from mint_keras.data import images
from mint_keras.records import ParityRecord
from mint_keras.report import plots, tables


def test_pictures(tmp_path: Path) -> None:
    curve = (np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.0, 0.4, 0.8, 1.0]))
    plots.save_roc(tmp_path / "roc.png", {"conv1": curve}, "title")
    face = np.zeros((112, 112, 3), np.uint8)
    plots.save_sheet(tmp_path / "sheet.png", {"web": [face, face], "scan": [face, face]}, "title")
    for name in ("roc.png", "sheet.png"):
        image = images.decode((tmp_path / name).read_bytes())
        assert image.std() > 1
        assert min(image.shape[:2]) > 100


def test_parity_table_shows_the_worst_of_each_tap() -> None:
    rows = [
        ParityRecord("conv1", "onnxruntime", "noise", 1, 1e-6, 2e-7, 0.99999999),
        ParityRecord("conv1", "onnxruntime", "noise", 8, 3e-6, 1e-7, 0.9999999),
        ParityRecord("conv1", "onnxruntime", "faces", 8, 2e-6, 1e-7, 1.0),
        ParityRecord("conv1", "onnx-tf", "noise", 1, 0.0, 0.0, 1.0),
    ]
    lines = tables.parity_table(rows).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "conv1", "onnxruntime", "noise (1, 8), faces (8)", "3.0e-06", "2.0e-07", "0.99999990",
    ]  # fmt: skip
    assert "onnx-tf" in lines[3]
