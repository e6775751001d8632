"""AAD on disk: one memory-mapped `.npy` per tap, with the sample table that says which row is whose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.data import tables
from mint_keras.records import InputError, RefusedError, SampleTable

KIND = "aad"
SAMPLES = "samples.parquet"


@dataclasses.dataclass(frozen=True)
class AadStore:
    """AAD of a set of samples through one or more models.

    Attributes:
        table: the samples, n rows.
        arrays: by model name and tap, shape (n, ...), memory-mapped.
        manifest: what it was made from, and what was met on the way (`rejected`, `resized`).
    """

    table: SampleTable
    arrays: dict[str, dict[str, np.ndarray]]
    manifest: dict


def array_path(folder: Path, model: str, tap: str) -> Path:
    """Returns where the AAD of one model and tap lies."""
    return folder / model / f"{tap}.npy"


def open_store(folder: Path, fingerprint: str) -> AadStore | None:
    """Opens a finished store; None if there is none, or extraction was interrupted.

    Raises:
        RefusedError: if the store was made from other inputs.
        InputError: if a file of it is missing or damaged.
    """
    if not (folder / formats.MANIFEST).is_file():
        return None
    manifest = formats.read_manifest(folder, KIND)
    if manifest.get("fingerprint") != fingerprint:
        raise RefusedError(
            f"{folder} holds AAD made from other inputs: its fingerprint is {manifest.get('fingerprint')}, expected "
            f"{fingerprint}. Delete it, or use --overwrite."
        )
    table = tables.read_samples(folder / SAMPLES)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for model in manifest["config"]["models"]:
        arrays[model] = {tap: _open(array_path(folder, model, tap), len(table)) for tap in manifest["config"]["taps"]}
    return AadStore(table, arrays, manifest)


def _open(path: Path, num: int) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Expected an AAD array at {path}, received: {error}. Delete the aad folder to rebuild it."
        ) from error
    if len(array) < num:
        raise InputError(f"Expected {num} rows of AAD in {path}, received {len(array)}.")
    return array[:num]
