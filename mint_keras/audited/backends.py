"""Who runs an extractor: Keras in one precision or another, ONNX Runtime, or LiteRT in float32 or int8."""

import keras
import tensorflow as tf

from mint_keras.audited import litert, runtime
from mint_keras.records import InputError

KERAS, ONNXRUNTIME, LITERT = "keras", "onnxruntime", "litert"
BACKENDS = (KERAS, ONNXRUNTIME, LITERT)
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
        extractor: A model from `taps.extractor`, in float32.
        precision: One of `PRECISIONS`; int8 is LiteRT's dynamic range, on CPUs.
        backend: One of `BACKENDS`; the others than Keras give float32 only.
        xla: Whether Keras compiles the model.
        devices: Where Keras runs the model.
    """
    if precision not in PRECISIONS or backend not in BACKENDS:
        raise InputError(f"Expected {list(PRECISIONS)} by {list(BACKENDS)}, received {precision} by {backend}.")
    # int8 serves where the cosine says so (conv1), not everywhere: R100's outcome keeps 0.97 only.
    if precision == INT8:
        return litert.forward(extractor)
    if backend != KERAS and precision != runtime.FLOAT32:
        raise InputError(f"Expected --backend {backend} with float32 only, received {precision}.")
    if backend == LITERT:
        return litert.forward(extractor, litert.FP32)
    if backend == ONNXRUNTIME:
        # onnx and onnxruntime take seconds to load, and most runs need neither.
        from mint_keras.audited import onnx_forward

        return onnx_forward.forward(extractor)
    return runtime.forward(runtime.place(extractor, precision, devices), xla)
