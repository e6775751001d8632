"""Does a converted model compute what its source computes? Every tap against its own runtime, before it is saved."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime

from mint_keras import vectors
from mint_keras.audited import iresnet, runtime
from mint_keras.audited.convert.onnx import Converted
from mint_keras.audited.convert.values import Value
from mint_keras.audited.taps import OUTCOME
from mint_keras.records import InputError, ParityRecord, RefusedError

BATCH_SIZES = (1, 8)
_AT_ONCE = 32  # layers
# What these give lies between 0 and 1 or -1 and 1, and runtimes resolve it to float32's last bit of that range: near
# zero ONNX Runtime's own sigmoid is wrong by a tenth.
_BOUNDED = ("sigmoid_", "hard_sigmoid_", "softmax_", "tanh_")
_DTYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float16)": np.float16, "tensor(double)": np.float64,
}  # fmt: skip
_LAST_BITS = 4 * float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a tap may be from its source.

    Attributes:
        relative: The largest ||ours - theirs|| / ||theirs||, over all samples.
        cosine: The smallest cosine between ours and theirs of a sample.
    """

    relative: float
    cosine: float


# Float32 stays far within (1e-5 and less in the tests); TF32 or a wrong epsilon does not.
EXACT = Tolerance(1e-4, 0.999999)
# Of a source that computes in half precision, and of one that rounds its activations to integers.
HALF = Tolerance(1e-2, 0.9999)
ROUNDED = Tolerance(0.5, 0.9)
# Of what tells faces apart, in a source with the ranges of faces. Right readings of small networks have at most 0.37,
# and cosines from 0.87; with colours exchanged or mixed, or a kernel transposed, their worst tap has 0.42 and 0.82.
FACES = Tolerance(0.4, 0.85)


class Oracle:
    """Runs an ONNX graph, which `model` gives with its weights, in ONNX Runtime, and gives any tensor of it.

    Attributes:
        name: Who runs it, for the record.
        tolerance: How far a right conversion may be from it.
        about: What it runs, and how.
        is_of_faces: Whether it cuts off what no face gives: what is far on noise is judged by faces less their mean.
    """

    is_of_faces = False

    def __init__(
        self,
        model: Callable[[], onnx.ModelProto] | None = None,
        name: str = "onnxruntime",
        tolerance: Tolerance = EXACT,
        about: str = "the file as it is",
        only: Collection[str] | None = None,
    ) -> None:
        self.name, self.tolerance, self._only = name, tolerance, only
        self.about = about if model is None else f"{about}, ONNX Runtime {onnxruntime.__version__}, not optimised"
        self._model = model

    def gives(self, tensor: str) -> bool:
        """Tells whether it gives a tensor of the source."""
        return self._only is None or tensor in self._only

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        """Returns a function from images, NHWC as the graph wants them scaled, to some tensors."""
        current: Callable[[np.ndarray], list[np.ndarray]] | None = None

        def run(images: np.ndarray) -> list[np.ndarray]:
            nonlocal current
            assert self._model is not None  # noqa: S101 # others run something else
            is_first = current is None
            try:
                current = current or _run_onnx(self._model(), tensors)
                return current(images)
            except InputError:
                # The file as it is comes first: slopes of vectors, and of maps as wide as they have channels, run.
                if not is_first or not _plain_slopes(self._model()):
                    raise
                current = _run_onnx(_with_shaped_slopes(self._model()), tensors)
                self.about = self.about.partition(_SLOPES)[0] + _SLOPES
                return current(images)

        return run


_SLOPES = ", but for PRelu's slopes (C,), which run as one per channel, as MXNet meant them"


# Which inputs of operators on integers are weights and their zero point. That of activations is always the third.
_WEIGHTS = {
    "QLinearConv": (3, 5), "QLinearMatMul": (3, 5), "QGemm": (3, 5), "ConvInteger": (1, 3), "MatMulInteger": (1, 3),
}  # fmt: skip


