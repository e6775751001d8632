"""Calibrations by hand and photos with squares for faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.edge.bundle import Reference
from mint_keras.statistics import conformal


def reference(logits: dict[str, list[float]], is_valid: bool) -> Reference:
    """Calibration people with these logits, whose p-values were found to hold or not."""
    ascending = {name: np.sort(np.array(values, float)) for name, values in logits.items()}
    validity = conformal.Validity("others", 0.05, 100, 1 if is_valid else 40, 0.0, 0.06 if is_valid else 0.51, 0.1)
    calibration = conformal.Calibration(ascending, np.array([], str), validity)
    return Reference(calibration, "" if is_valid else validity.describe())


WORDING = {"selected": "Ask further.", "none": "No evidence.", "silent": "They only rank.", "limits": "Limits: few."}


def photo(*corners: tuple[int, int], size: int = 300, side: int = 60) -> np.ndarray:
    """A grey photo with red squares, in which `detector` sees faces."""
    image = np.full((size, size, 3), 128, np.uint8)
    for x, y in corners:
        image[y : y + side, x : x + side] = (255, 0, 0)
    return image


def replace_manifest(folder: Path, **changes: object) -> None:
    """Changes a manifest without sealing it again."""
    path = folder / formats.MANIFEST
    formats.write_json(path, {**formats.read_json(path), **changes})
