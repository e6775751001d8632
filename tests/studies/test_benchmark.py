"""Benchmarks: what they measure is right; how fast it is depends on the machine, so no test says."""

import pkgutil
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import images, overlap, recordio, registration
from mint_keras.records import InputError
from studies import benchmark as module
from studies.benchmark import PARTS, Benchmark, benchmark
from studies.benchmarks import engines, measurement, reading
from studies.benchmarks.measurement import Bench, Measurement

ROWS = [Measurement("fast", 10.0, 2.0, "images/s", "a peer", "5"), Measurement("big", 3.0, 2.0, "MiB", "less", "<1.2")]


def fast(bench: Bench) -> list[Measurement]:
    return ROWS[:1]


def big(bench: Bench) -> list[Measurement]:
    return ROWS[1:]


def test_every_part_is_there() -> None:
    assert all(callable(pkgutil.resolve_name(place)) for place in PARTS.values())


def test_table_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTS", {"reader": f"{__name__}:fast", "memory": f"{__name__}:big"})
    done = benchmark(Benchmark(tmp_path / "out"))
    text = done.text
    assert "| fast | 10   | 2    | images/s | a peer  | 5.00  | 5      | met    |" in text
    assert "missed" in text
    assert "faces: not measured" in text
    found = formats.read_json(tmp_path / "out" / "benchmark.json")["measurements"]
    assert found == done.measurements
    assert [row["ratio"] for row in found] == [5.0, 1.5]
    assert "big" not in benchmark(Benchmark(tmp_path / "reader", only=("reader",))).text


def test_edge_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTS", {**dict.fromkeys(PARTS, f"{__name__}:fast"), "edge": f"{__name__}:big"})
    benchmark(Benchmark(tmp_path / "out", edge=True))
    found = formats.read_json(tmp_path / "out" / "benchmark.json")["measurements"]
    assert [row["name"] for row in found] == ["big"]


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--only of"):
        benchmark(Benchmark(tmp_path / "out", only=("speed",)))
    with pytest.raises(InputError, match="--detector and --photos"):
        benchmark(Benchmark(tmp_path / "out", only=("faces",)))


def test_the_records_that_are_read_are_real(tmp_path: Path) -> None:
    path = reading.write_records(tmp_path, 130)
    table = recordio.read(path, "lab")
    assert len(table) == 130
    reader = images.FaceReader()
    first, again = (reader.image(str(table.location[row])) for row in (0, 100))
    assert first.shape == (112, 112, 3)
    np.testing.assert_array_equal(first, again)


def test_the_copies_that_are_sought_are_there() -> None:
    rough = reading._rough(400)
    index = overlap.Index(np.arange(400), overlap.Fingerprints(np.arange(400), rough), registration.Scale.of(rough), 1)
    pairs = {(one, two) for one, two, *_ in index.search(index.rows, overlap.Fingerprints(np.arange(400), rough), max)}
    assert {(20 * i + 1, 20 * i) for i in range(20)} <= pairs


def test_the_peak_is_that_of_the_largest_process() -> None:
    program = "import subprocess, sys; held = bytearray({} * 2**20); print(len(held), {})"
    inner = "subprocess.run([sys.executable, '-c', 'bytearray(300 * 2**20)'])"
    for largest, text in ((100, program.format(100, 1)), (300, program.format(1, inner))):
        peak, lines = measurement.peak_memory("-c", text)
        assert largest < peak < largest + 60
        assert len(lines) == 1
    with pytest.raises(RuntimeError, match="no such thing"):
        measurement.peak_memory("-c", "raise SystemExit('no such thing')")


@pytest.mark.usefixtures("loaded_once")
def test_every_engine_stands_beside_keras_with_its_error(
    audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one whose numbers are wrong, which no run would take; one that runs no such network is said and left out."""
    plain = engines.product.open_all

    def wrong(networks: engines.product.Networks, engine: engines.product.Engine) -> engines.product.Forwards:
        if engine.backend == "litert":
            raise ValueError("no such operation\nand a long story")
        (run,) = plain(networks, engines.product.KERAS).values()
        factor = 1.0 if engine == engines.product.KERAS else 1.01
        return {name: lambda shown: {tap: factor * of for tap, of in run(shown).items()} for name in networks}

    monkeypatch.setattr(engines.product, "open_all", wrong)
    monkeypatch.setattr(engines.product, "ENGINES", [*map(engines.product.Engine, ("litert", "onnxruntime"))])
    monkeypatch.setattr(engines, "_LAB", audited_folder)  # a network costs the same whatever it knows
    monkeypatch.setattr(engines.iresnets, "random_iresnet", lambda arch: engines.zoo.load_audited(engines._LAB))
    names = [row.name for row in engines.engines(Bench(tmp_path, True, "", ""))]
    assert [name for name in names if name.startswith("lab")] == [
        "lab, keras (worst tap 0e+00)",
        "lab, onnxruntime (worst tap 1e-02)",
    ]
    assert "lab by litert: not run, no such operation\n" in capsys.readouterr().err
