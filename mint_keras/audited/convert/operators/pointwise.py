"""Operators that work on every value alone, sums and products, normalisation and dense layers."""

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.values import MAP_ORDER, Builder, Operator, Value, rows_as_flattened
from mint_keras.records import InputError

_NO_LIMIT = 3e38
_MOMENTUM = 0.9  # torch's 0.1, for whoever trains further


def one_layer(make: Callable[[Node, str], keras.layers.Layer]) -> Operator:
    """Returns an operator that is one Keras layer, made from the node and the layer's name."""
    return lambda b, node: b.apply(make(node, b.name(node)), b.input(node))


relu = one_layer(lambda _, name: layers.ReLU(name=name))
neg = one_layer(lambda _, name: layers.Rescaling(-1.0, name=name))
leaky_relu = one_layer(
    lambda node, name: layers.LeakyReLU(negative_slope=float(node.attributes.get("alpha", 0.01)), name=name)
)


def activation(keras_name: str) -> Operator:
    """Returns an operator that is a Keras activation of that name."""
    return one_layer(lambda _, name: layers.Activation(keras_name, name=name))


def clip(b: Builder, node: Node) -> Value:
    """Clip with either limit, or both, as ReLU6 is written."""
    # PyTorch writes the largest float for "none", 3.4e38.
    low, high = (float(b.given(node, 1 + i, "min" if i == 0 else "max", (-math.inf, math.inf)[i])) for i in (0, 1))
    value, name = b.input(node), b.name(node)
    if not abs(low) <= _NO_LIMIT:
        if not abs(high) <= _NO_LIMIT:
            return b.apply(layers.Identity(name=name), value)
        return Value(b.operation(name, keras.ops.minimum, value.tensor, high), value.order)
    if low:
        value = b.apply(layers.Rescaling(1.0, offset=-low, name=f"{name}_from_zero"), value)
    ceiling = high - low if abs(high) <= _NO_LIMIT else None
    value = b.apply(layers.ReLU(max_value=ceiling, name=name if not low else f"{name}relu"), value)
    return b.apply(layers.Rescaling(1.0, offset=low, name=name), value) if low else value


def hard_sigmoid(b: Builder, node: Node) -> Value:
    """HardSigmoid: a line cut off at 0 and 1."""
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    value = b.apply(layers.Rescaling(alpha, offset=beta, name=f"{b.name(node)}_line"), b.input(node))
    return b.apply(layers.ReLU(max_value=1.0, name=b.name(node)), value)


_MERGES = {
    "Add": layers.Add, "Sum": layers.Add, "Sub": layers.Subtract, "Mul": layers.Multiply, "Max": layers.Maximum,
    "Min": layers.Minimum,
}  # fmt: skip
_FUNCTIONS = {
    "Div": keras.ops.divide, "Pow": keras.ops.power, "Max": keras.ops.maximum, "Min": keras.ops.minimum,
    "Add": keras.ops.add, "Sum": keras.ops.add, "Sub": keras.ops.subtract, "Mul": keras.ops.multiply,
}  # fmt: skip


