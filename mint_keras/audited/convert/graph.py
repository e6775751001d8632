"""Reads an ONNX file into a plain graph: checked, external weights loaded, aliases resolved, constants folded.

Exporters disagree on almost everything but the function (docs/fidelity.md): names, folded batch normalisation,
identical weights shared through Identity nodes, weights in side files, shapes computed inside the graph. What is left
here are nodes that depend on the image, in order, and arrays.
"""

import collections
import dataclasses
import graphlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.numpy_helper
import onnxruntime

from mint_keras.audited.convert import quantised
from mint_keras.borders import reading
from mint_keras.records import InputError

OPSETS = range(7, 24)
# Stands for the batch dimension inside shapes that the graph computes; a prime, so that it survives no arithmetic.
BATCH = 1_000_003
# Limits for files of strangers; an R200 has some 1,000 nodes.
_MAX_NODES = 20_000
_MAX_DEPTH = 20
_MAX_FOLDED = 2**28
_KEEP_SIZE = {"Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Neg", "Sqrt"}
_KEEP_SIZE |= {"Reciprocal", "Floor", "Ceil", "Slice", "Constant", "Not", "Abs", "Exp", "Clip", "Split", "ReduceProd"}
_KEEP_SIZE |= {"DequantizeLinear", "QuantizeLinear"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Equal", "Where", "Pow", "Max", "Min", "Mod", "Greater", "Less", "And"}
FOLDABLE = _KEEP_SIZE | _ELEMENTWISE | {"Gather", "Concat", "Expand", "ConstantOfShape", "Range", "Shape", "Size"}
# What changes nothing at inference. Casts between float types count: everything here is float32.
_ALIASES = {"Identity", "Dropout", "Cast", "CastLike"}


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation on the image's activations, or a shape computed from them, with the node as it was read."""

    op: str
    name: str  # in the file, or operator and position where it has none
    inputs: tuple[str, ...]  # tensors; "" for an absent optional one
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: onnx.NodeProto


@dataclasses.dataclass(frozen=True)
class Graph:
    """An ONNX graph with one image input."""

    nodes: list[Node]  # nodes in topological order, without aliases and constants
    constants: dict[str, np.ndarray]  # float32 and integer arrays by tensor name
    input: str  # name of the image input
    input_shape: tuple[int | None, ...]  # its shape in the file; None for what is symbolic
    outputs: dict[str, str]  # tensors by output name in the file (they differ where an alias stood last)
    static: set[str]  # tensors that depend on shapes only, never on pixels
    opset: int  # version of the standard operators
    model: onnx.ModelProto  # the model as it is in the file, with its weights, for an oracle that runs it
    files: list[Path]  # the file and its external weights
    read: onnx.ModelProto  # the float network that was read from it; mostly the model itself
    notes: tuple[str, ...] = ()  # what was read otherwise than the file computes it

    def consumers(self) -> dict[str, list[Node]]:
        """Returns the nodes that read each tensor, shape computations left out."""
        readers: dict[str, list[Node]] = collections.defaultdict(list)
        for node in self.nodes:
            if not self.is_static(node):
                for name in dict.fromkeys(node.inputs):
                    readers[name].append(node)
        return readers

    @property
    def takes_integers(self) -> bool:
        """Tells whether the file takes pixels as whole numbers."""
        kinds = {entry.name: entry.type.tensor_type.elem_type for entry in self.model.graph.input}
        return kinds.get(self.input) in (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)

    def is_static(self, node: Node) -> bool:
        """Tells whether a node computes with shapes and constants only."""
        return all(name in self.static for name in node.outputs)


def read(path: Path) -> Graph:
    """Reads an ONNX file.

    Raises:
        InputError: It is not a complete ONNX model with one image input, of opset 7 to 23.
    """
    if not path.is_file():
        raise InputError(f"Expected an ONNX file, received {path}, which is not a file.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own
        raise InputError(
            f"Expected an ONNX file at {path}, received another kind of file, or a part of one. Copy it again, or "
            "export the model again."
        ) from error
    if not model.graph.node:
        raise InputError(f"Expected an ONNX model, received {path}, which holds no graph.")
    locations = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if tensor.data_location == onnx.TensorProto.EXTERNAL and entry.key == "location"
    }
    try:  # refuses locations outside the model's folder, and links
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        _sort(model.graph)
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's own errors share no base class
        reason = str(error).strip().splitlines()[0]
        if "No Op registered" not in reason:  # the converter names the operator, and those it knows
            raise InputError(f"Expected a valid ONNX model, received {path}: {reason}") from error
    with reading(f"an ONNX model that converts in {path}"):
        return parse(model, path.name, [path, *(path.parent / location for location in sorted(locations))])


def _sort(graph: onnx.GraphProto) -> None:
    """Puts nodes behind those that they read, as runtimes do: what makes files half leaves some before them."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    read = {i: [makers[name] for name in node.input if name in makers] for i, node in enumerate(graph.node)}
    if any(max(found, default=-1) > i for i, found in read.items()):
        nodes = [graph.node[i] for i in graphlib.TopologicalSorter(read).static_order()]
        del graph.node[:]
        graph.node.extend(nodes)


def parse(model: onnx.ModelProto, name: str = "model", files: list[Path] | None = None) -> Graph:
    """Simplifies a model whose weights are loaded; see `read`."""
    if model.functions:
        _check_functions(model, name)
        model = onnx.inliner.inline_local_functions(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        wanted = f"ONNX of opset {OPSETS[0]} to {OPSETS[-1]} in {name}"
        raise InputError(f"Expected {wanted}, received opset {opset}. Export the model again, at opset 17.")
    if not 0 < len(model.graph.node) <= _MAX_NODES:
        raise InputError(f"Expected 1 to {_MAX_NODES} nodes in {name}, received {len(model.graph.node)}.")
    read, notes = quantised.as_float(model)
    constants = {}
    for tensor in read.graph.initializer:
        try:
            constants[tensor.name] = _as_float32(onnx.numpy_helper.to_array(tensor))
        except (ValueError, TypeError) as error:
            raise InputError(f"Expected complete weights in {name}, received {tensor.name!r}: {error}") from error
    images = [entry for entry in read.graph.input if entry.name not in constants]
    if len(images) != 1:
        received = f"received {[entry.name for entry in images]}. Export it for inference, with all others fixed"
        raise InputError(f"Expected one input, the image, in {name}, {received}.")
    dimensions = images[0].type.tensor_type.shape.dim
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dimensions)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        received = f"received {list(shape)}. Name the face-recognition model itself; those of grey images are not read"
        raise InputError(f"Expected an input of RGB images, [n, 3, height, width], in {name}, {received}.")
    nodes, aliases, static = _simplify(read, opset, constants)
    outputs = {entry.name: aliases.get(entry.name, entry.name) for entry in model.graph.output}
    graph = Graph(
        nodes, constants, images[0].name, shape, outputs, static, opset, model, files or [], read, tuple(notes)
    )
    return _without_unread(_with_gelu(_with_biases(graph)))


def fold(node: Node, inputs: list[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Computes a node of constants with ONNX Runtime.

    Raises:
        InputError: The node is not one that exporters leave among constants, would blow up, or fails.
    """
    # The reference implementation of onnx fails on old opsets (Unsqueeze with attributes).
    if node.op not in FOLDABLE:
        raise InputError(f"Expected constants made by {sorted(FOLDABLE)}, received {describe(node)}.")
    try:
        if node.op in ("Expand", "ConstantOfShape") and inputs[-1] is not None:
            # The same in every sample of a batch, so that one will do.
            inputs = [*inputs[:-1], np.where(inputs[-1] == BATCH, 1, inputs[-1])]
        # Asked before it takes the memory: files of strangers may ask for all of it.
        size = _folded_size(node, [array for array in inputs if array is not None])
        if size > _MAX_FOLDED:
            raise InputError(f"Expected constants of sane size, received {describe(node)}.")
        feeds = {name: array for name, array in zip(node.inputs, inputs, strict=True) if array is not None}
        types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
        given = [onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feeds.items()]
        wanted = [onnx.ValueInfoProto(name=name) for name in node.outputs]
        graph = onnx.helper.make_graph([node.proto], "constant", given, wanted)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        results = session.run(None, feeds)
    except InputError:
        raise
    except Exception as error:  # whatever a hostile graph makes the runtime raise
        raise InputError(f"Expected constants that can be computed, received {describe(node)}: {error}") from error
    return [_as_float32(np.asarray(result)) for result in results]


def _folded_size(node: Node, arrays: list[np.ndarray]) -> int:
    """Returns how many numbers a node of constants makes, at most."""
    if node.op in _ELEMENTWISE:
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    if node.op == "ConstantOfShape":
        return math.prod(int(d) for d in arrays[0])
    if node.op == "Expand":
        return math.prod(max(int(d), 1) for d in arrays[1]) * arrays[0].size
    if node.op == "Gather":
        return arrays[0].size * max(arrays[1].size, 1)
    if node.op == "Range":
        return int(abs(float(arrays[1]) - float(arrays[0])) / max(abs(float(arrays[2])), 1e-9))
    return sum(array.size for array in arrays)


def describe(node: Node) -> str:
    """Names a node for a message."""
    domain = f"{node.proto.domain}." if node.proto.domain not in ("", "ai.onnx") else ""
    return f"operator {domain}{node.op} in node {node.name!r}"


def _check_functions(model: onnx.ModelProto, name: str) -> None:
    """Refuses local functions that call each other so often that writing them out would fill the memory."""
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise InputError(f"Expected local functions at most {_MAX_DEPTH} deep in {name}, received deeper ones.")
        if key not in sizes and key in functions:
            sizes[key] = sum(size((node.domain, node.op_type), depth + 1) for node in functions[key].node)
        return sizes.get(key, 1)

    total = sum(size((node.domain, node.op_type), 0) for node in model.graph.node)
    if total > _MAX_NODES:
        raise InputError(f"Expected at most {_MAX_NODES} nodes in {name}, received {total} once functions are inlined.")


def _as_float32(array: np.ndarray) -> np.ndarray:
    is_float = np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"
    return np.asarray(array, np.float32) if is_float else np.asarray(array)


def _simplify(
    model: onnx.ModelProto, opset: int, constants: dict[str, np.ndarray]
) -> tuple[list[Node], dict[str, str], set[str]]:
    """Folds what can be computed into the constants; returns the other nodes, the aliases and the static tensors."""
    nodes: list[Node] = []
    aliases: dict[str, str] = {}
    static = set(constants)
    for position, proto in enumerate(model.graph.node):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        decoded = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
        inputs = tuple(aliases.get(name, name) for name in proto.input)
        renamed = onnx.NodeProto()
        renamed.CopyFrom(proto)
        renamed.input[:] = inputs
        name = proto.name or f"{proto.op_type}_{position}"
        node = Node(proto.op_type, name, inputs, tuple(proto.output), decoded, renamed)
        if node.op == "CastLike" and node.inputs[0] in constants:
            constants[node.outputs[0]] = constants[node.inputs[0]].astype(np.float32)
            static.add(node.outputs[0])
            continue
        # A cast among constants is folded below instead: there it may turn integers into floats.
        if node.op in _ALIASES and not proto.domain and node.inputs[0] not in static:
            aliases[node.outputs[0]] = node.inputs[0]
            continue
        if node.op in ("Shape", "Size") or all(name in static for name in node.inputs if name):
            static.update(node.outputs)
        if all(name in constants for name in node.inputs if name) and node.op in FOLDABLE:
            values = fold(node, [constants.get(name) for name in node.inputs], opset)
            constants.update(zip(node.outputs, values, strict=True))
            continue
        nodes.append(node)
    return nodes, aliases, static


def _with_gelu(graph: Graph) -> Graph:
    """Joins x * (1 + erf(x / sqrt 2)) / 2, as exporters write Gelu before opset 20, into one node."""
    readers, makers = graph.consumers(), {node.outputs[0]: node for node in graph.nodes}

    def has(names: Iterable[str], value: float) -> bool:
        numbers = [graph.constants[name] for name in names if name in graph.constants]
        return any(number.size == 1 and bool(np.isclose(number.item(), value, rtol=1e-3)) for number in numbers)

    def factors(tensor: str) -> list[str]:
        """Returns what is multiplied, products of products taken apart."""
        node = makers.get(tensor)
        return [f for name in node.inputs for f in factors(name)] if node is not None and node.op == "Mul" else [tensor]

    found: dict[str, Node] = {}
    for erf in (node for node in graph.nodes if node.op == "Erf"):
        scaled, total = makers.get(erf.inputs[0]), readers[erf.outputs[0]]
        root = {"Div": 2**0.5, "Mul": 0.5**0.5}.get(scaled.op, 0.0) if scaled else 0.0
        if scaled is None or not has(scaled.inputs, root) or len(total) != 1 or not has(total[0].inputs, 1):
            continue
        ends = readers[total[0].outputs[0]]
        while total[0].op == "Add" and len(ends) == 1 and ends[0].op == "Mul":
            parts = factors(ends[0].outputs[0])
            if len(parts) == 3 and scaled.inputs[0] in parts and has(parts, 0.5):
                found[ends[0].outputs[0]] = dataclasses.replace(ends[0], op="Gelu", inputs=scaled.inputs[:1])
                break
            ends = readers[ends[0].outputs[0]]
    return dataclasses.replace(graph, nodes=[found.get(node.outputs[0], node) for node in graph.nodes])


def _without_unread(graph: Graph) -> Graph:
    """Leaves out nodes that no output depends on."""
    needed, nodes = set(graph.outputs.values()), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes[::-1])


def _with_biases(graph: Graph) -> Graph:
    """Joins MatMul and the Add of a vector behind it into one Gemm, as most exporters write it."""
    readers = graph.consumers()
    merged: set[str] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "Add" and node.outputs[0] in merged:
            continue
        if node.op == "MatMul" and node.inputs[1] in graph.constants:
            product, width = node.outputs[0], graph.constants[node.inputs[1]].shape[-1:]
            node = dataclasses.replace(node, op="Gemm")
            followers = readers[product]
            if len(followers) == 1 and followers[0].op == "Add" and product not in graph.outputs.values():
                others = [name for name in followers[0].inputs if name != product]
                if len(others) == 1 and others[0] in graph.constants and graph.constants[others[0]].shape == width:
                    merged.add(followers[0].outputs[0])
                    node = dataclasses.replace(node, inputs=(*node.inputs, *others), outputs=followers[0].outputs)
        nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes)
