"""Who runs an extractor: Keras in one precision or another, ONNX Runtime, OpenVINO, or LiteRT in float32 or int8."""

import importlib.util

import keras
import tensorflow as tf

from mint_keras.audited import litert, runtime
from mint_keras.records import InputError

KERAS, ONNXRUNTIME, LITERT, OPENVINO = "keras", "onnxruntime", "litert", "openvino"
BACKENDS = (KERAS, ONNXRUNTIME, LITERT, OPENVINO)
INT8 = "int8"
PRECISIONS = (*runtime.POLICIES, INT8)


def is_installed(backend: str) -> bool:
    """Tells whether a backend is there; OpenVINO is an extra."""
    return importlib.util.find_spec("ai_edge_litert" if backend == LITERT else backend) is not None


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
    if backend in (ONNXRUNTIME, OPENVINO):
        if not is_installed(backend):
            raise InputError(f"Expected {backend}, which is not installed: pip install -r requirements-openvino.txt")
        # onnx and onnxruntime take seconds to load, and most runs need neither.
        from mint_keras.audited import onnx_forward

        model = onnx_forward.to_onnx(extractor)
        return onnx_forward.open_model(model) if backend == ONNXRUNTIME else onnx_forward.open_in_openvino(model)
    return runtime.forward(runtime.place(extractor, precision, devices), xla)
