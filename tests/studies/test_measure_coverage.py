"""Tests of the coverage of intervals, at a size that says nothing of it."""

from pathlib import Path

import pytest

from mint_keras import formats
from mint_keras.records import InputError, RefusedError
from studies import coverage
from studies.measure_coverage import RESULTS, TEXT, MeasureCoverage, measure_coverage


def small(out: Path, **changes: object) -> MeasureCoverage:
    options = {"effects": (1.0, 0.5, 0.0, 0.0), "num_runs": 3, "people": 5} | changes
    return MeasureCoverage(out, **options)  # type: ignore[arg-type]


def test_every_kind_of_evaluation_is_measured_and_shown(tmp_path: Path) -> None:
    done = measure_coverage(small(tmp_path / "out"))
    assert done.content == formats.read_json(tmp_path / "out" / RESULTS)
    worlds = done.content["worlds"]
    assert [world["effects"] for world in worlds] == [[1.0, 0.5], [0.0, 0.0]]
    expected = coverage.measure(3, 5, (1.0, 0.5), seed=1)
    assert {(row["figure"], row["method"]): row["share"] for row in worlds[0]["rows"]} == {
        key: found.share for key, found in expected.items()
    }
    assert done.text.startswith((tmp_path / "out" / TEXT).read_text())
    assert done.text.count("| student ") == 2


def test_an_interrupted_measurement_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, calls = coverage.measure, []

    def interrupted(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(coverage, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_coverage(small(tmp_path / "out"))
    measure_coverage(small(tmp_path / "out"))
    assert [args[2] for args in calls] == [(1.0, 0.5), (0.0, 0.0), (0.0, 0.0)]
    monkeypatch.undo()
    measure_coverage(small(tmp_path / "whole"))
    assert (tmp_path / "out" / RESULTS).read_bytes() == (tmp_path / "whole" / RESULTS).read_bytes()


@pytest.mark.parametrize("changes", [{"effects": (1.0,)}, {"effects": ()}, {"num_runs": 0}, {"people": 1}])
def test_options_that_make_no_evaluation_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="Expected --effects in pairs"):
        measure_coverage(small(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_another_measurement_is_refused(tmp_path: Path) -> None:
    measure_coverage(small(tmp_path / "out"))
    with pytest.raises(RefusedError):
        measure_coverage(small(tmp_path / "out", num_runs=2))
