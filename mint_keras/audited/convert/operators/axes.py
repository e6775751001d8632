"""Operators that move axes and values without computing."""

import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from mint_keras.audited.convert.graph import BATCH, Node
from mint_keras.audited.convert.values import MAP_ORDER, Builder, Value
from mint_keras.records import InputError


def flatten(b: Builder, node: Node) -> Value:
    """Flatten from axis 1, or from one with nothing but axes of size 1 before it."""
    shape, axis = b.shape(node.inputs[0]), node.attributes.get("axis", 1)
    if math.prod(shape[1 : axis % len(shape)]) != 1 or axis % len(shape) == 0:
        raise InputError(f"Expected Flatten from axis 1 in node {node.name!r}, received {axis} of {shape}.")
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
    # Where the source merged the batch of 1 into another axis, the 1 in front is the batch again.
    has_batch = is_batch and (0 in value.order or first in (1, BATCH))
    # Attention of PyTorch merges the batch and the heads: the same for a batch of 1.
    sizes = rest if has_batch else [s // BATCH if s >= BATCH and s % BATCH == 0 else s for s in target]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or known <= 0 or per_sample % known:
        raise InputError(f"Expected a shape of {per_sample} values in node {node.name!r}, received {sizes}.")
    sizes = [per_sample // known if size == -1 else size for size in sizes]
    if has_batch and len(sizes) == 1:
        return _flattened(b, node)
    if value.order == MAP_ORDER and has_batch and sizes == [value.tensor.shape[3], per_sample // value.tensor.shape[3]]:
        # Places of a map become tokens: the channels stay last.
        return Value(layers.Reshape(sizes[::-1], name=b.name(node))(value.tensor), (0, 2, 1))
    if value.order == (0, 2, 1) and has_batch and len(sizes) == 3 and sizes[0] == value.tensor.shape[2]:
        return Value(layers.Reshape([*sizes[1:], sizes[0]], name=b.name(node))(value.tensor), MAP_ORDER)
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
    """Concat along any axis but the batch; a constant, such as a class token, stands in every sample."""
    position = next(i for i, name in enumerate(node.inputs) if name not in b.constants)
    model, axis = b.input(node, position), node.attributes["axis"] % len(b.shape(node.inputs[position]))
    if model.order[axis] == 0:
        raise InputError(f"Expected Concat along any axis but the batch in node {node.name!r}, received axis {axis}.")
    values = []
    for i, tensor in enumerate(node.inputs):
        name = f"{b.name(node)}_part{i}"
        if tensor in b.constants:
            number = b.constant(node, i)
            like = _taken(b, node, model, {axis: slice(0, number.shape[axis])}, name)
            # Of no number of samples before it runs: what is there times 0, plus the constant.
            offset = b.placed(node, number, like).tolist()
            values.append(b.apply(layers.Rescaling(0.0, offset=offset, name=f"{name}_constant"), like))
        else:
            values.append(b.to_order(b.input(node, i), model.order, f"{b.name(node)}_order{i}"))
    joined = layers.Concatenate(axis=model.order[axis], name=b.name(node))([value.tensor for value in values])
    return Value(joined, model.order)


def slice_(b: Builder, node: Node) -> Value:
    """Slice by constant bounds, backwards too, of any axis but the batch."""
    value = b.input(node)
    starts, ends = ([int(bound) for bound in b.given(node, i, name, ())] for i, name in ((1, "starts"), (2, "ends")))
    axes = [int(axis) % len(value.order) for axis in b.given(node, 3, "axes", range(len(starts)))]
    steps = [int(step) for step in b.given(node, 4, "steps", [1] * len(starts))]
    sizes = b.shape_of(value)
    parts = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = sizes[axis]
        # Where ONNX says "to the very first", below -size, Python would count from the end.
        parts[axis] = slice(start, None if (end < -size if step < 0 else end >= size) else end, step)
    return _taken(b, node, value, parts, b.name(node))


def gather(b: Builder, node: Node) -> Value:
    """Gather by constant numbers along any axis but the batch; one number without axes drops the axis."""
    value = b.input(node)
    axis = node.attributes.get("axis", 0) % len(value.order)
    numbers = b.constant(node, 1)
    if numbers.ndim == 0:
        size = b.shape_of(value)[axis]
        return _taken(b, node, value, {axis: int(numbers) % size}, b.name(node))
    if numbers.ndim != 1 or value.order[axis] == 0:
        raise InputError(f"Expected a list of numbers in node {node.name!r} (Gather), received {numbers.shape}.")
    numbers = numbers % b.shape_of(value)[axis]
    taken = b.operation(b.name(node), keras.ops.take, value.tensor, numbers.astype(np.int32), axis=value.order[axis])
    return Value(taken, value.order)


def split(b: Builder, node: Node) -> list[Value]:
    """Split along any axis but the batch, into equal parts or parts of given sizes."""
    value = b.input(node)
    axis = node.attributes.get("axis", 0) % len(value.order)
    size, num = b.shape_of(value)[axis], len(node.outputs)
    sizes = [int(part) for part in b.given(node, 1, "split", [math.ceil(size / num)] * num)]
    ends = np.cumsum(sizes)
    names = [b.name(node), *(f"{b.name(node)}_{i}" for i in range(2, num + 1))]
    parts = zip(ends - sizes, np.minimum(ends, size), names, strict=True)
    return [_taken(b, node, value, {axis: slice(int(start), int(end))}, name) for start, end, name in parts]


def expand(b: Builder, node: Node) -> Value:
    """Expand to a constant shape: axes of size 1 are repeated."""
    value = b.input(node)
    target = [int(size) for size in b.constant(node, 1)]
    sizes = b.shape_of(value)
    if len(target) > len(sizes):
        raise InputError(f"Expected at most {len(sizes)} axes in node {node.name!r} (Expand), received {target}.")
    tensor = value.tensor
    for axis, (size, wanted) in enumerate(zip(sizes[len(sizes) - len(target) :], target, strict=True)):
        if size == 1 and wanted != 1:
            place = value.order[axis + len(sizes) - len(target)]
            tensor = b.operation(f"{b.name(node)}_{axis}", keras.ops.repeat, tensor, wanted, axis=place)
    return Value(layers.Identity(name=b.name(node))(tensor), value.order)


def _taken(b: Builder, node: Node, value: Value, parts: Mapping[int, slice | int], name: str) -> Value:
    """Takes parts of some axes of the source; a number drops its axis."""
    index: list[slice | int] = [slice(None)] * len(value.tensor.shape)
    for axis, part in parts.items():
        index[value.order[axis]] = part
    if index[0] != slice(None) and index[0] != slice(0, None, 1):
        raise InputError(f"Expected the whole batch in node {node.name!r} ({node.op}), received a part of it.")
    index[0] = slice(None)
    tensor = b.operation(name, lambda x: x[tuple(index)], value.tensor)
    kept = [axis for axis in value.order if not isinstance(index[axis], int)]
    dropped = [axis for axis, part in enumerate(index) if isinstance(part, int)]
    return Value(tensor, tuple(axis - sum(gone < axis for gone in dropped) for axis in kept))
