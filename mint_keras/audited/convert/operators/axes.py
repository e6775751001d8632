"""Operators that move axes and values without computing."""

import math

from keras import layers

from mint_keras.audited.convert.graph import BATCH, Node
from mint_keras.audited.convert.values import Builder, Value
from mint_keras.records import InputError


def flatten(b: Builder, node: Node) -> Value:
    """Flatten from axis 1."""
    if node.attributes.get("axis", 1) != 1:
        raise InputError(f"Expected Flatten from axis 1 in node {node.name!r}, received {node.attributes['axis']}.")
    return _flattened(b, node)


def _flattened(b: Builder, node: Node) -> Value:
    value = b.input(node)
    flat = value.tensor if len(value.tensor.shape) == 2 else layers.Flatten(name=b.name(node))(value.tensor)
    is_in_order = value.order == tuple(range(len(value.order)))
    return Value(flat, (0, 1), flattened=None if is_in_order else value)


def reshape(b: Builder, node: Node) -> Value:
    """Reshape to a constant shape, or to one the graph computes from shapes."""
    shape = b.shape(node.inputs[0])
    target = [int(size) for size in b.constant(node, 1)]
    if not node.attributes.get("allowzero", 0):
        target = [shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return _reshaped(b, node, target)


def _reshaped(b: Builder, node: Node, target: list[int]) -> Value:
    value = b.input(node)
    per_sample = math.prod(size for size in b.shape_of(value) if size != BATCH)
    first, rest = target[0], target[1:]
    is_batch = first in (1, BATCH) or (first == -1 and -1 not in rest and math.prod(rest) == per_sample)
    has_batch = 0 in value.order and is_batch
    sizes = rest if has_batch else [1 if s == BATCH else s for s in target]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or known <= 0 or per_sample % known:
        raise InputError(f"Expected a shape of {per_sample} values in node {node.name!r}, received {sizes}.")
    sizes = [per_sample // known if size == -1 else size for size in sizes]
    if has_batch and len(sizes) == 1:
        return _flattened(b, node)
    if 0 in value.order:
        # The source may count the batch anywhere; in Keras it stays first, which is the same for a batch of 1.
        others = [axis for axis in value.order if axis]
        if others != sorted(others):
            value = Value(layers.Permute(others, name=f"{b.name(node)}_order")(value.tensor), value.order)
    tensor = layers.Reshape(sizes, name=b.name(node))(value.tensor)
    return Value(tensor, tuple(range(0 if has_batch else 1, len(sizes) + 1)))


def transpose(b: Builder, node: Node) -> Value:
    """Transpose: only the order of axes is noted, nothing moves until a layer needs it."""
    # So the transpositions that an exporter put around every layer cancel, instead of costing a pass each.
    value = b.input(node)
    permutation = node.attributes.get("perm") or list(range(len(value.order)))[::-1]
    return Value(value.tensor, tuple(value.order[axis] for axis in permutation))


def squeeze(b: Builder, node: Node) -> Value:
    """Squeeze: removes axes of size 1."""
    shape = list(b.shape(node.inputs[0]))
    given = [int(axis) % len(shape) for axis in b.given(node, 1, "axes", ())]
    axes = given or [axis for axis, size in enumerate(shape) if size == 1]
    return _reshaped(b, node, [size for axis, size in enumerate(shape) if axis not in axes])


def unsqueeze(b: Builder, node: Node) -> Value:
    """Unsqueeze: adds axes of size 1."""
    shape = list(b.shape(node.inputs[0]))
    axes = [int(axis) for axis in b.given(node, 1, "axes", ())]
    rank = len(shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    return _reshaped(b, node, shape)


def concat(b: Builder, node: Node) -> Value:
    """Concat along any axis but the batch."""
    values = [b.input(node, position) for position in range(len(node.inputs))]
    order = values[0].order
    values = [b.to_order(value, order, f"{b.name(node)}_order{i}") for i, value in enumerate(values)]
    axis = order[node.attributes["axis"]]
    return Value(layers.Concatenate(axis=axis, name=b.name(node))([value.tensor for value in values]), order)
