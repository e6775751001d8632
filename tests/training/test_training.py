import csv
import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras.audited import iresnet, margins
from mint_keras.heads import cnn, vanilla
from mint_keras.records import InputError
from mint_keras.statistics import metrics
from mint_keras.training import batches, checkpoints, fit_audited, fit_heads


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labelled(features: dict[str, np.ndarray], is_member: np.ndarray) -> batches.LabelledAad:
    return batches.LabelledAad(features, np.arange(len(is_member)), is_member)


def test_labels_follow_the_rows() -> None:
    data = batches.LabelledAad({"a": np.arange(10.0)[:, None]}, np.array([7, 2, 5]), np.array([True, False, True]))
    features, labels = data.batch(np.array([2, 1]))
    assert features["a"][:, 0].tolist() == [5.0, 2.0]
    assert labels[:, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("num_members", "num_externals"), [(64, 64), (64, 1000), (700, 90), (129, 128)])
def test_batches_hold_64_of_each_class(num_members: int, num_externals: int) -> None:
    is_member = rng().permutation(np.repeat([True, False], [num_members, num_externals]))
    chosen = list(batches.balanced_batches(is_member, rng(1)))
    assert len(chosen) == max(num_members, num_externals) // 64
    for rows in chosen:
        assert len(rows) == 128
        assert is_member[rows].sum() == 64


def test_an_epoch_passes_once_over_the_larger_class_and_repeats_the_smaller() -> None:
    is_member = np.repeat([True, False], [640, 100])
    rows = np.concatenate(list(batches.balanced_batches(is_member, rng())))
    larger, smaller = rows[is_member[rows]], rows[~is_member[rows]]
    assert len(set(larger.tolist())) == len(larger) == 640
    assert set(np.unique(smaller, return_counts=True)[1]) == {6, 7}


def test_orders_differ_between_epochs_and_agree_between_seeds() -> None:
    is_member = np.repeat([True, False], [130, 130])
    generator = rng(5)
    first, second = (list(batches.balanced_batches(is_member, generator)) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, list(batches.balanced_batches(is_member, rng(5))))


@pytest.mark.parametrize("held", [0, 2**30])
def test_dataset_pairs_features_with_labels(held: int) -> None:
    is_member = np.repeat([True, False], [70, 200])
    features = {"conv1": np.where(is_member, 1.0, -1.0)[:, None], "outcome": np.arange(270.0)[:, None]}
    data = dataclasses.replace(labelled(features, is_member), held_bytes=held)
    dataset, steps = batches.train_dataset(data, seed=0)
    assert steps == 3
    for batch, labels in dataset.take(7):
        np.testing.assert_array_equal(batch["conv1"] > 0, labels == 1)
        np.testing.assert_array_equal(is_member[batch["outcome"].numpy().astype(int)[:, 0]], labels.numpy()[:, 0] == 1)


@pytest.mark.parametrize("sizes", [(63, 200), (200, 63), (0, 100)])
def test_too_few_of_a_class(sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="at least 64"):
        batches.train_dataset(labelled({"a": np.zeros((sum(sizes), 2))}, np.repeat([True, False], sizes)), 0)


