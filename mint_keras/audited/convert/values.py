"""What a tensor of an ONNX graph is in Keras while a model is being built: NHWC, whatever axes the graph counts in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from mint_keras.audited.convert.graph import BATCH, Graph, Node
from mint_keras.records import InputError

MAP_ORDER = (0, 3, 1, 2)
# Constants within a layer's settings are text in the file: position embeddings and the like, not weights.
_MAX_PLACED = 2**20


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of the source in Keras."""

    tensor: keras.KerasTensor  # the Keras tensor; its first axis is the batch
    # The Keras axis behind each ONNX axis: (0, 3, 1, 2) for a map, which the source counts in N, C, H, W. It lacks axis
    # 0 where the source merges the batch into another axis, which is the same for a batch of 1.
    order: tuple[int, ...]
    # The map before a Flatten, while it is undecided whether the next layer takes N, H, W, C (a dense layer, by
    # reordering its weights) or the source's order.
    flattened: Value | None = None


class Builder:
    """The state of one conversion of a graph, whose nodes have names for their layers by their first outputs."""

    def __init__(self, graph: Graph, names: dict[str, str]) -> None:
        self.graph = graph
        self.values: dict[str, Value] = {}  # tensors that depend on the image
        self.constants = dict(graph.constants)  # the others, shapes included once they are computed
        self.has_mxnet_slopes = False  # whether PRelu had slopes (C,) that the standard does not allow
        self._names = names
        self._settled: dict[str, Value] = {}

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Returns the shape of a tensor as the source counts it, `BATCH` for the batch."""
        if tensor in self.constants:
            return self.constants[tensor].shape
        value = self.values[tensor]
        if value.flattened is not None:
            return BATCH, int(np.prod(self.shape_of(value.flattened)[1:]))
        return self.shape_of(value)

    def shape_of(self, value: Value) -> tuple[int, ...]:
        """Returns the shape of a value as the source counts it, `BATCH` for the batch."""
        return tuple(BATCH if axis == 0 else int(value.tensor.shape[axis]) for axis in value.order)

    def constant(self, node: Node, position: int) -> np.ndarray:
        """Returns a constant input of a node; InputError if it depends on the image."""
        tensor = node.inputs[position]
        if tensor not in self.constants:
            raise InputError(f"Expected constant weights in node {node.name!r} ({node.op}), received {tensor!r}.")
        return self.constants[tensor]

    def optional(self, node: Node, position: int) -> np.ndarray | None:
        """Returns a constant input of a node, or None if it is absent."""
        is_there = len(node.inputs) > position and node.inputs[position]
        return self.constant(node, position) if is_there else None

    def given(self, node: Node, position: int, attribute: str, default: Any) -> Any:
        """Returns what newer opsets give as an input and older ones as an attribute, or the default for neither."""
        value = self.optional(node, position)
        return node.attributes.get(attribute, default) if value is None else value

    def settled(self, tensor: str) -> Value:
        """Returns a value of which every axis is decided: a flattened map in the source's order."""
        value = self.values[tensor]
        if value.flattened is None:
            return value
        if tensor not in self._settled:
            name = self._names[tensor]
            ordered = self.to_order(value.flattened, (0, 1, 2, 3), f"{name}_order")
            self._settled[tensor] = Value(layers.Flatten(name=f"{name}_ordered")(ordered.tensor), (0, 1))
        return self._settled[tensor]

    def input(self, node: Node, position: int = 0) -> Value:
        """Returns an input of a node that depends on the image."""
        return self.settled(node.inputs[position])

    def channels_last(self, node: Node) -> Value:
        """Returns the first input of a node with its channels, the source's second axis, last."""
        value = self.input(node)
        if len(value.order) < 3 or 0 not in value.order:
            return value
        order = (0, len(value.order) - 1, *range(1, len(value.order) - 1))
        return self.to_order(value, order, f"{self.name(node)}_nhwc")

    def in_order(self, node: Node, position: int = 0) -> Value:
        """Returns an input of a node with its axes in Keras in the source's order."""
        value = self.input(node, position)
        return self.to_order(value, tuple(sorted(value.order)), f"{self.name(node)}_order{position or ''}")

    def placed(self, node: Node, number: np.ndarray, value: Value) -> np.ndarray:
        """Returns a constant that the source lays along the axes of a value as Keras lays it there, float32."""
        sizes = self.shape_of(value)
        wide = number.reshape((1,) * (len(sizes) - number.ndim) + number.shape) if number.ndim <= len(sizes) else number
        fits = wide.ndim == len(sizes) and all(1 in (h, w) or h == w for h, w in zip(wide.shape, sizes, strict=True))
        pairs = [(h, w) for h, w in zip(wide.shape, sizes, strict=False) if w != BATCH]
        is_large = math.prod(map(max, pairs)) > _MAX_PLACED and any(h > 1 == w for h, w in pairs)
        if is_large or number.size > _MAX_PLACED or not (number.size == 1 or fits):
            received = f"shape {number.shape} for {sizes}"
            raise InputError(f"Expected a constant of the size of its map in node {node.name!r}, received {received}.")
        if number.size == 1:
            return number.reshape(()).astype(np.float32)
        moved = wide.transpose([value.order.index(axis) for axis in sorted(value.order)]).astype(np.float32)
        # What is left out in front is broadcast, so that one number per channel stays a plain list in the layer.
        while moved.shape[0] == 1:
            moved = moved[0]
        return moved

    def map(self, node: Node, position: int = 0) -> Value:
        """Returns an input of a node as a map, N, H, W, C in Keras; InputError if it has not four axes."""
        value = self.input(node, position)
        if len(value.order) != 4 or 0 not in value.order:
            raise InputError(f"Expected a map in node {node.name!r} ({node.op}), received axes {self.shape_of(value)}.")
        return self.to_order(value, MAP_ORDER, f"{self.name(node)}_nhwc")

    def to_order(self, value: Value, order: tuple[int, ...], name: str) -> Value:
        """Transposes a value so that its ONNX axes have the given Keras axes behind them.

        Where the source merged the batch of 1 into another axis, an axis of size 1 that stands where the batch is
        wanted is the batch again.
        """
        if value.order == order:
            return value
        batch = order.index(0) if 0 in order else None
        is_merged = batch is not None and 0 not in value.order and self.shape_of(value)[batch] == 1
        if not is_merged and (value.order.index(0) if 0 in value.order else None) != batch:
            raise InputError(f"Expected the batch to stay the same axis, received a transposed one at {name!r}.")
        source_of = dict(zip(order, value.order, strict=True))
        others = [source_of[axis] for axis in sorted(order) if axis]
        if not is_merged:
            return Value(layers.Permute(others, name=name)(value.tensor), order)
        moved = layers.Permute([*others, source_of[0]], name=name)(value.tensor)
        return Value(layers.Reshape(moved.shape[1:-1], name=f"{name}_batch")(moved), order)

    def name(self, node: Node) -> str:
        """Returns the name of a node's layer."""
        return self._names[node.outputs[0]]

    def operation(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> keras.KerasTensor:
        """Applies a function of `keras.ops` that is one operation, for what no layer of Keras does, and names it."""
        tensor = function(*arguments, **options)
        # Keras numbers operations within a process; by their nodes the same file gives the same model.
        tensor._keras_history.operation.name = name
        return tensor

    def apply(self, layer: keras.layers.Layer, value: Value, weights: list[np.ndarray] | None = None) -> Value:
        """Applies a layer that keeps the axes, and sets its weights."""
        output = layer(value.tensor)
        if weights is not None:
            layer.set_weights(weights)
        return Value(output, value.order)


def rows_as_flattened(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Reorders a matrix behind a flattened map of H, W, C: the source flattens C, H, W, Keras H, W, C."""
    height, width, channels = shape
    return kernel[np.arange(len(kernel)).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)]


Operator = Callable[[Builder, Node], Value | list[Value]]
