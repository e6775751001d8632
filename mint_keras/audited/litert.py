"""Keras models as TFLite files of built-in operations, in several precisions, and how LiteRT runs an extractor."""

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mint_keras import environment
from mint_keras.audited import runtime
from mint_keras.audited.runtime import Forward
from mint_keras.records import InputError, RefusedError

FP32, FP16, INT8_DYNAMIC, INT8 = "fp32", "fp16", "int8_dynamic", "int8"
PRECISIONS = (FP32, FP16, INT8_DYNAMIC, INT8)
SIGNATURE = "serve"
_MAX_BYTES = 2**30  # of weights in all
_told: list[bool] = []


def to_tflite(model: keras.Model) -> bytes:
    """Converts a model of named outputs, in float32; its input keeps name, type and batch.

    Raises:
        RefusedError: It needs operations that TFLite does not have built in.
    """
    signature = tf.TensorSpec(model.input.shape, model.input.dtype, name=model.input.name)
    # Weights as constants: saving and loading variables would take three quarters of the time.
    values = [(variable, np.asarray(variable)) for variable in model.variables]

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with keras.StatelessScope(values):
            return model(images, training=False)  # not `stateless_call`, with which operations have other names

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, {SIGNATURE: tf.function(serve, [signature], autograph=False)})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        # With Flex operations the conversion would succeed, and LiteRT on a laptop refuse the file.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            return bytes(converter.convert())
        except Exception as error:  # the converter has no error class of its own
            if "Flex" not in str(error) and "ops" not in str(error):
                raise
            raise RefusedError(f"Expected only operations built into TFLite, received: {error}") from error


def quantise(content: bytes, precision: str, images: np.ndarray | None = None, exact: Sequence[str] = ()) -> bytes:
    """Returns a float32 TFLite file in another precision.

    Args:
        content: A file from `to_tflite`.
        precision: fp16 changes the weights; int8_dynamic also the activations, by the range of the image at hand; int8
            by the range of representative images.
        images: Representative images for int8, shape (n, ...), of the type that the model takes.
        exact: Operations that stay in float32, by the names of the tensors they give, see `operations`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"Expected a precision of {', '.join(PRECISIONS)}, received {precision!r}.")
    if precision == FP32:
        return content
    # Not TensorFlow's converter: this one starts from the one float32 file, takes a tenth of a second, and leaves
    # operations out by name. Its int8 runs twice as fast (R100 cut at conv1, one thread: 8.6 ms against 17.1), because
    # it leaves PReLU, which XNNPACK has in float only, in float.
    from litert_quantizer import algorithm_manager, qtyping, quantizer

    silence = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        # The quantizer prints sizes, and warns of the interpreter that it chose for itself.
        warnings.simplefilter("ignore")
        work = quantizer.Quantizer(content)
        algorithms = algorithm_manager.AlgorithmName
        if precision == FP16:
            config = qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            )
            work.update_quantization_recipe(".*", "*", config, algorithm_key=algorithms.FLOAT_CASTING)
        elif precision == INT8_DYNAMIC:
            work.add_dynamic_config(".*", "*", num_bits=8)
        else:
            work.add_static_config(".*", "*", activation_num_bits=8, weight_num_bits=8)
        for name in exact:
            work.update_quantization_recipe(f"^{re.escape(name)}", "*", algorithm_key=algorithms.NO_QUANTIZE)
        if not work.need_calibration:
            return bytes(work.quantize(None).quantized_model)
        if images is None or not len(images):
            raise InputError("Expected representative images for int8 activations, received none.")
        (name,) = open_plain(content).get_signature_runner().get_input_details()
        ranges = work.calibrate({SIGNATURE: [{name: image[None]} for image in images]})
        return bytes(work.quantize(ranges).quantized_model)


def operations(content: bytes) -> list[tuple[str, str]]:
    """Returns the operations of a TFLite file in their order: kind, such as CONV_2D, and name of what it gives."""
    interpreter = open_plain(content)
    names = {entry["index"]: entry["name"] for entry in interpreter.get_tensor_details()}
    found = interpreter._get_ops_details()  # nothing public lists them
    return [(entry["op_name"], names.get(int(entry["outputs"][0]), "")) for entry in found]


def open_plain(content: bytes, keeps_all: bool = False) -> Any:
    """Returns LiteRT's interpreter of a file without delegates, which would hide operations that they take over."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(
        model_content=content, experimental_preserve_all_tensors=keeps_all, experimental_op_resolver_type=resolver
    )


def forward(model: keras.Model, precision: str = INT8_DYNAMIC) -> Forward:
    """Returns a function from a batch to a model's named outputs, run by LiteRT on TensorFlow's number of threads."""
    from ai_edge_litert.interpreter import Interpreter

    content = quantise(to_tflite(model), precision)
    # One image a thread, on an interpreter of its own, which copies the weights: of large networks there are few.
    num = max(1, min(runtime.num_threads(), _MAX_BYTES // len(content)))

    def open_interpreter() -> Forward:
        interpreter = Interpreter(model_content=content, num_threads=runtime.num_threads() // num)
        run = interpreter.get_signature_runner()
        (name,) = run.get_input_details()
        # The runner keeps its interpreter, but not the bytes it reads: naming them here keeps them alive.
        return lambda image: run(**{name: image}) if content else {}

    runs = [open_interpreter() for _ in range(num)]
    if not _told:  # with its first image LiteRT prints, once in a process, what it runs on
        with environment.hidden_notices():
            _told.append(bool(runs[0](np.zeros((1, *model.input.shape[1:]), model.input.dtype))))
    return runtime.one_by_one(runs)
