"""Runs with --baselines and with other poolings: the same rows from own AAD, from a store, and again."""

import dataclasses
import typing
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files, vectors
from mint_keras.aad import pooling, store
from mint_keras.commands.evaluate_mint import EvaluateMint, evaluate_mint
from mint_keras.commands.export_tflite import ExportTflite, export_tflite
from mint_keras.commands.extract_aad import ExtractAad, extract_aad
from mint_keras.commands.train_mint import TrainMint, train_mint
from mint_keras.records import AUDITED, UNTRAINED, InputError, Scores
from mint_keras.report.run_table import RunTable
from mint_keras.runs import report
from mint_keras.runs.run import Run, baseline_names, fit_and_score, open_run
from mint_keras.runs.spec import RunSpec
from mint_keras.scorers import baselines
from mint_keras.scorers.baselines import BASELINES
from tests.runs.small_model import small_model

pytestmark = pytest.mark.usefixtures("loaded_once")

MEMBERS, HELD_OUT = "synthetic:1/web/0-19/6", "synthetic:1/web/60-67/4"  # they need not be the model's own here
EXTERNALS = "synthetic:1/phone/900-911/6"
EVALUATE = ("synthetic:1/scan/950-953/5", "synthetic:1/scan/960-971/1")  # twelve people have one face only
NUM_SAMPLES = 120 + 32 + 72 + 32


OPTIONS = {
    "head": "vanilla", "taps": ("conv4", "outcome"), "members": MEMBERS, "held_out": HELD_OUT,
    "externals": (EXTERNALS,), "evaluate": EVALUATE, "num_train": 70, "num_test": 20, "num_seeds": 1, "baselines": True,
}  # fmt: skip


def options(audited: Path, out: Path, **more: object) -> TrainMint:
    return TrainMint(out=out, audited=audited, quiet=True, **OPTIONS | more)


def spec_of(audited: Path, **more: object) -> RunSpec:
    return RunSpec(audited=audited, **OPTIONS | more)


def store_options(audited: Path, out: Path, **more: object) -> ExtractAad:
    values = {
        "samples": (MEMBERS, HELD_OUT, EXTERNALS, *EVALUATE), "taps": ("conv4", "outcome"), "pooling": ("max",),
        "untrained": True, "batch_size": 64, "quiet": True,
    }  # fmt: skip
    return ExtractAad(**{"audited": str(audited), "out": out} | values | more)


