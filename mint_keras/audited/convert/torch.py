"""State dicts of arcface_torch's networks as ONNX graphs: IResNet, MobileFaceNet and vision transformers.

A state dict has weights and no network: which one they are of is read off the keys, and what it computes is written
down here, from insightface `recognition/arcface_torch/backbones/{iresnet,mobilefacenet,vit}.py`.
"""

import dataclasses
import math
import re
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mint_keras.audited import iresnet
from mint_keras.audited.convert.graph import Graph, parse
from mint_keras.records import InputError

_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_OPSET = 17  # the first with LayerNormalization
_SIDE = 112  # pixels, of what patches do not tell
_HEADS = 8  # of every transformer of arcface_torch
IRESNET, MOBILEFACENET, TRANSFORMER = "IResNet", "MobileFaceNet", "vision transformer"
HEADS = f"weights do not say how many heads a transformer has: read as {_HEADS}, as all of arcface_torch have"
State = dict[str, np.ndarray]


def to_graph(state: State) -> Graph:
    """Returns the network of a state dict, every tensor with its module's name.

    Raises:
        InputError: The keys are of none of arcface_torch's networks, or not exactly those of one.
    """
    graph = parse(to_onnx(state), "a state dict")
    return dataclasses.replace(graph, notes=(HEADS,)) if about(state) == TRANSFORMER else graph


def to_onnx(state: State) -> onnx.ModelProto:
    """Writes the network of a state dict as an ONNX graph with nothing folded; see `to_graph`."""
    writer = _Writer(state)
    write = {TRANSFORMER: _transformer, MOBILEFACENET: _mobilefacenet, IRESNET: _iresnet}[about(state)]
    return writer.model(*write(writer))


def about(state: State) -> str:
    """Names the network that the keys of a state dict are of."""
    if {"patch_embed.proj.weight", "pos_embed", "feature.0.weight"} <= set(state):
        return TRANSFORMER
    return MOBILEFACENET if "conv_sep.layers.0.weight" in state else IRESNET


