"""Keras models as TFLite files of built-in operations, and how LiteRT runs an extractor."""

from __future__ import annotations

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

from mint_keras.audited.runtime import Forward
from mint_keras.records import RefusedError

FP32, FP16, INT8 = "fp32", "fp16", "int8"


def to_tflite(model: keras.Model, precision: str = FP32) -> bytes:
    """Converts a model with named outputs; its input keeps name and type.

    Args:
        model: from images to a dict of outputs.
        precision: fp32; fp16, of the weights; int8: weights, and activations as they come (dynamic range).

    Raises:
        RefusedError: if it needs operations that TFLite does not have built in.
    """
    signature = tf.TensorSpec(model.input.shape, model.input.dtype, name=model.input.name)
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda images: model(images, training=False), [signature])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != FP32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == FP16:
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except Exception as error:  # the converter has no error class of its own
            if "Flex" not in str(error) and "ops" not in str(error):
                raise
            raise RefusedError(f"Expected only operations built into TFLite, received: {error}") from error


def forward(model: keras.Model, precision: str = INT8) -> Forward:
    """Returns a function from a batch to the named outputs, run by LiteRT on TensorFlow's number of threads."""
    from ai_edge_litert.interpreter import Interpreter

    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
    # The runner keeps its interpreter, but not the bytes it reads.
    content = to_tflite(model, precision)
    run = Interpreter(model_content=content, num_threads=threads).get_signature_runner()
    (name,) = run.get_input_details()

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        assert content  # noqa: S101 # kept alive
        outputs = [run(**{name: image[None]}) for image in images]
        return {name: np.concatenate([output[name] for output in outputs]) for name in model.output}

    return predict