@pytest.fixture(scope="module")
def plain_folder(audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As exporters leave models whose normalisations they could fold."""
    return small_model(audited_folder, tmp_path_factory.mktemp("plain") / "model", is_normalised=False)


@pytest.fixture(scope="module")
def whole(quick_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("baselines") / "run"
    return out, train_mint(options(quick_folder, out)).text


def scores_of(run: Run) -> dict[tuple[str, str, str, str], Scores]:
    found = [
        part
        for recipe in baselines.scorers_of(baseline_names(run), run.spec.groups)
        for model in (AUDITED, UNTRAINED)
        for part in fit_and_score(recipe, run.aad, model, run.protocol, 1)
    ]
    return by_key(found)


def by_key(parts: list[Scores]) -> dict[tuple[str, str, str, str], Scores]:
    return {(part.scorer, part.model, part.tap, part.evaluation): part for part in parts}


def test_all_baselines_stand_in_every_column(whole: tuple[Path, str]) -> None:
    folder, text = whole
    results = score_files.read_results(folder / "results.jsonl")
    rows = {(row.scorer, row.model, row.tap, row.evaluation): row for row in results}
    kinds = {"max_pool_lr": "conv4", "bn_distance": "normalisations"}
    for name in BASELINES:
        assert f"| {name.replace('_', ' ')} " in text
        for model in (AUDITED, UNTRAINED):
            for evaluation in ("unseen_database", "same_database", "familiar"):
                row = rows[name, model, kinds.get(name, "outcome"), evaluation]
                assert row.num_members == row.num_externals == 20 or name == "compactness"
                assert 1 <= row.num_members == row.num_externals <= 20
    assert rows["vanilla", AUDITED, "conv4", "familiar"].num_members == 20


def test_compactness_says_who_has_no_other_face(whole: tuple[Path, str], quick_folder: Path) -> None:
    folder, text = whole
    run = open_run(spec_of(quick_folder), folder)
    rows, is_member = run.protocol.evaluations()["unseen_database"]
    table = run.protocol.table.take(rows)
    outcome = run.aad.seen(AUDITED)["outcome"][rows]
    people, counts = np.unique(table.people(), return_counts=True)
    has_others = np.isin(table.people(), people[counts > 1])
    scores = by_key(score_files.read_scores(folder / "scores.csv"))
    part = scores["compactness", AUDITED, "outcome", "unseen_database"]
    num = min(np.count_nonzero(has_others & is_member), np.count_nonzero(has_others & ~is_member))
    assert len(part.samples) == 2 * num < 40
    assert f"compactness, unseen database: {2 * num} of 40 samples scored" in text
    place = {name: k for k, name in enumerate(table.sample_id.tolist())}
    cosines = []
    for name in part.samples.sample_id.tolist():
        k = place[name]
        same = np.flatnonzero((table.people() == table.people()[k]) & (table.sample_id != name))
        cosines.append(np.mean([vectors.cosines(outcome[k : k + 1], outcome[j : j + 1]) for j in same]))
    assert np.corrcoef(cosines, part.logit)[0, 1] == pytest.approx(1.0, abs=1e-5)


def test_evaluating_again_gives_the_same(whole: tuple[Path, str], tmp_path: Path) -> None:
    text = evaluate_mint(EvaluateMint(whole[0], tmp_path / "again", quiet=True)).text
    assert "Baselines, fitted on the heads' training samples (the paper's, MIA, is the head on outcome):" in text
    for name in ("scores.csv", "results.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (whole[0] / name).read_bytes()


def test_a_store_gives_the_scores_of_own_aad(whole: tuple[Path, str], quick_folder: Path, tmp_path: Path) -> None:
    before = by_key(score_files.read_scores(whole[0] / "scores.csv"))
    own = scores_of(open_run(spec_of(quick_folder), whole[0]))
    text = extract_aad(store_options(quick_folder, tmp_path / "aad", baselines=True)).text
    assert f"audited stability: {NUM_SAMPLES} x 3 float32" in text
    assert f"untrained bn_distance: {NUM_SAMPLES} x 1 float32" in text
    given = scores_of(open_run(spec_of(quick_folder, store=tmp_path / "aad"), tmp_path / "run"))
    assert own.keys() == given.keys() == {key for key in before if key[0] != "vanilla"}
    for key, part in own.items():
        assert part.samples.sample_id.tolist() == given[key].samples.sample_id.tolist()
        np.testing.assert_array_equal(part.logit, before[key].logit, err_msg=str(key))
        np.testing.assert_allclose(part.logit, given[key].logit, atol=1e-2, err_msg=str(key))  # in other batches


def test_a_store_without_what_baselines_need(plain_folder: Path, tmp_path: Path) -> None:
    extract_aad(store_options(plain_folder, tmp_path / "aad"))
    spec = spec_of(plain_folder, store=tmp_path / "aad")
    with pytest.raises(InputError, match=r"none of \['stability'\]. Extract with --baselines"):
        open_run(spec, tmp_path / "run")
    run = open_run(dataclasses.replace(spec, baselines=False), tmp_path / "run")
    assert baseline_names(run) == ["embedding_norm"]
    with pytest.raises(InputError, match=r"--pooling mean of extract_aad\.py"):
        open_run(spec_of(plain_folder, store=tmp_path / "aad", baselines=False, pooling="mean"), tmp_path / "x")


def test_a_model_without_normalisation_is_said_to_have_none(plain_folder: Path, tmp_path: Path) -> None:
    line = "bn_distance is left out: the audited model has no batch normalisation"
    text = extract_aad(store_options(plain_folder, tmp_path / "aad", baselines=True)).text
    assert line in text
    assert f"audited stability: {NUM_SAMPLES} x 3" in text
    for given in (None, tmp_path / "aad"):
        run = open_run(spec_of(plain_folder, store=given), tmp_path / f"run {given is None}")
        assert set(baseline_names(run)) == set(BASELINES) - {"bn_distance"}
        assert line in report.summary(run, [], RunTable("vanilla", {}, {}))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"head": "cnn", "taps": ("conv4",)}, "vanilla head only"),
        ({"head": "cnn", "taps": ("conv4",), "baselines": False, "pooling": "std"}, "vanilla head only"),
        ({"pooling": "mean"}, "--pooling max"),
        ({"taps": ("conv4",)}, "tap outcome"),
        ({"taps": ("outcome",)}, "taps with maps"),
    ],
)
def test_what_baselines_cannot_look_at(more: dict, message: str, quick_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_run(spec_of(quick_folder, **more), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_heads_on_another_pooling(plain_folder: Path, tmp_path: Path) -> None:
    run = options(plain_folder, tmp_path / "run", taps=("conv4",), baselines=False, pooling="topk")
    text = train_mint(run).text
    assert "Heads take the topk of every channel" in text
    assert "Baselines" not in text
    assert set(store.open_store(run.out / "aad").arrays["audited"]) == {"conv4_topk"}
    export_tflite(ExportTflite(run.out, tmp_path / "bundle", tap="conv4", quiet=True))
    assert formats.read_json(tmp_path / "bundle" / formats.MANIFEST)["parity"]["max_logit_difference"] < 1e-4


def test_the_option_names_every_pooling() -> None:
    assert typing.get_args(typing.get_type_hints(TrainMint)["pooling"]) == tuple(pooling.POOLINGS)