def arithmetic(b: Builder, node: Node) -> Value:
    """Add, Sub, Mul, Div, Pow, Max, Min, Sum: of two activations, or of one with constants that fit its axes."""
    name = b.name(node)
    if len(node.inputs) != 2:
        raise InputError(f"Expected two inputs in node {node.name!r} ({node.op}), received {len(node.inputs)}.")
    constants = [tensor in b.constants for tensor in node.inputs]
    if not any(constants):
        first, second = b.input(node, 0), b.input(node, 1)
        if len(first.order) != len(second.order):
            received = f"{node.op} of {len(first.order)} and {len(second.order)}"
            raise InputError(f"Expected equally many axes in node {node.name!r}, received {received}.")
        if len(first.order) == 4 and MAP_ORDER in (first.order, second.order):
            first, second = b.map(node, 0), b.map(node, 1)
        elif second.order == tuple(sorted(second.order)):  # tokens stay as their linear layers want them
            first = b.in_order(node, 0)
        second = b.to_order(second, first.order, f"{name}_order")
        both = [first.tensor, second.tensor]
        merged = _MERGES[node.op](name=name)(both) if node.op in _MERGES else None
        return Value(b.operation(name, _FUNCTIONS[node.op], *both) if merged is None else merged, first.order)
    position = constants.index(False)
    value = b.input(node, position)
    number = b.placed(node, b.constant(node, 1 - position), value)
    size = value.tensor.shape[1:]
    is_spread = np.broadcast_shapes(number.shape, size) != size  # a number of each token, times one of each channel
    if node.op in ("Pow", "Max", "Min") or is_spread or (node.op == "Div" and position == 1):
        arguments = (value.tensor, number) if position == 0 else (number, value.tensor)
        return Value(b.operation(name, _FUNCTIONS[node.op], *arguments), value.order)
    if node.op == "Div" and not number.all():
        raise InputError(f"Expected a division by numbers other than 0 in node {node.name!r}, received some.")
    scale, offset = {
        "Add": (1.0, number.tolist()),
        "Sum": (1.0, number.tolist()),
        "Mul": (number.tolist(), 0.0),
        "Div": ((1 / number).tolist() if node.op == "Div" else 1.0, 0.0),
        "Sub": (1.0, (-number).tolist()) if position == 0 else (-1.0, number.tolist()),
    }[node.op]
    return b.apply(layers.Rescaling(scale, offset=offset, name=name), value)


def function(operation: Callable[..., keras.KerasTensor]) -> Operator:
    """Returns an operator that is a function of `keras.ops` on every value alone."""

    def build(b: Builder, node: Node) -> Value:
        value = b.input(node)
        return Value(b.operation(b.name(node), operation, value.tensor), value.order)

    return build


def gelu(b: Builder, node: Node) -> Value:
    """Gelu, exact or by tanh."""
    value, name = b.input(node), b.name(node)
    if node.attributes.get("approximate", "none") == "tanh":
        return Value(b.operation(name, keras.ops.gelu, value.tensor, approximate=True), value.order)
    # Written out: tf2onnx knows no erfc, of which Keras makes it, and TFLite fuses it from this order of factors only.
    scaled = layers.Rescaling(0.5**0.5, name=f"{name}_scaled")(value.tensor)
    risen = layers.Rescaling(1.0, offset=1.0, name=f"{name}_risen")(b.operation(f"{name}_erf", keras.ops.erf, scaled))
    half = layers.Rescaling(0.5, name=f"{name}_half")(value.tensor)
    return Value(layers.Multiply(name=name)([half, risen]), value.order)


def softmax(b: Builder, node: Node) -> Value:
    """Softmax along one axis."""
    value = b.input(node)
    rank = len(value.order)
    axis = node.attributes.get("axis", -1 if b.graph.opset >= 13 else 1) % rank
    if b.graph.opset < 13 and math.prod(b.shape_of(value)[axis + 1 :]) != 1:
        raise InputError(f"Expected Softmax along the last axis in node {node.name!r}, received axis {axis}.")
    return b.apply(layers.Softmax(value.order[axis], name=b.name(node)), value)


def layer_normalization(b: Builder, node: Node) -> Value:
    """LayerNormalization over the last axis or axes."""
    value = b.in_order(node)
    last = len(value.tensor.shape) - 1
    first = last - len(value.order) + 1 + node.attributes.get("axis", -1) % len(value.order)
    bias, settings = b.optional(node, 2), {"epsilon": float(node.attributes.get("epsilon", 1e-5)), "name": b.name(node)}
    axes = [*range(first, last + 1)]
    layer = layers.LayerNormalization(axis=axes if len(axes) > 1 else last, center=bias is not None, **settings)
    sizes = value.tensor.shape[first:]
    weights = [np.broadcast_to(part, sizes) for part in (b.constant(node, 1), bias) if part is not None]
    return b.apply(layer, value, weights)


