"""Operators on windows of a map: pooling, padding, enlarging."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.operators.axes import given_axes
from mint_keras.audited.convert.values import Builder, Operator, Value
from mint_keras.records import InputError


def global_pool(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that pools whole maps."""
    return lambda b, node: b.apply(layer(keepdims=True, name=b.name(node)), b.map(node))


def reduction(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that reduces over height and width."""

    def build(b: Builder, node: Node) -> Value:
        if sorted(given_axes(b, node, 4)) != [2, 3]:
            raise InputError(f"Expected {node.op} over height and width in node {node.name!r}, received other axes.")
        keeps = bool(node.attributes.get("keepdims", 1))
        value = b.apply(layer(keepdims=keeps, name=b.name(node)), b.map(node))
        return value if keeps else Value(value.tensor, (0, 1))

    return build


def pool(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that pools windows."""

    def build(b: Builder, node: Node) -> Value:
        kernel, strides = two_sizes(node, "kernel_shape"), two_sizes(node, "strides")
        if two_sizes(node, "dilations") != (1, 1):
            raise InputError(f"Expected pooling without dilation in node {node.name!r}.")
        value, name = b.map(node), b.name(node)
        pads = padding_of(b, node, kernel, strides, (1, 1))
        counts_padding = node.op == "AveragePool" and bool(node.attributes.get("count_include_pad", 0))
        if counts_padding and any(pads) and not node.attributes.get("ceil_mode", 0):
            value, pads = padded(b, node, value, pads), (0, 0, 0, 0)
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
        num_windows = math.ceil((size - window) / stride) + 1
        extra = (num_windows - 1) * stride + window - size
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
    given = b.optional(node, 1)
    pads = [int(size) for size in (node.attributes.get("pads", ()) if given is None else given)]
    number = b.optional(node, 2)
    filling = float(node.attributes.get("value", 0.0)) if number is None else float(number)
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
        raise InputError(
            f"Expected nearest-neighbour enlargement by whole factors in node {node.name!r}, received {mode}, "
            f"{factors}."
        )
    whole = tuple(int(factor) for factor in factors)
    return b.apply(layers.UpSampling2D(whole, interpolation="nearest", name=b.name(node)), value)


def padded(b: Builder, node: Node, value: Value, pads: tuple[int, int, int, int]) -> Value:
    """Puts zeros around a map: top, left, bottom, right."""
    if not any(pads):
        return value
    top, left, bottom, right = pads
    return b.apply(layers.ZeroPadding2D(((top, bottom), (left, right)), name=f"{b.name(node)}pad"), value)


def padding_of(
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


def two_sizes(node: Node, name: str) -> tuple[int, int]:
    """Returns an attribute of two sizes, height and width; 1 where it is absent."""
    sizes = tuple(int(size) for size in node.attributes.get(name, (1, 1)))
    if len(sizes) != 2 or min(sizes) < 1:
        raise InputError(f"Expected two sizes as {name} in node {node.name!r}, received {list(sizes)}.")
    return sizes
