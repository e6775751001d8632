"""How a model wants its pixels scaled."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """(pixel - mean) / std, per RGB channel, pixels in 0..255.

    Attributes:
        mean: Means of red, green and blue.
        std: Standard deviations of red, green and blue.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Scales RGB pixels of 0..255, shape (..., 3), to float32."""
        pixels = np.asarray(pixels, np.float32)
        return (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)


# Insightface divides by 127.5 in front of recognition models and by 128 in front of detectors.
ARCFACE = Preprocessing((127.5,) * 3, (127.5,) * 3)
SCRFD = Preprocessing((127.5,) * 3, (128.0,) * 3)
RAW = Preprocessing((0.0,) * 3, (1.0,) * 3)
