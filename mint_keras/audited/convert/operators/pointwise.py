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
    """Clip with a lower limit, as ReLU6 is written."""
    low = float(b.given(node, 1, "min", -math.inf))
    high = float(b.given(node, 2, "max", math.inf))
    value, name = b.input(node), b.name(node)
    # PyTorch writes the largest float for "none", 3.4e38.
    if not abs(low) <= _NO_LIMIT:
        raise InputError(f"Expected a lower limit, received none in node {node.name!r} (Clip).")
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


def arithmetic(b: Builder, node: Node) -> Value:
    """Add, Sub, Mul, Div: of two activations, or of one with a number or a number per channel."""
    constants = [name in b.constants for name in node.inputs]
    if not any(constants):
        merges = {"Add": layers.Add, "Sub": layers.Subtract, "Mul": layers.Multiply}
        first, second = b.input(node, 0), b.input(node, 1)
        if node.op not in merges or len(first.order) != len(second.order):
            received = f"{node.op} of {len(first.order)} and {len(second.order)}"
            raise InputError(f"Expected {[*merges]} of equally many axes in node {node.name!r}, received {received}.")
        if len(first.order) == 4 and MAP_ORDER in (first.order, second.order):
            first, second = b.map(node, 0), b.map(node, 1)
        second = b.to_order(second, first.order, f"{b.name(node)}_order")
        return Value(merges[node.op](name=b.name(node))([first.tensor, second.tensor]), first.order)
    position = constants.index(False)
    value = b.input(node, position)
    number = b.constant(node, 1 - position)
    # As a scalar, or as a vector along the last Keras axis.
    wide = [axis - number.ndim for axis, size in enumerate(number.shape) if size > 1]
    is_aligned = len(wide) == 1 and number.ndim <= len(value.order)
    if number.size != 1 and not (is_aligned and value.order[wide[0]] == len(value.tensor.shape) - 1):
        where = f"node {node.name!r} ({node.op})"
        raise InputError(f"Expected one number, or one per channel, in {where}, received shape {number.shape}.")
    number = number.reshape(() if number.size == 1 else -1).astype(np.float32)
    one, zero = np.ones_like(number), np.zeros_like(number)
    if node.op == "Div" and position == 1:
        raise InputError(f"Expected a division by a constant, received one of a constant in node {node.name!r}.")
    scale, offset = {
        "Add": (one, number),
        "Mul": (number, zero),
        "Div": (one / number, zero) if node.op == "Div" else (one, zero),
        "Sub": (one, -number) if position == 0 else (-one, number),
    }[node.op]
    return b.apply(layers.Rescaling(scale.tolist(), offset=offset.tolist(), name=b.name(node)), value)


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
    channels = int(value.tensor.shape[-1])
    # MXNet's converters wrote one slope per channel as (C,), which ONNX would lay along the width; the oracle gets the
    # same reading (`parity`).
    if slope.size not in (1, channels) or slope.size not in (*slope.shape[:2], 1):
        raise InputError(f"Expected one slope per channel, received shape {slope.shape} in node {node.name!r}.")
    shared = [1, 2] if len(value.order) == 4 else None
    layer = layers.PReLU(shared_axes=shared, alpha_initializer=keras.initializers.Constant(0.25), name=b.name(node))
    slopes = np.broadcast_to(slope.reshape(-1), (channels,))
    return b.apply(layer, value, [slopes.reshape(1, 1, -1) if shared else slopes])


def gemm(b: Builder, node: Node) -> Value:
    """Gemm and MatMul: a dense layer; after a flattened map its rows are reordered."""
    attributes = node.attributes
    if attributes.get("transA", 0):
        raise InputError(f"Expected activations as they are in node {node.name!r} (Gemm), received transA=1.")
    kernel, bias = b.constant(node, 1), b.optional(node, 2)
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
    if value.tensor.shape[-1] != kernel.shape[0]:
        wanted = f"weights for {value.tensor.shape[-1]} values"
        raise InputError(f"Expected {wanted} in node {node.name!r}, received {kernel.shape}.")
    weights = [kernel]
    if bias is not None:
        weights.append(np.broadcast_to(bias * np.float32(attributes.get("beta", 1.0)), kernel.shape[1:]))
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None, name=b.name(node))
    return b.apply(layer, Value(value.tensor, value.order), weights)
