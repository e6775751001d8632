"""Benchmarks: what they measure is right; how fast it is depends on the machine, so no test says."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import images, overlap, recordio
from mint_keras.records import InputError
from mint_keras.stages import benchmark as module
from mint_keras.stages.benchmark import Benchmark, benchmark
from mint_keras.stages.benchmarks import data
from mint_keras.stages.benchmarks.measure import Measurement


def test_table_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Measurement("fast", 10.0, 2.0, "images/s", "a peer", "5"),
        Measurement("big", 3.0, 2.0, "MiB", "less", "<1.2"),
    ]
    monkeypatch.setattr(module, "PARTS", {"reader": lambda setting: rows[:1], "memory": lambda setting: rows[1:]})
    text = benchmark(Benchmark(tmp_path / "out"))
    assert "| fast | 10   | 2    | images/s | a peer  | 5.00  | 5      | met    |" in text
    assert "missed" in text
    assert "faces: not measured" in text
    found = formats.read_json(tmp_path / "out" / "benchmark.json")["measurements"]
    assert [row["ratio"] for row in found] == [5.0, 1.5]
    assert "big" not in benchmark(Benchmark(tmp_path / "reader", only=("reader",)))


def test_edge_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {name: lambda setting, name=name: [Measurement(name, 1.0, 1.0, "s", "a peer")] for name in module.PARTS}
    monkeypatch.setattr(module, "PARTS", parts)
    benchmark(Benchmark(tmp_path / "out", edge=True))
    found = formats.read_json(tmp_path / "out" / "benchmark.json")["measurements"]
    assert [row["name"] for row in found] == ["edge"]


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--only of"):
        benchmark(Benchmark(tmp_path / "out", only=("speed",)))
    with pytest.raises(InputError, match="--detector and --photos"):
        benchmark(Benchmark(tmp_path / "out", only=("faces",)))


def test_the_records_that_are_read_are_real(tmp_path: Path) -> None:
    path = data.write_records(tmp_path, 130)
    table = list(recordio.read(path, "lab"))
    assert len(table) == 130
    reader = images.FaceReader()
    first, again = (reader.image(table[row].location) for row in (0, 100))
    assert first.shape == (112, 112, 3)
    np.testing.assert_array_equal(first, again)


def test_the_copies_that_are_sought_are_there() -> None:
    found = overlap.find_overlap(data._fingerprints(400), 0.86)
    assert {(20 * i, 20 * i + 1) for i in range(20)} <= set(
        zip(found.first.tolist(), found.second.tolist(), strict=True)
    )
