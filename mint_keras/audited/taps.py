"""Taps: the inner outputs of an audited model that the heads look at.

`conv1`..`conv4` are the last convolution of each stage with its batch normalisation, `stage1`..`stage4` the same
after the residual sum, `outcome` the embedding. The paper ("the final convolutional layer in the last building
block of each primary layer") allows both readings; `conv` is literal and exists for every source of models.
"""

import math
import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers

from mint_keras.records import InputError

CONV_TAPS = ("conv1", "conv2", "conv3", "conv4")
OUTCOME = "outcome"
_BLOCK_LAYER = re.compile(r"stage(\d+)_block(\d+)_(bn3|add)")


def tap_tensors(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns the tensor behind every tap: what a converted model names as outputs, or an IResNet's layers."""
    if isinstance(model.output, Mapping):
        names = sorted(model.output, key=lambda name: (name == OUTCOME, name))
        return {name: model.get_layer(name).input for name in names}
    return {tap: model.get_layer(name).output for tap, name in tap_layers(model).items()}


def tap_layers(model: keras.Model) -> dict[str, str]:
    """Returns the layer behind every tap of an IResNet by the names of `audited.iresnet`; InputError without such."""
    last: dict[tuple[str, int], tuple[int, str]] = {}
    for layer in model.layers:
        if match := _BLOCK_LAYER.fullmatch(layer.name):
            reading = "conv" if match[3] == "bn3" else "stage"
            key = (reading, int(match[1]))
            # By the block's number: block10 comes before block9 by name.
            last[key] = max(last.get(key, (0, "")), (int(match[2]), layer.name))
    if not last:
        raise InputError(
            f"Expected a model with layers such as stage1_block1_bn3, received {model.name!r} without. Train one with "
            "scripts/train_audited.py, or convert one with scripts/convert_fr.py."
        )
    taps = {f"{reading}{stage}": name for (reading, stage), (_, name) in sorted(last.items())}
    return {**taps, OUTCOME: model.layers[-1].name}


def _as_map(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Lays tokens, (batch, tokens, channels), on their grid, without the class token in front; others as they are."""
    if len(tensor.shape) != 3:
        return tensor
    num, channels = tensor.shape[1:]
    side = math.isqrt(num)
    if side**2 != num and math.isqrt(num - 1) ** 2 == num - 1:
        tensor, side = layers.Cropping1D((1, 0), name=f"{name}_patches")(tensor), math.isqrt(num - 1)
    grid = (side, side, channels) if side**2 == tensor.shape[1] else (num, 1, channels)
    return layers.Reshape(grid, name=f"{name}_grid")(tensor)


def with_taps(model: keras.Model, tensors: Mapping[str, keras.KerasTensor]) -> keras.Model:
    """Gives a model its taps as named outputs, the form in which converted models are kept.

    The tokens of a transformer become a map of the places that they stand for, so that every head takes them.
    """
    outputs = {tap: layers.Identity(name=tap)(_as_map(tensor, tap)) for tap, tensor in tensors.items()}
    return keras.Model(model.input, outputs, name=model.name)


def extractor(model: keras.Model, taps: Sequence[str], pooling: str | None = None) -> keras.Model:
    """Cuts the part of an audited model that computes some taps; nothing after the deepest one remains.

    Args:
        model: An IResNet, or a converted model.
        taps: Names such as "conv1", "stage3", "outcome".
        pooling: None for the maps, "max" for the maximum of every channel (the paper's input of the vanilla head).

    Returns:
        A model from images to {tap: (batch, height, width, channels)}, pooled (batch, channels), the outcome (batch,
        embedding_size), float32 whatever the precision of `model`, whose weights it shares.
    """
    known = tap_tensors(model)
    unknown = [tap for tap in taps if tap not in known]
    if unknown or not taps:
        raise InputError(f"Expected taps of {', '.join(known)}, received {', '.join(taps) or 'none'}.")
    if pooling not in (None, "max"):
        raise InputError(f'Expected pooling None or "max", received {pooling!r}.')
    outputs = {}
    for tap in taps:  # outputs come back by name: Keras lists them alphabetically
        x = known[tap]
        if pooling and len(x.shape) == 4:
            x = layers.GlobalMaxPooling2D(name=f"{tap}_max", dtype="float32")(x)
        outputs[tap] = layers.Identity(name=tap, dtype="float32")(x)
    return keras.Model(model.input, outputs, name=f"{model.name}_extractor")


def flops(model: keras.Model) -> int:
    """Counts the floating-point operations of a model's products for one image, two per multiply-add."""
    total = 0
    for operation in model.operations:
        if not isinstance(operation, layers.Layer) and type(operation).__name__ == "Matmul":
            # The attention of a converted transformer: as many products as numbers come out, times what is summed.
            total += 2 * int(np.prod(operation.output.shape[1:])) * operation.input[0].shape[-1]
    for layer in model.layers:
        kernels: list[keras.Variable] = []
        if isinstance(layer, layers.SeparableConv2D):
            kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
        elif isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D | layers.Dense):
            # A depthwise kernel is (height, width, channels, multiplier): each value is used once a position too.
            kernels = [layer.kernel]
        elif isinstance(layer, layers.MultiHeadAttention):
            kernels = [weight for weight in layer.weights if len(weight.shape) == 3]
            # Queries by keys and weights by values: products of activations, without a kernel.
            total += 4 * layer.output.shape[1] ** 2 * layer.num_heads * layer.key_dim
        if kernels:
            num_positions = int(np.prod(layer.output.shape[1:-1]))
            total += 2 * sum(int(np.prod(kernel.shape)) for kernel in kernels) * num_positions
    return total
