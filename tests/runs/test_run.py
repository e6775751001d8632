"""A run that is opened again: its heads, its scores, and how a killed one goes on."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.aad import plan
from mint_keras.audited import backends, engines, iresnet, taps, zoo
from mint_keras.data import images
from mint_keras.records import AUDITED, UNTRAINED, InputError
from mint_keras.runs import report
from mint_keras.runs import run as runs
from mint_keras.runs.run import Run, fit_and_score, heads_of, is_finished, load_head, open_run, reopen
from mint_keras.runs.spec import HeadKey, RunSpec, read_spec
from mint_keras.training import fit_heads

pytestmark = pytest.mark.usefixtures("loaded_once")


def small(audited: Path, **options: object) -> RunSpec:
    defaults = {"taps": ("conv4",), "num_train": 70, "num_test": 20}
    return RunSpec(**{"head": "vanilla", "audited": audited} | defaults | options)


def test_every_score_is_the_heads_for_that_very_sample(run_folder: Path) -> None:
    """Evaluations share samples, whose logits are computed once and dealt out."""
    run = reopen(run_folder)
    head = load_head(run, HeadKey(AUDITED, "conv4", 1)).model
    vectors = run.aad.seen(AUDITED)["conv4_max"]
    row = {sample: number for number, sample in enumerate(run.protocol.table.sample_id)}
    key = ("vanilla", AUDITED, "conv4")
    parts = [p for p in score_files.read_scores(run_folder / "scores.csv") if (p.scorer, p.model, p.tap) == key]
    assert len(parts) == 3
    for part in parts:
        chosen = np.array([row[sample] for sample in part.samples.sample_id])
        expected = head({"conv4": np.asarray(vectors[chosen], np.float32)}).numpy()[:, 0]
        np.testing.assert_allclose(part.score, expected, atol=1e-5)
        assert np.ptp(expected) > 1e-3


def test_a_head_that_is_fitted_again_gives_the_runs_scores(run_folder: Path) -> None:
    """Controls fit heads through other models by this very function."""
    run = reopen(run_folder)
    found = fit_and_score(heads_of(run.spec)["conv4"], run.aad, UNTRAINED, run.protocol, run.spec.seed)
    key = ("vanilla", UNTRAINED, "conv4")
    kept = [p for p in score_files.read_scores(run_folder / "scores.csv") if (p.scorer, p.model, p.tap) == key]
    assert [part.evaluation for part in found] == [part.evaluation for part in kept]
    for part, of_run in zip(found, kept, strict=True):
        assert (part.scorer, part.model, part.tap, part.seed) == (*key, of_run.seed)
        np.testing.assert_array_equal(part.samples.sample_id, of_run.samples.sample_id)
        np.testing.assert_array_equal(part.logit, of_run.logit)


def test_only_exactly_this_run_is_finished(run_folder: Path, tmp_path: Path) -> None:
    spec = read_spec(run_folder)
    assert is_finished(spec, run_folder)
    assert not is_finished(dataclasses.replace(spec, seed=2), run_folder)
    shutil.copy(run_folder / formats.MANIFEST, tmp_path)
    assert not is_finished(spec, tmp_path)


def test_auto_says_why(quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = plan.Costs(images_per_second=1e6, bytes_per_sample=10**6, disk_bytes_per_second=1e6, free_bytes=10**12)
    monkeypatch.setattr(plan, "measure", lambda functions, faces, folder: costs)
    run = open_run(small(quick_folder, head="cnn"), tmp_path / "fast")
    assert set(run.aad.seen(AUDITED).arrays) == {images.PIXELS}
    assert run.aad.front(AUDITED, ["conv4"]) is not None
    written = formats.read_json(tmp_path / "fast" / "aad.json")
    assert written["source"] == "live"
    assert "1 MB/s" in written["why"]
    assert f"AAD live (auto was asked for): {written['why']}." in report.describe(run)
    full = dataclasses.replace(costs, free_bytes=1000)
    assert plan.choose(full, 100, 30).why.startswith("does not fit the disk")
    slow = dataclasses.replace(costs, images_per_second=0.1)
    assert not plan.choose(slow, 100, 30).is_live
    monkeypatch.setattr(plan, "measure", lambda functions, faces, folder: full)
    with pytest.raises(InputError, match="Use --aad live"):
        open_run(small(quick_folder, head="cnn", aad="stored"), tmp_path / "full")
    with pytest.raises(InputError, match="a stored vector is smaller"):
        open_run(small(quick_folder, aad="live"), tmp_path / "vanilla")
    assert [plan.duration(seconds) for seconds in (45, 720, 12_240, 181_440)] == ["45 s", "12 min", "3.4 h", "2.1 days"]


@pytest.mark.parametrize("aad", ["stored", "live"])
def test_a_resumed_run_keeps_its_engine(
    aad: str, quick_folder: Path, tmp_path: Path, converted_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx, folder = engines.Engine(backends.ONNXRUNTIME), tmp_path / "run"

    def choose(networks: engines.Networks, shown: np.ndarray, num_passes: float) -> engines.Choice:
        return engines.Choice(onnx, engines.open_all(networks, onnx), {onnx: 2.0})

    def maps(run: Run) -> np.ndarray:
        """Returns what heads on conv4 are given for five faces."""
        if (front := run.aad.front(AUDITED, ["conv4"])) is None:
            return run.aad.seen(AUDITED)["conv4"][:5]
        head = heads_of(spec)["conv4"].build({"conv4": front.output["conv4"].shape[1:]})
        live = fit_heads.live_head(head, front)
        inner = keras.Model(live.input, live.layers[-2].output)
        return inner.predict({images.PIXELS: run.aad.seen(AUDITED)[images.PIXELS][:5]}, verbose=0)

    monkeypatch.setattr(engines, "choose", choose)
    spec = small(quick_folder, head="cnn", aad=aad)
    run = open_run(spec, folder)
    assert run.aad.engine == onnx
    assert "Run by onnxruntime." in report.describe(run)
    given = maps(run)
    # Another engine would be faster now, and is not asked; what was lost is made again by the same.
    monkeypatch.setattr(engines, "choose", lambda *given: pytest.fail("chosen again"))
    shutil.rmtree(folder / "aad")
    again = open_run(spec, folder)
    assert again.aad.engine == onnx
    np.testing.assert_array_equal(maps(again), given)
    # By Keras they are the same but for roundings to float16, if not for the last bits of float32 before.
    faces = images.read_faces(run.protocol.table.take(np.arange(5)), run.spec.framing)[1]
    by_keras = taps.extractor(zoo.load_audited(quick_folder), ["conv4"])(iresnet.normalise(faces))
    np.testing.assert_allclose(given, by_keras["conv4"], atol=2e-3)


def test_a_dead_head_is_named(run_folder: Path) -> None:
    scores = score_files.read_scores(run_folder / "scores.csv")
    assert report.warn_of_dead_heads(scores) == []
    dead = [dataclasses.replace(p, logit=np.zeros_like(p.logit)) if p.tap == "conv1" else p for p in scores]
    (text,) = report.warn_of_dead_heads(dead)
    both = "vanilla on conv1 (seed 1), vanilla on conv1 through the untrained copy (seed 1)."
    assert f"same score for everybody: {both}" in text


def test_a_head_that_was_trained_again_is_named(run_folder: Path, tmp_path: Path) -> None:
    run = dataclasses.replace(reopen(run_folder), folder=tmp_path)
    assert "trained again" not in report.describe(run)
    key = HeadKey(UNTRAINED, "conv4", 1)
    formats.write_json(key.path(tmp_path, 1).with_name("died.json"), {"trainings": 2})
    assert "how often behind them: conv4 (untrained, seed 1; 2)." in report.describe(run)


def test_heads_that_are_trained_together_are_those_trained_alone(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run trained all of them together; where memory holds the data of one tap at a time, each is alone."""
    opened, fit_together = reopen(run_folder), runs.head.fit_together
    keys = [key for key in opened.spec.keys if key.model == AUDITED][1:]
    seen = opened.aad.seen(AUDITED)
    assert all(recipe.trains_together(recipe.inputs(seen)) for recipe in heads_of(opened.spec).values())
    nums: list[int] = []

    def fit(wanted: list, *more: Any) -> list[runs.head.FittedHead]:
        nums.append(len(wanted))
        return fit_together(wanted, *more)

    monkeypatch.setattr(runs.batches, "HELD_BYTES", 1)
    monkeypatch.setattr(runs.head.Head, "trains_together", lambda *_: True)
    monkeypatch.setattr(runs.head, "fit_together", fit)
    runs.fit_heads(dataclasses.replace(opened, folder=tmp_path), keys)
    assert nums == [1, 1]
    for key in keys:
        assert key.path(tmp_path, opened.spec.seed).read_bytes() == key.path(run_folder, opened.spec.seed).read_bytes()


def test_a_model_that_was_changed_is_not_shared(audited_folder: Path) -> None:
    """What tests of runs share (`loaded_once`) is as it is in the file."""
    first = zoo.load_audited(audited_folder)
    assert zoo.load_audited(audited_folder) is first
    before = first.weights[0].numpy()
    first.weights[0].assign(before + 1)
    again = zoo.load_audited(audited_folder)
    assert again is not first
    np.testing.assert_array_equal(again.weights[0].numpy(), before)
