"""Fuses the truncated audited model and a head into one TFLite file of built-in operations, in several precisions."""

from __future__ import annotations

import re

import keras
import numpy as np
from keras import layers

from mint_keras.audited import litert
from mint_keras.edge.scorer import FACES, LOGIT, SCORE
from mint_keras.records import InputError

MIXED = "mixed"
PRECISIONS = (*litert.PRECISIONS, MIXED)
_NORMALISE = "normalise"


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
    aad = extractor(layers.Rescaling(1 / 127.5, offset=-1.0, name=_NORMALISE)(faces))
    outputs = {LOGIT: head.get_layer("logit").output, SCORE: head.output}
    return keras.Model(faces, keras.Model(head.input, outputs, name=head.name)(aad), name="scorer")


def in_precision(content: bytes, precision: str, head: str, faces: np.ndarray) -> bytes:
    """Returns a fused model in another precision; scores are computed in float32 in all of them.

    Args:
        content: of `litert.to_tflite`, of a model from `fuse`.
        precision: see `litert.quantise`; mixed is int8 with the first convolution and the head in float32.
        head: name of the head's Keras model.
        faces: representative ones, uint8 RGB, shape (n, 112, 112, 3).

    Raises:
        InputError: for another precision.
    """
    if precision not in (litert.INT8, MIXED):
        return litert.quantise(content, precision)
    exact = _exact(litert.operations(content), head, precision == MIXED)
    return litert.quantise(content, litert.INT8, faces, exact)


def _exact(operations: list[tuple[str, str]], head: str, is_mixed: bool) -> list[str]:
    """Returns what stays in float32 of int8 models: pixels' scaling, the last layer, and what `mixed` leaves out.

    An int8 logit or sigmoid would have 256 values, and faces would tie.
    """
    names = [name for _, name in operations]
    exact = [name for name in names if f"/{_NORMALISE}" in name] + names[-2:]
    if is_mixed:
        first = next((name for kind, name in operations if kind == "CONV_2D"), None)
        inside = [name for name in names if re.search(rf"/{head}(_\d+)?/", name)]
        if first is None or not inside:
            raise InputError(f"Expected a convolution and a head {head!r} in the model, received {names}.")
        exact += [first, *inside]
    return list(dict.fromkeys(exact))
