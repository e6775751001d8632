"""Evaluating the heads of a run again: the same figures, or a refusal."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from mint_keras import score_files
from mint_keras.commands.evaluate_mint import EvaluateMint, evaluate_mint, largest_difference
from mint_keras.records import InputError, RefusedError

pytestmark = pytest.mark.usefixtures("loaded_once")


def test_evaluating_again_gives_the_same(run_folder: Path, tmp_path: Path) -> None:
    found = evaluate_mint(EvaluateMint(run_folder, tmp_path / "again", quiet=True))
    assert "combination" in found.text
    assert found.difference == 0
    assert list(found.results) == score_files.read_results(run_folder / "results.jsonl")
    assert (tmp_path / "again" / "scores.csv").read_bytes() == (run_folder / "scores.csv").read_bytes()
    assert (tmp_path / "again" / "results.jsonl").read_bytes() == (run_folder / "results.jsonl").read_bytes()


def test_evaluating_a_changed_head_is_refused(run_folder: Path, audited_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    shutil.copytree(audited_folder, tmp_path / audited_folder.name)  # the run says where it lies from there
    heads = [run / "heads" / model / "conv4" / "head.keras" for model in ("untrained", "audited")]
    shutil.copy(*heads)
    with pytest.raises(RefusedError, match="differ"):
        evaluate_mint(EvaluateMint(run, tmp_path / "again", quiet=True))


def test_a_run_is_not_its_own_evaluation(run_folder: Path) -> None:
    with pytest.raises(InputError, match="another --out"):
        evaluate_mint(EvaluateMint(run_folder, run_folder, overwrite=True, quiet=True))
    assert (run_folder / "scores.csv").is_file()


def test_difference_of_results(run_folder: Path) -> None:
    results = score_files.read_results(run_folder / "results.jsonl")
    moved = [dataclasses.replace(results[0], auc=results[0].auc + 0.25), *results[1:]]
    assert largest_difference(results, results) == 0
    assert largest_difference(results, moved) == pytest.approx(0.25)
    assert largest_difference(results, results[1:]) == float("inf")
    for change in ({"tap": "x"}, {"model": "x"}):
        assert largest_difference(results, [dataclasses.replace(results[0], **change), *results[1:]]) == float("inf")
