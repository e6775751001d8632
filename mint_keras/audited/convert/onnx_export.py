"""A Keras extractor to ONNX by tf2onnx: a third runtime, and a fast one on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from mint_keras import formats
from mint_keras.audited import iresnet, parity, runtime
from mint_keras.records import ParityRecord, RefusedError

_OPSET = 17
_INPUT = "image"


def export(extractor: keras.Model, path: Path, inputs: Mapping[str, np.ndarray]) -> list[ParityRecord]:
    """Writes an extractor as ONNX and compares the file in ONNX Runtime with Keras.

    Args:
        extractor: from `taps.extractor`; its outputs keep their names, N, H, W, C.
        path: of the file.
        inputs: RGB pixels in 0..255 by name, to compare on.

    Returns:
        One record for each tap and input.

    Raises:
        RefusedError: if the file gives other values; nothing is written then.
    """
    model = to_onnx(extractor)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    forward = runtime.forward(extractor)
    records = []
    for name, pixels in inputs.items():
        images = iresnet.normalise(pixels)
        expected = runtime.predict(forward, images, len(images))
        received = dict(zip(names, session.run(names, {_INPUT: images}), strict=True))
        made = ("keras (extractor.onnx)", name, len(images))
        records += [parity.compare(tap, received[tap], expected[tap], made) for tap in extractor.output]
    wrong = [record for record in records if not parity.is_within(record)]
    if wrong:
        raise RefusedError(f"tf2onnx's file differs from Keras: tap {wrong[0].tap}, relative {wrong[0].relative:.2g}.")
    with formats.atomic_path(path) as temporary:
        onnx.save(model, temporary)
    return records


def forward(extractor: keras.Model) -> runtime.Forward:
    """Returns a function from a batch to the named outputs, run by ONNX Runtime on TensorFlow's number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = tf.config.threading.get_intra_op_parallelism_threads()
    content = to_onnx(extractor).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {_INPUT: images}), strict=True))


def to_onnx(extractor: keras.Model) -> onnx.ModelProto:
    """Converts a model with named outputs; the batch stays open."""
    import tf2onnx  # slow to import

    taps = list(extractor.output)

    @tf.function(input_signature=[tf.TensorSpec((None, *extractor.input.shape[1:]), tf.float32, name=_INPUT)])
    def forward(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = extractor(images, training=False)
        return {tap: tf.identity(outputs[tap], name=tap) for tap in taps}

    model, _ = tf2onnx.convert.from_function(forward, input_signature=forward.input_signature, opset=_OPSET)
    return model
