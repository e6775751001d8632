"""Taps and outputs are found by the shape of a network, whatever the family; each family in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mint_keras.audited import folding, iresnet, parity, runtime, taps
from mint_keras.audited.cards import ARCFACE
from mint_keras.audited.convert import blocks, quantised, sources
from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert import pixels as pixels_of
from mint_keras.audited.convert.onnx import Converted
from mint_keras.records import InputError, ParityRecord, RefusedError
from studies import every_format

pytestmark = pytest.mark.usefixtures("untraced")

SIDE = 16


class Net:
    """Writes a network; what a method gives is the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(3)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = (self._rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        return name

    def constant(self, value: Any) -> str:
        name = f"k{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def conv(self, x: str, wide: tuple[int, int], size: int = 3, stride: int = 1, group: int = 1) -> str:
        kernel = self.weight(wide[1], wide[0] // group, size, size)
        return self.add("Conv", x, kernel, strides=[stride] * 2, pads=[size // 2] * 4, group=group)

    def separable(self, x: str, channels: int, stride: int = 1) -> str:
        return self.add("Relu", self.conv(x, (channels, channels), 3, stride, channels))

    def inverted(self, x: str, wide: tuple[int, int, int], stride: int) -> str:
        y = self.add("Relu", self.conv(x, wide[:2], 1))
        return self.conv(self.separable(y, wide[1], stride), wide[1:], 1)

    def gate(self, x: str, channels: int) -> str:
        y = self.add("Relu", self.conv(self.add("GlobalAveragePool", x), (channels, 2), 1))
        return self.add("Mul", x, self.add("Sigmoid", self.conv(y, (2, channels), 1)))

    def linear(self, x: str, wide: tuple[int, int]) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(*wide)), self.weight(wide[1]))

    def pooled(self, x: str) -> str:
        return self.add("Flatten", self.add("GlobalAveragePool", x))

    def model(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        made.ir_version = 8
        return made


def convert(model: onnx.ModelProto, is_compared: bool = True) -> Converted:
    graph = graphs.parse(model)
    converted = onnx_source.to_keras(graph, ARCFACE)
    if is_compared:
        noise = np.random.default_rng(1).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
        parity.check(converted, converted.choose_taps(()), parity.Oracle(lambda: graph.read), {"noise": noise}, (2,))
    return converted


def test_the_expansion_of_an_inverted_bottleneck_belongs_to_the_next_resolution() -> None:
    """MobileFaceNet: a stem of separable convolutions, then bottlenecks, the last with a convolution behind it."""
    net = Net()
    x = net.add("Relu", net.conv("x", (3, 8), 3, 2))
    stem = net.conv(net.separable(x, 8), (8, 8), 1)
    first = net.inverted(net.add("Relu", stem), (8, 16, 8), 2)
    second = net.inverted(first, (8, 16, 8), 1)
    total = net.add("Add", first, second)
    third = net.inverted(total, (8, 24, 12), 2)
    fourth = net.inverted(third, (12, 24, 12), 1)
    closing = net.add("Add", fourth, third)
    converted = convert(net.model(net.pooled(net.add("Relu", net.conv(closing, (12, 20), 1)))))
    found = {tap: tensor for tap, tensor in converted.taps.items() if tap != "outcome"}
    assert found == {"conv1": stem, "conv2": second, "conv3": fourth, "stage2": total, "stage3": closing}
    assert "Without conv4, stage1, stage4" in blocks.describe_missing(found | {"outcome": ""})


def test_a_plain_separable_network_ends_blocks_with_pointwise_convolutions() -> None:
    net = Net()
    x = net.add("Relu", net.conv("x", (3, 8), 3, 2))
    x = net.add("Relu", one := net.conv(net.separable(x, 8), (8, 16), 1))
    x = net.add("Relu", two := net.conv(net.separable(x, 16, 2), (16, 32), 1))
    found = convert(net.model(net.pooled(x))).taps
    assert (found["conv1"], found["conv2"]) == (one, two)


def bottleneck(net: Net, x: str, main_first: bool) -> tuple[str, str]:
    def shortcut() -> str:
        return net.conv(x, (8, 8), 1, 2)

    before = None if main_first else shortcut()
    y = net.add("Relu", net.conv(x, (8, 4), 1))
    y = net.conv(net.add("Relu", net.conv(y, (4, 4), 3, 2)), (4, 8), 1)
    return y, before or shortcut()


@pytest.mark.parametrize("main_first", [True, False])
@pytest.mark.parametrize("kind", ["plain", "gated", "scaled", "normalised and scaled"])
def test_what_stands_before_a_sum_hides_no_convolution(kind: str, main_first: bool) -> None:
    """The branch of a bottleneck has three convolutions, whichever the exporter wrote first; the shortcut has one."""
    net = Net()
    branch, shortcut = bottleneck(net, net.add("Relu", net.conv("x", (3, 8), 3, 2)), main_first)
    tap = branch
    if kind.startswith("normalised"):
        statistics = [net.weight(8), net.weight(8), net.weight(8), net.constant(np.full(8, 0.5, np.float32))]
        branch = tap = net.add("BatchNormalization", branch, *statistics)
    if kind == "gated":
        branch = net.gate(branch, 8)
    if kind.endswith("scaled"):
        branch = net.add("Mul", branch, net.constant(np.float32(0.17)))
    total = net.add("Add", branch, shortcut)
    found = convert(net.model(net.pooled(net.add("Relu", total))), is_compared=main_first).taps
    assert (found["conv1"], found["stage1"]) == (tap, total)


def test_a_ghost_block_ends_in_the_maps_that_it_joins() -> None:
    net = Net()
    x = net.add("Relu", net.conv("x", (3, 8), 3, 2))
    primary = net.conv(x, (8, 4), 1)
    joined = net.add("Concat", primary, net.conv(primary, (4, 4), 3, 1, 4), axis=1)
    cut = net.add("Slice", joined, net.constant([0]), net.constant([8]), net.constant([1]))
    total = net.add("Add", cut, x)
    found = convert(net.model(net.pooled(total)), is_compared=False).taps
    assert (found["conv1"], found["stage1"]) == (joined, total)


@pytest.mark.parametrize("batch", [1, "n"])
def test_attention_that_merges_batch_and_heads(batch: int | str) -> None:
    """As PyTorch's MultiheadAttention: tokens first, heads in the batch, whose number a dynamic graph computes."""
    net, width, tokens = Net(), 8, 16
    x = net.add("Conv", "x", net.weight(width, 3, 4, 4), strides=[4, 4])
    x = net.add("Transpose", net.add("Reshape", x, net.constant([0, width, -1])), perm=[0, 2, 1])
    y = net.add("Transpose", x, perm=[1, 0, 2])
    num = net.add("Gather", net.add("Shape", y), net.constant([1]), axis=0)
    heads = net.add("Concat", net.constant([tokens]), net.add("Mul", num, net.constant([2])), net.constant([4]), axis=0)
    query, key, value = (
        net.add("Transpose", net.add("Reshape", net.linear(y, (width, width)), heads), perm=[1, 0, 2]) for _ in range(3)
    )
    weights = net.add("Softmax", net.add("MatMul", query, net.add("Transpose", key, perm=[0, 2, 1])), axis=-1)
    y = net.add("Transpose", net.add("MatMul", weights, value), perm=[1, 0, 2])
    shape = net.add("Concat", net.constant([tokens]), num, net.constant([width]), axis=0)
    y = net.linear(net.add("Reshape", y, shape), (width, width))
    x = net.add("Add", x, net.add("Transpose", y, perm=[1, 0, 2]))
    model = net.model(net.add("ReduceMean", x, axes=[1], keepdims=0))
    if batch == 1:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert convert(model).tensors[x].tensor.shape == (None, tokens, width)


def attention(net: Net, x: str, tokens: int, width: int, heads: int) -> str:
    """As timm and insightface write it: queries, keys and values in one product, taken apart by Gather."""
    y = net.add("LayerNormalization", x, net.weight(width), net.weight(width))
    y = net.add("Reshape", net.linear(y, (width, 3 * width)), net.constant([0, tokens, 3, heads, width // heads]))
    y = net.add("Transpose", y, perm=[2, 0, 3, 1, 4])
    query, key, value = (net.add("Gather", y, net.constant(np.array(i)), axis=0) for i in range(3))
    weights = net.add("MatMul", query, net.add("Transpose", key, perm=[0, 1, 3, 2]))
    weights = net.add("Softmax", net.add("Mul", weights, net.constant(np.float32(0.5))), axis=-1)
    y = net.add("Transpose", net.add("MatMul", weights, value), perm=[0, 2, 1, 3])
    return net.linear(net.add("Reshape", y, net.constant([0, tokens, width])), (width, width))


def vision_transformer(depth: int, has_class_token: bool) -> tuple[Net, str, list[tuple[str, str]]]:
    net, width, tokens = Net(), 8, 16
    x = net.add("Conv", "x", net.weight(width, 3, 4, 4), strides=[4, 4])
    x = net.add("Transpose", net.add("Reshape", x, net.constant([0, width, -1])), perm=[0, 2, 1])
    if has_class_token:
        tokens += 1
        shape = net.add("Concat", net.add("Slice", net.add("Shape", x), net.constant([0]), net.constant([1])),
                        net.constant([1, width]), axis=0)  # fmt: skip
        x = net.add("Concat", net.add("Expand", net.weight(1, 1, width), shape), x, axis=1)
    x = net.add("Add", x, net.weight(1, tokens, width))
    ends = []
    for _ in range(depth):
        x = net.add("Add", x, attention(net, x, tokens, width, 2))
        y = net.linear(net.add("LayerNormalization", x, net.weight(width), net.weight(width)), (width, 16))
        error = net.add("Erf", net.add("Div", y, net.constant(np.float32(2**0.5))))
        product = net.add("Mul", y, net.add("Add", error, net.constant(np.float32(1))))
        y = net.linear(net.add("Mul", product, net.constant(np.float32(0.5))), (16, width))
        x = net.add("Add", x, y)
        ends.append((y, x))
    x = net.add("LayerNormalization", x, net.weight(width), net.weight(width))
    pooled = (
        net.add("Gather", x, net.constant(np.array(0)), axis=1)
        if has_class_token
        else net.add("ReduceMean", x, axes=[1], keepdims=0)
    )
    return net, pooled, ends


def test_a_transformer_has_taps_at_quarters_of_its_depth() -> None:
    net, pooled, ends = vision_transformer(5, has_class_token=False)
    converted = convert(net.model(pooled), is_compared=False)
    chosen = [ends[i] for i in (1, 2, 3, 4)]
    assert [converted.taps[f"conv{i}"] for i in (1, 2, 3, 4)] == [convolution for convolution, _ in chosen]
    assert [converted.taps[f"stage{i}"] for i in (1, 2, 3, 4)] == [total for _, total in chosen]
    assert not any(layer.name.startswith("permute") for layer in converted.model.layers)
    attended = 4 * 16**2 * 8  # queries by keys and weights by values, of two heads of 4
    linear = 2 * 16 * (8 * 24 + 8 * 8 + 2 * 8 * 16)
    assert taps.flops(converted.model) == 2 * 16 * 4 * 4 * 3 * 8 + 5 * (attended + linear)


def test_tokens_are_kept_as_a_map_without_the_class_token() -> None:
    """So every head takes them, and the maximum of every channel is over the tokens of the patches."""
    net, pooled, _ = vision_transformer(1, has_class_token=True)
    converted = convert(net.model(pooled))
    saved = taps.with_taps(converted.model, {tap: converted.tensors[t].tensor for tap, t in converted.taps.items()})
    again = keras.Model.from_config(saved.get_config())
    again.set_weights(saved.get_weights())
    assert taps.tap_tensors(again)["stage1"].shape[1:] == (4, 4, 8)
    noise = iresnet.normalise(np.random.default_rng(2).uniform(0, 255, (2, SIDE, SIDE, 3)))
    extractor = taps.extractor(again, ["stage1"], "max")
    received, folded = (runtime.forward(m)(noise)["stage1"] for m in (extractor, folding.fold(extractor)))
    np.testing.assert_allclose(folded, received, rtol=1e-5, atol=1e-6)
    tokens = runtime.forward(converted.cut({"t": converted.taps["stage1"]}))(noise)["t"]
    np.testing.assert_allclose(received, tokens[:, 1:].max(axis=1), rtol=1e-5, atol=1e-6)


def unit(net: Net, x: str, how: str) -> tuple[str, str]:
    """Returns a vector of length 1, and what it was divided by."""
    if how == "LpNormalization":
        return net.add("LpNormalization", x, axis=1), ""
    if how == "ReduceL2":
        norm = net.add("ReduceL2", x, axes=[1], keepdims=1)
        return net.add("Div", x, norm), norm
    if how == "torch":
        norm = net.add("Clip", net.add("ReduceL2", x, axes=[1], keepdims=1), net.constant(np.float32(1e-12)))
        return net.add("Div", x, net.add("Expand", norm, net.add("Shape", x))), norm
    square = net.add("ReduceSum", net.add("Mul", x, x), net.constant([1]))
    norm = net.add("Sqrt", net.add("Add", square, net.constant(np.float32(1e-12))))
    return net.add("Mul", x, net.add("Reciprocal", norm)), norm


@pytest.mark.parametrize("how", ["LpNormalization", "ReduceL2", "torch", "by hand"])
def test_the_outcome_is_the_embedding_before_it_gets_length_1(how: str) -> None:
    net = Net()
    embedding = net.pooled(net.conv("x", (3, 6), 3, 2))
    normed, norm = unit(net, embedding, how)
    converted = convert(net.model(normed))
    assert converted.outputs == {"outcome": embedding, "outcome_l2": normed}
    if norm:  # as AdaFace gives both
        found = convert(net.model(norm, normed), is_compared=False).outputs
        assert (found["outcome"], found["outcome_l2"], found[norm]) == (embedding, normed, norm)


def test_a_vector_of_length_1_may_be_scaled() -> None:
    net = Net()
    embedding = net.pooled(net.conv("x", (3, 6), 3, 2))
    scaled = net.add("Mul", net.constant(np.float32(64)), net.add("LpNormalization", embedding))
    assert convert(net.model(scaled)).outputs == {"outcome": embedding, "outcome_l2": scaled}
    doubled = net.add("Mul", embedding, net.constant(np.float32(2)))
    assert convert(net.model(doubled)).outputs == {"outcome": doubled}


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN or infinite"), (0.0, "the same for every image")])
def test_a_source_that_is_damaged_or_empty_itself(value: float, what: str) -> None:
    net = Net()
    kernel = net.constant(np.full((6, 3, 3, 3), value, np.float32))
    model = net.model(net.pooled(net.add("Conv", "x", kernel)))
    with pytest.raises(RefusedError, match=f"source itself gives as (conv1|outcome) .* is {what}"):
        convert(model)


def test_a_file_of_a_fixed_batch() -> None:
    net = Net()
    model = net.model(net.pooled(net.conv("x", (3, 6), 3, 2)))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    convert(model)


def test_the_embedding_among_several_outputs() -> None:
    net = Net()
    embedding = net.pooled(net.conv("x", (3, 6), 3, 2))
    classes = net.add("Gemm", embedding, net.weight(6, 30))
    age = net.add("Gemm", embedding, net.weight(6, 1))
    assert convert(net.model(classes, embedding, age), is_compared=False).outputs == {
        "outcome": embedding, classes: classes, age: age
    }  # fmt: skip
    nine = [net.add("Gemm", embedding, net.weight(6, 8)) for _ in range(9)]
    graph = graphs.parse(net.model(*nine))
    assert not onnx_source.is_detector(graph)
    found = onnx_source.to_keras(graph, ARCFACE)
    assert "outcome" not in found.outputs
    assert "age, gender, emotion or spoofing" in found.seems
    softmax = net.add("Softmax", classes)
    assert "Softmax over 30 classes" in convert(net.model(softmax), is_compared=False).seems


def test_what_a_detector_gives_makes_it_one() -> None:
    net = Net()
    x = net.conv("x", (3, 30), 3, 2)
    outputs = [
        net.add(
            "Reshape",
            net.add("Transpose", net.conv(x, (30, 2 * wide), 1, stride), perm=[0, 2, 3, 1]),
            net.constant([0, -1, wide]),
        )
        for wide in (1, 4, 10)
        for stride in (1, 2, 4)
    ]
    assert onnx_source.is_detector(graphs.parse(net.model(*outputs)))
    reordered = outputs[3:] + outputs[:3]
    assert not onnx_source.is_detector(graphs.parse(net.model(*reordered)))
    assert "boxes and key points" in convert(net.model(*reordered), is_compared=False).seems
    joined = [net.add("Concat", *outputs[i : i + 3], axis=1) for i in (0, 3, 6)]
    found = convert(net.model(*joined), is_compared=False)
    assert "one of a kind that is not known" in found.seems
    # As YuNet has them: whether there is something, and whether it is a face, of each stride.
    twelve = [*outputs[:3], *(net.add("Sigmoid", tensor) for tensor in outputs[:3]), *outputs[3:]]
    assert "YuNet" in convert(net.model(*twelve), is_compared=False).seems
    classes = net.add("Softmax", net.add("Concat", joined[0], joined[0], axis=2), axis=2)
    assert "RetinaFace" in convert(net.model(joined[1], classes, joined[2]), is_compared=False).seems
    assert "something of every place" in convert(net.model(joined[1]), is_compared=False).seems


def test_a_file_of_integers_is_read_as_its_float_network() -> None:
    """Weights exactly; activations without rounding, but cut off at 0 where the integers end: no ReLU stands there."""
    net = Net()
    scales = [net.constant(np.float32(0.02)), net.constant(np.uint8(0))]
    integers = net.constant(np.random.default_rng(4).integers(-127, 127, (3, 6, 3, 3), np.int8))
    each = [net.constant(np.full(6, 0.004, np.float32)), net.constant(np.zeros(6, np.int8))]
    # As TensorFlow's exporter leaves it: turned before it is dequantised.
    kernel = net.add("DequantizeLinear", net.add("Transpose", integers, perm=[1, 0, 2, 3]), *each, axis=0)
    convolved = net.add("Conv", "x", kernel, strides=[2, 2])
    rounded = net.add("DequantizeLinear", net.add("QuantizeLinear", convolved, *scales), *scales)
    x = net.pooled(net.conv(rounded, (6, 6), 3, 2))
    quantised, scale, zero = (f"q{i}" for i in range(3))
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [quantised, scale, zero]))
    weight = net.constant(np.random.default_rng(5).integers(0, 255, (6, 7), np.uint8))
    product = net.add("MatMulInteger", quantised, weight, zero, net.constant(np.uint8(120)))
    scaled = net.add(
        "Mul", net.add("Cast", product, to=TensorProto.FLOAT), net.add("Mul", scale, net.constant(np.float32(0.01)))
    )
    graph = graphs.parse(net.model(scaled))
    converted = onnx_source.to_keras(graph, ARCFACE)
    noise = np.random.default_rng(1).uniform(0, 255, (8, SIDE, SIDE, 3)).astype(np.float32)
    parity.check(converted, converted.choose_taps(()), parity.Oracle(lambda: graph.read), {"noise": noise}, (8,))
    assert "read as float" in graph.notes[0]
    ours = runtime.forward(converted.model)(iresnet.normalise(noise))["outcome"]
    theirs = parity.Oracle(lambda: graph.model).session([scaled])(ARCFACE.apply(noise))[0]
    assert 1e-4 < np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 0.05
    cut = runtime.forward(converted.cut({"cut": rounded}))(iresnet.normalise(noise))["cut"]
    assert cut.min() == 0
    assert 0 < cut.max() <= 0.02 * 255 * 1.0001


@pytest.mark.parametrize("kind", ["onnx_qdq", "onnx_qlinear"])
def test_what_onnx_runtime_quantises_is_read_as_its_float_network(kind: str, tmp_path: Path) -> None:
    """Both ways in which it writes integers; products, sums, pools and joined maps of them among it."""
    net = Net()
    x = net.add("Relu", net.conv("x", (3, 6), 3, 2))
    x = net.add("Add", x, net.add("Sigmoid", net.conv(x, (6, 6), 3, 1)))
    x = net.add("Concat", x, net.add("LeakyRelu", net.conv(x, (6, 6), 3, 1), alpha=0.1), axis=1)
    pooled = net.add("Flatten", net.add("GlobalAveragePool", x))
    float_model = net.model(net.add("Gemm", pooled, net.weight(12, 7), net.weight(7)))
    onnx.save(float_model, tmp_path / "model.onnx")
    every_format.quantise(tmp_path / "model.onnx", kind)
    source = sources.open_source(tmp_path / "model.onnx")
    graph = source.graph
    assert "read as float" in graph.notes[0]
    assert ("QLinearConv" in {node.op_type for node in graph.model.graph.node}) == (kind == "onnx_qlinear")
    faces = every_format.faces(SIDE)
    converted = onnx_source.to_keras(graph, ARCFACE)
    # The file's own integers end in a DequantizeLinear: what is compared is what that gives, on noise too.
    assert len(_compare(source, converted, faces)) == 4
    ours = runtime.forward(converted.model)(iresnet.normalise(faces))["outcome"]
    for model in (graph.model, float_model):
        theirs = parity.Oracle(lambda m=model: m).session([model.graph.output[0].name])(ARCFACE.apply(faces))[0]
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 0.05


def _compare(source: sources.ForeignModel, converted: onnx_source.Converted, faces: np.ndarray) -> list[ParityRecord]:
    shown = {"noise": np.random.default_rng(1).uniform(0, 255, faces.shape).astype(np.float32), "faces": faces}
    chosen = {"outcome": converted.outputs["outcome"]}
    return [r for oracle in source.oracles for r in parity.check(converted, chosen, oracle, shown, (8,))]


@pytest.mark.parametrize("ends", [(0, 255), (-32, 32)])
def test_a_wrong_reading_of_integers_is_refused(
    ends: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float network that it stands for would be just as well converted: only the file as it is can tell."""
    net = Net()
    x = net.conv("x", (3, 6), 3, 2)
    onnx.save(net.model(net.pooled(net.conv(x, (6, 6), 3, 2))), tmp_path / "model.onnx")
    every_format.quantise(tmp_path / "model.onnx", "onnx_qdq")
    monkeypatch.setitem(quantised._LIMITS, TensorProto.INT8, ends)
    source = sources.open_source(tmp_path / "model.onnx")
    with pytest.raises(RefusedError, match="as onnxruntime runs it: tap outcome"):
        _compare(source, source.to_keras(ARCFACE, None, "audited"), every_format.faces(SIDE))


@pytest.mark.parametrize(("zero", "is_pooled"), [(0, False), (60, False), (200, True)])
def test_what_integers_cut_off_is_cut_where_operators_of_integers_read_them(zero: int, is_pooled: bool) -> None:
    """No DequantizeLinear follows, and a zero point of 0 stands for a ReLU."""
    net = Net()
    ends = [net.constant(np.float32(0.01)), net.constant(np.uint8(zero))]
    x = net.add("QuantizeLinear", net.conv("x", (3, 6), 3, 2), *ends)
    x = net.add("MaxPool", x, kernel_shape=[2, 2]) if is_pooled else x
    kernel = net.constant(np.random.default_rng(4).integers(-127, 127, (6, 6, 3, 3), np.int8))
    scaled = [kernel, net.constant(np.float32(0.004)), net.constant(np.int8(0))]
    given = [net.constant(np.float32(0.05)), net.constant(np.uint8(128))]
    x = net.add("DequantizeLinear", net.add("QLinearConv", x, *ends, *scaled, *given), *given)
    assert _distance(net.model(net.pooled(x))) < 0.05


@pytest.mark.parametrize("weights_are", ["initializers", "constants"])
@pytest.mark.parametrize("zero", [None, 0, 5])
@pytest.mark.parametrize("operator", ["MatMulInteger", "dynamic", "QGemm"])
def test_integers_are_added_as_the_file_says_on_every_processor(
    operator: str, zero: int | None, weights_are: str
) -> None:
    """Without VNNI the runtime's own sums of uint8 times int8 overflow."""
    rng = np.random.default_rng(3)
    pixels, weights = rng.integers(200, 256, (2, 5, 64)), rng.integers(100, 128, (64, 7), np.int8)
    pixels[:, 0, :2] = 0, 255  # so that a dynamic scale is 1
    held = {"w": weights, "w_unsigned": np.int8(zero or 0), "one": np.float32(1), "none": np.uint8(0)}
    zeros = [] if zero is None else ["w_unsigned"]
    if operator == "QGemm":
        zeros = ["w_unsigned"]
        nodes = [
            ("Reshape", ["x", "flat"], ["rows"], {}),
            ("QGemm", ["rows", "one", "none", "w", "one", *zeros], ["y"], {"domain": "com.microsoft"}),
        ]
        held["flat"] = np.array([5, 64])
    elif operator == "dynamic":
        nodes = [
            ("Cast", ["x"], ["real"], {"to": onnx.TensorProto.FLOAT}),
            ("DynamicQuantizeLinear", ["real"], ["rows", "scale", "middle"], {}),
            ("MatMulInteger", ["rows", "w", "middle", *zeros], ["y"], {}),
        ]
    else:
        nodes = [("MatMulInteger", ["x", "w", *(["", *zeros] if zeros else [])], ["y"], {})]
    tensors = [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()]
    made = [onnx.helper.make_node(kind, given, out, **more) for kind, given, out, more in nodes]
    if weights_are == "constants":
        made = [*(onnx.helper.make_node("Constant", [], [of.name], value=of) for of in tensors), *made]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            made,
            "integers",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [1, 5, 64])],
            [
                onnx.helper.make_tensor_value_info(
                    "y", onnx.TensorProto.FLOAT if operator == "QGemm" else onnx.TensorProto.INT32, None
                )
            ],
            [] if weights_are == "constants" else tensors,
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    before = model.SerializeToString()
    (found,) = parity.Oracle(lambda: model).session(["y"])(pixels.astype(np.float32))
    np.testing.assert_array_equal(found.reshape(2, 5, 7), pixels @ (weights.astype(int) - (zero or 0)))
    assert model.SerializeToString() == before, "the file stays as it is"


def test_without_a_zero_point_integers_are_of_the_type_that_they_were_made_in() -> None:
    net = Net()
    scale = net.constant(np.float32(0.02))
    x = net.add("QuantizeLinear", net.conv("x", (3, 6), 3, 2), scale, net.constant(np.int8(0)))
    x = net.add("DequantizeLinear", net.add("Transpose", x, perm=[0, 1, 3, 2]), scale)
    assert _distance(net.model(net.pooled(net.add("Transpose", x, perm=[0, 1, 3, 2])))) < 0.05


def _distance(model: onnx.ModelProto) -> float:
    """Returns how far a file is from the float network that it is read as, on noise."""
    graph = graphs.parse(model)
    noise = ARCFACE.apply(np.random.default_rng(1).uniform(0, 255, (8, SIDE, SIDE, 3)).astype(np.float32))
    names = [model.graph.output[0].name]
    ours, theirs = (parity.Oracle(lambda m=m: m).session(names)(noise)[0] for m in (graph.read, model))
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def test_zero_points_have_the_size_of_their_scales() -> None:
    net = Net()
    ends = [net.constant(np.float32(0.01)), net.constant(np.uint8([1, 2, 3]))]
    x = net.add("QuantizeLinear", net.conv("x", (3, 6), 3, 2), *ends)
    with pytest.raises(InputError, match="one scale for all activations in node 'DequantizeLinear_2'"):
        quantised.as_float(net.model(net.pooled(net.add("DequantizeLinear", x, *ends))))
    kernel = [net.constant(np.ones((6, 6, 3, 3), np.int8)), ends[0], net.constant(np.zeros(5, np.int8))]
    given = [ends[0], net.constant(np.uint8(0))]
    del net.nodes[1:]
    x = net.add("QuantizeLinear", "Conv_0", *given)
    x = net.add("QLinearConv", x, *given, *kernel, *given)
    with pytest.raises(InputError, match=r"zero points for \(6,\) in node 'QLinearConv_2', received 1 and 5"):
        quantised.as_float(net.model(net.pooled(net.add("DequantizeLinear", x, *given))))


@pytest.mark.parametrize("moved", ["", "Identity", "Gather", "Slice", "Pad", "Reshape", "Concat"])
def test_pixels_that_come_in_as_integers_are_what_the_file_makes_of_them(moved: str) -> None:
    net = Net()
    scales = [net.constant(np.float32(1 / 128)), net.constant(np.uint8(127))]
    x = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    numbers = {
        "Gather": [[2, 1, 0]], "Slice": [[2], [16], [2]], "Pad": [[0, 0, 1, 1, 0, 0, 1, 1]],
        "Reshape": [[0, 3, SIDE, SIDE]],
    }  # fmt: skip
    if moved:
        inputs = [net.constant(np.array(number)) for number in numbers.get(moved, [])]
        options = {"axis": 1} if moved == "Gather" else {"axis": 2} if moved == "Concat" else {}
        x = net.add(moved, *([x, x] if moved == "Concat" else [x, *inputs]), **options)
    pixels = net.add("DequantizeLinear", x, *scales)
    model = _of_bytes(net.model(net.pooled(net.conv(pixels, (3, 6), 3, 2))))
    graph = graphs.parse(model)
    converted = onnx_source.to_keras(graph, pixels_of.told(graph)[0])
    noise = {"noise": np.rint(np.random.default_rng(1).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32))}
    oracle = parity.Oracle(lambda: graph.model)
    assert parity.check(converted, {"outcome": converted.outputs["outcome"]}, oracle, noise, (2,))


def test_the_shape_of_pixels_makes_no_pixels_of_what_gets_it() -> None:
    net = Net()
    ends = [net.constant(np.float32(0.02)), net.constant(np.uint8(100))]
    batch = net.add("Gather", net.add("Shape", "x"), net.constant(np.array([0])))
    pixels = net.add("Cast", net.add("Transpose", "x", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    scaled = net.add("Div", pixels, net.constant(np.float32(128)))
    x = net.add("QuantizeLinear", net.pooled(net.conv(scaled, (3, 6), 3, 2)), *ends)
    shape = net.add("Concat", batch, net.constant(np.array([6])), axis=0)
    x = net.add("DequantizeLinear", net.add("Reshape", x, shape), *ends)
    read, _ = quantised.as_float(_of_bytes(net.model(x)))
    assert [step.op_type for step in read.graph.node[-5:]] == ["Cast", "Constant", "Max", "Constant", "Min"]


def test_operators_of_integers_take_no_pixels_that_come_in_as_integers() -> None:
    net = Net()
    ends = [net.constant(np.float32(1 / 128)), net.constant(np.uint8(127))]
    kernel = [net.constant(np.ones((6, 3, 3, 3), np.int8)), ends[0], net.constant(np.int8(0))]
    x = net.add("QLinearConv", net.add("Transpose", "x", perm=[0, 3, 1, 2]), *ends, *kernel, *ends)
    with pytest.raises(InputError, match="float pixels in node 'QLinearConv_1', received integers"):
        quantised.as_float(_of_bytes(net.model(net.pooled(net.add("DequantizeLinear", x, *ends)))))


def _of_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    kind = model.graph.input[0].type.tensor_type
    kind.elem_type = TensorProto.UINT8
    kind.shape.CopyFrom(helper.make_tensor_type_proto(TensorProto.UINT8, ["n", SIDE, SIDE, 3]).tensor_type.shape)
    return model


def test_an_embedding_of_integers_is_refused_with_what_to_do() -> None:
    net = Net()
    scales = [net.constant(np.float32(0.1)), net.constant(np.int8(0))]
    model = net.model(net.add("QuantizeLinear", net.pooled(net.conv("x", (3, 6), 3, 2)), *scales))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    with pytest.raises(InputError, match=r"outputs in float, received integers .* DequantizeLinear behind it"):
        graphs.parse(model)


def test_half_precision_is_read_as_float32() -> None:
    net = Net()
    half = net.add("Cast", "x", to=TensorProto.FLOAT16)
    kernel = net.constant(np.random.default_rng(4).normal(size=(6, 3, 3, 3)).astype(np.float16))
    convolved = net.add("Conv", half, kernel, strides=[2, 2])
    model = net.model(net.pooled(net.add("Cast", convolved, to=TensorProto.FLOAT)))
    assert graphs.parse(model).notes == ("half precision is read as float32",)
    convert(model)
