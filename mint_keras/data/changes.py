"""What happens to photos on their way: what a re-upload does, or somebody who wants them not to be recognised."""

import functools
from collections.abc import Callable

import cv2
import numpy as np

from mint_keras.data import images, transplant

# From faces, (n, size, size, 3), uint8, to changed ones of the same shape.
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
UNCHANGED = "unchanged"
_SAMPLING = "4:2:0"  # of chroma, as almost all JPEG files of the web


def compress(faces: np.ndarray, rng: np.random.Generator, quality: int) -> np.ndarray:
    """Returns faces as they come back from a JPEG file of a quality from 1 to 100."""
    return np.stack([images.decode(transplant.encode(face, quality, _SAMPLING)) for face in faces])


def shrink(faces: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Returns faces shrunk to a share of their side, and enlarged again."""
    size = faces.shape[1]
    small = (max(1, round(share * size)),) * 2
    shrunk = (cv2.resize(face, small, interpolation=cv2.INTER_AREA) for face in faces)
    return np.stack([cv2.resize(face, (size, size), interpolation=cv2.INTER_LINEAR) for face in shrunk])


def add_noise(faces: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """Returns faces with normal noise of so many grey levels."""
    return np.clip(np.rint(faces + rng.normal(0.0, deviation, faces.shape)), 0, 255).astype(np.uint8)


# Of each kind from mild to strong.
CHANGES: dict[str, Change] = {
    UNCHANGED: lambda faces, rng: faces,
    **{f"JPEG {quality}": functools.partial(compress, quality=quality) for quality in (90, 70, 50, 30, 10)},
    **{f"{share:.0%} size": functools.partial(shrink, share=share) for share in (0.75, 0.5, 0.25)},
    **{f"noise {deviation:g}": functools.partial(add_noise, deviation=deviation) for deviation in (4.0, 8.0, 16.0)},
}
