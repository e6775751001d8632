"""Every operator against ONNX Runtime, one small graph each; what is not supported says so and names itself."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mint_keras.audited import parity
from mint_keras.audited.cards import ARCFACE
from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert.onnx import Converted
from mint_keras.audited.convert.operators import OPERATORS
from mint_keras.records import InputError

pytestmark = pytest.mark.usefixtures("untraced")

SIZE = 12
Weights = dict[str, np.ndarray]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, [name if name != "-" else "" for name in inputs.split()], output.split(), **attributes)


def model(
    nodes: list[onnx.NodeProto], initialisers: Weights, opset: int = 13, batch: str | int = "n"
) -> onnx.ModelProto:
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initialisers.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def convert(made: onnx.ModelProto) -> Converted:
    return onnx_source.to_keras(graphs.parse(made), ARCFACE)


def check(made: onnx.ModelProto, batch_sizes: tuple[int, ...] = (1, 3)) -> Converted:
    converted = convert(made)
    noise = np.random.default_rng(1).uniform(0, 255, (3, SIZE, SIZE, 3)).astype(np.float32)
    noise = noise[:1] if batch_sizes == (1,) else noise
    oracle = parity.Oracle(lambda: made)
    parity.check(converted, {"outcome": made.graph.output[0].name}, oracle, {"noise": noise}, batch_sizes)
    return converted


CONV = [node("Conv", "x w b", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]
CONV_WEIGHTS = {"w": weights(8, 3, 3, 3), "b": weights(8)}
ONE = np.float32(1)
# name: (nodes behind a convolution of 8 channels at 12x12, weights, opset)
CASES: dict[str, tuple[list[onnx.NodeProto], Weights, int]] = {
    "strided conv": (
        [node("Conv", "c k", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])], {"k": weights(4, 8, 3, 3)}, 11
    ),
    "oblong conv, one-sided pads": (
        [node("Conv", "c k", "y", kernel_shape=[3, 1], pads=[0, 1, 2, 0], strides=[2, 1])], {"k": weights(4, 8, 3, 1)}, 11
    ),
    "dilated conv": ([node("Conv", "c k", "y", dilations=[2, 2], pads=[2, 2, 2, 2])], {"k": weights(4, 8, 3, 3)}, 11),
    "grouped conv": ([node("Conv", "c k b", "y", group=2)], {"k": weights(8, 4, 3, 3), "b": weights(8)}, 11),
    "depthwise conv": (
        [node("Conv", "c k b", "y", group=8, pads=[1, 1, 1, 1], strides=[2, 2])],
        {"k": weights(8, 1, 3, 3), "b": weights(8)},
        11,
    ),
    "depthwise conv, multiplier 2": ([node("Conv", "c k", "y", group=8)], {"k": weights(16, 1, 3, 3)}, 11),
    "conv, SAME_UPPER": ([node("Conv", "c k", "y", auto_pad="SAME_UPPER", strides=[2, 2])], {"k": weights(4, 8, 3, 3)}, 11),
    "conv, SAME_LOWER": ([node("Conv", "c k", "y", auto_pad="SAME_LOWER", strides=[2, 2])], {"k": weights(4, 8, 3, 3)}, 11),
    "batch normalisation": (
        [node("BatchNormalization", "c g h m v", "y", epsilon=1e-3)],
        {"g": weights(8), "h": weights(8) + 1, "m": weights(8) - 1, "v": np.abs(weights(8)) + 0.01},
        14,
    ),
    "prelu, slopes (C,1,1)": ([node("PRelu", "c s", "y")], {"s": weights(8, 1, 1)}, 11),
    "prelu, slopes (C,)": ([node("PRelu", "c s", "y")], {"s": weights(8)}, 11),
    "prelu, slopes (1,C,1,1)": ([node("PRelu", "c s", "y")], {"s": weights(1, 8, 1, 1)}, 11),
    "prelu, one slope": ([node("PRelu", "c s", "y")], {"s": np.float32([0.3])}, 11),
    "relu": ([node("Relu", "c", "y")], {}, 11),
    "leaky relu": ([node("LeakyRelu", "c", "y", alpha=0.2)], {}, 11),
    "clip to 0..6 by inputs": ([node("Clip", "c lo hi", "y")], {"lo": np.float32(0), "hi": np.float32(6)}, 11),
    "clip to -1..1 by attributes": ([node("Clip", "c", "y", min=-1.0, max=1.0)], {}, 10),
    "clip from 0.5 only": ([node("Clip", "c lo", "y")], {"lo": np.float32(0.5)}, 12),
    "sigmoid": ([node("Sigmoid", "c", "y")], {}, 11),
    "tanh": ([node("Tanh", "c", "y")], {}, 11),
    "hard sigmoid": ([node("HardSigmoid", "c", "y", alpha=1 / 6, beta=0.5)], {}, 11),
    "hard swish": ([node("HardSwish", "c", "y")], {}, 14),
    "neg": ([node("Neg", "c", "y")], {}, 11),
    "times a number": ([node("Mul", "c f", "y")], {"f": np.float32(2.5)}, 11),
    "a number minus": ([node("Sub", "f c", "y")], {"f": np.float32([2.5])}, 11),
    "divided per channel": ([node("Div", "c f", "y")], {"f": np.abs(weights(1, 8, 1, 1)) + 1}, 11),
    "plus per channel": ([node("Add", "f c", "y")], {"f": weights(8, 1, 1)}, 11),
    "residual sum": ([node("Conv", "c k", "d"), node("Add", "d c", "y")], {"k": weights(8, 8, 1, 1)}, 11),
    "difference and product": (
        [node("Relu", "c", "r"), node("Sub", "r c", "d"), node("Mul", "d c", "y")], {}, 11
    ),
    "squeeze and excitation": (
        [
            node("GlobalAveragePool", "c", "g"), node("Conv", "g k", "h"), node("Relu", "h", "i"),
            node("Conv", "i l", "j"), node("Sigmoid", "j", "s"), node("Mul", "c s", "y"),
        ],
        {"k": weights(2, 8, 1, 1), "l": weights(8, 2, 1, 1)},
        11,
    ),
    "max pool": ([node("MaxPool", "c", "y", kernel_shape=[2, 2], strides=[2, 2])], {}, 11),
    "max pool 3x3/2, padded": ([node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)], {}, 11),
    "max pool, ceil": ([node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}, 11),
    "average pool, ceil": ([node("AveragePool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}, 11),
    "average pool, ceil, nothing over": (
        [node("AveragePool", "c", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1)], {}, 11
    ),
    "average pool, pads counted": (
        [node("AveragePool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)], {}, 11
    ),
    "average pool, pads not counted": ([node("AveragePool", "c", "y", kernel_shape=[3, 3], pads=[1] * 4)], {}, 11),
    "global max pool": ([node("GlobalMaxPool", "c", "y")], {}, 11),
    "mean over the map, axes dropped": ([node("ReduceMean", "c", "y", axes=[2, 3], keepdims=0)], {}, 13),
    "maximum over the map": ([node("ReduceMax", "c", "y", axes=[2, 3])], {}, 13),
    "mean over the map, axes input": ([node("ReduceMean", "c a", "y")], {"a": np.array([-1, -2])}, 18),
    "resize by scales": (
        [node("Resize", "c r s", "y", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 2, 2])},
        11,
    ),
    "resize by sizes": (
        [node("Resize", "c - - s", "y", mode="nearest")], {"s": np.array([1, 8, 24, 36])}, 13
    ),
    "upsample": ([node("Upsample", "c s", "y", mode="nearest")], {"s": np.float32([1, 1, 2, 3])}, 9),
    "upsample, opset 7": ([node("Upsample", "c", "y", scales=[1.0, 1.0, 3.0, 2.0])], {}, 7),
    "pad by attribute": ([node("Pad", "c", "y", pads=[0, 0, 1, 2, 0, 0, 3, 0])], {}, 9),
    "pad by input": ([node("Pad", "c p", "y")], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, 13),
    "concat of channels": ([node("Relu", "c", "r"), node("Concat", "c r", "y", axis=1)], {}, 11),
    "concat of rows": ([node("Relu", "c", "r"), node("Concat", "c r", "y", axis=2)], {}, 11),
    "flatten": ([node("Flatten", "c", "y")], {}, 11),
    "flatten, dense": ([node("Flatten", "c", "f"), node("Gemm", "f k", "y", transB=1)], {"k": weights(5, 1152)}, 11),
    "flatten, sigmoid, dense": (
        [node("Flatten", "c", "f"), node("Sigmoid", "f", "s"), node("Gemm", "s k", "y")], {"k": weights(1152, 5)}, 11
    ),
    "gemm with alpha and beta": (
        [node("Flatten", "c", "f"), node("Gemm", "f k z", "y", alpha=0.5, beta=2.0)],
        {"k": weights(1152, 5), "z": weights(5)},
        11,
    ),
    "matmul and add": (
        [node("Flatten", "c", "f"), node("MatMul", "f k", "m"), node("Add", "m z", "y")],
        {"k": weights(1152, 5), "z": weights(5)},
        13,
    ),
    "matmul read twice": (
        [node("Flatten", "c", "f"), node("MatMul", "f k", "m"), node("Add", "m z", "a"), node("Add", "a m", "y")],
        {"k": weights(1152, 5), "z": weights(5)},
        13,
    ),
    "detector head, batched": (
        [node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("Reshape", "t q", "r"), node("Sigmoid", "r", "y")],
        {"q": np.array([0, -1, 4])},
        11,
    ),
    "transposed twice": (
        [node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("Transpose", "t", "u", perm=[0, 3, 1, 2]), node("Relu", "u", "y")],
        {},
        11,
    ),
    "squeeze and unsqueeze": (
        [
            node("GlobalAveragePool", "c", "g"), node("Squeeze", "g", "s", axes=[2, 3]),
            node("Unsqueeze", "s", "u", axes=[2, 3]), node("Mul", "c u", "y"),
        ],
        {},
        11,
    ),
    "unsqueeze by input": (
        [
            node("GlobalAveragePool", "c", "g"), node("Squeeze", "g a", "s"), node("Unsqueeze", "s a", "u"),
            node("Add", "c u", "y"),
        ],
        {"a": np.array([2, 3])},
        13,
    ),
    "clip to 2 at most": ([node("Clip", "c - hi", "y")], {"hi": np.float32(2)}, 13),
    "clip to nothing": ([node("Clip", "c", "y")], {}, 13),
    "a number per place": ([node("Add", "c k", "y")], {"k": weights(8, 12, 12)}, 13),
    "a number per row": ([node("Mul", "c k", "y")], {"k": weights(12, 1)}, 13),
    "a number per place with one per channel": (
        [node("ReduceMean", "c", "m", axes=[1]), node("Mul", "m k", "n"), node("Sub", "k m", "o"), node("Add", "n o", "y")],
        {"k": weights(8, 1, 1)},
        13,
    ),
    "maximum and minimum with numbers": (
        [node("Max", "c k", "m"), node("Min", "k m", "n"), node("Max", "m n", "y")], {"k": weights(8, 1, 1)}, 13
    ),
    "quotients, powers, roots": (
        [
            node("Abs", "c", "a"), node("Add", "a one", "g"), node("Sqrt", "g", "r"), node("Div", "c r", "d"),
            node("Reciprocal", "g", "i"), node("Pow", "i two", "p"), node("Div", "one g", "q"), node("Exp", "q", "e"),
            node("Sum", "d p", "s"), node("Min", "s e", "y"),
        ],
        {"one": ONE, "two": np.float32(2)},
        13,
    ),
    "activations": (
        [node("Elu", "c", "a", alpha=0.5), node("Softplus", "a", "g"), node("Mish", "g", "d"), node("Erf", "d", "y")], {}, 18
    ),
    "gelu by erf": (
        [
            node("Div", "c root", "d"), node("Erf", "d", "e"), node("Add", "e one", "f"), node("Mul", "c f", "g"),
            node("Mul", "g half", "h"), node("Mul", "c half", "i"), node("Div", "i root", "j"), node("Erf", "i", "k"),
            node("Add", "h k", "y"),
        ],
        {"root": np.float32(2**0.5), "one": ONE, "half": np.float32(0.5)},
        13,
    ),
    "gelu, both ways": ([node("Gelu", "c", "g"), node("Gelu", "g", "y", approximate="tanh")], {}, 20),
    "max pool, SAME_UPPER": ([node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {}, 13),
    "max pool, SAME_LOWER": ([node("MaxPool", "c", "y", kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_LOWER")], {}, 13),
    "max pool, uneven pads": ([node("MaxPool", "c", "y", kernel_shape=[3, 2], strides=[2, 3], pads=[0, 1, 1, 0])], {}, 13),
    "max pool, ceil and pads": (
        [node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1)], {}, 13
    ),
    "average pool, SAME_UPPER": (
        [node("AveragePool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {}, 13
    ),
    "average pool, uneven pads": (
        [node("AveragePool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 1])], {}, 13
    ),
    "average pool, ceil, pads counted": (
        [node("AveragePool", "c", "y", kernel_shape=[4, 4], strides=[3, 3], pads=[1] * 4, ceil_mode=1, count_include_pad=1)],
        {}, 19,
    ),
    "flatten from the last axis but two": ([node("Flatten", "c", "y", axis=-3)], {}, 13),
    "gemm, bias (1, n)": (
        [node("Flatten", "c", "f"), node("Gemm", "f k z", "y")], {"k": weights(1152, 5), "z": weights(1, 5)}, 11
    ),
    "prelu after a dense layer": (
        [node("Flatten", "c", "f"), node("Gemm", "f k", "g"), node("PRelu", "g s", "y")],
        {"k": weights(1152, 5), "s": weights(1, 5)}, 11,
    ),
    "prelu after a dense layer, slopes (C,)": (
        [node("Flatten", "c", "f"), node("Gemm", "f k", "g"), node("PRelu", "g s", "y")],
        {"k": weights(1152, 5), "s": weights(5)}, 11,
    ),
    "prelu, slopes (C,) on a map as wide": (
        [node("Conv", "c k", "d"), node("PRelu", "d s", "y")], {"k": weights(12, 8, 1, 1), "s": weights(12)}, 11
    ),
    "prelu, slopes of rows": ([node("PRelu", "c s", "y")], {"s": weights(12, 1)}, 11),
    "slices": (
        [node("Slice", "c a l i s", "d"), node("Slice", "d e f", "y")],
        {"a": np.array([7, 1]), "l": np.array([-100, 9]), "i": np.array([1, -1]), "s": np.array([-2, 3]),
         "e": np.array([0, 1]), "f": np.array([2**31 - 1, 3])}, 13,
    ),
    "slice by attributes": ([node("Slice", "c", "y", starts=[1], ends=[-1], axes=[2])], {}, 9),
    "red and blue exchanged": ([node("Gather", "x k", "g", axis=1), node("Conv", "g w b", "y")], {"k": np.array([2, 1, 0])}, 13),
    "gather of one": ([node("Gather", "c k", "y", axis=-1)], {"k": np.array(-2)}, 13),
    "split in equal parts": ([node("Split", "c", "p q", axis=1), node("Sub", "q p", "y")], {}, 13),
    "split by sizes": ([node("Split", "c s", "p q r", axis=3), node("Concat", "r p", "y", axis=2)], {"s": np.array([3, 6, 3])}, 13),
    "expand": (
        [node("ReduceMean", "c", "m", axes=[2]), node("Expand", "m s", "e"), node("Sub", "c e", "y")],
        {"s": np.array([1, 8, 12, 1])}, 13,
    ),
    "pad of channels": ([node("Pad", "c p", "y")], {"p": np.array([0, 4, 0, 0, 0, 4, 0, 0])}, 13),
    "pad by reflection, and cut": ([node("Pad", "c p", "y", mode="reflect")], {"p": np.array([0, 0, 2, -1, 0, 0, 1, 0])}, 13),
    "softmax over channels": ([node("Softmax", "c", "y", axis=1)], {}, 13),
    "softmax of vectors, opset 11": ([node("Flatten", "c", "f"), node("Softmax", "f", "y")], {}, 11),
    "unit length by ReduceL2": (
        [node("Flatten", "c", "f"), node("ReduceL2", "f", "n", axes=[1]), node("Div", "f n", "y")], {}, 11
    ),
    "unit length by LpNormalization": ([node("LpNormalization", "c", "y", axis=1)], {}, 11),
    "sums and extremes": (
        [
            node("ReduceSum", "c a", "s"), node("ReduceSumSquare", "c", "q", axes=[1]), node("ReduceMin", "q", "m", axes=[2, 3]),
            node("Add", "s m", "y"),
        ],
        {"a": np.array([1])}, 13,
    ),
    "layer normalisation of tokens": (
        [node("Reshape", "c q", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]), node("LayerNormalization", "t g h", "y")],
        {"q": np.array([0, 8, -1]), "g": weights(8), "h": weights(8) + 1}, 17,
    ),
    "layer normalisation in parts": (
        [
            node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("ReduceMean", "t", "m", axes=[-1]), node("Sub", "t m", "d"),
            node("Pow", "d two", "p"), node("ReduceMean", "p", "v", axes=[-1]), node("Add", "v e", "z"), node("Sqrt", "z", "s"),
            node("Div", "d s", "n"), node("Mul", "n g", "o"), node("Add", "o h", "y"),
        ],
        {"two": np.float32(2), "e": np.float32(1e-6), "g": weights(8), "h": weights(8)}, 13,
    ),
    "tokens and back": (
        [
            node("Reshape", "c q", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]), node("MatMul", "t k", "m"),
            node("Transpose", "m", "u", perm=[0, 2, 1]), node("Reshape", "u z", "v"), node("Relu", "v", "y"),
        ],
        {"q": np.array([0, 8, -1]), "k": weights(8, 6), "z": np.array([0, 6, 12, 12])}, 13,
    ),
    "a class token": (
        [
            node("Reshape", "c q", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]), node("Shape", "t", "s"),
            node("Gather", "s zero", "n"), node("Unsqueeze", "n zero1", "n1"), node("Concat", "n1 rest", "shape", axis=0),
            node("Expand", "k shape", "e"), node("Concat", "e t", "j", axis=1), node("Gather", "j zero", "u", axis=1),
            node("Gather", "j one", "v", axis=1), node("Add", "u v", "y"),
        ],
        {"q": np.array([0, 8, -1]), "k": weights(1, 1, 8), "zero": np.array(0), "one": np.array(1), "zero1": np.array([0]), "rest": np.array([1, 8])},
        13,
    ),
    "matmul along the width": ([node("MatMul", "c k", "y")], {"k": weights(12, 5)}, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    nodes, initialisers, opset = CASES[name]
    check(model([*CONV, *nodes], {**CONV_WEIGHTS, **initialisers}, opset))


def test_every_supported_operator_is_tested() -> None:
    assert {made.op_type for nodes, _, _ in CASES.values() for made in [*CONV, *nodes]} >= set(OPERATORS)


def test_detector_head_that_merges_the_batch() -> None:
    """SCRFD's heads give (rows, values) without a batch: the same for one image, and only for one."""
    nodes = [*CONV, node("Transpose", "c", "t", perm=[2, 3, 0, 1]), node("Reshape", "t q", "y")]
    converted = check(model(nodes, {**CONV_WEIGHTS, "q": np.array([-1, 4])}, 11, batch=1), batch_sizes=(1,))
    assert converted.tensors["y"].tensor.shape == (None, 288, 4)


