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
        extractor: A model of `audited.taps.extractor`, with the taps and pooling that the head was trained on.
        head: A head of `heads`.
        image_size: The side of the square input in pixels.

    Returns:
        A model from RGB pixels, uint8 of shape (batch, size, size, 3), to {"logit", "score"}, float32 (batch, 1) each.
    """
    faces = keras.Input((image_size, image_size, 3), dtype="uint8", name=FACES)
    aad = extractor(layers.Rescaling(1 / 127.5, offset=-1.0, name=_NORMALISE)(faces))
    # The embedding is no further output: XNNPACK fails on an int8 tensor that is an output and is also read.
    outputs = {LOGIT: head.get_layer("logit").output, SCORE: head.output}
    return keras.Model(faces, keras.Model(head.input, outputs, name=head.name)(aad), name="scorer")


def in_precision(content: bytes, precision: str, head: str, faces: np.ndarray) -> bytes:
    """Returns a fused model in another precision; scores are computed in float32 in all of them.

    Args:
        content: The float32 file that `litert.to_tflite` makes of a model of `fuse`.
        precision: A precision of `litert.quantise`, or mixed: int8 with the first convolution and the head in float32.
        head: The name of the head's Keras model.
        faces: Representative faces, uint8 RGB, shape (n, 112, 112, 3).

    Raises:
        InputError: for another precision.
    """
    # litert-quantizer makes all of them from the one float32 file, in a tenth of a second each, with single operations
    # left out by name. Its int8 ran twice as fast as that of TensorFlow's converter (R100 cut at conv1, one thread: 8.6
    # ms against 17.1), because it leaves PReLU, which XNNPACK has in float only, in float.
    if precision not in (litert.INT8, MIXED):
        return litert.quantise(content, precision)
    operations = litert.operations(content)
    names = [name for _, name in operations]
    # An int8 logit or sigmoid would have 256 values, so that faces would tie: the last two stay in float32.
    exact = [name for name in names if f"/{_NORMALISE}" in name] + names[-2:]
    if precision == MIXED:
        first = next((name for kind, name in operations if kind == "CONV_2D"), None)
        inside = [name for name in names if re.search(rf"/{head}(_\d+)?/", name)]
        if first is None or not inside:
            raise InputError(f"Expected a convolution and a head {head!r} in the model, received {names}.")
        exact += [first, *inside]
    return litert.quantise(content, litert.INT8, faces, list(dict.fromkeys(exact)))
