"""The heads of Sec. IV-B3: layers, shapes and parameter counts."""

import keras
import numpy as np
import pytest

from mint_keras.heads import cnn, vanilla
from mint_keras.records import InputError

R100 = {"conv1": (56, 56, 64), "conv2": (28, 28, 128), "conv3": (14, 14, 256), "conv4": (7, 7, 512)}
CNN_PARAMETERS = {"conv1": 2_871_489, "conv2": 1_384_769, "conv3": 819_777, "conv4": 853_057}


@pytest.mark.parametrize("tap", R100)
def test_cnn_counts_of_r100(tap: str) -> None:
    head = cnn.build({tap: R100[tap]})
    assert head.count_params() == CNN_PARAMETERS[tap]
    assert head.get_layer("hidden").units == R100[tap][-1]


def test_cnn_layers() -> None:
    head = cnn.build({"conv1": R100["conv1"]})
    conv, dropout = head.get_layer("conv1_conv"), head.get_layer("dropout")
    assert (conv.filters, conv.kernel_size, conv.padding, conv.activation.__name__) == (64, (5, 5), "valid", "relu")
    assert head.get_layer("conv1_pool").pool_size == (2, 2)
    assert dropout.rate == 0.5
    assert [type(layer).__name__ for layer in head.layers] == [
        "InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dropout", "Dense", "Activation",
    ]  # fmt: skip


def test_cnn_combination() -> None:
    head = cnn.build(R100)
    assert head.get_layer("hidden").units == 960
    assert head.get_layer("combination").output.shape[1] == (26 * 26 + 12 * 12 + 5 * 5 + 1) * 64


@pytest.mark.parametrize("shape", [(512,), (5, 5, 8)])
def test_cnn_needs_maps(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="vanilla"):
        cnn.build({"outcome": shape})


@pytest.mark.parametrize(("tap", "channels"), [("conv1", 64), ("conv4", 512), ("outcome", 512)])
def test_vanilla_counts(tap: str, channels: int) -> None:
    literal = (channels + 1) * 128 + 4 * 128 + 129
    assert vanilla.build({tap: (channels,)}, literal=True).count_params() == literal
    # Normalization keeps a mean and a variance per channel, and a count.
    assert vanilla.build({tap: (channels,)}).count_params() == literal + 2 * channels + 1


def test_vanilla_layers() -> None:
    head = vanilla.build({"conv1": (56, 56, 64)}, literal=True)
    hidden, norm = head.get_layer("hidden"), head.get_layer("hidden_bn")
    assert [type(layer).__name__ for layer in head.layers] == [
        "InputLayer", "GlobalMaxPooling2D", "Dense", "BatchNormalization", "Dropout", "Dense", "Activation",
    ]  # fmt: skip
    assert (hidden.units, hidden.activation.__name__) == (128, "relu")
    assert float(hidden.kernel_regularizer.l1) == pytest.approx(0.1)
    assert (norm.momentum, norm.epsilon) == (0.99, 1e-3)
    assert head.get_layer("dropout").rate == 0.5


def test_vanilla_takes_maps_or_their_maxima() -> None:
    keras.utils.set_random_seed(0)
    of_maps = vanilla.build({"conv1": (6, 6, 8), "outcome": (4,)})
    of_maxima = vanilla.build({"conv1": (8,), "outcome": (4,)})
    of_maxima.set_weights(of_maps.get_weights())
    rng = np.random.default_rng(0)
    maps, outcome = rng.normal(size=(3, 6, 6, 8)).astype("f4"), rng.normal(size=(3, 4)).astype("f4")
    first = of_maps({"conv1": maps, "outcome": outcome})
    second = of_maxima({"conv1": maps.max((1, 2)), "outcome": outcome})
    np.testing.assert_allclose(first, second, rtol=1e-6)
    assert of_maxima.get_layer("combination").output.shape == (None, 12)


@pytest.mark.parametrize("build", [vanilla.build, cnn.build])
def test_score_is_the_sigmoid_of_the_logit(build) -> None:
    head = build({"conv4": (7, 7, 16)})
    both = keras.Model(head.input, [head.get_layer("logit").output, head.output])
    logit, score = both({"conv4": np.random.default_rng(0).normal(size=(5, 7, 7, 16)).astype("f4")})
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-np.array(logit))), rtol=1e-5)
