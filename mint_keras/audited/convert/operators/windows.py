"""Operators on windows of a map: convolution, pooling, padding, enlarging."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.values import Builder, Operator, Value
from mint_keras.records import InputError


def conv(b: Builder, node: Node) -> Value:
    """Conv: plain, grouped or depthwise, with explicit padding (torch pads both sides, Keras one)."""
    kernel, bias = b.constant(node, 1), b.optional(node, 2)
    strides, dilations = _two_sizes(node, "strides"), _two_sizes(node, "dilations")
    if kernel.ndim != 4:
        raise InputError(f"Expected a 2-D convolution, received a kernel of shape {kernel.shape} in {node.name!r}.")
    value = _padded(b, node, b.map(node), _padding_of(b, node, kernel.shape[2:], strides, dilations))
    channels, groups = int(value.tensor.shape[-1]), int(node.attributes.get("group", 1))
    # Asked here, before Keras makes room for weights of that size.
    if kernel.shape[1] * groups != channels or kernel.shape[0] % max(groups, 1):
        wanted = f"a kernel for {channels} channels in {groups} groups"
        raise InputError(f"Expected {wanted}, received {kernel.shape} in {node.name!r}.")
    settings = {"strides": strides, "dilation_rate": dilations, "use_bias": bias is not None, "name": b.name(node)}
    weights = [] if bias is None else [bias]
    if groups > 1 and groups == channels:
        if strides[0] != strides[1]:
            raise InputError(f"Expected equal strides in a depthwise convolution, received {strides} in {node.name!r}.")
        # ONNX keeps (channels x multiplier, 1, height, width), Keras (height, width, channels, multiplier).
        split = kernel.reshape(channels, -1, *kernel.shape[2:])
        layer = layers.DepthwiseConv2D(kernel.shape[2:], depth_multiplier=split.shape[1], **settings)
        return b.apply(layer, value, [split.transpose(2, 3, 0, 1), *weights])
    layer = layers.Conv2D(kernel.shape[0], kernel.shape[2:], groups=groups, **settings)
    return b.apply(layer, value, [kernel.transpose(2, 3, 1, 0), *weights])


def global_pool(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that pools whole maps."""
    return lambda b, node: b.apply(layer(keepdims=True, name=b.name(node)), b.map(node))


