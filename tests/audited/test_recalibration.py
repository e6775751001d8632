import keras
import numpy as np
import pytest
from keras import layers

from mint_keras.audited import iresnet
from mint_keras.audited.recalibration import recalibrated_copy
from mint_keras.records import InputError


def faces(num: int, seed: int = 0) -> np.ndarray:
    """Each in a colour of its own, so that batches differ."""
    rng = np.random.default_rng(seed)
    tint = rng.integers(0, 200, (num, 1, 1, 3))
    return (tint + rng.integers(0, 56, (num, 32, 32, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    return iresnet.iresnet(iresnet.ARCHITECTURES["tiny"], image_size=32, dropout=0.4)


def norms(model: keras.Model) -> list[layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def test_every_normalisation_has_the_statistics_of_the_data(model: keras.Model) -> None:
    """With one batch the network at inference is the network in training: everything is standardised."""
    data = faces(64)
    copy = recalibrated_copy(model, data, seed=1)
    inputs = keras.Model(copy.input, [norm.input for norm in norms(copy)]).predict(iresnet.normalise(data), verbose=0)
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
    batches = [stem.predict(iresnet.normalise(data[np.sort(rows)]), verbose=0) for rows in order]
    mean = np.mean([values.mean(axis=(0, 1, 2)) for values in batches], axis=0)
    variance = np.mean([values.var(axis=(0, 1, 2)) for values in batches], axis=0)
    np.testing.assert_allclose(np.asarray(first.moving_mean), mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(first.moving_variance), variance, rtol=1e-3)


def test_copies_differ_by_seed_and_the_original_stays(model: keras.Model) -> None:
    before = [weight.numpy() for weight in model.weights]
    data = faces(64)
    copies = [recalibrated_copy(model, data, seed) for seed in (1, 1, 2)]
    weights = [[weight.numpy() for weight in copy.weights] for copy in copies]
    for same, again in zip(*weights[:2], strict=True):
        np.testing.assert_array_equal(same, again)
    kernels = [copy.get_layer("stage1_block1_conv1").kernel.numpy() for copy in [*copies, model]]
    assert not np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[3])
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    assert copies[0].get_config() == model.get_config()  # momentum and dropout are back


def test_a_model_without_normalisation_and_too_few_faces() -> None:
    image = keras.Input((32, 32, 3))
    plain = keras.Model(image, layers.Flatten()(layers.Conv2D(16, 3)(image)))
    assert recalibrated_copy(plain, faces(64), seed=1).count_params() == plain.count_params()
    with pytest.raises(InputError, match="at least 64 faces"):
        recalibrated_copy(plain, faces(63), seed=1)
