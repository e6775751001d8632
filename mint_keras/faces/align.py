"""Five landmarks to an aligned face, exactly as insightface cuts the crops that models are trained on."""

from typing import NamedTuple

import cv2
import numpy as np

from mint_keras.data import synthetic
from mint_keras.records import InputError

IMAGE_SIZE = 112
TEMPLATE = synthetic.TEMPLATE.astype(np.float32)


def align(image: np.ndarray, landmarks: np.ndarray, size: int = IMAGE_SIZE) -> np.ndarray:
    """Cuts an aligned face, shape (size, size, 3), uint8, out of a photo; it is black where the photo ends.

    Landmarks are five points x, y in pixels, in the order of `TEMPLATE`, shape (5, 2), which grows with the size.

    Raises:
        InputError: if the points cannot be those of a face: fewer, not finite, or all in one line.
    """
    # OpenCV 5 changed this function; the crops of released models were made with 2 to 4.
    matrix = similarity(landmarks) * (size / IMAGE_SIZE)
    return cv2.warpAffine(image, matrix, (size, size), borderValue=0.0)


class Fit(NamedTuple):
    """How a face lies in its photo and in its crop.

    Attributes:
        size: Side of the crop in pixels of the photo, about the height of the face.
        residual: Root mean square distance of the landmarks from the template, in pixels of the crop: faces seen from
            the side and wrong landmarks have more.
        turn: By how many degrees the face is turned in the picture's plane, clockwise.
    """

    size: float
    residual: float
    turn: float


def fit(landmarks: np.ndarray) -> Fit:
    """Returns how landmarks, shape (5, 2), lie; the crop is insightface's whatever it says."""
    matrix = similarity(landmarks)
    placed = np.asarray(landmarks, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    residual = np.sqrt(np.square(placed - TEMPLATE).sum(axis=1).mean())
    cosine, sine = matrix[:, 0]
    return Fit(
        float(IMAGE_SIZE / np.hypot(cosine, sine)), float(residual), float(np.degrees(np.arctan2(-sine, cosine)))
    )


def similarity(landmarks: np.ndarray) -> np.ndarray:
    """Returns the rotation, scale and shift, shape (2, 3), that best lays landmarks on the template.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI
    13(4), 1991, eq. 38 to 43. Landmarks in float32 are computed with in float32, as insightface does, so that crops are
    equal to the byte.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.shape != TEMPLATE.shape or not np.isfinite(landmarks).all():
        raise InputError(f"Expected five finite landmarks, received {landmarks.tolist()}.")
    source_mean, target_mean = landmarks.mean(axis=0), TEMPLATE.mean(axis=0)
    source, target = landmarks - source_mean, TEMPLATE - target_mean
    covariance = target.T @ source / len(TEMPLATE)
    if np.linalg.matrix_rank(covariance) < 2:
        raise InputError(f"Expected the landmarks of a face, received points in one line: {landmarks.tolist()}.")
    # Never mirrored, even if that would fit better: the second sign undoes a reflection.
    signs = np.array([1.0, np.sign(np.linalg.det(covariance))])
    left, values, right = np.linalg.svd(covariance)
    rotation = np.asarray(left @ np.diag(signs) @ right, np.float64)
    scale = 1.0 / source.var(axis=0).sum() * (values @ signs)
    return np.column_stack([rotation * scale, target_mean - scale * (rotation @ source_mean)])