@pytest.fixture(scope="module")
def aad() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Members have slightly larger activations in half of the channels, far from zero mean."""
    is_member = rng(1).random(400) < 0.5
    shift = np.array([0.8, 0.0] * 4)
    values = rng(2).normal(size=(400, 8)) + is_member[:, None] * shift
    return {"conv1": (50 + 10 * values).astype(np.float32)}, is_member


def fit(aad: tuple[dict[str, np.ndarray], np.ndarray], logs: Path, seed: int = 1) -> keras.Model:
    features, is_member = aad
    checkpoints.seed_everything(seed)
    head = vanilla.build({"conv1": (8,)})
    fit_heads.fit_head(head, labelled(features, is_member), fit_heads.HeadTraining(vanilla.EPOCHS, seed), logs)
    return head


@pytest.mark.long
def test_same_seed_same_scores(aad: tuple[dict[str, np.ndarray], np.ndarray], tmp_path: Path) -> None:
    weights = [fit(aad, tmp_path / str(k), seed).get_weights() for k, seed in enumerate((1, 1, 2))]
    for one, two in zip(weights[0], weights[1], strict=True):
        np.testing.assert_array_equal(one, two)
    assert not all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_fitting(aad: tuple[dict[str, np.ndarray], np.ndarray], tmp_path: Path) -> None:
    features, is_member = aad
    head = fit(aad, tmp_path)
    standardise = head.get_layer("standardise")
    np.testing.assert_allclose(np.ravel(standardise.mean), features["conv1"].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.ravel(standardise.variance), features["conv1"].var(axis=0), rtol=1e-4)
    logit = fit_heads.predict_logits(fit_heads.logit_model(head), labelled(features, is_member))
    figures = fit_heads.evaluate_logits(head, logit, {"all": (np.arange(len(logit)), is_member)})["all"]
    assert metrics.auc(is_member, logit) > 0.75
    lines = (tmp_path / "training.csv").read_text().splitlines()
    assert len(lines) == 1 + vanilla.EPOCHS
    assert list(tmp_path.rglob("events.out.tfevents*"))
    penalty = 0.1 * float(np.abs(head.get_layer("hidden").kernel).sum())
    assert figures["loss"] == pytest.approx(figures["cross_entropy"] + penalty, abs=1e-5)


def test_compiled_as_in_the_paper() -> None:
    head = vanilla.build({"conv1": (8,)}, literal=True)
    fit_heads.compile_head(head)
    assert isinstance(head.optimizer, keras.optimizers.Adam)
    assert float(head.optimizer.learning_rate) == pytest.approx(1e-3)
    assert head.loss == "binary_crossentropy"
    assert (vanilla.EPOCHS, cnn.EPOCHS) == (20, 30)


def test_a_warm_up_ends_at_the_papers_learning_rate() -> None:
    head = cnn.build({"conv1": (6, 6, 2)})
    fit_heads.compile_head(head, warmup=cnn.WARMUP)
    for step, rate in ((0, 1e-3 / 24), (12, 1e-3 / 24 + 0.5 * 1e-3 * 23 / 24), (24, 1e-3), (1000, 1e-3)):
        head.optimizer.iterations.assign(step)
        assert float(head.optimizer.learning_rate) == pytest.approx(rate)


@pytest.mark.parametrize("num", [1, 255, 256, 600])
def test_evaluate_equals_the_scores_and_the_whole_head(num: int) -> None:
    """model.evaluate behind the logits against plain statistics over the scores, and model.evaluate of everything."""
    keras.utils.set_random_seed(0)
    head = vanilla.build({"conv1": (8,)}, literal=True)
    fit_heads.compile_head(head)
    features = {"conv1": rng().normal(size=(num, 8)).astype(np.float32) * 30}
    is_member = np.arange(num) % 3 == 0
    logit = fit_heads.predict_logits(fit_heads.logit_model(head), labelled(features, is_member))
    figures = fit_heads.evaluate_logits(head, logit, {"all": (np.arange(len(logit)), is_member)})["all"]
    whole = head.evaluate(features, is_member[:, None].astype(np.float32), 256, verbose=0, return_dict=True)
    assert figures == pytest.approx(whole, abs=1e-6)
    assert figures["accuracy"] == pytest.approx(metrics.accuracy(is_member, logit), abs=1e-6)
    assert figures["cross_entropy"] == pytest.approx(metrics.cross_entropy(is_member, logit), abs=1e-6)


class TestAudited:
    @pytest.fixture
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return rng().integers(0, 256, (24, 16, 16, 3), dtype=np.uint8), np.arange(24) % 3

    def settings(self, epochs: int) -> fit_audited.AuditedTraining:
        return fit_audited.AuditedTraining(epochs, 8, 1e-3, 5e-4, 1, True, margins.MARGINS["cosface"], 16.0)

    def train(self, data: tuple[np.ndarray, np.ndarray], out: Path, epochs: int = 4) -> list[np.ndarray]:
        checkpoints.seed_everything(1)
        model = iresnet.iresnet(iresnet.IResNetSpec((1,), (16,), 8), image_size=16)
        fit_audited.fit_audited(model, *data, self.settings(epochs), out)
        return model.get_weights()

    def test_loss_falls(self, data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
        self.train(data, tmp_path, epochs=3)
        with open(tmp_path / "training.csv", newline="") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert losses[-1] < losses[0]

    @pytest.mark.long
    def test_an_interrupted_training_ends_like_an_uninterrupted_one(
        self, data: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = self.train(data, tmp_path / "whole")

        original = keras.callbacks.CSVLogger.on_epoch_begin

        def interrupt(logger: keras.callbacks.CSVLogger, epoch: int, logs: dict | None = None) -> None:
            original(logger, epoch, logs)
            if epoch == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(keras.callbacks.CSVLogger, "on_epoch_begin", interrupt)
            self.train(data, tmp_path / "broken")
        resumed = self.train(data, tmp_path / "broken")
        for one, two in zip(whole, resumed, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_fewer_faces_than_a_batch(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="one batch"):
            self.train((np.zeros((5, 16, 16, 3), np.uint8), np.arange(5)), tmp_path)
