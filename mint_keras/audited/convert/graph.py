"""Reads an ONNX file into a plain graph: checked, external weights loaded, aliases resolved, constants folded.

Exporters disagree on almost everything but the function (docs/fidelity.md): names, folded batch normalisation,
identical weights shared through Identity nodes, weights in side files, shapes computed inside the graph. What is left
here are nodes that depend on the image, in order, and arrays.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.numpy_helper
import onnxruntime
from google.protobuf.message import DecodeError

from mint_keras.records import InputError

OPSETS = range(9, 22)
# Stands for the batch dimension inside shapes that the graph computes; a prime, so that it survives no arithmetic.
BATCH = 1_000_003
_MAX_NODES = 20_000
_MAX_DEPTH = 20
_MAX_FOLDED = 2**28
_KEEP_SIZE = {"Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Neg", "Sqrt"}
_KEEP_SIZE |= {"Reciprocal", "Floor", "Ceil", "Slice", "Constant", "Not", "Abs", "Exp"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Equal", "Where", "Pow", "Max", "Min", "Mod", "Greater", "Less", "And"}
FOLDABLE = _KEEP_SIZE | _ELEMENTWISE | {"Gather", "Concat", "Expand", "ConstantOfShape", "Range", "Shape", "Size"}
# What changes nothing at inference. Casts between float types count: everything here is float32.
_ALIASES = {"Identity", "Dropout", "Cast", "CastLike"}


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation on the image's activations, or a shape computed from them.

    Attributes:
        op: the operator, for example "Conv".
        name: as in the file, or operator and position where it has none.
        inputs: names of tensors; "" for an absent optional one.
        outputs: names of tensors.
        attributes: of the operator.
        proto: the node as it was read.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: onnx.NodeProto


@dataclasses.dataclass(frozen=True)
class Graph:
    """An ONNX graph with one image input.

    Attributes:
        nodes: in topological order, without aliases and constants.
        constants: float32 and integer arrays by tensor name.
        input: name of the image input.
        input_shape: its shape in the file; None for what is symbolic.
        outputs: names in the file, and the tensor behind each (they differ where an alias stood last).
        static: tensors that depend on shapes only, never on pixels.
        opset: of the standard operators.
        model: as read, with its weights; for an oracle that runs it.
        files: the file and its external weights.
    """

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    input: str
    input_shape: tuple[int | None, ...]
    outputs: dict[str, str]
    static: set[str]
    opset: int
    model: onnx.ModelProto
    files: list[Path]

    def consumers(self) -> dict[str, list[Node]]:
        """Returns the nodes that read each tensor, shape computations left out."""
        readers: dict[str, list[Node]] = collections.defaultdict(list)
        for node in self.nodes:
            if not self.is_static(node):
                for name in dict.fromkeys(node.inputs):
                    readers[name].append(node)
        return readers

    def is_static(self, node: Node) -> bool:
        """Tells whether a node computes with shapes and constants only."""
        return all(name in self.static for name in node.outputs)


def read(path: Path) -> Graph:
    """Reads an ONNX file.

    Raises:
        InputError: if it is not a complete ONNX model with one image input, of opset 9 to 21.
    """
    model, files = _load(path)
    return parse(model, path.name, files)


def parse(model: onnx.ModelProto, name: str = "model", files: list[Path] | None = None) -> Graph:
    """Simplifies a model whose weights are loaded; see `read`."""
    if model.functions:
        _check_functions(model, name)
        model = onnx.inliner.inline_local_functions(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise InputError(f"Expected ONNX of opset {OPSETS[0]} to {OPSETS[-1]} in {name}, received opset {opset}.")
    if not 0 < len(model.graph.node) <= _MAX_NODES:
        raise InputError(f"Expected 1 to {_MAX_NODES} nodes in {name}, received {len(model.graph.node)}.")
    constants = {}
    for tensor in model.graph.initializer:
        constants[tensor.name] = _as_float32(_array(tensor, name))
    image, shape = _image_input(model, set(constants), name)
    return _simplify(model, opset, constants, image, shape, files or [])


def fold(node: Node, inputs: list[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Computes a node of constants with ONNX Runtime (the reference implementation of onnx fails on old opsets).

    Raises:
        InputError: if the node is not one that exporters leave among constants, would blow up, or fails.
    """
    if node.op not in FOLDABLE:
        raise InputError(f"Expected constants made by {sorted(FOLDABLE)}, received {describe(node)}.")
    try:
        if _folded_size(node, [array for array in inputs if array is not None]) > _MAX_FOLDED:
            raise InputError(f"Expected constants of sane size, received {describe(node)}.")
        results = _run_node(node, inputs, opset)
    except InputError:
        raise
    except Exception as error:  # whatever a hostile graph makes the runtime raise
        raise InputError(f"Expected constants that can be computed, received {describe(node)}: {error}") from error
    return [_as_float32(np.asarray(result)) for result in results]


