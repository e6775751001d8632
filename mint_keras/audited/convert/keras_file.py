"""Keras files (.keras and legacy HDF5) of built-in layers: read without running code, rebuilt layer by layer."""

import io
import json
import math
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import onnx

from mint_keras.audited import parity
from mint_keras.audited.convert import naming, pixels
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert.graph import Graph, Node
from mint_keras.audited.convert.onnx import Converted
from mint_keras.audited.convert.values import MAP_ORDER, Builder, Value
from mint_keras.borders import reading
from mint_keras.records import InputError

REMEDY = (
    'Where its code is, write it without: model.export("folder") (a SavedModel), or tf2onnx.convert.from_keras(model, '
    'output_path="model.onnx")'
)
_MAX_CONFIG = 2**24  # bytes
_MAX_ENTRIES = 100_000
# What decides how large a layer becomes, before there are weights to compare it with.
_SIZES = ("units", "filters", "input_dim", "output_dim", "depth_multiplier", "num_heads", "key_dim")
_MAX_SIZE = 100_000
_MIN_WEIGHTS, _MAX_COPIES = 2**20, 4
# Layers by the names that ONNX has for them, where taps are found by the structure.
_OPS = {
    "Conv2D": "Conv", "DepthwiseConv2D": "Conv", "SeparableConv2D": "Conv", "Dense": "Gemm", "PReLU": "PRelu",
    "ReLU": "Relu", "Multiply": "Mul", "Subtract": "Sub", "Rescaling": "Mul", "Normalization": "Sub",
    "GlobalAveragePooling2D": "GlobalAveragePool", "MaxPooling2D": "MaxPool", "AveragePooling2D": "AveragePool",
    "ZeroPadding2D": "Pad", "Dropout": "Identity", "Concatenate": "Concat", "UnitNormalization": "LpNormalization",
}  # fmt: skip


def _parts(description: Any) -> Iterator[dict[str, Any]]:
    """Yields every dictionary within a model's description."""
    if isinstance(description, dict):
        yield description
    inside = description.values() if isinstance(description, dict) else description
    for value in inside if isinstance(description, dict | list) else ():
        yield from _parts(value)


def _own_code(part: dict[str, Any]) -> str:
    """Names the class of a part of a description that is code of its own; "" if none is."""
    kind, module = part.get("class_name"), part.get("module")
    is_own = isinstance(module, str) and module.split(".")[0] != "keras"
    return "a Lambda layer" if kind == "Lambda" else f"{module}.{kind}" if is_own else ""


def read(path: Path) -> keras.Model:
    """Reads a Keras file of built-in layers.

    Raises:
        InputError: The file is broken, holds weights alone, or has layers with code of their own.
    """
    size = path.stat().st_size
    with reading(f"a whole Keras file at {path}"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _MIN_WEIGHTS + _MAX_COPIES * size:
                    raise InputError(f"Expected a Keras file about as large as what it holds, received {path}.")
                config = archive.read("config.json")
                weights: Any = io.BytesIO(archive.read("model.weights.h5"))
        else:
            with h5py.File(path) as file:
                config, weights = file.attrs.get("model_config", b""), path
            config = config.encode() if isinstance(config, str) else config
        if not config:
            raise InputError(
                f"Expected a Keras model, received weights alone in {path}: load them where the model is built, and "
                'model.save("model.keras").'
            )
        with h5py.File(weights) as file:
            _check_weights(file, size)
        if len(config) > _MAX_CONFIG:
            raise InputError(f"Expected a description of at most {_MAX_CONFIG} bytes in {path}, received more.")
        parts = list(_parts(json.loads(config)))
        sizes = [value for part in parts for name, value in part.items() if name in _SIZES and isinstance(value, int)]
        if max(sizes, default=0) > _MAX_SIZE:
            raise InputError(f"Expected layers of at most {_MAX_SIZE:,} units in {path}, received {max(sizes):,}.")
        if own := sorted({code for part in parts if (code := _own_code(part))}):
            raise InputError(
                f"Expected a Keras model of built-in layers, received {', '.join(own)} in {path}. {REMEDY}."
            )
    try:
        with tempfile.TemporaryDirectory() as folder:  # Keras goes by the suffix, we by the content
            link = Path(folder) / ("model.keras" if zipfile.is_zipfile(path) else "model.h5")
            link.symlink_to(path.resolve())
            model = keras.saving.load_model(link, compile=False, safe_mode=True)
    except Exception as error:  # whatever a hostile or a very old file makes Keras raise
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"Expected a model of Keras' own layers in {path}, received: {reason} {REMEDY}.") from error
    if not isinstance(model, keras.Model) or len(model.inputs) != 1:
        raise InputError(f"Expected a Keras model with one input, the image, received another in {path}.")
    return keras.Model(model.inputs, model.outputs, name=model.name)


