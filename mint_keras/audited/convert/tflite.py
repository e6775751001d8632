"""TFLite files, float and int8, as the ONNX graph that the converter reads, and their own interpreter as the oracle.

Maps are N, H, W, C in the file and N, C, H, W in the graph, which so looks as PyTorch exports one: taps and residual
blocks are found in it as in any other. Quantised weights become float32, and activations are not rounded: what the
rounding of a deployed file changes, the interpreter shows.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mint_keras.audited import parity
from mint_keras.audited.convert import litert_oracle
from mint_keras.borders import reading
from mint_keras.records import InputError

MAGIC = b"TFL3"  # from the fifth byte on
_OPSET = 20  # the first with Gelu
_MAX_PARTS = 50_000
_MAX_COPIES = 16  # float32 of 4-bit weights is eight times as large; tensors may share a buffer
_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 6: "?", 7: "<i2", 9: "i1", 10: "<f8"}
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
# What is the same in ONNX but for its name.
_SAME = {
    "ABS": "Abs", "ADD": "Add", "DIV": "Div", "ELU": "Elu", "EXP": "Exp", "HARD_SWISH": "HardSwish",
    "LOGISTIC": "Sigmoid", "MAXIMUM": "Max", "MINIMUM": "Min", "MUL": "Mul", "NEG": "Neg", "POW": "Pow",
    "PRELU": "PRelu", "RELU": "Relu", "SQRT": "Sqrt", "SUB": "Sub", "TANH": "Tanh",
    "CAST": "Identity", "DEQUANTIZE": "Identity", "QUANTIZE": "Identity",
}  # fmt: skip
_REDUCTIONS = {"MEAN": "ReduceMean", "REDUCE_MAX": "ReduceMax", "SUM": "ReduceSum"}
_POOLS = {"AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool"}
_VIEWS = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
_SPELT_OUT = ("GELU", "L2_NORMALIZATION", "LEAKY_RELU", "RSQRT", "SOFTMAX", "SQUARE", "SQUARED_DIFFERENCE")
_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INTEGERS = {3, 7, 9, 17}  # uint8, int16, int8, int4
_CLIPS = {"RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0), "RELU_0_TO_1": (0.0, 1.0)}
# An int8 file may leave the ReLU out where the range of what an operation gives begins at 0.
_CUT_BY_RANGE = ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUB")


class TfliteFile:
    """A TFLite file: its tensors by the names that they have in the graph, and the graph.

    Attributes:
        content: The file.
        model: The graph in ONNX, from RGB images, N, 3, H, W, float32.
        places: Number of every tensor in the file, by its name in the graph.
        quantised: Whether some activations are integers or rounded by the range of the image at hand.
        has_ranges: Whether some activations are integers, within ranges that the file fixes.
        input_scale: Mean and divisor that make pixels 0..255 what a quantised input stands for, see `_input_scale`.
    """

    def __init__(self, content: bytes) -> None:
        from tensorflow.lite.python import schema_py_generated as schema

        with reading("a whole TFLite file"):
            if content[4:8] != MAGIC:
                raise InputError("Expected a TFLite file, received another one.")
            whole = schema.Model.GetRootAs(content, 0)
            # Asked before they become objects: a few bytes may name a table thousands of times.
            graph = whole.Subgraphs(0) if whole.SubgraphsLength() == 1 else None
            counts = [whole.BuffersLength(), whole.OperatorCodesLength()]
            counts += [graph.TensorsLength(), graph.OperatorsLength()] if graph else []
            if graph is None or graph.InputsLength() != 1 or max(counts) > _MAX_PARTS:
                received = f"{whole.SubgraphsLength()} graphs, up to {max(counts)} parts"
                raise InputError(f"Expected a TFLite file of one graph with one input, the image, received {received}.")
            tree = schema.ModelT.InitFromObj(whole)
            self.content, self._tree, self._graph = content, tree, tree.subgraphs[0]
            builtin = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
            self._codes = [
                builtin.get(max(code.builtinCode, code.deprecatedBuiltinCode), "an unknown operator")
                for code in tree.operatorCodes
            ]
            self._activation = {
                value: name for name, value in vars(schema.ActivationFunctionType).items() if isinstance(value, int)
            }
            self._names = self._unique_names()
            self._nodes: list[onnx.NodeProto] = []
            self._arrays: dict[str, np.ndarray] = {}
            self._left = _MAX_COPIES * len(content) + 2**20
            self._measured: dict[int, list[int]] = {}
            self._weights: dict[int, int] = {}  # constants by the tensor that they are dequantised to
            self.places: dict[str, int] = {}
            self.input_scale = self._input_scale()
            self.quantised = self.has_ranges = self.input_scale is not None
            self.model = self._walk()

    def oracle(self) -> parity.Oracle:
        """Returns the file's own interpreter, which gives every tensor of the file."""
        tolerance = parity.ROUNDED if self.quantised else parity.EXACT
        return litert_oracle.Interpreter(self.content, self.places, self._graph.inputs[0], tolerance, self.has_ranges)

    def _unique_names(self) -> list[str]:
        names = [(tensor.name or b"").decode(errors="replace") for tensor in self._graph.tensors]
        times = collections.Counter(names)
        return [name if name and times[name] == 1 else f"{name}:{i}" for i, name in enumerate(names)]

    def _input_scale(self) -> tuple[float, float] | None:
        tensor = self._graph.tensors[self._graph.inputs[0]]
        if tensor.type not in (3, 9):
            return None
        scale, zero = _scales(tensor)
        # An app puts the bytes of the picture in; into int8 less 128.
        return float(zero[0]) + (128 if tensor.type == 9 else 0), 1 / float(scale[0])

    def _walk(self) -> onnx.ModelProto:
        graph = self._graph
        live: list[tuple[int, Any]] = []
        unread: list[tuple[str, Any]] = []
        wanted = set(graph.outputs)
        for position, operator in reversed(list(enumerate(graph.operators))):
            if wanted & set(operator.outputs):
                live.append((position, operator))
                # The shape of a view is that of the tensor it gives: what computes it is left out.
                is_view = self._codes[operator.opcodeIndex] in _VIEWS
                wanted |= set(operator.inputs[:1] if is_view else operator.inputs)
            else:
                unread.insert(0, (self._codes[operator.opcodeIndex], operator))
        litert_oracle.check_unread(unread, lambda tensor: self._raw(tensor).size)
        image = graph.inputs[0]
        shape = self._shape(image)
        if len(shape) != 4:
            raise InputError(f"Expected an input of RGB images, [n, height, width, 3], received {shape}.")
        self.places[self._names[image]] = image
        for position, operator in reversed(live):
            kind = self._codes[operator.opcodeIndex]
            self._operator(kind, operator, f"{kind}_{position}")
        shapes = {i: self._shape(i) for i in (image, *graph.outputs)}
        info = [
            helper.make_tensor_value_info(
                self._names[i], TensorProto.FLOAT, ["n", *([of[k] for k in _TO_NCHW] if len(of) == 4 else of)[1:]]
            )
            for i, of in shapes.items()
        ]
        weights = [numpy_helper.from_array(array, name) for name, array in self._arrays.items()]
        made = helper.make_graph(self._nodes, "tflite", info[:1], info[1:], weights)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)

    def _operator(self, kind: str, operator: Any, node: str) -> None:
        """Writes the nodes of one operator of the file."""
        inputs, output = [i for i in operator.inputs if i >= 0], operator.outputs[0]
        if kind == "DEQUANTIZE" and self._is_constant(inputs[0]):  # weights in half precision
            self._weights[output] = inputs[0]
            return
        options = operator.builtinOptions
        # With integer weights and float activations LiteRT rounds these by the range of the image at hand.
        rounds = [self._graph.tensors[i].type for i in (output, *inputs[1:2]) if i == output or kind in _WITH_WEIGHTS]
        self.quantised |= bool(set(rounds) & _INTEGERS)
        self.has_ranges |= rounds[0] in _INTEGERS
        writers: dict[str, Callable[..., str]] = {
            "CONV_2D": self._conv, "DEPTHWISE_CONV_2D": self._conv, "FULLY_CONNECTED": self._dense,
            "BATCH_MATMUL": self._matmul, "PAD": self._pad, "PADV2": self._pad, "TRANSPOSE": self._transpose,
            "CONCATENATION": self._concat, **dict.fromkeys(_POOLS, self._pool), **dict.fromkeys(_VIEWS, self._view),
            **dict.fromkeys(_REDUCTIONS, self._reduce), **dict.fromkeys(_SAME, self._same),
            **dict.fromkeys(_CLIPS, self._clipped), **dict.fromkeys(_SPELT_OUT, self._spelt_out),
        }  # fmt: skip
        if kind not in writers:
            raise InputError(
                f"Expected operators of {sorted(writers)}, received {kind} in {node!r}: convert the file that this one "
                "was made from (ONNX, Keras, PyTorch) instead."
            )
        found = writers[kind](kind, inputs, options, f"{self._names[output]}/{kind.lower()}")
        self._finish(kind, options, found, output)

    def _finish(self, kind: str, options: Any, found: str, output: int) -> None:
        """Adds the activation that is fused into an operator, and gives what comes out its name in the file."""
        fused = self._activation.get(getattr(options, "fusedActivationFunction", 0), "another one")
        tensor = self._graph.tensors[output]
        lowest = {3: 0, 9: -128}.get(tensor.type)
        if fused == "NONE" and kind in _CUT_BY_RANGE and lowest is not None and _scales(tensor)[1][0] == lowest:
            fused = "RELU"
        ops = {"RELU": "Relu", "TANH": "Tanh"}
        if fused in ops:
            found = self._add(ops[fused], [found], f"{found}/{fused.lower()}")
        elif fused in _CLIPS:
            found = self._clip(found, fused, f"{found}/{fused.lower()}")
        elif fused != "NONE":
            raise InputError(f"Expected activations RELU, RELU6, TANH, received {fused} in {kind}.")
        self._nodes[-1].output[0] = self._names[output]
        self.places[self._names[output]] = output

    def _add(self, op: str, inputs: Sequence[str], output: str, node: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, list(inputs), [output], node or output, **attributes))
        return output

    def _array(self, name: str, array: Any) -> str:
        self._arrays[name] = np.asarray(array)
        return name

    def _shape(self, index: int) -> list[int]:
        """Returns the shape of a tensor in the file; -1 for the batch where it is open."""
        tensor = self._graph.tensors[index]
        given = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        return [] if given is None else [int(size) for size in given]

    def _graph_axis(self, axis: int, index: int) -> int:
        rank = len(self._shape(index))
        axis %= max(rank, 1)
        return _TO_NCHW.index(axis) if rank == 4 else axis

    def _raw(self, index: int) -> np.ndarray:
        """Returns the bytes of a constant, none of what is computed; large files have them behind their tables."""
        buffer = self._tree.buffers[self._graph.tensors[self._weights.get(index, index)].buffer]
        if buffer.data is not None:
            return np.asarray(buffer.data, np.uint8)
        end = buffer.offset + buffer.size if buffer.offset > 1 else 0
        return np.frombuffer(self.content, np.uint8)[buffer.offset : end]

    def _is_constant(self, index: int) -> bool:
        return self._raw(index).size > 0

    def _constant(self, index: int) -> np.ndarray:
        """Returns a constant of the file as the file lays it out, in float32 where it is quantised."""
        tensor = self._graph.tensors[self._weights.get(index, index)]
        if not self._is_constant(index) or tensor.type not in _TYPES:
            raise InputError(
                f"Expected constant weights of float or int8 as {self._names[index]!r}, received others: convert the "
                "float model that this file was made from."
            )
        values = np.frombuffer(self._raw(index).tobytes(), _TYPES[tensor.type])
        self._left -= 4 * values.size
        if self._left < 0:
            raise InputError("Expected weights about as large as the file, received more.")
        array = values.reshape([] if tensor.shape is None else tensor.shape)
        if array.dtype.kind == "f":
            return array.astype(np.float32)
        if tensor.quantization is None or tensor.quantization.scale is None or not len(tensor.quantization.scale):
            return array
        scale, zero = _scales(tensor)
        if scale.size > 1:  # one for each channel
            axis = tensor.quantization.quantizedDimension
            scale, zero = (v.reshape([-1 if i == axis else 1 for i in range(array.ndim)]) for v in (scale, zero))
        return ((array.astype(np.float32) - zero) * scale).astype(np.float32)

    def _numbers(self, index: int) -> list[int]:
        return [int(number) for number in self._constant(index).reshape(-1)]

    def _use(self, index: int, rank: int = 0) -> str:
        """Returns the graph's name of a tensor; constants are laid out as the graph has maps, of that rank or more."""
        name = self._names[index]
        if not self._is_constant(index):
            if name not in self.places:
                raise InputError(f"Expected operators in their order, received one that reads {name!r} too early.")
            return name
        array = self._constant(index)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim else array
        key = f"{name}/{rank}"
        return self._array(key, array.transpose(_TO_NCHW) if array.ndim == 4 else array)

    def _together(self, inputs: Sequence[int]) -> list[str]:
        """Returns operands that broadcast against each other."""
        ranks = [len(self._shape(i)) for i in inputs]
        if len({rank for i, rank in zip(inputs, ranks, strict=True) if not self._is_constant(i) and rank}) > 1:
            raise InputError(f"Expected activations of equally many axes, received {ranks}.")
        return [self._use(i, max(ranks)) for i in inputs]

    def _as_file(self, index: int) -> str:
        """Returns the graph's name of a tensor with its axes as in the file."""
        name = self._use(index)
        if len(self._shape(index)) != 4:
            return name
        return self._add("Transpose", [name], f"{name}/nhwc{len(self._nodes)}", perm=_TO_NHWC)

    def _as_map(self, found: str, rank: int) -> str:
        return self._add("Transpose", [found], f"{found}/nchw", perm=_TO_NCHW) if rank == 4 else found

    def _same(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        return self._add(_SAME[kind], self._together(inputs), name)

    def _clipped(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        return self._clip(self._use(inputs[0]), kind, name)

    def _clip(self, name: str, kind: str, output: str) -> str:
        low, high = (self._array(f"{output}/{side}", np.float32(side)) for side in _CLIPS[kind])
        return self._add("Clip", [name, low, high], output)

    def _spelt_out(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        """Writes what ONNX has with other attributes, or in several nodes."""
        terms, last = self._together(inputs), self._graph_axis(-1, inputs[0])
        if kind == "RSQRT":
            return self._add("Reciprocal", [self._add("Sqrt", terms, f"{name}/sqrt")], name)
        if kind in ("SQUARE", "SQUARED_DIFFERENCE"):
            base = terms[0] if len(terms) == 1 else self._add("Sub", terms, f"{name}/difference")
            return self._add("Mul", [base, base], name)
        if kind == "SOFTMAX":
            if options.beta != 1:
                scale = self._array(f"{name}/beta", np.float32(options.beta))
                terms = [self._add("Mul", [*terms, scale], f"{name}/scaled")]
            return self._add("Softmax", terms, name, axis=last)
        if kind == "L2_NORMALIZATION":
            return self._add("LpNormalization", terms, name, axis=last, p=2)
        if kind == "GELU":
            return self._add("Gelu", terms, name, approximate="tanh" if options.approximate else "none")
        return self._add("LeakyRelu", terms, name, alpha=float(options.alpha))

    def _conv(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        kernel = self._constant(inputs[1])
        groups = 1
        if kind == "DEPTHWISE_CONV_2D":
            groups = self._shape(inputs[0])[3]
            kernel = kernel.transpose(3, 0, 1, 2)
        else:  # a kernel of fewer channels than the map is of groups
            groups = self._shape(inputs[0])[3] // max(kernel.shape[3], 1)
            kernel = kernel.transpose(0, 3, 1, 2)
        bias = [self._array(f"{name}/bias", self._constant(inputs[2]))] if len(inputs) > 2 else []
        return self._add(
            "Conv", [self._use(inputs[0]), self._array(f"{name}/kernel", kernel), *bias], name,
            group=groups, kernel_shape=kernel.shape[2:], strides=[options.strideH, options.strideW],
            dilations=[options.dilationHFactor, options.dilationWFactor], auto_pad=_padding(options),
        )  # fmt: skip

    def _pool(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        return self._add(
            _POOLS[kind], [self._use(inputs[0])], name, kernel_shape=[options.filterHeight, options.filterWidth],
            strides=[options.strideH, options.strideW], auto_pad=_padding(options),
        )  # fmt: skip

    def _dense(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        kernel = self._constant(inputs[1])
        found, rank = self._as_file(inputs[0]), len(self._shape(inputs[0]))
        if not options.keepNumDims and rank != 2:
            shape = self._array(f"{name}/shape", np.array([-1, kernel.shape[1]], np.int64))
            found, rank = self._add("Reshape", [found, shape], f"{name}/rows"), 2
        bias = [self._array(f"{name}/bias", self._constant(inputs[2]))] if len(inputs) > 2 else []
        if rank == 2:
            return self._add("Gemm", [found, self._array(f"{name}/kernel", kernel), *bias], name, transB=1)
        found = self._add("MatMul", [found, self._array(f"{name}/kernel", kernel.T)], f"{name}/product")
        found = self._add("Add", [found, *bias], name) if bias else found
        return self._as_map(found, rank)

    def _matmul(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        terms = [self._as_file(i) for i in inputs]
        rank = len(self._shape(inputs[0]))
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        for i, is_turned in enumerate((options.adjX, options.adjY)):
            if is_turned:
                terms[i] = self._add("Transpose", [terms[i]], f"{name}/turned{i}", perm=swapped)
        return self._as_map(self._add("MatMul", terms, name), rank)

    def _pad(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        pads = self._constant(inputs[1])
        pads = pads[list(_TO_NCHW)] if len(pads) == 4 else pads
        filling = [self._array(f"{name}/filling", self._constant(inputs[2]).reshape(()))] if len(inputs) > 2 else []
        sizes = self._array(f"{name}/pads", pads.T.reshape(-1).astype(np.int64))
        return self._add("Pad", [self._use(inputs[0]), sizes, *filling], name)

    def _view(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        output = self._names.index(name.rpartition("/")[0])
        shape = self._shape(output)
        if sum(size < 0 for size in shape) > 1:  # only running the file tells
            self._measured = self._measured or litert_oracle.shapes(self.content)
            shape = self._measured[output]
        # The batch of 1 that a file was made for is the batch, also where it is merged into another axis.
        is_batch = len(shape) > 0 and (self._shape(output)[0] == -1 or shape[0] == self._shape(inputs[0])[0])
        target = [-1, *shape[1:]] if is_batch else shape
        sizes = self._array(f"{name}/shape", np.array(target, np.int64))
        return self._as_map(self._add("Reshape", [self._as_file(inputs[0]), sizes], name), len(shape))

    def _transpose(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        order = self._numbers(inputs[1])
        return self._as_map(self._add("Transpose", [self._as_file(inputs[0])], name, perm=order), len(order))

    def _concat(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        return self._add("Concat", [*map(self._use, inputs)], name, axis=self._graph_axis(options.axis, inputs[0]))

    def _reduce(self, kind: str, inputs: list[int], options: Any, name: str) -> str:
        rank = len(self._shape(inputs[0]))
        axes = [axis % rank for axis in self._numbers(inputs[1])]
        # Where axes of a map fall away, those that are left have the file's order.
        is_pooling = rank != 4 or options.keepDims or sorted(axes) == [1, 2]
        source = self._use(inputs[0]) if is_pooling else self._as_file(inputs[0])
        found = [self._graph_axis(axis, inputs[0]) for axis in axes] if is_pooling else axes
        numbers = self._array(f"{name}/axes", np.array(sorted(found), np.int64))
        return self._add(_REDUCTIONS[kind], [source, numbers], name, keepdims=int(bool(options.keepDims)))


def _scales(tensor: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and zero point of a quantised tensor, of equal length."""
    quantization = tensor.quantization
    scale = np.array([] if quantization is None or quantization.scale is None else quantization.scale, np.float32)
    if not scale.size or not np.isfinite(scale).all() or not (scale > 0).all():
        raise InputError("Expected scales of quantised tensors, received none.")
    zero = np.zeros_like(scale) if quantization.zeroPoint is None else np.asarray(quantization.zeroPoint, np.float32)
    return scale, np.broadcast_to(zero, scale.shape)


def _padding(options: Any) -> str:
    return "SAME_UPPER" if options.padding == 0 else "VALID"
