"""Heads as scorers: in memory, live and of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras import score_files
from mint_keras.aad.observe import observe
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.data import images, synthetic
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError, Labelled, Observations, concatenate_tables
from mint_keras.runs.run import load_head, reopen
from mint_keras.scorers.head import FittedHead, Head, load_model
from mint_keras.statistics import metrics
from mint_keras.training import fit_heads
from tests.scorers.seen import observed, only

pytestmark = pytest.mark.usefixtures("loaded_once")

IS_MEMBER = np.arange(160) % 2 == 0


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vanilla", "cnn"):
        monkeypatch.setitem(specs.HEADS, name, dataclasses.replace(specs.HEADS[name], epochs=2))


def draw(seed: int) -> Observations:
    """Members have larger maxima, and larger maps."""
    rng, shift = np.random.default_rng(seed), IS_MEMBER.astype(np.float32)
    arrays = {
        "conv1_max": rng.normal(size=(160, 6)) + shift[:, None],
        "conv2_max": rng.normal(size=(160, 4)) + shift[:, None],
        "conv1_mean": rng.normal(size=(160, 6)),
        "outcome": rng.normal(size=(160, 5)),
        "conv1": rng.normal(size=(160, 8, 8, 3)) + shift[:, None, None, None],
    }
    return observed(np.arange(160), {name: values.astype(np.float32) for name, values in arrays.items()})


def test_a_recipe_can_be_typed_as_lists_and_compared() -> None:
    recipe = Head("cnn", taps=["conv1", "conv2"])
    assert recipe == Head("cnn", taps=("conv1", "conv2"), tap="conv1+conv2")
    assert hash(recipe) == hash(Head("cnn", taps=("conv1", "conv2")))
    assert (recipe.needs.taps, recipe.needs.pooling) == (("conv1", "conv2"), "")
    assert Head("vanilla", ("conv1",), pooling="std").needs.pooling == "std"


def test_it_is_fed_its_taps_in_their_form() -> None:
    seen = draw(1)
    assert list(Head("vanilla", ("conv2", "outcome")).inputs(seen)) == ["conv2", "outcome"]
    assert Head("vanilla", ("conv1",)).inputs(seen)["conv1"] is seen["conv1_max"]
    assert Head("vanilla", ("conv1",), pooling="mean").inputs(seen)["conv1"] is seen["conv1_mean"]
    assert Head("cnn", ("conv1",)).inputs(seen)["conv1"] is seen["conv1"]
    with pytest.raises(InputError, match="'conv3_max' among what was observed"):
        Head("vanilla", ("conv3",)).inputs(seen)
    faces = observed(np.arange(2), {images.PIXELS: np.zeros((2, 16, 16, 3), np.uint8)})
    assert list(Head("cnn", ("conv1",)).inputs(faces, is_live=True)) == [images.PIXELS]
    with pytest.raises(InputError, match=r"'conv1' among what was observed, received only \['pixels'\]"):
        Head("cnn", ("conv1",)).inputs(faces)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> FittedHead:
    """A head that was fitted in memory."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fitted = Head("vanilla", ("conv1", "conv2")).fit(draw(1), IS_MEMBER)
    assert list(folder.iterdir()) == []
    return fitted


def test_in_memory_nothing_is_written(head: FittedHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train, others = draw(1), draw(2)
    logit = head(others)
    figures = head.evaluate(others, IS_MEMBER)
    evaluations = {"all": Labelled(np.arange(160), IS_MEMBER), "some": Labelled(np.arange(20), IS_MEMBER[:20])}
    judged = head.judge(others, evaluations, "a_model")
    assert list(tmp_path.iterdir()) == []
    assert (logit.shape, logit.dtype) == ((160,), np.float32)
    assert metrics.auc(IS_MEMBER, logit) > 0.8
    assert figures.accuracy == pytest.approx(metrics.accuracy(IS_MEMBER, logit), abs=1e-6)
    assert figures.auc == metrics.auc(IS_MEMBER, logit)
    assert [(s.scorer, s.tap, s.evaluation, s.model, len(s.logit)) for s, _ in judged] == [
        ("vanilla", "conv1+conv2", "all", "a_model", 160),
        ("vanilla", "conv1+conv2", "some", "a_model", 20),
    ]
    np.testing.assert_array_equal(judged[0][0].logit, logit)
    assert dataclasses.replace(judged[0][1], evaluation=figures.evaluation, model=figures.model) == figures
    np.testing.assert_array_equal(head.calibration.samples.table.sample_id, train.table.sample_id)
    assert head.calibration.seed == 1
    np.testing.assert_array_equal(head.calibration.is_member, IS_MEMBER)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["vanilla", "cnn"])