def _check_weights(file: h5py.File, size: int) -> None:
    """Refuses weights that lie in other files, or that are larger than a file of that size could hold."""
    total = num = 0

    def visit(group: h5py.Group) -> None:
        nonlocal total, num
        for name in group:
            num += 1
            if num > _MAX_ENTRIES:  # groups that hold each other have no end
                raise InputError(f"Expected at most {_MAX_ENTRIES} weights, received more.")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"Expected weights in the file itself, received a link, {name!r}.")
            entry = group[name]
            if isinstance(entry, h5py.Group):
                visit(entry)
            elif entry.external or entry.is_virtual:
                raise InputError(f"Expected weights in the file itself, received {name!r} in another.")
            else:
                total += entry.nbytes

    visit(file)
    if total > _MIN_WEIGHTS + _MAX_COPIES * size:
        raise InputError(f"Expected weights about as large as their file of {size} bytes, received {total}.")


class KerasFile:
    """The layers of a Keras model as a graph, and as layers of the converter's names.

    Attributes:
        model: The model as it was read.
        graph: Its layers, nested models written out, without their weights.
    """

    def __init__(self, model: keras.Model) -> None:
        shape = model.inputs[0].shape
        if len(shape) != 4 or shape[3] != 3:
            channels = f"one of {shape[3]} channel(s)" if len(shape) == 4 else f"one of shape {list(shape)}"
            raise InputError(
                f"Expected an input of RGB images, [n, height, width, 3], received {channels}: this is no network for "
                "faces in colour. Name the face-recognition model itself."
            )
        self.model = model
        self._tensors: dict[str, keras.KerasTensor] = {}
        nodes: list[Node] = []
        constants: dict[str, np.ndarray] = {}
        names = {id(model.inputs[0]): "image"}

        def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
            result = operation(*args, **kwargs)
            kind, outputs = type(operation).__name__, keras.tree.flatten(result)
            tensors = [operation.name if not i else f"{operation.name}:{i}" for i in range(len(outputs))]
            if tensors[0] in self._tensors:  # a layer that is used again
                tensors = [f"{tensor}@{len(nodes)}" for tensor in tensors]
            names.update(zip(map(id, outputs), tensors, strict=True))
            self._tensors.update(zip(tensors, outputs, strict=True))
            inputs = [names[id(x)] for x in keras.tree.flatten((args, kwargs)) if id(x) in names]
            attributes = {}
            if op := getattr(getattr(operation, "activation", None), "__name__", "") if kind == "Activation" else "":
                kind = op.capitalize()
            elif isinstance(operation, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
                is_depthwise = isinstance(operation, keras.layers.DepthwiseConv2D)
                attributes["group"] = int(args[0].shape[-1]) if is_depthwise else operation.groups
            for value in _told(operation):
                inputs.append(f"{tensors[0]}/{len(inputs)}")
                constants[inputs[-1]] = value
            op = _OPS.get(kind, kind)
            nodes.append(Node(op, tensors[0], tuple(inputs), tuple(tensors), attributes, onnx.NodeProto(op_type=op)))
            return result

        outputs = keras.tree.flatten(_run(model, model.inputs[0], call))
        found = {names[id(output)]: output for output in outputs}
        sizes = tuple(None if size is None else int(size) for size in shape)
        given = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(tensor.shape))
            for name, tensor in found.items()
        ]
        told = onnx.ModelProto(graph=onnx.GraphProto(output=given))  # what asks for the outputs' sizes looks there
        same = {name: name for name in found}
        self.graph = Graph(nodes, constants, "image", sizes, same, set(), 0, told, [], told)

    def oracle(self) -> parity.Oracle:
        """Returns the model as it was read, which gives every tensor."""
        return _Layers(self.model, self._tensors)

    def to_keras(self, contract: pixels.Contract, name: str) -> Converted:
        """Rebuilds the model behind what makes its pixels, of layers with the converter's names."""
        images, scaled = contract.layers()
        names = naming.layer_names(self.graph)
        builder = Builder(self.graph, names)
        nodes, copies = iter(self.graph.nodes), dict[int, keras.Operation]()

        def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
            node = next(nodes)
            made = copies.get(id(operation), operation)
            if made is operation and isinstance(operation, keras.layers.Layer):
                config = {**operation.get_config(), "name": builder.name(node)}
                made = copies[id(operation)] = type(operation).from_config(config)
            result = made(*args, **kwargs)
            if made is not operation:
                made.set_weights(operation.get_weights())
            for tensor, value in zip(node.outputs, keras.tree.flatten(result), strict=True):
                rank = len(value.shape)
                builder.values[tensor] = Value(value, MAP_ORDER if rank == 4 else tuple(range(rank)))
            return result

        _run(self.model, scaled, call)
        return onnx_source.finish(builder, images, names, contract, name)


