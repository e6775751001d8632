"""Heads that train together are those that Keras trains alone, and depend on nobody beside them."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras.heads import vanilla
from mint_keras.records import InputError
from mint_keras.training import batches, checkpoints, fit_heads, together

IS_MEMBER = np.arange(256) < 128  # two steps make an epoch
RNG = np.random.default_rng(1)
SEEN = [
    batches.LabelledAad(
        {f"conv{k}": 3 + RNG.normal(size=(256, k)).astype(np.float32) + IS_MEMBER[:, None] for k in widths},
        np.arange(256),
        IS_MEMBER,
    )
    for widths in ((5,), (5,), (7, 5))
]


def build(data: batches.LabelledAad, seed: int) -> keras.Model:
    checkpoints.seed_everything(seed)
    return vanilla.build({tap: values.shape[1:] for tap, values in data.features.items()})


def train(
    which: list[tuple[int, int]], epochs: int = 3, folder: Path | None = None, **options: object
) -> list[keras.Model]:
    """Heads on some data from some seeds."""
    wanted = [
        together.Training(build(SEEN[k], seed), SEEN[k], seed, folder and folder / f"{k}-{seed}") for k, seed in which
    ]
    together.fit_together(wanted, epochs, folder, checkpoint_seconds=0.0, **options)
    return [one.model for one in wanted]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A head, and the folder of its checkpoint."""
    folder = tmp_path_factory.mktemp("alone")
    return train([(0, 5)], folder=folder)[0], folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[tuple[int, int], keras.Model], Path]:
    """Heads that were trained together, and the folder of their logs."""
    # 13: of many narrow columns TensorFlow adds up the last ones in another order than the first.
    which = [*((1, seed) for seed in range(10, 18)), (2, 6), (1, 5), (0, 6), (2, 5), (0, 5)]
    folder = tmp_path_factory.mktemp("whole")
    return dict(zip(which, train(which, folder=folder), strict=True)), folder


def are_equal(one: keras.Model, other: keras.Model) -> None:
    for value, same in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(value.numpy(), same.numpy())


def test_no_head_depends_on_those_beside_it(alone: tuple, whole: tuple) -> None:
    """To the last bit, whatever their data, seeds and layers, and however many there are."""
    are_equal(alone[0], whole[0][0, 5])


def test_no_heads_are_trained_in_no_time() -> None:
    assert train([]) == []


def test_data_are_standardised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted: list[int] = []
    adapt = keras.layers.Normalization.adapt

    def counted(layer: keras.layers.Normalization, vectors: np.ndarray) -> None:
        adapted.append(vectors.shape[1])
        adapt(layer, vectors)

    monkeypatch.setattr(keras.layers.Normalization, "adapt", counted)
    heads = train([(0, 5), (0, 6), (2, 5), (0, 7)], epochs=1)
    assert sorted(adapted) == [5, 12]
    for head in heads[1:2] + heads[3:]:
        np.testing.assert_array_equal(
            *(h.get_layer("standardise")(SEEN[0].features["conv5"]) for h in (head, heads[0]))
        )


def test_steps_are_those_of_keras() -> None:
    """Four steps: later ones turn the last bits into other heads, as they do on another processor."""
    _, *heads = train([(0, 7), (0, 5), (2, 5)], epochs=2)
    for k, head in zip((0, 2), heads, strict=True):
        expected = build(SEEN[k], 5)
        fit_heads.fit_head(expected, SEEN[k], fit_heads.HeadTraining(2, 5))
        for one, two in zip(head.variables, expected.variables, strict=True):
            np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-5, err_msg=f"{k}: {one.path}")
        began = build(SEEN[k], 5).get_layer("hidden").kernel
        assert np.abs(expected.get_layer("hidden").kernel - began).max() > 1e-3


def test_an_interrupted_training_ends_where_a_whole_one_does(whole: tuple, tmp_path: Path) -> None:
    which = [(0, 5), (0, 6), (2, 5)]

    def interrupted(num_epochs: int) -> None:
        if list(tmp_path.glob("checkpoint*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(which, folder=tmp_path, on_epoch=interrupted)
    assert len(list(tmp_path.glob("checkpoint*"))) == 1
    for key, head in zip(which, train(which, folder=tmp_path), strict=True):
        are_equal(head, whole[0][key])
    for name in ("0-5", "0-6", "2-5"):
        lines = [(folder / name / "training.csv").read_text() for folder in (whole[1], tmp_path)]
        assert lines[0] == lines[1]
        assert lines[0].startswith("epoch,accuracy,cross_entropy,loss")
        assert [line[0] for line in lines[0].splitlines()[1:]] == ["0", "1", "2"]
        assert list((whole[1] / name / "train").iterdir())
    # It stays until somebody has kept the heads, and says who they are.
    assert (tmp_path / together.CHECKPOINT).is_file()


def test_other_heads_do_not_continue_a_checkpoint(alone: tuple, whole: tuple, tmp_path: Path) -> None:
    shutil.copy(alone[1] / together.CHECKPOINT, tmp_path)  # of the same shapes and seed, on other data
    are_equal(train([(1, 5)], folder=tmp_path)[0], whole[0][1, 5])


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / together.CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match="checkpoint"):
        train([(0, 5)], folder=tmp_path)
