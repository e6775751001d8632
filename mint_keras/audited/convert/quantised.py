"""Reads what phones and servers run, 8 bits or half precision, as the float network that it stands for.

Weights are dequantised, which is exact. Activations are not rounded any more, only cut off where their integers end:
exporters leave out a ReLU that the cutting does. So the values of taps are those of a float network near the deployed
one, and that network is what the mapping is proven against.
"""

from collections.abc import MutableSequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mint_keras.records import InputError

_LIMITS: dict[int, tuple[int, int]] = {TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127)}
_LIMITS |= {TensorProto.UINT16: (0, 65535), TensorProto.INT16: (-32768, 32767)}
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
# Operators of integers: what they are in float, and of how many operands, each with its scale and zero point.
_LINEAR = {
    "QLinearConv": ("Conv", 2), "QLinearMatMul": ("MatMul", 2), "QGemm": ("Gemm", 2), "QLinearAdd": ("Add", 2),
    "QLinearMul": ("Mul", 2), "QLinearSigmoid": ("Sigmoid", 1), "QLinearLeakyRelu": ("LeakyRelu", 1),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", 1), "QLinearAveragePool": ("AveragePool", 1),
    "QLinearConcat": ("Concat", 0), "ConvInteger": ("Conv", 0), "MatMulInteger": ("MatMul", 0),
}  # fmt: skip
_Constants = dict[str, TensorProto]
_Nodes = list[onnx.NodeProto]
ROUNDED = "activations that the file rounds to integers are read as float, cut off where the integers end"
HALF = "half precision is read as float32"


def as_float(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Returns the float network of a model, which is the model itself if it is one, and what was read otherwise.

    Raises:
        InputError: The scale of activations is not a constant number, or the outputs are integers.
    """
    seen = _seen(model)
    rounding = {"QuantizeLinear", "DynamicQuantizeLinear", *_LINEAR}
    is_rounded = any(node.op_type in rounding and node.input[0] in seen for node in model.graph.node)
    # Half-precision weights behind a Cast are float32 to any runtime; half-precision activations are not.
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in seen]
    is_half = any(a.name == "to" and a.i in _HALF for node in casts for a in node.attribute)
    is_half = is_half or any(entry.type.tensor_type.elem_type in _HALF for entry in model.graph.input)
    notes = [note for is_there, note in ((is_rounded, ROUNDED), (is_half, HALF)) if is_there]
    is_of_integers = any(node.op_type == "DequantizeLinear" and node.input[0] in seen for node in model.graph.node)
    if not notes and not is_of_integers:
        return model, []
    if whole := [entry.name for entry in model.graph.output if entry.type.tensor_type.elem_type in _LIMITS]:
        received = f"received integers as {whole}. Export it with a DequantizeLinear behind it"
        raise InputError(f"Expected outputs in float, {received}.")
    read = onnx.ModelProto()
    read.CopyFrom(model)
    if is_half:
        _to_float32(read)
    if is_rounded or is_of_integers:
        _without_rounding(read, seen)
    return read, notes


def _seen(model: onnx.ModelProto) -> set[str]:
    """Returns the tensors that depend on the image."""
    seen = {entry.name for entry in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if seen.intersection(node.input):
            seen.update(node.output)
    return seen


def _to_float32(model: onnx.ModelProto) -> None:
    """Makes every half-precision number of a model float32, in place."""
    constants = [a.t for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for tensor in [*model.graph.initializer, *constants]:
        if tensor.data_type in _HALF:
            wide = np.asarray(numpy_helper.to_array(tensor), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i in _HALF:
                attribute.i = TensorProto.FLOAT
    for entry in [*model.graph.input, *model.graph.output]:
        if entry.type.tensor_type.elem_type in _HALF:
            entry.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.value_info[:]  # types of what is between


def _without_rounding(model: onnx.ModelProto, seen: set[str]) -> None:
    """Takes the rounding of activations out of a model, in place."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    (kinds, pixels), never_float, nodes = _integers(model, constants), _never_float(model), _Nodes()
    for node in model.graph.node:
        is_of_pixels = bool(pixels.intersection(node.input))
        if node.op_type == "QuantizeLinear" and node.input[0] in seen:
            # Cut off where it is float again if it ever is, so that what is float in the file is a tensor of its own.
            is_cut, whole = node.output[0] in never_float, helper.make_node("Identity", node.input[:1], node.output)
            nodes += _in_float(node, constants, kinds[node.output[0]]) if is_cut else [whole]
        elif node.op_type == "DequantizeLinear" and node.input[0] in seen:
            nodes += _in_float(node, constants, kinds.get(node.input[0], TensorProto.UINT8), is_of_pixels)
        elif node.op_type == "DynamicQuantizeLinear":
            # Of scale 1 and zero point 0, which the product behind it multiplies with.
            nodes.append(helper.make_node("Identity", node.input[:1], node.output[:1], node.name))
            for name, value in zip(node.output[1:], (np.float32(1), np.uint8(0)), strict=False):
                model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        elif node.op_type in _LINEAR:
            if is_of_pixels:
                raise InputError(f"Expected float pixels in node {node.name!r}, received integers. Export it so.")
            nodes += _linear(node, constants, model.graph.initializer)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]