def infer_spec(state: State) -> tuple[iresnet.IResNetSpec, int]:
    """Reads depth, widths, embedding size and image size off a state dict; InputError if it is of no IResNet."""
    blocks: dict[int, int] = {}
    for key in state:
        if match := re.match(r"layer(\d+)\.(\d+)\.", key):
            blocks[int(match[1])] = max(blocks.get(int(match[1]), 0), int(match[2]) + 1)
    stages = sorted(blocks)
    needed = ["conv1.weight", "prelu.weight", "fc.weight", *(f"layer{stage}.0.conv1.weight" for stage in stages)]
    missing = [key for key in needed if key not in state]
    if missing or stages != list(range(1, len(stages) + 1)) or not stages:
        raise InputError(
            "Expected the keys of an IResNet, MobileFaceNet or vision transformer of arcface_torch, received none of "
            f"{missing or ['layer1.0.']}. What other networks compute, weights alone do not say: where the code is, "
            'torch.onnx.export(model.eval(), torch.zeros(1, 3, 112, 112), "model.onnx", opset_version=17).'
        )
    widths = tuple(int(state[f"layer{stage}.0.conv1.weight"].shape[0]) for stage in stages)
    embedding_size, num_features = state["fc.weight"].shape if state["fc.weight"].ndim == 2 else (0, 0)
    side = math.isqrt(num_features // widths[-1])
    if not num_features or side * side * widths[-1] != num_features:
        raise InputError(f"Expected fc.weight of [embedding, {widths[-1]} x side x side], received {num_features}.")
    spec = iresnet.IResNetSpec(tuple(blocks[stage] for stage in stages), widths, int(embedding_size))
    return spec, side * 2 ** len(stages)


class _Writer:
    """Writes modules of PyTorch as nodes; what a module gives has its name."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._norms: set[str] = set()
        self._missing: list[str] = []
        self._used: set[str] = set()

    def weight(self, key: str, rank: int) -> np.ndarray:
        """Returns a weight of some axes, and notes that it was used, or is missing."""
        self._used.add(key)
        if key not in self.state:
            self._missing.append(key)
            return np.ones((1,) * rank, np.float32)
        if self.state[key].ndim != rank:
            raise InputError(f"Expected {key} of {rank} axes, received shapes {self.state[key].shape}.")
        return self.state[key]

    def constant(self, name: str, array: np.ndarray) -> str:
        self._arrays[name] = array
        return name

    def add(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def norm(self, x: str, name: str, epsilon: float = 1e-5) -> str:
        self._norms.add(name)
        arrays = [self.weight(f"{name}.{field}", 1) for field in _STATISTICS]
        if len({array.shape for array in arrays}) > 1 and not self._missing:
            raise InputError(f"Expected {name} of equal shapes, received {[array.shape for array in arrays]}.")
        inputs = [self.constant(f"{name}.{field}", a) for field, a in zip(_STATISTICS, arrays, strict=True)]
        return self.add("BatchNormalization", name, [x, *inputs], epsilon=epsilon)

    def layer_norm(self, x: str, name: str) -> str:
        inputs = [self.constant(f"{name}.{field}", self.weight(f"{name}.{field}", 1)) for field in ("weight", "bias")]
        return self.add("LayerNormalization", name, [x, *inputs], axis=-1, epsilon=1e-5)

    def conv(self, x: str, name: str, stride: int, channels: int, pad: int | None = None) -> str:
        """Writes a convolution of a map of some channels, padded to keep its size by default; patches have a bias."""
        kernel = self.weight(f"{name}.weight", 4)
        inputs = [x, self.constant(f"{name}.weight", kernel)]
        if name.startswith("patch"):
            inputs.append(self.constant(f"{name}.bias", self.weight(f"{name}.bias", 1)))
        size, pads = list(kernel.shape[2:]), [kernel.shape[2] // 2 if pad is None else pad] * 4
        group = channels // kernel.shape[1]
        return self.add("Conv", name, inputs, kernel_shape=size, strides=[stride] * 2, pads=pads, group=group)

    def prelu(self, x: str, name: str) -> str:
        slopes = self.weight(f"{name}.weight", 1)  # of shape (C,) they would lie along the width
        return self.add("PRelu", name, [x, self.constant(f"{name}.weight", slopes.reshape(-1, 1, 1))])

    def linear(self, x: str, name: str, biased: bool = True, rows: slice = slice(None), as_name: str = "") -> str:
        """Writes a linear layer, or some rows of one under a name of its own."""
        given = as_name or name
        kernel = self.weight(f"{name}.weight", 2)[rows]
        product = f"{given}.product" if biased else given
        product = self.add("MatMul", product, [x, self.constant(f"{given}.weight", kernel.T)])
        if not biased:
            return product
        bias = self.weight(f"{name}.bias", 1)[rows]
        return self.add("Add", given, [product, self.constant(f"{given}.bias", bias)])

    def reshape(self, x: str, name: str, shape: list[int]) -> str:
        return self.add("Reshape", name, [x, self.constant(f"{name}.shape", np.array(shape, np.int64))])

    def model(self, side: int, outcome: str) -> onnx.ModelProto:
        """Returns the graph from images of a side to the outcome, if the keys are exactly those of the network."""
        counters = {f"{name}.{_COUNTER}" for name in self._norms}  # not every exporter keeps these
        extra = sorted(set(self.state) - self._used - counters)
        if self._missing or extra:
            missing = sorted(self._missing)
            found = f"{len(missing)} missing {missing[:3]} and {len(extra)} extra {extra[:3]}"
            raise InputError(f"Expected the {len(self._used)} keys of this {about(self.state)}, received {found}.")
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
        given = helper.make_tensor_value_info(outcome, TensorProto.FLOAT, ["batch", None])
        arrays = [numpy_helper.from_array(np.asarray(a, order="C"), name) for name, a in self._arrays.items()]
        graph = helper.make_graph(self._nodes, about(self.state), [image], [given], arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _iresnet(w: _Writer) -> tuple[int, str]:
    spec, side = infer_spec(w.state)
    channels = spec.widths[0]
    x = w.prelu(w.norm(w.conv("image", "conv1", 1, 3), "bn1"), "prelu")
    for stage, (num_blocks, width) in enumerate(zip(spec.blocks, spec.widths, strict=True), start=1):
        for block in range(num_blocks):
            module, stride = f"layer{stage}.{block}", 2 if block == 0 else 1
            y = w.conv(w.norm(x, f"{module}.bn1"), f"{module}.conv1", 1, channels)
            y = w.prelu(w.norm(y, f"{module}.bn2"), f"{module}.prelu")
            y = w.norm(w.conv(y, f"{module}.conv2", stride, width), f"{module}.bn3")
            if block == 0:
                shortcut = w.conv(x, f"{module}.downsample.0", stride, channels)
                x = w.norm(shortcut, f"{module}.downsample.1")
            x, channels = w.add("Add", module, [y, x]), width
    x = w.add("Flatten", "flatten", [w.norm(x, "bn2")])
    return side, w.norm(w.linear(x, "fc"), "features")


def _mobilefacenet(w: _Writer) -> tuple[int, str]:
    channels = 3

    def linear(x: str, name: str, stride: int = 1, pad: int | None = None) -> str:
        nonlocal channels
        x = w.norm(w.conv(x, f"{name}.layers.0", stride, channels, pad), f"{name}.layers.1")
        channels = w.weight(f"{name}.layers.0.weight", 4).shape[0]
        return x

    def block(x: str, name: str, stride: int = 1) -> str:
        return w.prelu(linear(x, name, stride), f"{name}.layers.2")

    def bottleneck(x: str, name: str, stride: int) -> str:
        return linear(block(block(x, f"{name}.layers.0"), f"{name}.layers.1", stride), f"{name}.layers.2")

    x = block("image", "layers.0", stride=2)
    for part in range(1, 8):
        name, inner = f"layers.{part}", 0
        if part % 2 == 0:
            x = bottleneck(x, name, stride=2)
        elif part == 1 and f"{name}.layers.0.weight" in w.state:
            x = block(x, name)
        else:
            while inner == 0 or any(key.startswith(f"{name}.layers.{inner}.") for key in w.state):
                y = bottleneck(x, f"{name}.layers.{inner}", stride=1)
                x, inner = w.add("Add", f"{name}.layers.{inner}", [x, y]), inner + 1
    last = w.weight("features.layers.0.layers.0.weight", 4).shape[2]  # as large as the last map
    x = linear(block(x, "conv_sep"), "features.layers.0", pad=0)
    x = w.linear(w.add("Flatten", "features.layers.1", [x]), "features.layers.2", biased=False)
    return last * 16, w.norm(x, "features.layers.3")


def _transformer(w: _Writer) -> tuple[int, str]:
    kernel, place = w.weight("patch_embed.proj.weight", 4), w.weight("pos_embed", 3)
    width, patch = int(kernel.shape[0]), int(kernel.shape[2])
    tokens = int(place.shape[1])
    across, size = math.isqrt(tokens), width // _HEADS
    if across * across != tokens or width % _HEADS or place.shape[2] != width:
        raise InputError(f"Expected pos_embed of [1, side x side, {width}], received shapes {place.shape}.")
    if "mask_token" in w.state:  # of training alone
        w.weight("mask_token", 3)
    x = w.conv("image", "patch_embed.proj", patch, 3, pad=0)
    x = w.add("Transpose", "patch_embed", [w.reshape(x, "patches", [0, width, tokens])], perm=[0, 2, 1])
    x = w.add("Add", "pos_drop", [x, w.constant("pos_embed", place)])

    def heads(x: str, name: str, perm: list[int]) -> str:
        return w.add(
            "Transpose", f"{name}.heads", [w.reshape(x, f"{name}.split", [0, tokens, _HEADS, size])], perm=perm
        )

    def attention(x: str, name: str) -> str:
        biased = f"{name}.qkv.bias" in w.state
        rows = {c: slice(i * width, (i + 1) * width) for i, c in enumerate("qkv")}
        thirds = [w.linear(x, f"{name}.qkv", biased, part, f"{name}.{c}") for c, part in rows.items()]
        q, k, v = (heads(x, x, [0, 2, 3, 1] if x.endswith("k") else [0, 2, 1, 3]) for x in thirds)
        scale = w.constant(f"{name}.scale", np.array(size**-0.5, np.float32))
        weights = w.add("Mul", f"{name}.scaled", [w.add("MatMul", f"{name}.products", [q, k]), scale])
        weights = w.add("Softmax", f"{name}.softmax", [weights], axis=-1)
        x = w.add("Transpose", f"{name}.joined", [w.add("MatMul", f"{name}.mixed", [weights, v])], perm=[0, 2, 1, 3])
        return w.linear(w.reshape(x, f"{name}.tokens", [0, tokens, width]), f"{name}.proj")

    ends = [w.constant(end, np.array(value, np.float32)) for end, value in (("lowest", 0), ("highest", 6))]
    depth = len({key.split(".")[1] for key in w.state if key.startswith("blocks.")})
    for name in (f"blocks.{i}" for i in range(depth)):
        x = w.add("Add", f"{name}.attended", [x, attention(w.layer_norm(x, f"{name}.norm1"), f"{name}.attn")])
        y = w.add("Clip", f"{name}.mlp.act", [w.linear(w.layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"), *ends])
        x = w.add("Add", name, [x, w.linear(y, f"{name}.mlp.fc2")])
    x = w.reshape(w.layer_norm(x, "norm"), "flat", [0, tokens * width])
    x = w.norm(w.linear(x, "feature.0", biased=False), "feature.1", 2e-5)
    side = _SIDE if _SIDE // patch == across else across * patch
    return side, w.norm(w.linear(x, "feature.2", biased=False), "feature.3", 2e-5)
