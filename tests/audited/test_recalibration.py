import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from mint_keras.api.audited_model import convert
from mint_keras.audited import folding, iresnet, taps, zoo
from mint_keras.audited.recalibration import copy_without_faces, health, recalibrated_copy
from mint_keras.data import images, pairs
from mint_keras.records import InputError
from mint_keras.statistics import verification

pytestmark = pytest.mark.usefixtures("untraced")

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def faces(num: int, seed: int = 0) -> np.ndarray:
    """Each in a colour of its own, so that batches differ."""
    rng = np.random.default_rng(seed)
    tint = rng.integers(0, 200, (num, 1, 1, 3))
    return (tint + rng.integers(0, 56, (num, 32, 32, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    return iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), image_size=32, dropout=0.4)


@pytest.fixture(scope="module")
def first_copy(model: keras.Model) -> keras.Model:
    return recalibrated_copy(model, faces(64), seed=1)


def values_of(model: keras.Model, data: np.ndarray) -> Any:
    """What a model gives, without compiling it."""
    return keras.tree.map_structure(np.asarray, model(iresnet.normalise(data), training=False))


def norms(model: keras.Model) -> list[layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def test_every_normalisation_has_the_statistics_of_the_data(first_copy: keras.Model) -> None:
    """With one batch the network at inference is the network in training: everything is standardised."""
    data, copy = faces(64), first_copy
    inputs = values_of(keras.Model(copy.input, [norm.input for norm in norms(copy)]), data)
    assert len(inputs) > 10
    for norm, values in zip(norms(copy), inputs, strict=True):
        axes = tuple(range(values.ndim - 1))
        scale = values.std(axis=axes).max() + 1e-6
        np.testing.assert_allclose(np.asarray(norm.moving_mean), values.mean(axis=axes), atol=1e-3 * scale)
        np.testing.assert_allclose(np.asarray(norm.moving_variance), values.var(axis=axes), atol=1e-3 * scale**2)


def test_batches_are_averaged_and_the_last_partial_one_is_left_out(model: keras.Model) -> None:
    data = np.concatenate([faces(100), 255 - faces(100, 1) // 4])  # two classes, one after the other
    copy = recalibrated_copy(model, data, seed=5)
    first = norms(copy)[0]
    stem = keras.Model(copy.input, first.input)
    order = np.random.default_rng(5).permutation(200)[:192].reshape(3, 64)  # classes are mixed
    batches = [values_of(stem, data[np.sort(rows)]) for rows in order]
    mean = np.mean([values.mean(axis=(0, 1, 2)) for values in batches], axis=0)
    variance = np.mean([values.var(axis=(0, 1, 2)) for values in batches], axis=0)
    np.testing.assert_allclose(np.asarray(first.moving_mean), mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(first.moving_variance), variance, rtol=1e-3)


def test_copies_differ_by_seed_and_the_original_stays(model: keras.Model, first_copy: keras.Model) -> None:
    before = [weight.numpy() for weight in model.weights]
    copies = [first_copy, *(recalibrated_copy(model, faces(64), seed) for seed in (1, 2))]
    weights = [[weight.numpy() for weight in copy.weights] for copy in copies]
    for same, again in zip(*weights[:2], strict=True):
        np.testing.assert_array_equal(same, again)
    kernels = [copy.get_layer("stage1_block1_conv1").kernel.numpy() for copy in [*copies, model]]
    assert not np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[3])
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    assert copies[0].get_config() == model.get_config()  # momentum and dropout are back

    ours, plain = copies[0].trainable_weights, zoo.untrained_copy(model, 1).trainable_weights
    for weight, fresh in zip(ours, plain, strict=True):  # where normalisations follow all weights, no weight is scaled
        np.testing.assert_array_equal(weight.numpy(), fresh.numpy())


def mobile(num_blocks: int, has_norms: bool = False) -> keras.Model:
    """A stack of depthwise convolutions, whose fresh weights shrink everything; as if trained, each keeps the scale."""
    keras.utils.set_random_seed(4)
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, 2)(image)
    for block in range(num_blocks):
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.BatchNormalization()(x) if has_norms else x
        x = layers.Conv2D(16, 1, bias_initializer="zeros")(layers.ReLU()(x))
        x = layers.BatchNormalization()(x) if has_norms else x
        x = layers.ReLU(name=f"block{block}")(x)
    whole = keras.Model(image, layers.Dense(16)(layers.GlobalAveragePooling2D()(x)))
    for layer in whole.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            layer.kernel.assign(layer.kernel * (17**0.5 if isinstance(layer, layers.DepthwiseConv2D) else 1.4))
            layer.bias.assign(np.random.default_rng(1).normal(size=16))
    return taps.with_taps(whole, {"conv1": whole.get_layer("block1").output, "outcome": whole.output})


def deviations(model: keras.Model, data: np.ndarray) -> dict[str, float]:
    """Standard deviations about the channels' means of what convolutions and dense layers give."""
    weighted = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    found = {layer.name: layer.output for layer in model.layers if isinstance(layer, weighted)}
    values = values_of(keras.Model(model.input, found), data)
    return {name: float(v.reshape(-1, v.shape[-1]).var(axis=0).mean() ** 0.5) for name, v in values.items()}


def outcomes(model: keras.Model, data: np.ndarray) -> np.ndarray:
    return values_of(model, data)["outcome"]


@pytest.mark.slow
def test_every_layer_of_a_folded_network_has_the_scale_of_the_model() -> None:
    """Normalisations are in its weights, as in most ONNX files: fresh weights alone gave a constant."""
    model, data = mobile(6), faces(128)
    before = [weight.numpy() for weight in model.weights]
    spread = outcomes(model, data).std(axis=0).mean()
    assert outcomes(zoo.untrained_copy(model, 1), data).std(axis=0).mean() < 1e-4 * spread
    copies = [recalibrated_copy(model, data, seed) for seed in (1, 2)]
    wanted = deviations(model, data)
    assert len(wanted) == 14
    for copy in copies:
        assert deviations(copy, data) == pytest.approx(wanted, rel=1e-3)
    correlation = np.corrcoef(outcomes(copies[0], data).T, outcomes(copies[1], data).T)[:16, 16:]
    assert np.abs(np.diag(correlation)).mean() < 0.9  # what they see is their own
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_a_partly_folded_network_is_matched_and_recalibrated() -> None:
    model, data = folding.fold(mobile(3, has_norms=True)), faces(64)
    assert len(norms(model)) == 3  # of the depthwise convolutions, which are not folded
    copy = recalibrated_copy(model, data, 1)
    wanted, found = deviations(model, data), deviations(copy, data)
    matched = [name for name in wanted if "depthwise" not in name]
    assert [found[name] for name in matched] == pytest.approx([wanted[name] for name in matched], rel=1e-2)
    inputs = values_of(keras.Model(copy.input, [norm.input for norm in norms(copy)]), data)
    for norm, values in zip(norms(copy), inputs, strict=True):
        deviation = values.std(axis=(0, 1, 2))
        np.testing.assert_allclose(np.asarray(norm.moving_variance) ** 0.5, deviation, atol=5e-3 * deviation.max())


def test_activations_within_layers_and_models_within_models() -> None:
    """A regression of large numbers whose layers apply their activations themselves; its front is a model."""
    front = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(16, 3, 4), layers.BatchNormalization()])
    behind = [layers.Conv2D(16, 3, 2, activation="relu"), layers.Flatten(), layers.Dense(16, activation="tanh")]
    whole = keras.Sequential([front, *behind, layers.Dense(16, name="answers")])
    whole.get_layer("answers").kernel.assign(whole.get_layer("answers").kernel * 1000)
    model = taps.with_taps(keras.Model(whole.inputs[0], whole.outputs[0]), {"outcome": whole.outputs[0]})
    data = faces(64)
    copy = recalibrated_copy(model, data, 1)
    for layer in behind:  # the activations are back
        configs = [network.get_layer(layer.name).get_config() for network in (model, copy)]
        assert configs[0] == configs[1] == layer.get_config()
    values = [outcomes(network, data) for network in (model, copy)]
    assert values[0].std() > 100
    assert values[1].var(axis=0).mean() == pytest.approx(values[0].var(axis=0).mean(), rel=1e-2)
    nested = next(layer for layer in copy.layers if isinstance(layer, keras.Model))
    assert np.ptp(np.asarray(nested.layers[-1].moving_mean)) > 0