def _integers(model: onnx.ModelProto, constants: _Constants) -> tuple[dict[str, int], set[str]]:
    """Returns the types of integers by tensor, and which of these are pixels that came in as integers."""
    inputs = {entry.name: entry.type.tensor_type.elem_type for entry in model.graph.input}
    kinds = {name: tensor.data_type for name, tensor in constants.items()} | inputs
    pixels = {name for name, kind in inputs.items() if kind in _LIMITS}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" or node.op_type in _LINEAR:
            zero = node.input[2:] if node.op_type == "QuantizeLinear" else _inputs(node)[2][1:]
            said = (a.i for a in node.attribute if a.name == "output_dtype" and a.i)
            kinds[node.output[0]] = kinds.get("".join(zero), next(said, TensorProto.UINT8))
        elif node.op_type not in ("Cast", "DequantizeLinear", "Shape", "Size"):  # what only moves integers
            pixels.update(node.output if pixels.intersection(node.input) else ())
            found = [kinds[name] for name in node.input if name in kinds]
            kinds |= dict.fromkeys(node.output, found[0]) if found else {}
    return kinds, pixels


def _never_float(model: onnx.ModelProto) -> set[str]:
    """Returns the integers that go into an operator of integers, through others or not, before they become float."""
    found: set[str] = set()
    for node in reversed(model.graph.node):
        moves = not node.op_type.lower().endswith("quantizelinear") and found.intersection(node.output)
        if moves or node.op_type in _LINEAR:
            found.update(node.input)
    return found


def _inputs(node: onnx.NodeProto) -> tuple[list[list[str]], str, list[str]]:
    """Returns an operator's operands (tensor, scale, zero point), its bias, and scale and zero point of its output."""
    (op, count), given = _LINEAR[node.op_type], list(node.input)
    if node.op_type.endswith("Integer"):  # what comes behind it scales it
        return [[given[0], "", ""], [given[1], "", "".join(given[3:4])]], "", []
    if op == "Concat":
        return [given[i : i + 3] for i in range(2, len(given), 3)], "", given[:2]
    rest = given[3 * count :]
    place = {"Gemm": 0, "Conv": 2}.get(op, len(rest))
    operands = [given[3 * i : 3 * i + 3] for i in range(count)]
    return operands, "".join(rest[place : place + 1]), [*rest[:place], *rest[place + 1 :]]


def _linear(node: onnx.NodeProto, constants: _Constants, weights: MutableSequence[TensorProto]) -> _Nodes:
    """Returns an operator of integers in float, and the cutting of what it gives; adds its weights."""
    op, (operands, bias, ends) = _LINEAR[node.op_type][0], _inputs(node)
    attributes = {a.name: a for a in node.attribute if a.name != "channels_last"}
    if any(a.i for a in node.attribute if a.name == "channels_last"):
        raise InputError(f"Expected maps with their channels first, received node {node.name!r}. Export it so.")
    is_by_row = op == "Conv" or ("transB" in attributes and attributes["transB"].i)

    def add(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    inputs, scales = [], []
    for value, scale, zero in operands:
        scales.append(_number(scale, node, constants, absent=1))
        less, whole = _number(zero, node, constants), _number(value if value in constants else "", node, constants)
        num = whole.shape[:1] if is_by_row else whole.shape[-1:]
        if not {less.size, scales[-1].size} <= {1, *num}:
            received = f"{scales[-1].size} and {less.size}. Export it again"
            raise InputError(f"Expected scales and zero points for {num} in node {node.name!r}, received {received}.")
        if value in constants:
            # One scale, or one per output: the rows of a kernel, the columns of a matrix.
            wide = [n.reshape(-1, *(1,) * (whole.ndim - 1)) if is_by_row else n for n in (scales[-1], less)]
            value = add(f"{node.output[0]}_{value}", (whole - wide[1]) * wide[0])
        inputs.append(value)
    if bias:
        inputs.append(add(f"{node.output[0]}_bias", _number(bias, node, constants) * scales[0] * scales[1]))
    made = helper.make_node(op, inputs, [f"{node.output[0]}_whole"], node.name)
    made.attribute.extend(attributes.values())
    if not any(ends):  # QGemm may give floats
        made.output[:] = node.output
        return [made]
    end = helper.make_node("QuantizeLinear", [*made.output, *ends], node.output)
    return [made, *_in_float(end, constants, TensorProto.UINT8)]


def _number(name: str, node: onnx.NodeProto, constants: _Constants, absent: float = 0) -> np.ndarray:
    if not name:
        return np.full(1, absent)
    if name not in constants:
        raise InputError(f"Expected constant scales in node {node.name!r} ({node.op_type}), received {name!r}.")
    return numpy_helper.to_array(constants[name]).astype(np.float64)


def _in_float(node: onnx.NodeProto, constants: _Constants, absent: int, is_of_pixels: bool = False) -> _Nodes:
    """Returns how (De)QuantizeLinear cuts floats off where its integers end; integers that are pixels it scales."""
    scale, zero = (_number(name, node, constants) for name in (*node.input[1:], "")[:2])
    kind = constants[node.input[2]].data_type if "".join(node.input[2:]) else absent
    if scale.size != 1 or zero.size != 1 or kind not in _LIMITS:
        wanted = f"one scale for all activations in node {node.name or node.output[0]!r}, and 8 or 16 bits"
        raise InputError(f"Expected {wanted}, received others. The float model is needed.")
    low, high = ((end - zero) * scale for end in _LIMITS[kind])
    # As two operators that take their numbers as constants in every opset.
    steps = (("Sub", zero), ("Mul", scale)) if is_of_pixels else (("Max", low), ("Min", high))
    made = [helper.make_node("Cast", node.input[:1], [f"{node.output[0]}_float"], to=TensorProto.FLOAT)]
    for op, number in steps:
        end = numpy_helper.from_array(number.astype(np.float32).reshape(()))
        made.append(helper.make_node("Constant", [], [f"{node.output[0]}_{op}_end"], value=end))
        terms = [made[-2].output[0], made[-1].output[0]]
        made.append(helper.make_node(op, terms, [f"{node.output[0]}_{op}"]))
    made[-1].output[0], made[-1].name = node.output[0], node.name
    return made
