"""Writes IResNets as the published files have them: one set of NumPy weights, the dialects of many exporters.

Layouts: torch 1.9 to 2.13 exports of arcface_torch, MXNet's converter, `torch.save` in its zip and legacy formats.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mint_keras.audited.cards import ARCFACE
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert import torch

BLOCKS = (2, 1, 1, 1)
WIDTHS = (16, 16, 32, 32)
EMBEDDING = 8
SIDE = 32  # of the image; the last map is 2x2
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def random_state(
    seed: int = 1,
    blocks: tuple[int, ...] = BLOCKS,
    widths: tuple[int, ...] = WIDTHS,
    embedding: int = EMBEDDING,
    side: int = SIDE,
) -> dict[str, np.ndarray]:
    """A state dict of arcface_torch's IResNet with weights and statistics that hide no mistake."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def conv(name: str, channels_in: int, channels: int, size: int) -> None:
        scale = 1 / np.sqrt(channels_in * size * size)
        state[f"{name}.weight"] = rng.normal(0, scale, (channels, channels_in, size, size)).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        sign = rng.choice([-1, 1, 1], channels)
        state[f"{name}.weight"] = (sign * rng.uniform(0.5, 1.5, channels)).astype(np.float32)
        state[f"{name}.bias"] = rng.normal(0, 0.3, channels).astype(np.float32)
        state[f"{name}.running_mean"] = rng.normal(0, 0.3, channels).astype(np.float32)
        # Small variances, so that a wrong epsilon shows.
        state[f"{name}.running_var"] = rng.uniform(0.05, 1.5, channels).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(1000, np.int64)

    def slopes(name: str, channels: int) -> None:
        state[f"{name}.weight"] = rng.uniform(-0.2, 0.6, channels).astype(np.float32)

    conv("conv1", 3, widths[0], 3)
    norm("bn1", widths[0])
    slopes("prelu", widths[0])
    channels = widths[0]
    for stage, (num_blocks, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        for block in range(num_blocks):
            name = f"layer{stage}.{block}"
            norm(f"{name}.bn1", channels)
            conv(f"{name}.conv1", channels, width, 3)
            norm(f"{name}.bn2", width)
            slopes(f"{name}.prelu", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn3", width)
            if block == 0:
                conv(f"{name}.downsample.0", channels, width, 1)
                norm(f"{name}.downsample.1", width)
            channels = width
    norm("bn2", channels)
    num_features = channels * (side // 2 ** len(blocks)) ** 2
    state["fc.weight"] = rng.normal(0, num_features**-0.5, (embedding, num_features)).astype(np.float32)
    state["fc.bias"] = rng.normal(0, 0.1, embedding).astype(np.float32)
    norm("features", embedding)
    state["features.weight"] = np.ones(embedding, np.float32)
    return state


def from_state(state: dict[str, np.ndarray]) -> onnx_source.Converted:
    """What a state dict is converted to."""
    return onnx_source.to_keras(torch.to_graph(state), ARCFACE)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How an exporter writes the same network."""

    opset: int = 11
    folded: bool = True
    input_name: str = "input.1"
    input_shape: tuple[int | str | None, ...] = ("None", 3, SIDE, SIDE)
    named_nodes: bool = True
    numeric_names: bool = True
    flatten: str = "Flatten"  # Flatten, Reshape, or Shape: a shape computed in the graph
    fc: str = "Gemm"  # Gemm, MatMul, or folded: batch normalisation folded into Gemm
    shared_by_identity: bool = False
    slopes: str = "C11"  # C11 or C
    half: bool = False
    noise: bool = False  # Cast, CastLike, Dropout, constant nodes
    mxnet: bool = False
    epsilon: float = 1e-5


DIALECTS = {
    "torch 1.9, 2021": Dialect(),
    "torch 1.9, input data, opset 9": Dialect(opset=9, input_name="data", input_shape=(1, 3, SIDE, SIDE)),
    "torch 2 script, shared by Identity": Dialect(opset=13, shared_by_identity=True, numeric_names=False),
    "torch 2 dynamo": Dialect(opset=20, input_name="x", numeric_names=False, flatten="Reshape", fc="folded"),
    "torch 2 dynamo, unfolded": Dialect(
        opset=18, folded=False, numeric_names=False, flatten="Shape", noise=True, input_shape=("batch", 3, SIDE, SIDE)
    ),
    "MatMul and Add, no node names": Dialect(opset=17, named_nodes=False, fc="MatMul", flatten="Shape"),
    "slopes of shape (C,)": Dialect(opset=12, slopes="C"),
    "fully symbolic input, opset 21": Dialect(opset=21, input_shape=("n", 3, "h", "w")),
}


class _Writer:
    """Collects nodes and initialisers, naming them as the dialect does."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.seen: dict[bytes, str] = {}
        self.count = 100

    def name(self, hint: str) -> str:
        self.count += 1
        return str(self.count) if self.dialect.numeric_names else f"/{hint}/output.{self.count}"

    def add(self, op: str, inputs: list[str], hint: str = "", **attributes: Any) -> str:
        output = self.name(hint or op)
        name = f"{op}_{self.count}" if self.dialect.named_nodes else ""
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def weight(self, array: np.ndarray, hint: str) -> str:
        name = self.name(hint)
        if self.dialect.shared_by_identity:
            key = array.tobytes() + str(array.shape).encode()
            if key in self.seen:
                return self.add("Identity", [self.seen[key]])
            self.seen[key] = name
        if self.dialect.half and array.dtype == np.float32:
            self.weights[name] = array.astype(np.float16)
            return self.add("Cast", [name], to=TensorProto.FLOAT)
        self.weights[name] = array
        return name


def make_onnx(state: dict[str, np.ndarray], dialect: Dialect = Dialect()) -> onnx.ModelProto:
    """Writes the network of a state dict as an exporter would."""
    writer = _Writer(dialect)
    input_name = dialect.input_name
    x = input_name
    if dialect.mxnet:
        x = writer.add("Sub", [x, writer.weight(np.float32([127.5]), "minus")])
        x = writer.add("Mul", [x, writer.weight(np.float32([1 / 127.5]), "scale")])
    x = _conv_norm(writer, state, x, "conv1", "bn1", 1)
    x = _prelu(writer, state, x, "prelu")
    modules = sorted({tuple(map(int, key[5:].split(".")[:2])) for key in state if key.startswith("layer")})
    for stage, block in modules:
        name, stride = f"layer{stage}.{block}", 2 if block == 0 else 1
        y = _norm(writer, state, x, f"{name}.bn1")
        y = _prelu(writer, state, _conv_norm(writer, state, y, f"{name}.conv1", f"{name}.bn2", 1), f"{name}.prelu")
        y = _conv_norm(writer, state, y, f"{name}.conv2", f"{name}.bn3", stride)
        if block == 0:
            x = _conv_norm(writer, state, x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        x = writer.add("Add", [y, x], name)
    x = _head(writer, state, _norm(writer, state, x, "bn2"))
    if dialect.noise:
        x = writer.add("Identity", [x])
    graph = helper.make_graph(
        writer.nodes,
        "torch_jit",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, list(dialect.input_shape))],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, len(state["fc.bias"])])],
        [numpy_helper.from_array(array, name) for name, array in writer.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", dialect.opset)], producer_name="pytorch")
    model.ir_version = 8
    return model


def _norm(writer: _Writer, state: dict[str, np.ndarray], x: str, name: str) -> str:
    weights = [writer.weight(state[f"{name}.{field}"], f"{name}.{field}") for field in STATISTICS]
    return writer.add("BatchNormalization", [x, *weights], name, epsilon=writer.dialect.epsilon, momentum=0.9)


def _conv_norm(writer: _Writer, state: dict[str, np.ndarray], x: str, conv: str, norm: str, stride: int) -> str:
    kernel = state[f"{conv}.weight"]
    size = kernel.shape[2]
    attributes: dict[str, Any] = {
        "kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4, "dilations": [1, 1], "group": 1
    }  # fmt: skip
    if not writer.dialect.folded:
        x = writer.add("Conv", [x, writer.weight(kernel, conv)], conv, **attributes)
        if writer.dialect.noise:
            x = writer.add("CastLike", [x, writer.weight(np.float32(0), "like")])
        return _norm(writer, state, x, norm)
    scale, bias = _affine(state, norm, writer.dialect.epsilon)
    folded = (kernel * scale[:, None, None, None]).astype(np.float32)
    names = [writer.weight(folded, conv), writer.weight(bias.astype(np.float32), conv)]
    return writer.add("Conv", [x, *names], conv, **attributes)


def _affine(state: dict[str, np.ndarray], norm: str, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, variance = (state[f"{norm}.{field}"].astype(np.float64) for field in STATISTICS)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _prelu(writer: _Writer, state: dict[str, np.ndarray], x: str, name: str) -> str:
    slopes = state[f"{name}.weight"]
    shaped = slopes if writer.dialect.slopes == "C" else slopes.reshape(-1, 1, 1)
    return writer.add("PRelu", [x, writer.weight(shaped, name)], name)


def _head(writer: _Writer, state: dict[str, np.ndarray], x: str) -> str:
    dialect = writer.dialect
    weight, bias = state["fc.weight"], state["fc.bias"]
    if dialect.noise or dialect.mxnet:
        x = writer.add("Dropout", [x])
    if dialect.flatten == "Flatten":
        x = writer.add("Flatten", [x], axis=1)
    elif dialect.flatten == "Reshape":
        x = writer.add("Reshape", [x, writer.weight(np.array([-1, weight.shape[1]]), "shape")])
    else:
        batch = writer.add("Gather", [writer.add("Shape", [x]), writer.weight(np.array(0), "zero")], axis=0)
        axes = {"inputs": [batch, writer.weight(np.array([0]), "axes")]}
        batch = writer.add("Unsqueeze", **axes) if dialect.opset >= 13 else writer.add("Unsqueeze", [batch], axes=[0])
        shape = writer.add("Concat", [batch, writer.weight(np.array([-1]), "rest")], axis=0)
        x = writer.add("Reshape", [x, shape])
    if dialect.fc == "MatMul":
        x = writer.add("MatMul", [x, writer.weight(np.ascontiguousarray(weight.T), "fc")])
        x = writer.add("Add", [x, writer.weight(bias, "fc")])
    elif dialect.fc == "folded":
        scale, offset = _affine(state, "features", dialect.epsilon)
        names = [(weight * scale[:, None]).astype(np.float32), (bias * scale + offset).astype(np.float32)]
        return writer.add("Gemm", [x, *(writer.weight(array, "fc") for array in names)], transB=1)
    else:
        x = writer.add("Gemm", [x, writer.weight(weight, "fc.weight"), writer.weight(bias, "fc.bias")], transB=1)
    return _norm(writer, state, x, "features")


_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage", "float64": "DoubleStorage"}


class _Global:
    """A function or class of PyTorch, which a pickle only names."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__, self.__name__ = module, name, name

    def __call__(self, *_: Any) -> None:  # pickle asks for something callable
        raise AssertionError


class _TorchPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes arrays as `torch.save` writes tensors: a call of _rebuild_tensor_v2 on a reference to a storage."""

    def __init__(self, file: io.BytesIO, storages: dict[str, np.ndarray], legacy: bool) -> None:
        super().__init__(file, protocol=2)
        self._storages, self._legacy = storages, legacy

    def persistent_id(self, item: object) -> object:
        if isinstance(item, _Storage):
            key = str(len(self._storages))
            self._storages[key] = item.array
            kind = _Global("torch", _STORAGES[item.array.dtype.name])
            identifier: tuple[object, ...] = ("storage", kind, key, "cpu", item.array.size)
            return (*identifier, None) if self._legacy else identifier
        return None

    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__name__}\n".encode())
        elif isinstance(obj, np.ndarray):
            strides = tuple(stride // obj.itemsize for stride in obj.strides)
            function = _Global("torch._utils", "_rebuild_tensor_v2")
            arguments = (
                _Storage(obj if obj.flags.c_contiguous else obj.T),
                0,
                obj.shape,
                strides,
                False,
                collections.OrderedDict(),
            )
            self.save_reduce(function, arguments, obj=obj)
        else:
            super().save(obj, save_persistent_id)


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    array: np.ndarray


def save_torch_zip(path: Path, state: Any, name: str = "archive") -> None:
    """Writes what `torch.save` of PyTorch 1.6 and later writes."""
    storages: dict[str, np.ndarray] = {}
    content = io.BytesIO()
    _TorchPickler(content, storages, legacy=False).dump(state)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{name}/data.pkl", content.getvalue())
        archive.writestr(f"{name}/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"{name}/data/{key}", array.tobytes())
        archive.writestr(f"{name}/version", "3\n")


def save_torch_legacy(path: Path, state: Any) -> None:
    """Writes what `torch.save` wrote before PyTorch 1.6."""
    storages: dict[str, np.ndarray] = {}
    content = io.BytesIO()
    for header in (0x1950A86A20F9469CFC6C, 1001):
        pickle.dump(header, content, protocol=2)
    sizes = {"short": 2, "int": 4, "long": 4}
    pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}, content, protocol=2)
    _TorchPickler(content, storages, legacy=True).dump(state)
    pickle.dump(list(storages), content, protocol=2)
    for array in storages.values():
        content.write(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(content.getvalue())