def _with_unsigned_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model whose operators on integers have uint8 weights for int8 ones: both and zero points 128 higher.

    On processors without VNNI, ONNX Runtime adds pairs of products of uint8 and int8 in 16 bits, where they overflow.
    """
    nodes = model.graph.node
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in (node for node in nodes if node.op_type == "Constant"):
        tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    signed = {name for name, tensor in tensors.items() if tensor.data_type == onnx.TensorProto.INT8}
    unsigned = {name for name, tensor in tensors.items() if tensor.data_type == onnx.TensorProto.UINT8}
    unsigned |= {name for node in nodes if node.op_type == "DynamicQuantizeLinear" for name in node.output[2:]}
    if not any(signed & {*node.input} for node in nodes if node.op_type in _WEIGHTS):
        return model
    taken, mark = {*tensors, *(name for node in nodes for name in (*node.input, *node.output))}, "_unsigned"
    while any(name.endswith(mark) for name in taken):
        mark += "_"
    changed, added = onnx.ModelProto.FromString(model.SerializeToString()), {}
    for node in changed.graph.node:
        if node.op_type not in _WEIGHTS:
            continue
        weights, zero = _WEIGHTS[node.op_type]
        node.input.extend([""] * (zero + 1 - len(node.input)))  # without a zero point it is 0
        kinds = (node.input[weights], signed), (node.input[zero], {*signed, ""}), (node.input[2], {*unsigned, ""})
        if not all(name in names for name, names in kinds):
            continue
        for place in (weights, zero):  # new ones, since the old may be read elsewhere
            name = node.input[place]
            values = onnx.numpy_helper.to_array(tensors[name]) if name else np.zeros((), np.int8)
            raised = np.asarray(values.astype(np.int16) + 128, np.uint8)
            node.input[place] = name + mark
            added[name + mark] = onnx.numpy_helper.from_array(raised, name + mark)
    changed.graph.initializer.extend(added.values())
    return changed


def _run_onnx(model: onnx.ModelProto, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
    # Without optimisations, so that every tensor is there and means what the file says.
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    # Without an arena and packed copies of the weights an R100 converts in 2.6 GB instead of 3.5; the oracle runs a
    # handful of images only.
    settings.enable_cpu_mem_arena = False
    settings.add_session_config_entry("session.disable_prepacking", "1")
    weights = {tensor.name for tensor in model.graph.initializer}
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    try:
        content = _with_unsigned_weights(model).SerializeToString()
    finally:  # the graph may be the source's own
        del model.graph.output[:]
        model.graph.output.extend(outputs)
    del model  # large
    try:
        session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class
        raise InputError(_reason(error)) from error
    entry = next(entry for entry in session.get_inputs() if entry.name not in weights)

    def run(images: np.ndarray) -> list[np.ndarray]:
        feed = np.ascontiguousarray(images.transpose(0, 3, 1, 2) if entry.shape[1] == 3 else images)
        dtype = _DTYPES.get(entry.type, np.float32)  # pixels are whole numbers
        feed = (np.rint(feed) if np.issubdtype(dtype, np.integer) else feed).astype(dtype)
        batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1
        try:  # one image at a time: files may fix the batch, at the input or somewhere inside
            runs = [session.run(list(tensors), {entry.name: np.repeat(image[None], batch, 0)}) for image in feed]
        except Exception as error:
            raise InputError(_reason(error)) from error
        firsts = [[values[: len(values) // batch] for values in found] for found in runs]
        return [np.concatenate(parts) for parts in zip(*firsts, strict=True)]

    return run


def _plain_slopes(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Returns the slopes (C,) of PRelu; ONNX lays them along the width, and along the channels of vectors."""
    slopes = {node.input[1] for node in model.graph.node if node.op_type == "PRelu" and len(node.input) > 1}
    return [
        tensor for tensor in model.graph.initializer if tensor.name in slopes and len(tensor.dims) == 1 < tensor.dims[0]
    ]


def _with_shaped_slopes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy whose slopes lie along the channels, as MXNet's converters meant them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in _plain_slopes(copy):
        tensor.dims[:] = [tensor.dims[0], 1, 1]
    return copy


