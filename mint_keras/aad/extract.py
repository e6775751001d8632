"""Runs images through extractors once and keeps what the taps give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras import formats
from mint_keras.aad import store
from mint_keras.audited import iresnet, runtime
from mint_keras.data import images, tables
from mint_keras.records import InputError, SampleTable

BATCH_SIZE = 64


def extract(
    table: SampleTable,
    extractors: Mapping[str, keras.Model],
    folder: Path,
    manifest: dict[str, Any],
    dtype: str = "float16",
    on_batch: Callable[[int], None] = lambda _: None,
    xla: bool = False,
) -> None:
    """Decodes every image once, runs all extractors on it, and writes an AAD store.

    Args:
        table: the samples.
        extractors: from `audited.taps.extractor`, by name; all with the same taps. They run in the precision and on
            the devices that `audited.runtime.place` gave them.
        folder: of the store; its manifest is written last, so that an interrupted store is never taken for whole.
        manifest: of the store, see `formats.make_manifest`; its config names the models and taps.
        dtype: of the stored values.
        on_batch: called with the number of faces done, for progress.
        xla: compile the extractors, see `audited.runtime.forward`.

    Raises:
        InputError: if no image is usable, or an activation does not fit the dtype.
    """
    arrays = {}
    for model, extractor in extractors.items():
        for tap, output in extractor.output.items():
            path = store.array_path(folder, model, tap)
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays[model, tap] = np.lib.format.open_memmap(path, "w+", dtype, (len(table), *output.shape[1:]))
    forwards = {model: runtime.forward(extractor, xla) for model, extractor in extractors.items()}
    reader = images.FaceReader()
    used: list[np.ndarray] = []
    start = 0
    for rows, faces in reader.batches(table, BATCH_SIZE):
        for model, outputs in _run(forwards, faces).items():
            for tap, values in outputs.items():
                arrays[model, tap][start : start + len(rows)] = _cast(values, dtype, f"{model} {tap}")
        used.append(rows)
        start += len(rows)
        on_batch(len(rows))
    formats.write_rejected(folder / formats.REJECTED, reader.rejected)
    if not used:
        raise InputError(
            f"Expected face images, received {len(reader.rejected)} files of which none is usable: "
            f"{reader.rejected[0].reason}"
        )
    for array in arrays.values():
        array.flush()
    tables.write_samples(folder / store.SAMPLES, table.take(np.concatenate(used)))
    met = {"rejected": len(reader.rejected), "resized": dict(reader.resized), "pixels_sha256": reader.digest}
    formats.write_json(folder / formats.MANIFEST, {**manifest, **met})


def _run(forwards: Mapping[str, runtime.Forward], faces: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    # One batch size throughout: outputs differ in the last bits between batch sizes.
    padding = np.zeros((BATCH_SIZE - len(faces), *faces.shape[1:]), faces.dtype)
    batch = iresnet.normalise(np.concatenate([faces, padding]))
    results = {name: forward(batch) for name, forward in forwards.items()}
    return {name: {tap: v[: len(faces)] for tap, v in outputs.items()} for name, outputs in results.items()}


def _cast(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    largest = float(np.abs(values).max())
    if not largest <= float(np.finfo(dtype).max):
        raise InputError(f"Expected activations of {name} that fit {dtype}, received one of magnitude {largest:g}.")
    return values.astype(dtype)
