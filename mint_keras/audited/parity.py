"""Does a converted model compute what its source computes? Every tap against ONNX Runtime, before anything is saved."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime

from mint_keras import vectors
from mint_keras.audited import iresnet, runtime
from mint_keras.audited.convert.onnx import Converted
from mint_keras.audited.convert.values import Value
from mint_keras.records import InputError, ParityRecord, RefusedError

# Float32 stays far within (1e-5 and less in the tests); TF32 or a wrong epsilon does not.
MAX_RELATIVE = 1e-4
MIN_COSINE = 0.999999
BATCH_SIZES = (1, 8)
_AT_ONCE = 32  # layers


class Oracle:
    """Runs an ONNX graph, which `model` gives with its weights, in ONNX Runtime, and gives any tensor of it."""

    def __init__(self, model: Callable[[], onnx.ModelProto], name: str = "onnxruntime") -> None:
        self.name = name
        self._model = model

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        """Returns a function from images, NHWC as the graph wants them scaled, to some tensors."""
        # Without optimisations, so that every tensor is there and means what the file says.
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.log_severity_level = 4
        # Without an arena and packed copies of the weights an R100 converts in 2.6 GB instead of 3.5; the oracle runs a
        # handful of images only.
        settings.enable_cpu_mem_arena = False
        settings.add_session_config_entry("session.disable_prepacking", "1")
        model = self._model()
        weights = {tensor.name for tensor in model.graph.initializer}
        slopes = {node.input[1] for node in model.graph.node if node.op_type == "PRelu" and len(node.input) > 1}
        for tensor in model.graph.initializer:
            if tensor.name in slopes and len(tensor.dims) == 1 and tensor.dims[0] > 1:
                # MXNet's converters wrote one slope per channel as (C,). ONNX would lay them along the width, and ONNX
                # Runtime refuses them.
                tensor.dims[:] = [tensor.dims[0], 1, 1]
        outputs = list(model.graph.output)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        try:
            content = model.SerializeToString()
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
            try:  # one image at a time: files may fix the batch, at the input or somewhere inside
                runs = [session.run(list(tensors), {entry.name: feed[i : i + 1]}) for i in range(len(feed))]
            except Exception as error:
                raise InputError(_reason(error)) from error
            return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

        return run


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
    ours = runtime.forward(converted.cut(taps))
    tensors = list(dict.fromkeys(taps.values()))
    run = oracle.session(tensors)
    records = []
    for name, pixels in inputs.items():
        images = iresnet.normalise(pixels)
        expected = dict(zip(tensors, run(converted.preprocessing.apply(pixels)), strict=True))
        for batch_size in batch_sizes:
            received = runtime.predict(ours, images, batch_size)
            for tap, tensor in taps.items():
                values = _as_source(received[tap], converted.tensors[tensor])
                records.append(compare(tap, values, expected[tensor], (oracle.name, name, batch_size)))
        worst = next((record for record in records if not is_within(record)), None)
        if worst is not None:
            raise RefusedError(
                f"The converted model differs from its source as {worst.oracle} runs it: tap {worst.tap} on "
                f"{worst.input} has relative error {worst.relative:.2g} (at most {MAX_RELATIVE:g}) and cosine "
                f"{worst.cosine:.7f} (at least {MIN_COSINE}). The first layer that differs is "
                f"{_first_difference(converted, oracle, pixels)}. Nothing was saved."
            )
    return records


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


def is_within(record: ParityRecord) -> bool:
    """Tells whether a record is within tolerance; NaN is not."""
    return record.relative <= MAX_RELATIVE and record.cosine >= MIN_COSINE


def _as_source(values: np.ndarray, value: Value) -> np.ndarray:
    """Returns values from Keras with their axes as the source has them, samples first where it merges the batch."""
    return values.transpose(value.order) if len(value.order) == values.ndim and value.order[0] == 0 else values


def _first_difference(converted: Converted, oracle: Oracle, pixels: np.ndarray) -> str:
    """Walks the layers in order and describes the first whose output is out of tolerance."""
    tensors = list(converted.tensors)
    for start in range(0, len(tensors), _AT_ONCE):  # all at once would fill the memory
        part = tensors[start : start + _AT_ONCE]
        expected = oracle.session(part)(converted.preprocessing.apply(pixels[:1]))
        cut = converted.cut({str(i): tensor for i, tensor in enumerate(part)})
        received = runtime.forward(cut)(iresnet.normalise(pixels[:1]))
        for i, tensor in enumerate(part):
            ours = _as_source(received[str(i)], converted.tensors[tensor])
            record = compare(converted.layers[tensor], ours, expected[i], (oracle.name, "", 1))
            if not is_within(record):
                return f"layer {record.tap!r} (node {converted.nodes[tensor]!r}, relative error {record.relative:.2g})"
    return "no single layer"


def _reason(error: Exception) -> str:
    return f"Expected a model that ONNX Runtime runs, received: {' '.join(str(error).split())}"
