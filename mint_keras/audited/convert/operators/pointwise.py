"""Operators that work on every value alone, and sums and products."""

from __future__ import annotations

import math

import numpy as np
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.values import MAP_ORDER, Builder, Operator, Value
from mint_keras.records import InputError


def relu(b: Builder, node: Node) -> Value:
    """Relu."""
    return b.apply(layers.ReLU(name=b.name(node)), b.input(node))


def leaky_relu(b: Builder, node: Node) -> Value:
    """LeakyRelu."""
    slope = float(node.attributes.get("alpha", 0.01))
    return b.apply(layers.LeakyReLU(negative_slope=slope, name=b.name(node)), b.input(node))


def clip(b: Builder, node: Node) -> Value:
    """Clip with a lower limit, as ReLU6 is written."""
    low, high = _clip_limits(b, node)
    value, name = b.input(node), b.name(node)
    if not math.isfinite(low):
        raise InputError(f"Expected a lower limit, received none in node {node.name!r} (Clip).")
    if low:
        value = b.apply(layers.Rescaling(1.0, offset=-low, name=f"{name}_from_zero"), value)
    ceiling = high - low if math.isfinite(high) else None
    value = b.apply(layers.ReLU(max_value=ceiling, name=name if not low else f"{name}relu"), value)
    return b.apply(layers.Rescaling(1.0, offset=low, name=name), value) if low else value


def _clip_limits(b: Builder, node: Node) -> tuple[float, float]:
    inputs = [b.optional(node, i) for i in (1, 2)]
    low = node.attributes.get("min", -math.inf) if inputs[0] is None else inputs[0]
    high = node.attributes.get("max", math.inf) if inputs[1] is None else inputs[1]
    limits = float(low), float(high)
    # PyTorch writes the largest float for "none".
    return tuple(math.copysign(math.inf, v) if abs(v) > 3e38 else v for v in limits)  # type: ignore[return-value]


def activation(keras_name: str) -> Operator:
    """Returns an operator that is a Keras activation of that name."""

    def build(b: Builder, node: Node) -> Value:
        return b.apply(layers.Activation(keras_name, name=b.name(node)), b.input(node))

    return build


def neg(b: Builder, node: Node) -> Value:
    """Neg."""
    return b.apply(layers.Rescaling(-1.0, name=b.name(node)), b.input(node))


def hard_sigmoid(b: Builder, node: Node) -> Value:
    """HardSigmoid: a line cut off at 0 and 1."""
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    value = b.apply(layers.Rescaling(alpha, offset=beta, name=f"{b.name(node)}_line"), b.input(node))
    return b.apply(layers.ReLU(max_value=1.0, name=b.name(node)), value)


def arithmetic(b: Builder, node: Node) -> Value:
    """Add, Sub, Mul, Div: of two activations, or of one with a number or a number per channel."""
    constants = [name in b.constants for name in node.inputs]
    if not any(constants):
        return _of_two_values(b, node)
    position = constants.index(False)
    value = b.input(node, position)
    number = _per_channel(b, node, value, b.constant(node, 1 - position))
    one, zero = np.ones_like(number), np.zeros_like(number)
    if node.op == "Div" and position == 1:
        raise InputError(f"Expected a division by a constant, received one of a constant in node {node.name!r}.")
    scale, offset = {
        "Add": (one, number),
        "Mul": (number, zero),
        "Div": (one / number, zero) if node.op == "Div" else (one, zero),
        "Sub": (one, -number) if position == 0 else (-one, number),
    }[node.op]
    return b.apply(layers.Rescaling(_plain(scale), offset=_plain(offset), name=b.name(node)), value)


def _of_two_values(b: Builder, node: Node) -> Value:
    merges = {"Add": layers.Add, "Sub": layers.Subtract, "Mul": layers.Multiply}
    first, second = b.input(node, 0), b.input(node, 1)
    if node.op not in merges or len(first.order) != len(second.order):
        raise InputError(
            f"Expected Add, Sub or Mul of equally many axes in node {node.name!r}, received {node.op} of "
            f"{len(first.order)} and {len(second.order)}."
        )
    if len(first.order) == 4 and MAP_ORDER in (first.order, second.order):
        first, second = b.map(node, 0), b.map(node, 1)
    second = b.to_order(second, first.order, f"{b.name(node)}_order")
    return Value(merges[node.op](name=b.name(node))([first.tensor, second.tensor]), first.order)


def _per_channel(b: Builder, node: Node, value: Value, constant: np.ndarray) -> np.ndarray:
    """Returns a constant as a scalar or as a vector along the last Keras axis."""
    if constant.size == 1:
        return constant.reshape(()).astype(np.float32)
    aligned = constant.reshape((1,) * (len(value.order) - constant.ndim) + constant.shape)
    wide = [axis for axis, size in enumerate(aligned.shape) if size > 1]
    if len(wide) != 1 or value.order[wide[0]] != len(value.tensor.shape) - 1:
        raise InputError(
            f"Expected one number, or one per channel, in node {node.name!r} ({node.op}), received a constant of "
            f"shape {constant.shape}."
        )
    return aligned.reshape(-1).astype(np.float32)


def _plain(number: np.ndarray) -> float | list[float]:
    return number.tolist()
