"""Named arrays in a file, for `mint_keras.formats.kept`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to an .npz file atomically."""
    named: dict[str, Any] = dict(arrays)
    with formats.atomic_path(path) as temporary:
        np.savez(temporary, **named)


def read(path: Path) -> Mapping[str, np.ndarray]:
    """Reads them back."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