def test_evaluate_is_that_of_the_whole_head(name: str) -> None:
    """The layers behind the logit are evaluated on their own, for a quarter of the work."""
    train, others = draw(1), draw(2)
    head = Head(name, ("conv1",)).fit(train, IS_MEMBER)
    found = head.evaluate(others, IS_MEMBER)
    fit_heads.compile_head(head.model)
    labels = IS_MEMBER[:, None].astype(np.float32)
    expected = head.model.evaluate(head.recipe.inputs(others), labels, return_dict=True, verbose=0)
    for figure in ("accuracy", "loss", "cross_entropy"):
        assert getattr(found, figure) == pytest.approx(expected[figure], abs=1e-6), figure


@pytest.mark.usefixtures("short")
def test_same_seed_same_head_with_and_without_a_folder(tmp_path: Path) -> None:
    seen, epochs = draw(1), []
    recipe = Head("vanilla", ("conv1",))
    heads = [
        recipe.fit(seen, IS_MEMBER, 3, tmp_path / "logs", on_epoch=epochs.append),
        recipe.fit(seen, IS_MEMBER, 3),
        recipe.fit(seen, IS_MEMBER, 4),
    ]
    assert sum(epochs) == 2
    assert (tmp_path / "logs" / "training.csv").is_file()
    for name, head in zip("abc", heads, strict=True):
        head.save(tmp_path / f"{name}.keras")
    files = [(tmp_path / f"{name}.keras").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    loaded = FittedHead(recipe, load_model(tmp_path / "a.keras"), 3)
    np.testing.assert_array_equal(loaded(seen), heads[1](seen))
    with pytest.raises(InputError, match="received one from a file"):
        _ = loaded.calibration


def test_what_is_no_head(tmp_path: Path) -> None:
    (tmp_path / "head.keras").write_bytes(b"junk")
    for path in (tmp_path / "head.keras", tmp_path / "nowhere.keras"):
        with pytest.raises(InputError, match="Expected a head in"):
            load_model(path)
    with pytest.raises(InputError, match="at least 64"):
        Head("vanilla", ("conv1",)).fit(draw(1), np.arange(160) < 63)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_live_head_scores_faces_as_the_stored_one_scores_maps() -> None:
    keras.utils.set_random_seed(3)
    network = iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 8), 32)
    extractor = taps.extractor(network, ["conv2"])
    table = concatenate_tables([synthetic.sample_table(f"synthetic:1/{name}/0-69/1") for name in ("web", "news")])
    forward = runtime.forward(extractor)

    def look(faces: np.ndarray) -> dict[str, np.ndarray]:
        small = np.ascontiguousarray(faces[:, 8:104:3, 8:104:3])
        maps = forward(iresnet.normalise(small))["conv2"].astype(np.float16)
        return {images.PIXELS: small, "conv2": maps}

    seen, is_member = observe(table, look), np.arange(140) < 70
    recipe = Head("cnn", ("conv2",))
    stored = recipe.fit(only(seen, ("conv2",)), is_member)
    live = recipe.fit(only(seen, (images.PIXELS,)), is_member, front=extractor)
    np.testing.assert_allclose(live(only(seen, (images.PIXELS,))), stored(seen), atol=2e-2)
    figures = (live.evaluate(only(seen, (images.PIXELS,)), is_member), stored.evaluate(seen, is_member))
    assert figures[0].cross_entropy == pytest.approx(figures[1].cross_entropy, abs=1e-2)


