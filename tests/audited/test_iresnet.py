import keras
import numpy as np
import pytest
import tensorflow as tf

from mint_keras.audited import iresnet
from mint_keras.records import InputError

# As Keras counts, with moving statistics; R100 is 65,156,160 in PyTorch and 69,632 moving statistics.
PARAMETERS = {
    "r18": 24_040_320,
    "r34": 34_165_184,
    "r50": 43_628_992,
    "r100": 65_225_792,
    "r200": 118_969_984,
    "small": 712_304,
    "mini": 327_200,
    "tiny": 33_744,
}


def test_every_architecture_has_a_count() -> None:
    assert set(PARAMETERS) == set(iresnet.ARCHITECTURES)


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameter_count(arch: str) -> None:
    spec = iresnet.ARCHITECTURES[arch]
    assert PARAMETERS[arch] == torch_count(spec) + moving_count(spec)
    if arch in ("r34", "r50", "r100", "r200"):  # as the others but for the number of blocks; test_taps builds R100
        return
    model = iresnet.build(arch)
    assert model.count_params() == PARAMETERS[arch]
    assert sum(weight.shape[0] for weight in model.non_trainable_weights) == moving_count(spec)


def moving_count(spec: iresnet.IResNetSpec) -> int:
    """Moving means and variances: of the stem, of each block's three normalisations, its shortcut's, and the last."""
    count = 2 * spec.widths[0] + 2 * spec.widths[-1] + 2 * spec.embedding_size
    for num_blocks, width, next_width in zip(spec.blocks, (spec.widths[0], *spec.widths), spec.widths, strict=False):
        count += 2 * width + 2 * next_width + (num_blocks - 1) * 2 * next_width + num_blocks * 4 * next_width
    return count


def torch_count(spec: iresnet.IResNetSpec) -> int:
    """Parameters of arcface_torch's iresnet, module by module."""
    count = 3 * 9 * spec.widths[0] + 2 * spec.widths[0] + spec.widths[0]
    width = spec.widths[0]
    for num_blocks, next_width in zip(spec.blocks, spec.widths, strict=True):
        for block in range(num_blocks):
            count += 2 * width + 9 * width * next_width + 2 * next_width + next_width
            count += 9 * next_width * next_width + 2 * next_width
            count += (width * next_width + 2 * next_width) if block == 0 else 0
            width = next_width
    return count + 2 * width + (49 * width + 1) * spec.embedding_size + 2 * spec.embedding_size


def test_released_counts() -> None:
    assert torch_count(iresnet.ARCHITECTURES["r18"]) == 24_025_600
    assert torch_count(iresnet.ARCHITECTURES["r100"]) == 65_156_160


def test_forward_equals_a_plain_reading_of_the_reference() -> None:
    spec = iresnet.IResNetSpec((2, 1), (16, 16), 8)
    model = iresnet.iresnet(spec, image_size=16)
    rng = np.random.default_rng(0)
    for weight in model.weights:  # random statistics and slopes, so that no layer is an identity
        weight.assign(
            rng.uniform(0.2, 0.8, weight.shape) * rng.choice([1, 1 if "variance" in weight.path else -1], weight.shape)
        )
    images = rng.normal(size=(3, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(model(images), plain_forward(model, spec, images), rtol=2e-4, atol=1e-4)


def plain_forward(model: keras.Model, spec: iresnet.IResNetSpec, x: np.ndarray) -> np.ndarray:
    def conv(x, name, stride=1, pad=1):
        padding = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
        return tf.nn.conv2d(x, model.get_layer(name).kernel, stride, padding).numpy()

    def bn(x, name):
        gamma, beta, mean, variance = (w.numpy() for w in model.get_layer(name).weights)
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def prelu(x, name):
        slope = model.get_layer(name).alpha.numpy()
        return np.where(x > 0, x, slope * x)

    x = prelu(bn(conv(x, "stem"), "stem_bn"), "stem_prelu")
    for stage, num_blocks in enumerate(spec.blocks, 1):
        for block in range(1, num_blocks + 1):
            name, stride = f"stage{stage}_block{block}", 2 if block == 1 else 1
            y = conv(bn(x, f"{name}_bn1"), f"{name}_conv1")
            y = bn(conv(prelu(bn(y, f"{name}_bn2"), f"{name}_prelu"), f"{name}_conv2", stride), f"{name}_bn3")
            if block == 1:
                x = bn(conv(x, f"{name}_shortcut", stride, pad=0), f"{name}_shortcut_bn")
            x = x + y
    x = bn(x, "head_bn").reshape(len(x), -1)
    fc = model.get_layer("fc")
    return bn(x @ fc.kernel.numpy() + fc.bias.numpy(), "features")


def test_normalise_maps_pixels_to_minus_one_and_one() -> None:
    np.testing.assert_array_equal(iresnet.normalise(np.array([0, 255], np.uint8)), [-1.0, 1.0])


def test_unknown_architecture() -> None:
    with pytest.raises(InputError, match="r100"):
        iresnet.build("r101")
