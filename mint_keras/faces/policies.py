"""Which face of a photo is meant, when a detector finds several."""

import numpy as np

from mint_keras.data import decoding
from mint_keras.faces.scrfd import Detections
from mint_keras.records import InputError

MIN_OVERLAP = 0.3
POLICIES = ("largest", "central", "only")


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
        policy: One of `POLICIES`, for photos of which nobody said where the face is: the one with the largest box; a
            large one near the middle; or the only one.
        box: Where the database says that it is (left, top, right, bottom); it goes before the policy, which might take
            another person.
        min_overlap: Smallest overlap with the box, by intersection over union.

    Raises:
        InputError: if there is none, or the policy takes none of them.
    """
    if not len(faces):
        raise InputError("Expected a face, received a photo in which none was found.")
    areas = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
    if box is not None and np.isfinite(box).all():
        overlap = overlaps(faces, box)
        best = int(np.argmax(overlap))
        if not overlap[best] >= min_overlap:  # also where the overlap is no number
            raise InputError(
                f"Expected a face where the database says one is, received {overlap[best]:.2f} as the largest overlap "
                f"of {len(faces)} found."
            )
        return best
    if policy == "only" and len(faces) > 1:
        raise InputError(f"Expected one face, received {len(faces)}.")
    if policy == "central":
        # Area less twice the squared distance, as insightface weighs them.
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        areas = areas - 2 * ((centres - np.array([shape[1] // 2, shape[0] // 2])) ** 2).sum(axis=1)
    return int(np.argmax(areas))


def overlaps(faces: Detections, box: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of each face with a box (left, top, right, bottom), shape (n,)."""
    areas = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
    common = np.minimum(faces.boxes[:, 2:], box[2:]) - np.maximum(faces.boxes[:, :2], box[:2])
    common = np.prod(np.maximum(common, 0), axis=1)
    return common / (areas + np.prod(box[2:] - box[:2]) - common)


def check_upright(faces: Detections, shape: tuple[int, ...], box: np.ndarray, how: int, min_overlap: float) -> None:
    """Refuses a box that fits a face better if it was drawn on a turned photo as it is stored.

    Args:
        faces: The faces of the upright photo.
        shape: Shape of the upright photo, height first.
        box: Where the database says that the face is; boxes are of upright photos.
        how: The EXIF orientation of the photo.
        min_overlap: Smallest overlap that counts.

    Raises:
        InputError: if it does, because the face that it overlaps may be a neighbour's.
    """
    if how == 1 or not len(faces) or not np.isfinite(box).all():
        return
    stored = overlaps(faces, decoding.turn_box(box, shape, how)).max()
    if stored >= min_overlap and stored > overlaps(faces, box).max():
        raise InputError(
            "Expected a box on the upright photo, as its EXIF orientation turns it, received one that fits a face of "
            "the pixels as they are stored. Turn the boxes, or remove the orientation from the photos."
        )
