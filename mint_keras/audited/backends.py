"""Who runs an extractor: Keras in one precision or another, ONNX Runtime, or LiteRT in int8."""

from __future__ import annotations

import keras
import tensorflow as tf

from mint_keras.audited import litert, runtime
from mint_keras.audited.convert import onnx_export
from mint_keras.records import InputError

KERAS, ONNXRUNTIME = "keras", "onnxruntime"
BACKENDS = (KERAS, ONNXRUNTIME)
INT8 = "int8"
PRECISIONS = (*runtime.POLICIES, INT8)


def open_forward(
    extractor: keras.Model,
    precision: str = runtime.FLOAT32,
    backend: str = KERAS,
    xla: bool = False,
    devices: tf.distribute.Strategy | None = None,
) -> runtime.Forward:
    """Returns a function from a batch to the named outputs of an extractor.

    Args:
        extractor: from `taps.extractor`, in float32.
        precision: one of `PRECISIONS`; int8 is LiteRT's dynamic range, on CPUs.
        backend: one of `BACKENDS`, for float32.
        xla: compile, for Keras.
        devices: where Keras runs it.

    Raises:
        InputError: for combinations that do not exist.
    """
    if precision not in PRECISIONS or backend not in BACKENDS:
        raise InputError(f"Expected {list(PRECISIONS)} by {list(BACKENDS)}, received {precision} by {backend}.")
    if precision == INT8:
        return litert.forward(extractor)
    if backend == ONNXRUNTIME and precision == runtime.FLOAT32:
        return onnx_export.forward(extractor)
    if backend == ONNXRUNTIME:
        raise InputError(f"Expected --backend onnxruntime with float32 only, received {precision}.")
    return runtime.forward(runtime.place(extractor, precision, devices), xla)
