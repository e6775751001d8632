"""Named arrays in a file, for `mint_keras.formats.kept`, and embeddings that are kept as they are made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats

_SMALL, _LARGE = 64, 1024  # faces that are embedded, and kept, at once


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to an .npz file atomically."""
    named: dict[str, Any] = dict(arrays)
    with formats.atomic_path(path) as temporary:
        np.savez(temporary, **named)


def read(path: Path) -> Mapping[str, np.ndarray]:
    """Reads them back."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def keeping(embed: Callable[[np.ndarray], np.ndarray], folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what embeds faces, (n, height, width, 3), and keeps it by batches in a folder: nothing is done twice."""

    def batch(faces: np.ndarray) -> dict[str, np.ndarray]:
        parts = [embed(faces[start : start + _SMALL]) for start in range(0, len(faces), _SMALL)]
        return {"embedding": np.concatenate(parts)}

    def look(faces: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(faces), _LARGE):
            make = functools.partial(batch, faces[start : start + _LARGE])
            parts.append(formats.kept(folder / f"{start}.npz", make, write, read)["embedding"])
        return np.concatenate(parts)

    return look
