"""Fuses the truncated audited model and a head into one TFLite file of built-in operations."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mint_keras import formats
from mint_keras.edge.bundle import SCORER
from mint_keras.edge.scorer import Scorer
from mint_keras.records import RefusedError

PRECISIONS = {"fp32": 1e-5, "fp16": 5e-2}  # accepted difference from Keras, of 1 or the largest logit


def fuse(extractor: keras.Model, head: keras.Model, image_size: int = 112) -> keras.Model:
    """Joins extractor and head into one model that takes pixels as they are.

    Args:
        extractor: from `audited.taps.extractor`, with the taps and pooling the head was trained on.
        head: from `heads`.
        image_size: side of the square input.

    Returns:
        A model from RGB pixels 0..255, float32 of shape (batch, size, size, 3), to {"logit", "score"}, (batch, 1) each.
    """
    images = keras.Input((image_size, image_size, 3), name="image")
    aad = extractor(layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(images))
    outputs = {"logit": head.get_layer("logit").output, "score": head.output}
    return keras.Model(images, keras.Model(head.input, outputs, name=head.name)(aad), name="scorer")


def to_tflite(model: keras.Model, precision: str = "fp32") -> bytes:
    """Converts a fused model.

    Raises:
        RefusedError: if it needs operations that TFLite does not have built in.
    """
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda image: model(image, training=False), [signature])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision == "fp16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except Exception as error:  # the converter has no error class of its own
            if "Flex" not in str(error) and "ops" not in str(error):
                raise
            raise RefusedError(f"Expected only operations built into TFLite, received: {error}") from error


def write_scorer(folder: Path, model: keras.Model, faces: np.ndarray, precision: str = "fp32") -> float:
    """Writes `scorer.tflite` if it agrees with Keras.

    Args:
        folder: of the bundle.
        model: from `fuse`.
        faces: on which the two are compared, uint8 RGB, shape (n, 112, 112, 3).
        precision: a key of `PRECISIONS`.

    Returns:
        The largest difference of a logit.

    Raises:
        RefusedError: if the difference is above the tolerance; nothing is written then.
    """
    expected = np.concatenate([model.predict_on_batch(face[None].astype(np.float32))["logit"][:, 0] for face in faces])
    with formats.atomic_path(folder / SCORER) as temporary:
        temporary.write_bytes(to_tflite(model, precision))
        difference = float(np.abs(Scorer(temporary).logits(faces) - expected).max())
        # Rounding grows with the logits.
        tolerance = PRECISIONS[precision] * max(1.0, float(np.abs(expected).max()))
        if not difference <= tolerance:
            raise RefusedError(
                f"Expected TFLite logits within {tolerance:g} of Keras, received a difference of {difference:g}."
            )
    return difference