def reduction(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that reduces over height and width."""

    def build(b: Builder, node: Node) -> Value:
        if sorted(axis % 4 for axis in b.given(node, 1, "axes", ())) != [2, 3]:
            raise InputError(f"Expected {node.op} over height and width in node {node.name!r}, received other axes.")
        keeps = bool(node.attributes.get("keepdims", 1))
        value = b.apply(layer(keepdims=keeps, name=b.name(node)), b.map(node))
        return value if keeps else Value(value.tensor, (0, 1))

    return build


def pool(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that pools windows."""

    def build(b: Builder, node: Node) -> Value:
        kernel, strides = _two_sizes(node, "kernel_shape"), _two_sizes(node, "strides")
        if _two_sizes(node, "dilations") != (1, 1):
            raise InputError(f"Expected pooling without dilation in node {node.name!r}.")
        value, name = b.map(node), b.name(node)
        pads = _padding_of(b, node, kernel, strides, (1, 1))
        counts_padding = node.op == "AveragePool" and bool(node.attributes.get("count_include_pad", 0))
        if counts_padding and any(pads) and not node.attributes.get("ceil_mode", 0):
            value, pads = _padded(b, node, value, pads), (0, 0, 0, 0)
        if not any(pads):
            padding = _ceil_padding(node, value, kernel, strides)
            return b.apply(layer(kernel, strides, padding=padding, name=name), value)
        half = tuple((size - 1) / 2 for size in kernel)
        if pads != (*half, *half) or node.attributes.get("ceil_mode", 0) or counts_padding:
            raise InputError(f"Expected pooling padded by half its kernel in node {node.name!r}, received {pads}.")
        # Keras pads a strided window at the bottom right only: take every position, then every stride-th.
        value = b.apply(layer(kernel, 1, padding="same", name=f"{name}_all" if strides != (1, 1) else name), value)
        if strides == (1, 1):
            return value
        return b.apply(layers.MaxPooling2D(1, strides, name=name), value)

    return build


def _ceil_padding(node: Node, value: Value, kernel: Sequence[int], strides: Sequence[int]) -> str:
    """Returns the Keras padding that keeps the partial windows at the end which ceil_mode asks for."""
    if not node.attributes.get("ceil_mode", 0):
        return "valid"
    # Keras' "same" adds rows at the bottom right as ceil_mode does, but by another count: taken where the two agree.
    extras = []
    for size, window, stride in zip(value.tensor.shape[1:3], kernel, strides, strict=True):
        extra = math.ceil((size - window) / stride) * stride + window - size
        same = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
        if extra and (extra != same or extra > 1):
            raise InputError(f"Expected ceil_mode with one row more at most in node {node.name!r}, received {extra}.")
        extras.append((extra, same))
    if not any(extra for extra, _ in extras):
        return "valid"
    if any(extra != same for extra, same in extras):
        raise InputError(f"Expected ceil_mode alike in height and width in node {node.name!r}.")
    return "same"


def pad(b: Builder, node: Node) -> Value:
    """Pad with zeros around maps."""
    pads = [int(size) for size in b.given(node, 1, "pads", ())]
    filling = float(b.given(node, 2, "value", 0.0))
    is_spatial = len(pads) == 8 and not any(pads[axis] for axis in (0, 1, 4, 5)) and min(pads) >= 0
    if node.attributes.get("mode", "constant") != "constant" or filling or not is_spatial:
        raise InputError(f"Expected zeros around a map in node {node.name!r} (Pad), received {pads}, {filling}.")
    sides = ((pads[2], pads[6]), (pads[3], pads[7]))
    return b.apply(layers.ZeroPadding2D(sides, name=b.name(node)), b.map(node))


def resize(b: Builder, node: Node) -> Value:
    """Resize and Upsample: nearest neighbour by whole factors."""
    value = b.map(node)
    scales = b.optional(node, 1 if node.op == "Upsample" or b.graph.opset < 11 else 2)
    factors = None
    if scales is not None and scales.size == 4:
        factors = float(scales[2]), float(scales[3])
    elif (sizes := b.optional(node, 3)) is not None and sizes.size == 4:
        factors = sizes[2] / value.tensor.shape[1], sizes[3] / value.tensor.shape[2]
    mode = (
        node.attributes.get("mode", "nearest"),
        node.attributes.get("coordinate_transformation_mode", "asymmetric" if node.op == "Upsample" else "half_pixel"),
        node.attributes.get("nearest_mode", "floor" if node.op == "Upsample" else "round_prefer_floor"),
    )
    # With whole factors all of these repeat every pixel.
    repeats = (
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "round_prefer_floor"),
        ("nearest", "pytorch_half_pixel", "round_prefer_floor"),
    )
    if mode not in repeats or factors is None or not all(factor == int(factor) >= 1 for factor in factors):
        wanted = f"nearest-neighbour enlargement by whole factors in node {node.name!r}"
        raise InputError(f"Expected {wanted}, received {mode}, {factors}.")
    whole = tuple(int(factor) for factor in factors)
    return b.apply(layers.UpSampling2D(whole, interpolation="nearest", name=b.name(node)), value)


def _padded(b: Builder, node: Node, value: Value, pads: tuple[int, int, int, int]) -> Value:
    """Puts zeros around a map: top, left, bottom, right."""
    if not any(pads):
        return value
    top, left, bottom, right = pads
    return b.apply(layers.ZeroPadding2D(((top, bottom), (left, right)), name=f"{b.name(node)}pad"), value)


def _padding_of(
    b: Builder, node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, int, int, int]:
    """Returns what a convolution or pooling adds: top, left, bottom, right."""
    automatic = node.attributes.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = tuple(node.attributes.get("pads", (0, 0, 0, 0)))
        if len(pads) != 4 or min(pads) < 0:
            raise InputError(f"Expected four paddings of at least 0 in node {node.name!r}, received {list(pads)}.")
        return pads
    if automatic == "VALID":
        return 0, 0, 0, 0
    before, after = [], []
    for size, window, stride, dilation in zip(b.map(node).tensor.shape[1:3], kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if automatic == "SAME_UPPER" else large)
        after.append(large if automatic == "SAME_UPPER" else small)
    return (*before, *after)


def _two_sizes(node: Node, name: str) -> tuple[int, int]:
    """Returns an attribute of two sizes, height and width; 1 where it is absent."""
    sizes = tuple(int(size) for size in node.attributes.get(name, (1, 1)))
    if len(sizes) != 2 or min(sizes) < 1:
        raise InputError(f"Expected two sizes as {name} in node {node.name!r}, received {list(sizes)}.")
    return sizes
