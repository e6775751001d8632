"""Which face of a photo is meant, when a detector finds several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mint_keras.faces.scrfd import Detections
from mint_keras.records import InputError


def largest(faces: Detections, shape: tuple[int, ...]) -> int:
    """Returns the face with the largest box."""
    return int(np.argmax(_areas(faces)))


def central(faces: Detections, shape: tuple[int, ...]) -> int:
    """Returns a large face near the middle: area less twice the squared distance, as insightface weighs them."""
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    distance = ((centres - np.array([shape[1] // 2, shape[0] // 2])) ** 2).sum(axis=1)
    return int(np.argmax(_areas(faces) - 2 * distance))


def only(faces: Detections, shape: tuple[int, ...]) -> int:
    """Returns the face of a photo that has one.

    Raises:
        InputError: if there are several.
    """
    if len(faces) > 1:
        raise InputError(f"Expected one face, received {len(faces)}.")
    return 0


MIN_OVERLAP = 0.3
Policy = Callable[[Detections, tuple[int, ...]], int]
POLICIES: dict[str, Policy] = {"largest": largest, "central": central, "only": only}


def overlapping(faces: Detections, box: np.ndarray, min_overlap: float) -> int:
    """Returns the face that most overlaps an annotation (left, top, right, bottom), by intersection over union.

    Raises:
        InputError: if no face overlaps it by at least `min_overlap`.
    """
    common = np.minimum(faces.boxes[:, 2:], box[2:]) - np.maximum(faces.boxes[:, :2], box[:2])
    common = np.prod(np.maximum(common, 0), axis=1)
    overlap = common / (_areas(faces) + np.prod(box[2:] - box[:2]) - common)
    best = int(np.argmax(overlap))
    if not overlap[best] >= min_overlap:  # also where the overlap is no number
        raise InputError(
            f"Expected a face where the database says one is, received {overlap[best]:.2f} as the largest overlap of "
            f"{len(faces)} found."
        )
    return best


def choose(
    faces: Detections,
    shape: tuple[int, ...],
    policy: str,
    box: np.ndarray | None = None,
    min_overlap: float = MIN_OVERLAP,
) -> int:
    """Returns which face is meant.

    Args:
        faces: The faces of the photo.
        shape: Shape of the photo, height first.
        policy: A key of `POLICIES`, for photos of which nobody said where the face is.
        box: Where the database says that it is; it goes before the policy, which might take another person.
        min_overlap: Smallest overlap with the box, as in `overlapping`.

    Raises:
        InputError: if there is none, or the policy takes none of them.
    """
    if not len(faces):
        raise InputError("Expected a face, received a photo in which none was found.")
    if box is not None and np.isfinite(box).all():
        return overlapping(faces, box, min_overlap)
    return POLICIES[policy](faces, shape)


def _areas(faces: Detections) -> np.ndarray:
    return np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
