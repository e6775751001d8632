"""Which face of a photo is meant, when a detector finds several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mint_keras.faces.scrfd import Detections
from mint_keras.records import InputError


def largest(faces: Detections, shape: tuple[int, ...]) -> int:
    """The face with the largest box."""
    return int(np.argmax(_areas(faces)))


def central(faces: Detections, shape: tuple[int, ...]) -> int:
    """A large face near the middle: area less twice the squared distance, as insightface weighs them."""
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    distance = ((centres - np.array([shape[1] // 2, shape[0] // 2])) ** 2).sum(axis=1)
    return int(np.argmax(_areas(faces) - 2 * distance))


def only(faces: Detections, shape: tuple[int, ...]) -> int:
    """The face of a photo that has one.

    Raises:
        InputError: if there are several.
    """
    if len(faces) > 1:
        raise InputError(f"Expected one face, received {len(faces)}.")
    return 0


POLICIES: dict[str, Callable[[Detections, tuple[int, ...]], int]] = {
    "largest": largest,
    "central": central,
    "only": only,
}


def choose(faces: Detections, shape: tuple[int, ...], policy: str) -> int:
    """Returns which face is meant.

    Args:
        faces: of the photo.
        shape: of the photo, height first.
        policy: a key of `POLICIES`.

    Raises:
        InputError: if there is none, or the policy takes none of them.
    """
    if not len(faces):
        raise InputError("Expected a face, received a photo in which none was found.")
    return POLICIES[policy](faces, shape)


def _areas(faces: Detections) -> np.ndarray:
    return np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