class TestDeadHeads:
    """A training that ends with all ReLUs dead, without any training: the dense layer is told to be far below zero."""

    @pytest.fixture
    def trainings(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
        """What was trained, (seed, warm-up, folder); the first two die."""
        seen: list[tuple] = []

        def fit_head(model, data, settings, folder, on_epoch) -> None:  # type: ignore[no-untyped-def]
            seen.append((settings.seed, settings.warmup, folder))
            if folder:
                (folder / "train").mkdir(parents=True)
                (folder / "training.csv").write_text(f"training {len(seen)}")
            if len(seen) < 3:
                hidden = model.get_layer("hidden")
                hidden.bias.assign(hidden.bias - 1e6)

        monkeypatch.setattr(fit_heads, "fit_head", fit_head)
        return seen

    def test_they_are_trained_again_from_other_seeds(self, trainings: list[tuple], tmp_path: Path) -> None:
        recipe, seen = Head("cnn", ("conv1",)), draw(1)
        with pytest.warns(UserWarning, match=r"cnn head on conv1 \(seed 7\) died") as warned:
            head = recipe.fit(seen, IS_MEMBER, 7, tmp_path)
        assert (len(warned), head.num_dead, head.seed) == (2, 2, 7)
        assert np.ptp(head(seen)) > 0
        seeds, warmups, folders = zip(*trainings, strict=True)
        assert (seeds[0], len(set(seeds)), set(warmups)) == (7, 3, {24})
        assert folders == (tmp_path, tmp_path / "again_1", tmp_path / "again_2")
        # The log is that of the training that lives.
        assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "training.csv"]
        assert (tmp_path / "training.csv").read_text() == "training 3"

    def test_the_letter_of_the_paper_trains_once(self, trainings: list[tuple]) -> None:
        seen = draw(1)
        head = Head("cnn", ("conv1",), literal=True).fit(seen, IS_MEMBER, 7)
        assert trainings == [(7, 0, None)]
        assert np.ptp(head(seen)) == 0


@pytest.mark.slow
def test_a_runs_head_gives_the_runs_scores(run_folder: Path) -> None:
    run = reopen(run_folder)
    written = {
        (part.model, part.tap, part.evaluation): part for part in score_files.read_scores(run_folder / "scores.csv")
    }
    results = {
        (row.model, row.tap, row.evaluation): row for row in score_files.read_results(run_folder / "results.jsonl")
    }
    assert len(run.spec.keys) == 6
    for key in run.spec.keys:
        judged = load_head(run, key).judge(run.aad.seen(key.model), run.protocol.evaluations(), key.model)
        assert {scores.evaluation for scores, _ in judged} == set(run.protocol.evaluations())
        for scores, result in judged:
            of_run = written[key.model, key.name, scores.evaluation]
            np.testing.assert_array_equal(scores.logit, of_run.logit)
            np.testing.assert_array_equal(scores.samples.sample_id, of_run.samples.sample_id)
            assert result == results[key.model, key.name, scores.evaluation]
    assert {model for model, _, _ in written} == {AUDITED, UNTRAINED}


def test_a_head_that_is_sure_of_everybody_keeps_its_figures(head: FittedHead) -> None:
    """Its sigmoid gives 1 for all: what reads that in place of the logit calls the head blind."""
    others = draw(2)
    before = head.evaluate(others, IS_MEMBER)
    bias = head.model.get_layer("logit").bias
    was = bias.numpy()
    bias.assign(was + 64)
    after, logit = head.evaluate(others, IS_MEMBER), head(others)
    bias.assign(was)
    assert logit.min() > 40
    assert after.accuracy == 0.5
    assert after.auc == pytest.approx(before.auc, abs=2e-3)  # float32 has fewer digits there
    assert after.tpr_at_1_fpr == pytest.approx(before.tpr_at_1_fpr, abs=0.02)
    assert after.auc > 0.8