def check(
    converted: Converted,
    taps: Mapping[str, str],
    oracle: Oracle,
    inputs: Mapping[str, np.ndarray],
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> list[ParityRecord]:
    """Compares taps with an oracle of their source; returns one record for each tap, input and batch size.

    Args:
        converted: The Keras model and where the source's tensors are in it.
        taps: Tensors of the source by tap.
        oracle: Runs the source.
        inputs: RGB pixels in 0..255, (n, height, width, 3), by name ("faces", "noise").
        batch_sizes: Numbers of images that Keras gets at once.

    Raises:
        RefusedError: A record is out of tolerance; the message names the first layer that differs.
    """
    taps = {tap: tensor for tap, tensor in taps.items() if oracle.gives(tensor)}
    if not taps:
        return []
    ours = runtime.forward(converted.cut(taps))
    tensors = list(dict.fromkeys(taps.values()))
    run = oracle.session(tensors)
    records: list[ParityRecord] = []
    doubted: set[str] = set()  # taps of which noise does not decide
    for name, pixels in sorted(inputs.items(), key=lambda item: item[0] == "faces"):
        images = iresnet.normalise(pixels)
        expected = dict(zip(tensors, run(converted.contract.apply(pixels)), strict=True))
        _check_source(oracle, {tap: expected[tensor] for tap, tensor in taps.items()})
        judged = []
        for batch_size in batch_sizes:
            received = runtime.predict(ours, images, batch_size)
            for tap, tensor in taps.items():
                a, b = _as_source(received[tap], converted.tensors[tensor]), expected[tensor]
                records.append(compare(tap, a, b, (oracle.name, name, batch_size)))
                judged.append((records[-1], oracle.tolerance))
                if tap in doubted:
                    made = (oracle.name, f"{name} less their mean", batch_size)
                    judged.append((compare(tap, a - a.mean(axis=0), b - b.mean(axis=0), made), FACES))
        far = [(r, limit) for r, limit in judged if not is_within(r, limit, converted.layers[taps[r.tap]])]
        if far and oracle.is_of_faces and name != "faces" and len(inputs.get("faces", ())) > 1:
            doubted.update(record.tap for record, _ in far)
        elif far:
            worst, limit = far[0]
            raise RefusedError(
                f"The converted model differs from its source as {worst.oracle} runs it: tap {worst.tap} on "
                f"{worst.input} has relative error {worst.relative:.2g} (at most {limit.relative:g}) and "
                f"cosine {worst.cosine:.7f} (at least {limit.cosine}). The first layer that differs is "
                f"{_first_difference(converted, oracle, pixels)}. Nothing was saved."
            )
    return records


def _check_source(oracle: Oracle, given: Mapping[str, np.ndarray]) -> None:
    """Refuses a source that is damaged or empty itself, of which a conversion would be just as right."""
    for tap, values in given.items():
        is_blind = tap == OUTCOME and len(values) > 1 and not np.ptp(values, axis=0).any()
        if is_blind or not np.isfinite(values).all():
            what = "the same for every image" if is_blind else "NaN or infinite"
            reason = "Its weights are damaged or empty: copy it again, or export it again"
            raise RefusedError(f"What the source itself gives as {tap} ({oracle.name}) is {what}. {reason}.")


def compare(tap: str, ours: np.ndarray, theirs: np.ndarray, made: tuple[str, str, int]) -> ParityRecord:
    """Measures how far values, samples first, are from a reference of any shape of the same size.

    The record takes the name of the tap, and of what `made` it: oracle, input and batch size.
    """
    theirs = theirs.reshape(ours.shape) if theirs.size == ours.size else theirs
    if ours.shape != theirs.shape:
        raise RefusedError(f"Expected {tap} of shape {theirs.shape} as {made[0]} gives, received {ours.shape}.")
    a, b = (x.astype(np.float64).reshape(len(x), -1) for x in (ours, theirs))
    size = np.linalg.norm(b)
    return ParityRecord(
        tap, *made,
        max_abs=float(np.abs(a - b).max()),
        relative=float(np.linalg.norm(a - b) / size) if size else float(np.linalg.norm(a)),
        cosine=float(vectors.cosines(a, b, of_zeros=1.0).min()),
    )  # fmt: skip


def is_within(record: ParityRecord, tolerance: Tolerance = EXACT, layer: str = "") -> bool:
    """Tells whether a record of what a layer gives is within tolerance; NaN is not."""
    is_last_bits = layer.startswith(_BOUNDED) and record.max_abs <= _LAST_BITS
    return is_last_bits or (record.relative <= tolerance.relative and record.cosine >= tolerance.cosine)


def _as_source(values: np.ndarray, value: Value) -> np.ndarray:
    """Returns values from Keras with their axes as the source has them, samples first where it merges the batch."""
    return values.transpose(value.order) if len(value.order) == values.ndim and value.order[0] == 0 else values


def _first_difference(converted: Converted, oracle: Oracle, pixels: np.ndarray) -> str:
    """Walks the layers in order and describes the first whose output is out of tolerance."""
    tensors = list(converted.tensors)
    for start in range(0, len(tensors), _AT_ONCE):  # all at once would fill the memory
        part = [tensor for tensor in tensors[start : start + _AT_ONCE] if oracle.gives(tensor)]
        if not part:
            continue
        expected = oracle.session(part)(converted.contract.apply(pixels[:1]))
        cut = converted.cut({str(i): tensor for i, tensor in enumerate(part)})
        received = runtime.forward(cut)(iresnet.normalise(pixels[:1]))
        for i, tensor in enumerate(part):
            ours = _as_source(received[str(i)], converted.tensors[tensor])
            record = compare(converted.layers[tensor], ours, expected[i], (oracle.name, "", 1))
            if not is_within(record, oracle.tolerance, record.tap):
                return f"layer {record.tap!r} (node {converted.nodes[tensor]!r}, relative error {record.relative:.2g})"
    return "no single layer"


def _reason(error: Exception) -> str:
    return f"Expected a model that ONNX Runtime runs, received: {' '.join(str(error).split())}"