def _run_node(node: Node, inputs: list[np.ndarray | None], opset: int) -> list[np.ndarray]:
    feeds = {name: array for name, array in zip(node.inputs, inputs, strict=True) if array is not None}
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    graph = onnx.helper.make_graph(
        [node.proto],
        "constant",
        [onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in node.outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def describe(node: Node) -> str:
    """Names a node for a message."""
    domain = f"{node.proto.domain}." if node.proto.domain not in ("", "ai.onnx") else ""
    return f"operator {domain}{node.op} in node {node.name!r}"


def _load(path: Path) -> tuple[onnx.ModelProto, list[Path]]:
    if not path.is_file():
        raise InputError(f"Expected an ONNX file, received {path}, which is not a file.")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise InputError(f"Expected an ONNX file, received {path}, which cannot be read as one: {error}") from error
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
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's own errors share no base class
        reason = str(error).strip().splitlines()[0]
        if "No Op registered" not in reason:  # the converter names the operator, and those it knows
            raise InputError(f"Expected a valid ONNX model, received {path}: {reason}") from error
    return model, [path, *(path.parent / location for location in sorted(locations))]


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


def _array(tensor: onnx.TensorProto, name: str) -> np.ndarray:
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise InputError(f"Expected complete weights in {name}, received {tensor.name!r}: {error}") from error


def _as_float32(array: np.ndarray) -> np.ndarray:
    is_float = np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"
    return np.asarray(array, np.float32) if is_float else np.asarray(array)


def _image_input(model: onnx.ModelProto, weights: set[str], name: str) -> tuple[str, tuple[int | None, ...]]:
    images = [entry for entry in model.graph.input if entry.name not in weights]
    if len(images) != 1:
        raise InputError(f"Expected one input, the image, in {name}, received {[entry.name for entry in images]}.")
    dimensions = images[0].type.tensor_type.shape.dim
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dimensions)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise InputError(f"Expected an input of RGB images, [n, 3, height, width], in {name}, received {list(shape)}.")
    return images[0].name, shape


def _simplify(
    model: onnx.ModelProto,
    opset: int,
    constants: dict[str, np.ndarray],
    image: str,
    shape: tuple[int | None, ...],
    files: list[Path],
) -> Graph:
    nodes: list[Node] = []
    aliases: dict[str, str] = {}
    static = set(constants)
    for position, proto in enumerate(model.graph.node):
        node = _node(proto, position, aliases)
        if node.op == "CastLike" and node.inputs[0] in constants:
            constants[node.outputs[0]] = constants[node.inputs[0]].astype(np.float32)
            static.add(node.outputs[0])
            continue
        if _is_alias(node, static):
            aliases[node.outputs[0]] = node.inputs[0]
            continue
        if node.op in ("Shape", "Size") or all(name in static for name in node.inputs if name):
            static.update(node.outputs)
        if all(name in constants for name in node.inputs if name) and node.op in FOLDABLE:
            values = fold(node, [constants.get(name) for name in node.inputs], opset)
            constants.update(zip(node.outputs, values, strict=True))
            continue
        nodes.append(node)
    outputs = {entry.name: aliases.get(entry.name, entry.name) for entry in model.graph.output}
    graph = Graph(nodes, constants, image, shape, outputs, static, opset, model, files)
    return _with_biases(graph)


def _node(proto: onnx.NodeProto, position: int, aliases: dict[str, str]) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    decoded = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    inputs = tuple(aliases.get(name, name) for name in proto.input)
    renamed = onnx.NodeProto()
    renamed.CopyFrom(proto)
    renamed.input[:] = inputs
    name = proto.name or f"{proto.op_type}_{position}"
    return Node(proto.op_type, name, inputs, tuple(proto.output), decoded, renamed)


def _is_alias(node: Node, static: set[str]) -> bool:
    # A cast among constants is folded instead: there it may turn integers into floats.
    return node.op in _ALIASES and not node.proto.domain and node.inputs[0] not in static


def _with_biases(graph: Graph) -> Graph:
    """Joins MatMul and the Add of a vector behind it into one Gemm, as most exporters write it."""
    readers = graph.consumers()
    merged: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "MatMul" and node.inputs[1] in graph.constants:
            followers = readers[node.outputs[0]]
            bias = _bias_of(followers[0], node, graph) if len(followers) == 1 else None
            inputs = node.inputs + ((bias,) if bias else ())
            outputs = followers[0].outputs if bias else node.outputs
            if bias:
                merged[outputs[0]] = node.name
            node = dataclasses.replace(node, op="Gemm", inputs=inputs, outputs=outputs)
        elif node.op == "Add" and node.outputs[0] in merged:
            continue
        nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes)


def _bias_of(add: Node, matmul: Node, graph: Graph) -> str | None:
    others = [name for name in add.inputs if name != matmul.outputs[0]]
    width = graph.constants[matmul.inputs[1]].shape[-1:]
    if add.op != "Add" or matmul.outputs[0] in graph.outputs.values() or len(others) != 1:
        return None
    return others[0] if others[0] in graph.constants and graph.constants[others[0]].shape == width else None


def _folded_size(node: Node, inputs: list[np.ndarray]) -> int:
    if node.op in _ELEMENTWISE:
        return math.prod(np.broadcast_shapes(*(array.shape for array in inputs)))
    if node.op == "ConstantOfShape":
        return math.prod(int(d) for d in inputs[0])
    if node.op == "Expand":
        return math.prod(max(int(d), 1) for d in inputs[1]) * inputs[0].size
    if node.op == "Gather":
        return inputs[0].size * max(inputs[1].size, 1)
    if node.op == "Range":
        return int(abs(float(inputs[1]) - float(inputs[0])) / max(abs(float(inputs[2])), 1e-9))
    return sum(array.size for array in inputs)
