"""Stability and the distance to the statistics of batch normalisation, computed by hand and the slow way."""

import keras
import numpy as np
import pytest
from keras import layers

from mint_keras.aad import models, pooling, signals
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.records import InputError


def test_bn_distance_by_hand() -> None:
    inputs = keras.Input((2, 2, 2))
    norm = layers.BatchNormalization(epsilon=0.0)
    x = norm(inputs)
    model = taps.with_taps(keras.Model(inputs, x), {"conv1": x, "outcome": layers.GlobalAveragePooling2D()(x)})
    gamma, beta, mean, variance = [5.0, 7.0], [1.0, 1.0], [1.0, 2.0], [4.0, 9.0]
    norm.set_weights([np.array(values) for values in (gamma, beta, mean, variance)])
    assert signals.available(model, ["outcome"]) == (signals.STABILITY, signals.BN_DISTANCE)
    extractor = signals.with_bn_distance(taps.extractor(model, ["outcome"]), model)
    maps = np.zeros((2, 2, 2, 2), np.float32)
    maps[0] = [1.0, 2.0]  # what the layer has seen
    maps[1, 0] = [6.0, 8.0]  # means 3 and 4: (3 - 1)^2 / 4 = 1 and (4 - 2)^2 / 9 = 4/9
    np.testing.assert_allclose(runtime.forward(extractor)(maps)[signals.BN_DISTANCE], [[0.0], [13 / 18]], atol=1e-6)


def test_bn_distance_of_every_normalisation_of_a_network() -> None:
    keras.utils.set_random_seed(1)
    model = iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), 32)
    norms = [layer for layer in model.layers if layer.name.split("_")[-1].startswith("bn")]
    rng = np.random.default_rng(1)
    for norm in norms:
        norm.moving_mean.assign(rng.normal(size=norm.moving_mean.shape))
        norm.moving_variance.assign(rng.uniform(0.5, 2.0, norm.moving_variance.shape))
    faces = rng.normal(size=(3, 32, 32, 3)).astype(np.float32)
    inputs = keras.Model(model.input, [norm.input for norm in norms])(faces)
    expected = []
    for norm, x in zip(norms, inputs, strict=True):
        distance = np.asarray(x).mean((1, 2)) - np.asarray(norm.moving_mean)
        expected.append((distance**2 / (np.asarray(norm.moving_variance) + norm.epsilon)).mean(1))
    cut = pooling.pooled(taps.extractor(model, ["conv2", "outcome"]), ("max",))
    found = runtime.forward(signals.with_bn_distance(cut, model))(faces)
    assert set(found) == {"conv2_max", "outcome", signals.BN_DISTANCE}
    np.testing.assert_allclose(found[signals.BN_DISTANCE], np.stack(expected, 1), rtol=1e-4)


def test_without_normalisation_over_maps_there_is_no_distance() -> None:
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(4, 3)(inputs)
    outcome = layers.BatchNormalization()(layers.GlobalMaxPooling2D()(x))
    model = taps.with_taps(keras.Model(inputs, outcome), {"conv1": x, "outcome": outcome})
    assert signals.available(model, ["conv1", "outcome"]) == (signals.STABILITY,)
    with pytest.raises(InputError, match="tap outcome"):
        signals.available(model, ["conv1"])


def test_views_by_hand() -> None:
    faces = np.arange(2 * 6 * 8 * 3).reshape(2, 6, 8, 3)
    mirrored, right, down = signals.views(faces)
    np.testing.assert_array_equal(mirrored[1, 2, 0], faces[1, 2, 7])
    for column, source in ((0, 0), (4, 0), (5, 1), (7, 3)):
        np.testing.assert_array_equal(right[:, :, column], faces[:, :, source])
    for row, source in ((0, 0), (4, 0), (5, 1)):
        np.testing.assert_array_equal(down[:, row], faces[:, source])


def test_stability_is_one_for_what_looks_the_same() -> None:
    keras.utils.set_random_seed(1)
    extractor = taps.extractor(iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), 32), ["outcome"])
    spec = models.ModelSpec(None, ("outcome",), signals=(signals.STABILITY,))
    function = models.face_functions(spec, {"audited": extractor})["audited"]
    face = np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8)
    symmetric = np.concatenate([face[:, :16], face[:, 15::-1]], axis=1)
    outputs = function(np.stack([np.full_like(face, 90), symmetric, face]))
    assert (outputs[signals.STABILITY].shape, outputs[signals.STABILITY].dtype) == ((3, 3), np.float32)
    np.testing.assert_allclose(outputs[signals.STABILITY][0], 1.0, atol=1e-6)
    assert outputs[signals.STABILITY][1, 0] == pytest.approx(1.0, abs=1e-6)
    assert outputs[signals.STABILITY][1, 1:].max() < outputs[signals.STABILITY][1, 0] - 1e-4
    assert outputs[signals.STABILITY][2].max() < 1 - 1e-6
    mirrored = function(face[None, :, ::-1])["outcome"][0].astype(np.float64)
    plain = outputs["outcome"][2].astype(np.float64)
    cosine = plain @ mirrored / np.sqrt((plain @ plain) * (mirrored @ mirrored))
    assert outputs[signals.STABILITY][2, 0] == pytest.approx(cosine, abs=1e-5)


@pytest.mark.slow
def test_poolings_and_signals_in_lower_precision() -> None:
    keras.utils.set_random_seed(1)
    model = iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 32), 8), 32)
    cut = pooling.pooled(taps.extractor(model, ["conv1", "outcome"]), pooling.POOLINGS)
    extractor = signals.with_bn_distance(cut, model)
    faces = np.random.default_rng(3).normal(size=(4, 32, 32, 3)).astype(np.float32)
    expected = runtime.forward(extractor)(faces)
    received = runtime.forward(runtime.place(extractor, "mixed_bfloat16"))(faces)
    assert len(expected) == len(pooling.POOLINGS) + 2
    for output, values in expected.items():
        assert 0 < np.linalg.norm(received[output] - values) < 0.02 * np.linalg.norm(values), output


def test_what_is_added_has_no_name_that_keras_makes_up() -> None:
    """In a new process it may be that of a layer of somebody's model from a file."""
    pixels = keras.Input((16, 16, 3))
    x = layers.BatchNormalization(name="first")(layers.Conv2D(4, 3, name="conv")(pixels))
    x = layers.BatchNormalization(name="second")(layers.Conv2D(4, 3, name="last")(x))
    named = [
        layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x),
        layers.GlobalMaxPooling2D(name="global_max_pooling2d")(x),
    ]
    outcome = layers.Concatenate(name="concatenate")(named)
    model = keras.Model(pixels, {"conv1": layers.Identity(name="conv1")(x), "outcome": outcome})
    keras.utils.clear_session()  # names are made up as in a new process
    found = signals.with_bn_distance(pooling.pooled(model, list(pooling.POOLINGS)), model)
    assert set(found.output) == {"outcome", "bn_distance", *(f"conv1_{name}" for name in pooling.POOLINGS)}
    shown = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    maps, seen = model(shown)["conv1"].numpy(), found(shown)
    np.testing.assert_allclose(seen["conv1_std"], maps.std(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    largest = np.sort(maps.reshape(2, -1, 4), axis=1)[:, -10:]
    np.testing.assert_allclose(seen["conv1_topk"], largest.mean(axis=1), rtol=1e-4, atol=1e-5)
