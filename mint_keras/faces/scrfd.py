"""SCRFD face detection around whatever runs the network: pixels in, boxes and landmarks out, as insightface does it.

One implementation for ONNX Runtime, Keras and LiteRT. Matches insightface 2.1's `SCRFD.detect(image, input_size=(640,
640))`, which is 0.7's but for the order of equal scores (insightface/model_zoo/scrfd.py).
"""

import dataclasses
from collections.abc import Callable
from typing import Self

import cv2
import numpy as np

from mint_keras.records import InputError

INPUT_SIZE = 640
MIN_SCORE = 0.5
MAX_OVERLAP = 0.4
ROLES, STRIDES = ("score", "bbox", "kps"), (8, 16, 32, 64, 128)
# Number of outputs: how many roles there are per stride, strides, anchors at each place.
_LAYOUTS = {6: (2, STRIDES[:3], 2), 9: (3, STRIDES[:3], 2), 10: (2, STRIDES, 1), 15: (3, STRIDES, 1)}
NUM_OUTPUTS = tuple(_LAYOUTS)
# From a square image, RGB, (size, size, 3), uint8, to the network's outputs in its order; it scales the pixels itself.
Network = Callable[[np.ndarray], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Detections:
    """Faces in a photo, the most certain first; boxes and landmarks are in pixels."""

    boxes: np.ndarray  # left, top, right, bottom, shape (n, 4)
    scores: np.ndarray  # 0 to 1, shape (n,)
    landmarks: np.ndarray | None  # five points x, y, shape (n, 5, 2); None for networks without

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: np.ndarray) -> Self:
        """Returns some of the faces, in that order."""
        landmarks = None if self.landmarks is None else self.landmarks[chosen]
        return type(self)(self.boxes[chosen], self.scores[chosen], landmarks)


def detect(image: np.ndarray, network: Network, size: int = INPUT_SIZE, min_score: float = MIN_SCORE) -> Detections:
    """Finds the faces of at least a score in a photo, RGB, uint8, which is fitted into a square of `size` pixels."""
    canvas, scale = letterbox(image, size)
    return suppress(decode(network(canvas), size, scale, min_score))


def to_blob(canvas: np.ndarray) -> np.ndarray:
    """Returns what an ONNX file of SCRFD takes: (pixels - 127.5) / 128, float32, shape (1, 3, size, size)."""
    # Equal to cv2.dnn.blobFromImage in every bit, in a quarter of its time.
    blob = canvas.transpose(2, 0, 1).astype(np.float32, order="C")
    blob -= np.float32(127.5)
    blob *= np.float32(1 / 128)
    return blob[None]


def letterbox(image: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Fits a photo into the top left of a black square; returns it with the factor of its height."""
    height, width = image.shape[:2]
    ratio = height / width
    new_width, new_height = (int(size / ratio), size) if ratio > 1 else (size, int(size * ratio))
    if not new_width or not new_height:
        raise InputError(f"Expected a photo, received a strip of {width}x{height}.")
    canvas = np.zeros((size, size, 3), np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(image, (new_width, new_height))
    # insightface takes this factor for the width as well, whose own may differ by the rounding.
    return canvas, new_height / height


def decode(outputs: list[np.ndarray], size: int, scale: float, min_score: float) -> Detections:
    """Turns a network's outputs, in units of the stride around anchors, into faces in the photo's pixels."""
    if len(outputs) not in _LAYOUTS:
        raise InputError(f"Expected the {sorted(_LAYOUTS)} outputs of SCRFD, received {len(outputs)}.")
    num_roles, strides, num_anchors = _LAYOUTS[len(outputs)]
    parts: list[Detections] = []
    for level, stride in enumerate(strides):
        side = size // stride
        scores, *offsets = (
            outputs[level + role * len(strides)].reshape(side * side * num_anchors, -1) for role in range(num_roles)
        )
        found = np.flatnonzero(scores[:, 0] >= min_score)
        rows, columns = np.divmod(found // num_anchors, side)
        centres = (np.stack([columns, rows], axis=-1) * stride).astype(np.float32)
        left_top, right_bottom = np.split(offsets[0][found] * stride, 2, axis=1)
        boxes = np.concatenate([centres - left_top, centres + right_bottom], axis=1) / scale
        points = None
        if num_roles == 3:
            points = (centres[:, None] + (offsets[1][found] * stride).reshape(-1, 5, 2)) / scale
        parts.append(Detections(boxes, scores[found, 0], points))
    landmarks = np.concatenate([p.landmarks for p in parts if p.landmarks is not None]) if num_roles == 3 else None
    whole = Detections(np.concatenate([p.boxes for p in parts]), np.concatenate([p.scores for p in parts]), landmarks)
    return whole.take(np.argsort(-whole.scores, kind="stable"))


def suppress(faces: Detections, max_overlap: float = MAX_OVERLAP) -> Detections:
    """Leaves out what overlaps a more certain face (non-maximum suppression); a side counts both its ends."""
    # In float32, as insightface computes it: an overlap at the limit has to fall on the same side.
    boxes = faces.boxes.astype(np.float32)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    left = np.arange(len(faces))
    kept: list[int] = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        top_left = np.maximum(boxes[best, :2], boxes[rest, :2])
        bottom_right = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(0, bottom_right - top_left + 1), axis=1)
        left = rest[common / (areas[best] + areas[rest] - common) <= max_overlap]
    return faces.take(np.array(kept, int))