def test_shapes_computed_in_the_graph_are_folded() -> None:
    """Size of a map by Shape, Gather, Unsqueeze, Concat: for Resize, as older PAFPNs have it, and for Reshape."""
    nodes = [
        *CONV,
        node("Conv", "c k", "d", strides=[2, 2], kernel_shape=[1, 1]),
        node("Shape", "c", "s"), node("Slice", "s two four zero", "hw"),
        node("Shape", "d", "e"), node("Slice", "e zero two zero", "nc"),
        node("Concat", "nc hw", "sizes", axis=0),
        node("Resize", "d - - sizes", "u", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("Add", "c u", "y"),
    ]  # fmt: skip
    constants = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    converted = check(model(nodes, {**CONV_WEIGHTS, "k": weights(8, 8, 1, 1), **constants}))
    assert any(layer.name.startswith("resize") for layer in converted.model.layers)


def test_equal_weights_behind_constant_nodes() -> None:
    value = numpy_helper.from_array(weights(8, 8, 1, 1))
    nodes = [
        node("Constant", "", "raw", value=value), node("Identity", "raw", "k"), *CONV,
        node("Conv", "c k", "d"), node("Conv", "d k", "y"),
    ]  # fmt: skip
    nodes[0].ClearField("input")
    check(model(nodes, CONV_WEIGHTS))


REFUSED: dict[str, tuple[list[onnx.NodeProto], Weights, str]] = {
    "cubic resize": (
        [node("Resize", "c - s", "y", mode="cubic")], {"s": np.float32([1, 1, 2, 2])}, "nearest-neighbour.*cubic"
    ),
    "a cosine": ([node("Cos", "c", "y", name="the_cosine")], {}, "AveragePool.*received operator Cos in node 'the_"),
    "transposed gemm": (
        [node("Flatten", "c", "f"), node("Gemm", "f k", "y", transA=1)], {"k": weights(3, 5)}, "transA"
    ),
    "flatten from axis 2": ([node("Flatten", "c", "y", axis=2)], {}, "axis 1"),
    "a constant that does not fit": ([node("Add", "c k", "y")], {"k": weights(12, 11)}, "size of its map"),
    "a constant that spreads a map": (
        [node("GlobalAveragePool", "c", "p"), node("Add", "p k", "y")], {"k": weights(1, 1, 400, 400)}, "size of its map"
    ),
    "edges repeated": ([node("Pad", "c p", "y", mode="edge")], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, "reflection"),
    "a part of the batch": ([node("Gather", "c k", "y", axis=0)], {"k": np.array(0)}, "whole batch"),
    "weights from the image": ([node("Conv", "c x", "y")], {}, "constant weights"),
    "weights that do not fit": ([node("Conv", "c k", "y")], {"k": weights(8, 5, 3, 3)}, "kernel for 8 channels"),
    "a dense layer that does not fit": (
        [node("Flatten", "c", "f"), node("Sigmoid", "f", "s"), node("Gemm", "s k", "y")], {"k": weights(7, 5)}, "weights for 1152 values"
    ),
    "a normalisation that does not fit": (
        [node("BatchNormalization", "c g g g g", "y")], {"g": weights(5)}, "goes on after operator BatchNormalization"
    ),
    "a huge map": ([node("Upsample", "c s", "y")], {"s": np.float32([1, 1, 5000, 5000])}, "sane size"),
    "reshape to nowhere": ([node("Reshape", "c q", "y")], {"q": np.array([0, 7, -1])}, "shape of 1152 values"),
    "constants of a strange kind": ([node("Sin", "k", "l"), node("Conv", "c l", "y")], {"k": weights(8, 8, 1, 1)}, "Sin"),
    "a huge constant": (
        [node("Expand", "k q", "l"), node("Add", "c l", "y")], {"k": ONE, "q": np.array([2**20, 2**20])}, "sane size"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_names_itself(name: str) -> None:
    nodes, initialisers, reason = REFUSED[name]
    with pytest.raises(InputError, match=reason):
        convert(model([*CONV, *nodes], {**CONV_WEIGHTS, **initialisers}))


def test_functions_that_multiply_are_refused() -> None:
    """Fifteen functions, each of which calls the one before twice, are 32,768 nodes; fifty would be too many to count."""
    made = model([*CONV, node("Relu", "c", "y")], CONV_WEIGHTS)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("f", 1)]
    made.opset_import.append(opsets[1])
    for depth in range(15):
        callee = {"op": f"f{depth - 1}", "domain": "f"} if depth else {"op": "Relu"}
        calls = [node(inputs="a", output="b", **callee), node(inputs="b", output="c", **callee)]  # type: ignore[arg-type]
        made.functions.append(helper.make_function("f", f"f{depth}", ["a"], ["c"], calls, opsets))
    few = onnx.ModelProto()
    few.CopyFrom(made)
    few.graph.node[-1].op_type, few.graph.node[-1].domain = "f3", "f"
    converted = check(few)
    assert len([name for name in converted.layers.values() if name.startswith("relu")]) == 16
    made.graph.node[-1].op_type, made.graph.node[-1].domain = "f14", "f"
    with pytest.raises(InputError, match="32769 once functions are inlined"):
        graphs.parse(made)
    made.functions[0].node[0].op_type, made.functions[0].node[0].domain = "f14", "f"
    with pytest.raises(InputError, match="deep"):
        graphs.parse(made)
