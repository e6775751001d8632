"""Writes an extractor as an ONNX file, once ONNX Runtime gives the same values with it as Keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx

from mint_keras import formats
from mint_keras.audited import iresnet, onnx_forward, parity, runtime
from mint_keras.records import ParityRecord, RefusedError


def export(extractor: keras.Model, path: Path, inputs: Mapping[str, np.ndarray]) -> list[ParityRecord]:
    """Writes an extractor as ONNX and compares the file in ONNX Runtime with Keras.

    Args:
        extractor: A model from `taps.extractor`; its outputs keep their names, N, H, W, C.
        path: The file to write.
        inputs: RGB pixels in 0..255 by name, to compare on, each of shape (n, height, width, 3).

    Returns:
        One record for each tap and input.

    Raises:
        RefusedError: The file gives other values; nothing is written then.
    """
    model = onnx_forward.to_onnx(extractor)
    theirs, ours = onnx_forward.open_model(model), runtime.forward(extractor)
    records = []
    for name, pixels in inputs.items():
        images = iresnet.normalise(pixels)
        expected, received = ours(images), theirs(images)
        made = ("keras (extractor.onnx)", name, len(images))
        records += [parity.compare(tap, received[tap], expected[tap], made) for tap in extractor.output]
    wrong = [record for record in records if not parity.is_within(record)]
    if wrong:
        raise RefusedError(f"tf2onnx's file differs from Keras: tap {wrong[0].tap}, relative {wrong[0].relative:.2g}.")
    with formats.atomic_path(path) as temporary:
        onnx.save(model, temporary)
    return records