def test_what_is_no_control_is_refused() -> None:
    image = keras.Input((32, 32, 3))
    constant = layers.Rescaling(0.0)(layers.Dense(16)(layers.Flatten()(layers.Conv2D(16, 3, 4)(image))))
    model = taps.with_taps(keras.Model(image, constant), {"outcome": constant})
    with pytest.raises(InputError, match="outcome hardly differs between faces: a spread of 0, the model's is 0"):
        recalibrated_copy(model, faces(64), seed=1)
    with pytest.raises(InputError, match="at least 64 faces"):
        recalibrated_copy(model, faces(63), seed=1)


def test_health_is_of_spread_and_directions() -> None:
    rng = np.random.default_rng(0)
    source = {"conv1": rng.normal(size=(200, 4)), "outcome": rng.normal(size=(200, 16))}
    assert health(source, source) == ""
    assert (
        health(
            {**source, "outcome": 1e-20 * rng.normal(size=(200, 16))}, {**source, "outcome": 1e-19 * source["outcome"]}
        )
        == ""
    )
    for values, reason in (
        (source["outcome"] * 1e-4, "hardly differs between faces"),
        (np.full((200, 16), np.nan), "not finite"),
        (rng.normal(size=(200, 1)) @ rng.normal(size=(1, 16)) + 5, "an effective rank of 1.0, the model's is 1[45]"),
    ):
        assert re.search(reason, health({**source, "outcome": values}, source))
    line = rng.normal(size=(200, 1)) @ np.ones((1, 4))
    assert health({"outcome": line}, {"outcome": line}) == ""  # of two classes more cannot be asked


