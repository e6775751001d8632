"""State dict of arcface_torch's IResNet to Keras, and to the ONNX graph that checks the mapping.

The two are written independently of each other, from the same source, so that an error in one shows against the other:
insightface `recognition/arcface_torch/backbones/iresnet.py`.
"""

import math
import re
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mint_keras.audited import iresnet
from mint_keras.audited.cards import ARCFACE
from mint_keras.audited.convert import blocks, naming
from mint_keras.audited.convert.graph import Graph, parse
from mint_keras.audited.convert.onnx import Converted
from mint_keras.audited.convert.pixels import Contract
from mint_keras.audited.convert.values import MAP_ORDER, Value, rows_as_flattened
from mint_keras.records import InputError

_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_OPSET = 13


def infer_spec(state: dict[str, np.ndarray]) -> tuple[iresnet.IResNetSpec, int]:
    """Reads depth, widths, embedding size and image size off a state dict; InputError if it is of no IResNet."""
    blocks: dict[int, int] = {}
    for key in state:
        if match := re.match(r"layer(\d+)\.(\d+)\.", key):
            blocks[int(match[1])] = max(blocks.get(int(match[1]), 0), int(match[2]) + 1)
    stages = sorted(blocks)
    needed = ["conv1.weight", "fc.weight", *(f"layer{stage}.0.conv1.weight" for stage in stages)]
    missing = [key for key in needed if key not in state]
    if missing or stages != list(range(1, len(stages) + 1)) or not stages:
        raise InputError(
            f"Expected the keys of an arcface_torch IResNet, received none of {missing or ['layer1.0.']}. What other "
            "networks compute, weights alone do not say: where the code is, torch.onnx.export(model.eval(), "
            'torch.zeros(1, 3, 112, 112), "model.onnx", opset_version=17).'
        )
    widths = tuple(int(state[f"layer{stage}.0.conv1.weight"].shape[0]) for stage in stages)
    embedding_size, num_features = state["fc.weight"].shape if state["fc.weight"].ndim == 2 else (0, 0)
    side = math.isqrt(num_features // widths[-1])
    if not num_features or side * side * widths[-1] != num_features:
        raise InputError(f"Expected fc.weight of [embedding, {widths[-1]} x side x side], received {num_features}.")
    spec = iresnet.IResNetSpec(tuple(blocks[stage] for stage in stages), widths, int(embedding_size))
    return spec, side * 2 ** len(stages)


def to_keras(state: dict[str, np.ndarray], model_name: str = "audited") -> Converted:
    """Builds the IResNet of a state dict, of exactly its keys and shapes, and sets its weights."""
    spec, image_size = infer_spec(state)
    model = iresnet.iresnet(spec, image_size, name=model_name)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    counters = {f"{torch_name(norm.name)}.{_COUNTER}" for norm in norms}  # not every exporter keeps these
    trained = [(layer, _fields(layer)) for layer in model.layers if layer.weights]
    received, expected = set(state) - counters, {key for _, keys in trained for key in keys}
    missing, extra = sorted(expected - received), sorted(received - expected)
    if missing or extra:
        found = f"{len(missing)} missing {missing[:3]} and {len(extra)} extra {extra[:3]}"
        raise InputError(f"Expected the {len(expected)} keys of this IResNet, received {found}.")
    for layer, keys in trained:
        arrays = [state[key] for key in keys]
        if isinstance(layer, keras.layers.Conv2D) and arrays[0].ndim == 4:
            arrays = [arrays[0].transpose(2, 3, 1, 0)]
        elif isinstance(layer, keras.layers.Dense):
            arrays = [rows_as_flattened(arrays[0].T, model.get_layer("head_bn").output.shape[1:]), arrays[1]]
        elif isinstance(layer, keras.layers.PReLU):
            arrays = [arrays[0].reshape(1, 1, -1)]
        given, shapes = [array.shape for array in arrays], [tuple(weight.shape) for weight in layer.weights]
        if given != shapes:
            raise InputError(f"Expected {torch_name(layer.name)} of shapes {shapes}, received {given}.")
        layer.set_weights(arrays)
    # The layers are found by the tensors of the checking graph, which carry the modules' names.
    graph = topology(state)
    names = naming.iresnet_names(graph)
    if names is None:
        raise InputError("Expected an IResNet, received a state dict whose graph is none.")
    places = {tensor: name for tensor, name in names.items() if name != "flatten"}  # torch's order is another there
    tensors, sizes = {}, {}
    for tensor, name in places.items():
        output = model.get_layer(name).output
        tensors[tensor] = Value(output, MAP_ORDER if len(output.shape) == 4 else (0, 1))
        if len(output.shape) == 4:
            sizes[tensor] = (int(output.shape[1]), int(output.shape[2]))
    outputs = {"outcome": "features"}
    return Converted(
        model=model,
        tensors=tensors,
        layers=places,
        nodes={tensor: tensor for tensor in tensors},
        outputs=outputs,
        taps={**blocks.find_taps(graph, sizes), **outputs},
        is_iresnet=True,
        contract=Contract(ARCFACE, (image_size, image_size)),
    )


def _fields(layer: keras.layers.Layer) -> list[str]:
    """Returns the keys of a layer's weights in a state dict."""
    fields: tuple[str, ...] = ("weight", "bias") if isinstance(layer, keras.layers.Dense) else ("weight",)
    fields = _STATISTICS if isinstance(layer, keras.layers.BatchNormalization) else fields
    return [f"{torch_name(layer.name)}.{field}" for field in fields]


def torch_name(layer: str) -> str:
    """Returns arcface_torch's name of a layer of `audited.iresnet`."""
    whole = {"stem": "conv1", "stem_bn": "bn1", "stem_prelu": "prelu", "head_bn": "bn2"}
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", layer)
    if not match:
        return whole.get(layer, layer)
    inner = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"}.get(match[3], match[3])
    return f"layer{match[1]}.{int(match[2]) - 1}.{inner}"


def to_onnx(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Writes the network of a state dict as an ONNX graph with nothing folded; every tensor has its module's name."""
    weights = {key: array for key, array in state.items() if not key.endswith(_COUNTER)}
    return _model(weights, *infer_spec(state))


def topology(state: dict[str, np.ndarray]) -> Graph:
    """Returns the simplified graph of `to_onnx`; of large weights only the first channels are there."""
    spec, image_size = infer_spec(state)
    weights = {key: array[:1, :1] if array.ndim > 1 else array for key, array in state.items()}
    return parse(_model(weights, spec, image_size))


def _model(weights: dict[str, np.ndarray], spec: iresnet.IResNetSpec, image_size: int) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []

    def add(op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def norm(x: str, name: str) -> str:
        return add("BatchNormalization", name, [x, *(f"{name}.{field}" for field in _STATISTICS)], epsilon=1e-5)

    def conv(x: str, name: str, size: int, stride: int) -> str:
        pads = [size // 2] * 4
        return add("Conv", name, [x, f"{name}.weight"], kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads)

    x = norm(conv("image", "conv1", 3, 1), "bn1")
    x = add("PRelu", "prelu", [x, "prelu.weight"])
    for stage, num_blocks in enumerate(spec.blocks, start=1):
        for block in range(num_blocks):
            module, stride = f"layer{stage}.{block}", 2 if block == 0 else 1
            y = conv(norm(x, f"{module}.bn1"), f"{module}.conv1", 3, 1)
            y = add("PRelu", f"{module}.prelu", [norm(y, f"{module}.bn2"), f"{module}.prelu.weight"])
            y = norm(conv(y, f"{module}.conv2", 3, stride), f"{module}.bn3")
            if block == 0:
                x = norm(conv(x, f"{module}.downsample.0", 1, stride), f"{module}.downsample.1")
            x = add("Add", module, [y, x])
    x = add("Flatten", "flatten", [norm(x, "bn2")])
    norm(add("Gemm", "fc", [x, "fc.weight", "fc.bias"], transB=1), "features")
    # Slopes of shape (C,) would lie along the width.
    shaped = {key: array.reshape(-1, 1, 1) if "prelu" in key else array for key, array in weights.items()}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, image_size, image_size])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", spec.embedding_size])
    arrays = [numpy_helper.from_array(array, key) for key, array in shaped.items()]
    graph = helper.make_graph(nodes, "iresnet", [image], [features], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
