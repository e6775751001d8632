"""Operators on windows of a map: convolution, pooling, padding, enlarging."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.values import Builder, Operator, Value
from mint_keras.records import InputError

_Function = Callable[..., keras.KerasTensor]
_MAX_PADDING = 1024
_LARGEST = 3.4e38


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


def reduction(
    layer: type[keras.layers.Layer] | None,
    reduce: _Function,
    before: _Function | None = None,
    after: _Function | None = None,
) -> Operator:
    """Returns an operator that reduces axes: height and width of maps by a layer, others by functions of `keras.ops`.

    What works on every value alone may come before and after.
    """

    def build(b: Builder, node: Node) -> Value:
        value, keeps, name = b.input(node), bool(node.attributes.get("keepdims", 1)), b.name(node)
        axes = sorted(int(axis) % len(value.order) for axis in b.given(node, 1, "axes", ()))
        if not axes or 0 in {value.order[axis] for axis in axes}:
            raise InputError(f"Expected {node.op} over axes but the batch in node {node.name!r}, received {axes}.")
        if layer is not None and axes == [2, 3] and len(value.order) == 4:
            value = b.apply(layer(keepdims=keeps, name=name), b.map(node))
            return value if keeps else Value(value.tensor, (0, 1))
        tensor, places = value.tensor, [value.order[axis] for axis in axes]
        if before is not None:
            tensor = b.operation(f"{name}_before", before, tensor)
        tensor = b.operation(f"{name}_reduced" if after else name, reduce, tensor, axis=places, keepdims=keeps)
        if after is not None:
            tensor = b.operation(name, after, tensor)
        if keeps:
            return Value(tensor, value.order)
        kept = [axis for axis in value.order if axis not in places]
        return Value(tensor, tuple(axis - sum(place < axis for place in places) for axis in kept))

    return build


def unit(b: Builder, node: Node) -> Value:
    """LpNormalization with the Euclidean norm."""
    value = b.input(node)
    if node.attributes.get("p", 2) != 2:
        raise InputError(f"Expected LpNormalization of p 2 in node {node.name!r}, received {node.attributes['p']}.")
    axis = value.order[node.attributes.get("axis", -1)]
    return b.apply(layers.UnitNormalization(axis=axis, name=b.name(node)), value)


def pool(layer: type[keras.layers.Layer]) -> Operator:
    """Returns an operator that pools windows, with whatever padding."""

    def build(b: Builder, node: Node) -> Value:
        kernel, strides = _two_sizes(node, "kernel_shape"), _two_sizes(node, "strides")
        if _two_sizes(node, "dilations") != (1, 1):
            raise InputError(f"Expected pooling without dilation in node {node.name!r}.")
        value, name, is_average = b.map(node), b.name(node), node.op == "AveragePool"
        pads = _padding_of(b, node, kernel, strides, (1, 1))
        if max(pads) > _MAX_PADDING:
            raise InputError(f"Expected pooling with sane padding in node {node.name!r}, received {pads}.")
        # What ceil_mode adds at the end is padding too, but never counted in an average.
        sides = [
            _Side(*part, is_ceiled=bool(node.attributes.get("ceil_mode", 0)))
            for part in zip(value.tensor.shape[1:3], kernel, strides, pads[:2], pads[2:], strict=True)
        ]
        around = [side.around for side in sides]
        counts = bool(node.attributes.get("count_include_pad", 0))
        if not any(sum(pair) for pair in around):
            return b.apply(layer(kernel, strides, name=name), value)
        if all(side.is_same for side in sides) and not (is_average and counts):
            return b.apply(layer(kernel, strides, padding="same", name=name), value)
        filling = 0.0 if is_average else -_LARGEST
        widths = [(0, 0), *around, (0, 0)]
        padded = b.operation(f"{name}pad", keras.ops.pad, value.tensor, widths, "constant", filling)
        pooled = Value(layer(kernel, strides, name=f"{name}_all" if is_average else name)(padded), value.order)
        if not is_average:
            return pooled
        share = math.prod(kernel) / np.multiply.outer(*(side.num_counted(counts) for side in sides))
        return b.apply(layers.Rescaling(share[..., None].tolist(), name=name), pooled)

    return build


@dataclasses.dataclass(frozen=True)
class _Side:
    """A pooling along one side of a map."""

    size: int
    window: int
    stride: int
    before: int
    after: int
    is_ceiled: bool

    @property
    def num(self) -> int:
        """The number of windows."""
        room = self.size + self.before + self.after - self.window
        num = (math.ceil if self.is_ceiled else math.floor)(room / self.stride) + 1
        # The last window must begin on the map or the padding before it.
        return num - 1 if self.is_ceiled and (num - 1) * self.stride >= self.size + self.before else num

    @property
    def around(self) -> tuple[int, int]:
        """What is put before and after the map, at least what the last window needs."""
        reach = (self.num - 1) * self.stride + self.window
        return self.before, max(reach - self.size - self.before, 0)

    @property
    def is_same(self) -> bool:
        """Whether Keras' "same" pads like this."""
        total = max((math.ceil(self.size / self.stride) - 1) * self.stride + self.window - self.size, 0)
        return self.num == math.ceil(self.size / self.stride) and self.around == (total // 2, total - total // 2)

    def num_counted(self, counts_padding: bool) -> np.ndarray:
        """Returns how many places each window counts."""
        starts = np.arange(self.num) * self.stride - self.before
        low, high = (-self.before, self.size + self.after) if counts_padding else (0, self.size)
        return np.minimum(starts + self.window, high) - np.maximum(starts, low)


def pad(b: Builder, node: Node) -> Value:
    """Pad with a constant or by reflection, on any side but the batch's; negative padding cuts off."""
    pads = [int(size) for size in b.given(node, 1, "pads", ())]
    filling, mode = float(b.given(node, 2, "value", 0.0)), node.attributes.get("mode", "constant")
    value, name = b.input(node), b.name(node)
    axes = [int(axis) % len(value.order) for axis in b.given(node, 3, "axes", range(len(value.order)))]
    around = {value.order[axis]: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    if mode not in ("constant", "reflect") or any(around.pop(0, ())) or max(map(max, around.values())) > _MAX_PADDING:
        wanted = f"padding of maps by a constant or reflection in node {node.name!r} (Pad)"
        raise InputError(f"Expected {wanted}, received {mode}, {pads}.")
    is_plain = len(value.order) == 4 and mode == "constant" and filling == 0 and min(pads) >= 0
    if is_plain and not any(pads[i] for i in (0, 1, 4, 5)[: len(pads)]):
        sides = ((pads[2], pads[6]), (pads[3], pads[7]))
        return b.apply(layers.ZeroPadding2D(sides, name=name), b.map(node))
    whole = [around.get(axis, (0, 0)) for axis in range(len(value.tensor.shape))]
    cut = tuple(slice(max(-low, 0), min(high, 0) or None) for low, high in whole)
    inner = b.operation(f"{name}_cut", lambda x: x[cut], value.tensor) if min(pads) < 0 else value.tensor
    widths = [(max(low, 0), max(high, 0)) for low, high in whole]
    filled = {"constant_values": filling} if mode == "constant" else {}
    return Value(b.operation(name, keras.ops.pad, inner, widths, mode, **filled), value.order)


def resize(b: Builder, node: Node) -> Value:
    """Resize and Upsample: nearest neighbour by whole factors."""
    value = b.map(node)
    scales = b.given(node, 1 if node.op == "Upsample" or b.graph.opset < 11 else 2, "scales", ())
    factors = None
    if len(scales) == 4:
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
