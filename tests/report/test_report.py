from pathlib import Path

import numpy as np

from mint_keras.data import images
from mint_keras.records import AUDITED, UNTRAINED, ParityRecord, ResultRow
from mint_keras.report import plots, tables


def row(scorer: str, tap: str, evaluation: str, accuracy: float, model: str = AUDITED) -> ResultRow:
    return ResultRow(scorer, tap, evaluation, 1, 5, 5, accuracy, 1.0, 1.0, 0.75, 0.25, model)


def test_table_puts_each_number_where_it_belongs() -> None:
    results = [
        row("vanilla", "conv1", "unseen_database", 0.9),
        row("vanilla", "conv1", "same_database", 0.5),
        row("vanilla", "conv1", "unseen_database", 0.8, UNTRAINED),
        row("vanilla", "combination", "unseen_database", 0.95),
        row("vanilla", "combination", "familiar", 0.85),
    ]
    lines = tables.mint_table(results, "vanilla", "unseen_database").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["vanilla", "audited model", "untrained copy", "same database", "familiar"]
    assert cells[2] == ["conv1", "0.900 0.750 0.250", "0.800 0.750 0.250", "0.500 0.750 0.250", "-"]
    assert cells[3] == ["combination", "0.950 0.750 0.250", "-", "-", "0.850 0.750 0.250"]
    assert len({len(line) for line in lines}) == 1


def test_a_baseline_on_several_taps_names_them() -> None:
    results = [row("vanilla", "conv1", "x", 0.9)]
    results += [row("max_pool_lr", tap, "x", 0.8) for tap in ("conv1", "conv2")]
    results += [row("embedding_norm", "outcome", "x", 0.7)]
    lines = tables.mint_table(results, "vanilla", "x").splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == ["conv1", "max pool lr, conv1", "max pool lr, conv2", "embedding norm"]


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
