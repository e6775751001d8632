"""Heads trained on for int8 or a zip file keep their layers, and their scores unless they were trained."""

import keras
import numpy as np
import pytest

from mint_keras.edge import compression
from mint_keras.heads import cnn, vanilla, variants
from mint_keras.records import InputError
from mint_keras.training.batches import LabelledAad

RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def data() -> LabelledAad:
    is_member = np.arange(256) < 128
    vectors = {tap: RNG.normal(size=(256, 24)).astype(np.float32) + is_member[:, None] for tap in ("conv1", "conv2")}
    return LabelledAad(vectors, np.arange(256), is_member)


@pytest.fixture(scope="module")
def head(data: LabelledAad) -> keras.Model:
    """A vanilla head whose normalisations do something."""
    keras.utils.set_random_seed(1)
    model = vanilla.build({"conv1": (24,), "conv2": (24,)})
    model.get_layer("standardise").adapt(np.concatenate(list(data.features.values()), axis=1))
    norm = model.get_layer("hidden_bn")
    norm.set_weights([RNG.uniform(0.5, 2, size=weight.shape) for weight in norm.get_weights()])
    return model


def logits(model: keras.Model, data: LabelledAad) -> np.ndarray:
    return keras.Model(model.input, model.get_layer("logit").output).predict_on_batch(dict(data.features))[:, 0]


def test_folded_normalisation_changes_no_score(head: keras.Model, data: LabelledAad) -> None:
    folded = compression.fold_normalisation(head)
    np.testing.assert_allclose(logits(folded, data), logits(head, data), atol=1e-5)
    assert not np.allclose(folded.get_layer("logit").get_weights()[0], head.get_layer("logit").get_weights()[0])
    x = RNG.normal(size=(3, 128)).astype(np.float32)
    np.testing.assert_allclose(folded.get_layer("hidden_bn")(x), x, rtol=1e-5)


def test_the_copy_in_keras_2_is_the_same_head(head: keras.Model, data: LabelledAad) -> None:
    folded = compression.fold_normalisation(head)
    standardise = folded.get_layer("standardise")
    front = keras.Model(folded.input, {standardise.name: standardise.output})
    outputs = compression._rebuild(folded)(front(dict(data.features)))
    np.testing.assert_allclose(np.asarray(outputs)[:, 0], logits(head, data), atol=1e-5)


def test_quantisation_aware_training_keeps_the_layers_and_moves_the_weights(
    head: keras.Model, data: LabelledAad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_EPOCHS", 1)
    before = head.get_weights()
    trained = compression.compress(compression.QAT, head, data, seed=1)
    assert [layer.name for layer in trained.layers] == [layer.name for layer in head.layers]
    assert all(np.array_equal(a, b) for a, b in zip(before, head.get_weights(), strict=True))
    folded = compression.fold_normalisation(head)
    assert not np.allclose(trained.get_layer("hidden").get_weights()[0], folded.get_layer("hidden").get_weights()[0])
    again = compression.compress(compression.QAT, head, data, seed=1)
    np.testing.assert_allclose(logits(again, data), logits(trained, data), atol=1e-4)


@pytest.mark.long
def test_pruned_cnn_over_two_taps() -> None:
    keras.utils.set_random_seed(1)
    model = cnn.build({"conv1": (12, 12, 4), "conv2": (8, 8, 4)})
    is_member = np.arange(128) < 64
    maps = {tap: RNG.normal(size=(128, n, n, 4)).astype(np.float32) for tap, n in (("conv1", 12), ("conv2", 8))}
    trained = compression.compress(compression.PRUNED, model, LabelledAad(maps, np.arange(128), is_member), seed=1)
    for name in ("conv1_conv", "conv2_conv", "hidden"):
        share = np.mean(trained.get_layer(name).get_weights()[0] == 0)
        assert share == pytest.approx(compression.SPARSITY, abs=0.02), name


def test_other_heads_are_refused() -> None:
    model = variants.build_vit({"conv1": (8, 8, 4)}, variants.REDUCED)
    assert not compression.is_supported(model)
    with pytest.raises(InputError, match="other layers"):
        compression.compress(compression.QAT, model, LabelledAad({}, np.arange(0), np.arange(0) < 0), seed=1)