def batch_normalization(b: Builder, node: Node) -> Value:
    """BatchNormalization with its own statistics."""
    if node.attributes.get("training_mode", 0):
        raise InputError(f"Expected a model exported for inference, received training mode in node {node.name!r}.")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    layer = layers.BatchNormalization(epsilon=epsilon, momentum=_MOMENTUM, name=b.name(node))
    return b.apply(layer, b.channels_last(node), [b.constant(node, i) for i in range(1, 5)])


def prelu(b: Builder, node: Node) -> Value:
    """PRelu with one slope, or one per channel in any of the layouts that converters write."""
    value, slope = b.channels_last(node), b.constant(node, 1)
    sizes, channels = b.shape_of(value), int(value.tensor.shape[-1])
    if slope.size == 1:
        slope = np.broadcast_to(slope.reshape(-1), (channels,)).reshape(-1, *(1,) * (len(sizes) - 2))
    # MXNet's converters wrote one slope per channel as (C,), which ONNX would lay along the width; where both are
    # possible the standard stands, unless an earlier layer showed who wrote the file.
    elif slope.ndim == 1 and len(sizes) == 4 and slope.size == channels:
        b.has_mxnet_slopes |= channels != sizes[3]
        slope = slope.reshape(-1, 1, 1) if b.has_mxnet_slopes else slope
    placed = b.placed(node, slope, value)
    alphas = placed.reshape((1,) * (len(value.tensor.shape) - 1 - placed.ndim) + placed.shape)
    shared = [axis for axis, size in enumerate(alphas.shape, start=1) if size == 1]
    initial = keras.initializers.Constant(0.25)
    return b.apply(
        layers.PReLU(shared_axes=shared or None, alpha_initializer=initial, name=b.name(node)), value, [alphas]
    )


def gemm(b: Builder, node: Node) -> Value:
    """Gemm and MatMul: a dense layer; after a flattened map its rows are reordered. Or a product of two activations."""
    attributes = node.attributes
    if attributes.get("transA", 0):
        raise InputError(f"Expected activations as they are in node {node.name!r} (Gemm), received transA=1.")
    if node.op == "MatMul" and not any(name in b.constants for name in node.inputs):
        first, second = b.in_order(node, 0), b.in_order(node, 1)
        if first.order != second.order:
            received = f"{b.shape_of(first)} and {b.shape_of(second)}"
            raise InputError(f"Expected equally many axes in node {node.name!r} (MatMul), received {received}.")
        return Value(b.operation(b.name(node), keras.ops.matmul, first.tensor, second.tensor), first.order)
    kernel, bias = b.constant(node, 1), b.optional(node, 2)
    kernel = kernel.reshape(kernel.shape[-2:]) if kernel.size == math.prod(kernel.shape[-2:]) else kernel
    if kernel.ndim != 2:
        raise InputError(f"Expected a matrix of weights in node {node.name!r}, received shape {kernel.shape}.")
    kernel = kernel.T if attributes.get("transB", 0) else kernel
    kernel = kernel * np.float32(attributes.get("alpha", 1.0))
    value = b.values[node.inputs[0]]
    if value.flattened is not None and value.flattened.order == MAP_ORDER:
        # The rows of the matrix move instead of the activations.
        kernel = rows_as_flattened(kernel, value.flattened.tensor.shape[1:])
    else:
        value = b.input(node)
        if value.order[-1] != len(value.tensor.shape) - 1:
            value = b.in_order(node)
    if value.tensor.shape[-1] != kernel.shape[0]:
        wanted = f"weights for {value.tensor.shape[-1]} values"
        raise InputError(f"Expected {wanted} in node {node.name!r}, received {kernel.shape}.")
    weights = [kernel]
    if bias is not None:
        row = bias.reshape(-1) if bias.size in (1, kernel.shape[1]) else bias  # older exporters write (1, n)
        weights.append(np.broadcast_to(row * np.float32(attributes.get("beta", 1.0)), kernel.shape[1:]))
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None, name=b.name(node))
    return b.apply(layer, Value(value.tensor, value.order), weights)
