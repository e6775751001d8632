"""Fuses the truncated audited model and a head into one TFLite file of built-in operations."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers

from mint_keras import formats
from mint_keras.audited import litert
from mint_keras.edge.bundle import SCORER
from mint_keras.edge.scorer import FACES, LOGIT, SCORE, Scorer
from mint_keras.records import RefusedError

PRECISIONS = {"fp32": 1e-5, "fp16": 5e-2}  # accepted difference from Keras, of 1 or the largest logit


def fuse(extractor: keras.Model, head: keras.Model, image_size: int = 112) -> keras.Model:
    """Joins extractor and head into one model that takes pixels as they are.

    Args:
        extractor: from `audited.taps.extractor`, with the taps and pooling the head was trained on.
        head: from `heads`.
        image_size: side of the square input.

    Returns:
        A model from RGB pixels, uint8 of shape (batch, size, size, 3), to {"logit", "score"}, float32 (batch, 1) each.
    """
    faces = keras.Input((image_size, image_size, 3), dtype="uint8", name=FACES)
    aad = extractor(layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(faces))
    outputs = {LOGIT: head.get_layer("logit").output, SCORE: head.output}
    return keras.Model(faces, keras.Model(head.input, outputs, name=head.name)(aad), name="scorer")


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
    expected = np.concatenate([model.predict_on_batch(face[None])[LOGIT][:, 0] for face in faces])
    with formats.atomic_path(folder / SCORER) as temporary:
        temporary.write_bytes(litert.to_tflite(model, precision))
        difference = float(np.abs(Scorer(temporary).logits(faces) - expected).max())
        # Rounding grows with the logits.
        tolerance = PRECISIONS[precision] * max(1.0, float(np.abs(expected).max()))
        if not difference <= tolerance:
            raise RefusedError(
                f"Expected TFLite logits within {tolerance:g} of Keras, received a difference of {difference:g}."
            )
    return difference