class _Layers(parity.Oracle):
    """Runs the layers of a Keras model as they were read."""

    def __init__(self, model: keras.Model, tensors: dict[str, keras.KerasTensor]) -> None:
        super().__init__(name="keras", about=f"the file as it is, Keras {keras.__version__}")
        self._network, self._tensors = model, tensors

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        cut = keras.Model(self._network.inputs, [self._tensors[tensor] for tensor in tensors])

        def run(images: np.ndarray) -> list[np.ndarray]:
            found = [np.asarray(value) for value in keras.tree.flatten(cut([images], training=False))]
            return [value.transpose(MAP_ORDER) if value.ndim == 4 else value for value in found]

        return run


def _run(model: keras.Model, start: keras.KerasTensor, call: Callable[..., Any]) -> Any:
    """Calls a function with every operation of a model, in order; those of nested models too."""

    def each(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.Model):
            inner = keras.Model(operation.inputs, operation.outputs)
            inputs = [x for x in keras.tree.flatten(args) if isinstance(x, keras.KerasTensor)]
            return inner._run_through_graph(inputs, call_fn=each)
        return call(operation, *args, **kwargs)

    return model._run_through_graph([start], call_fn=each)


def _told(operation: keras.Operation) -> list[np.ndarray]:
    """Returns the constants of a layer that tell taps and pixels, in ONNX's order; of kernels the shape only."""
    if isinstance(operation, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        shape = operation.kernel.shape
        width = math.prod(shape[2:]) if isinstance(operation, keras.layers.DepthwiseConv2D) else shape[3]
        return [np.broadcast_to(np.float32(0), (width, 1, *shape[:2]))]
    if isinstance(operation, keras.layers.Dense):
        return [np.broadcast_to(np.float32(0), operation.kernel.shape)]
    if isinstance(operation, keras.layers.Rescaling):
        return [np.asarray(operation.scale, np.float32)]
    if isinstance(operation, keras.layers.Normalization):
        return [np.asarray(operation.mean, np.float32)]
    if isinstance(operation, keras.layers.BatchNormalization):
        nothing = np.zeros(1, np.float32)
        return [nothing, nothing, np.asarray(operation.moving_mean), np.asarray(operation.moving_variance)]
    return []
