import keras
import numpy as np
import pytest

from mint_keras.audited import iresnet, taps
from mint_keras.records import InputError
from tests.audited.test_iresnet import PARAMETERS

SHAPES = {
    "conv1": (56, 56, 64),
    "conv2": (28, 28, 128),
    "conv3": (14, 14, 256),
    "conv4": (7, 7, 512),
    "stage1": (56, 56, 64),
    "stage4": (7, 7, 512),
    "outcome": (512,),
}


@pytest.mark.slow
def test_r100_shapes() -> None:
    r100 = iresnet.build("r100")
    assert r100.count_params() == PARAMETERS["r100"]
    extractor = taps.extractor(r100, list(SHAPES))
    assert {name: output.shape[1:] for name, output in extractor.output.items()} == SHAPES
    layers = taps.tap_layers(r100)
    assert [layers[tap] for tap in ("conv1", "conv2", "conv3", "stage4", "outcome")] == [
        "stage1_block3_bn3",
        "stage2_block13_bn3",
        "stage3_block30_bn3",
        "stage4_block3_add",
        "features",
    ]


def test_taps_are_the_last_block_of_each_stage() -> None:
    layers = taps.tap_layers(iresnet.iresnet(iresnet.IResNetSpec((2, 10), (16, 16), 8), 16))
    assert [layers[tap] for tap in ("conv1", "conv2", "stage2", "outcome")] == [
        "stage1_block2_bn3", "stage2_block10_bn3", "stage2_block10_add", "features"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return iresnet.build("tiny")


def test_values_equal_the_layers_own(model: keras.Model) -> None:
    images = np.random.default_rng(0).normal(size=(2, 112, 112, 3)).astype(np.float32)
    whole = keras.Model(model.input, [model.get_layer("stage2_block1_bn3").output, model.output])(images)
    aad = taps.extractor(model, ["conv2", "outcome"])(images)
    np.testing.assert_array_equal(aad["conv2"], whole[0])
    np.testing.assert_array_equal(aad["outcome"], whole[1])
    pooled = taps.extractor(model, ["outcome", "conv2"], "max")(images)
    np.testing.assert_array_equal(pooled["conv2"], np.max(whole[0], axis=(1, 2)))
    np.testing.assert_array_equal(pooled["outcome"], whole[1])


def test_nothing_after_the_deepest_tap(model: keras.Model) -> None:
    names = {layer.name for layer in taps.extractor(model, ["conv2", "conv1"]).layers}
    assert "stage2_block1_bn3" in names
    assert not [name for name in names if name.startswith(("stage3", "stage4", "fc"))]
    assert "stage2_block1_add" not in names


@pytest.mark.parametrize(("names", "pooling"), [(["conv5"], None), ([], None), (["conv1"], "mean")])
def test_wrong_taps_and_pooling(model: keras.Model, names: list[str], pooling: str | None) -> None:
    with pytest.raises(InputError):
        taps.extractor(model, names, pooling)


def test_a_foreign_model() -> None:
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match="train_audited"):
        taps.extractor(keras.Model(inputs, keras.layers.Dense(2)(inputs)), ["conv1"])


def test_operations_are_counted_by_hand() -> None:
    inputs = keras.Input((8, 6, 4))
    x = keras.layers.Conv2D(5, 3, padding="same")(inputs)
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = keras.layers.SeparableConv2D(7, 3, padding="same")(x)
    x = keras.layers.Reshape((-1, 7))(x)
    x = keras.layers.MultiHeadAttention(2, 3)(x, x)
    outputs = keras.layers.Dense(9)(keras.layers.ReLU()(x))
    convolutions = 48 * 3 * 3 * 4 * 5 + 12 * 3 * 3 * 5 + 12 * (3 * 3 * 5 + 5 * 7)
    attention = 12 * 4 * (7 * 2 * 3) + 2 * 12 * 12 * 2 * 3  # three projections to two heads of three, and one back
    assert taps.flops(keras.Model(inputs, outputs)) == 2 * (convolutions + attention + 12 * 7 * 9)