def test_a_copy_without_faces_is_the_plain_one_where_that_is_a_control(model: keras.Model) -> None:
    folded = mobile(5)
    for network, is_plain in ((model, True), (folded, False)):
        copies = [copy_without_faces(network, ["conv1", "outcome"], 3) for _ in range(2)]
        plain = zoo.untrained_copy(network, 3)
        weights = [[weight.numpy() for weight in copy.weights] for copy in (*copies, plain)]
        for same, again in zip(*weights[:2], strict=True):
            np.testing.assert_array_equal(same, again)
        assert all(map(np.array_equal, weights[0], weights[2])) == is_plain
    ratio = outcomes(copies[0], faces(64)).std() / outcomes(folded, faces(64)).std()
    assert 0.1 < ratio < 10


@pytest.mark.skipif(not DATA.is_dir(), reason="no real models and faces beside the project (../shared/data)")
@pytest.mark.long
def test_an_untrained_mobilefacenet_differs_between_people_and_does_not_know_them() -> None:
    network = convert(DATA / "models" / "mobilefacenet.onnx").network
    table = pairs.read_pairs(DATA / "lfw" / "lfw_1200pairs.bin", None)
    some = np.arange(0, 1200, 6)
    rows = np.concatenate([table.first[some], table.second[some]])
    people = np.stack([images.FACE.apply(images.decode(table.images[row])) for row in rows])
    plain, copy = zoo.untrained_copy(network, 1), recalibrated_copy(network, people[:128], 1)
    seen = [outcomes(model, people) for model in (network, plain, copy)]
    spreads = [values.std(axis=0).mean() for values in seen]
    assert spreads[1] < 1e-6
    assert spreads[2] == pytest.approx(spreads[0], rel=0.2)
    accuracies = [
        verification.verify(values[: len(some)], values[len(some) :], table.genuine[some], np.arange(len(some)) % 5)
        for values in (seen[0], seen[2])
    ]
    assert accuracies[0]["auc"] > 0.99
    assert accuracies[1]["auc"] < 0.8
