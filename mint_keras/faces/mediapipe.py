"""Google's face detector of MediaPipe in LiteRT: small, quick, and anybody may pass it on (Apache-2.0).

Two networks say where faces may be; a third lays a mesh of 468 points over each, or says that there is none. Landmarks
are points of the mesh, or means of some.

Sources: Bazarevsky et al., "BlazeFace", arXiv 1907.05047; Kartynnik et al., "Real-time facial surface geometry from
monocular video on mobile GPUs", arXiv 1907.06724; the files are those of the Python package mediapipe 0.10.21.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mint_keras.faces import scrfd
from mint_keras.faces.scrfd import Detections
from mint_keras.records import sigmoid

NAME = "mediapipe"
# What finds faces from afar, and faces that fill the picture.
_AFAR, _NEAR = "face_detection_full_range_sparse.tflite", "face_detection_short_range.tflite"
_MESH = "face_landmark.tflite"
# Their anchors: cells a side, and how many anchors each cell has.
_GRIDS = {_AFAR: ((48, 1),), _NEAR: ((16, 2), (8, 6))}
# The mesh's points of each landmark: corners and lids of both eyes, the tip of the nose, the corners of the mouth.
_LANDMARKS = ((33, 133, 159, 145), (362, 263, 386, 374), (1, 4), (61,), (291,))
# The mesh is laid over a square of so many times the face's side, and once more over the one where it then lies.
_MARGIN, _ROUNDS = 1.5, 2
_MIN_PRESENCE = 0.5
# Photos from so many pixels on are searched in overlapping quarters, too: without, a third of the faces of groups is
# overlooked. A quarter takes such a share of the sides.
_LARGE, _QUARTER = 400, 0.6


class _Network(NamedTuple):
    """A network, from pixels, float32 RGB of shape (side, side, 3), to its outputs without their batch."""

    side: int
    run: Callable[[np.ndarray], list[np.ndarray]]


def open_detector(folder: Path, min_score: float = scrfd.MIN_SCORE) -> Callable[[np.ndarray], Detections]:
    """Returns a function from a photo (RGB, uint8) to its faces of at least a score, by the files in a folder."""
    afar, near, mesh = (_open(folder / name) for name in (_AFAR, _NEAR, _MESH))

    def detect(image: np.ndarray) -> Detections:
        found = [_seek(image, afar, _GRIDS[_AFAR], min_score), _seek(image, near, _GRIDS[_NEAR], min_score)]
        for left, top, part in _quarters(image):
            boxes, scores, points = _seek(part, afar, _GRIDS[_AFAR], min_score)
            # What is large there is found in the whole, and here it may be a face's half.
            small = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) < max(part.shape) / 2
            shift = np.array([left, top], np.float32)
            found.append((boxes[small] + np.tile(shift, 2), scores[small], points[small] + shift))
        boxes, scores, points = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(-scores, kind="stable")
        rough = scrfd.suppress(Detections(boxes[order], scores[order], points[order]))
        laid = [
            _lay(image, mesh, box, eyes[:2]) for box, eyes in zip(rough.boxes, np.asarray(rough.landmarks), strict=True)
        ]
        kept = np.array([k for k, entry in enumerate(laid) if entry is not None], int)
        faces = [entry for entry in laid if entry is not None]
        meshes = np.array([box for box, _ in faces], np.float32).reshape(-1, 4)
        return _without_parts(
            Detections(meshes, rough.scores[kept], np.array([five for _, five in faces], np.float32).reshape(-1, 5, 2))
        )

    return detect


def _open(path: Path) -> _Network:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (entry,), outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(entry["index"], pixels[None])
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"])[0] for output in outputs]

    return _Network(int(entry["shape"][1]), run)


def _quarters(image: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields overlapping parts of a large photo with their left and top."""
    height, width = image.shape[:2]
    if max(height, width) >= _LARGE:
        tall, wide = round(height * _QUARTER), round(width * _QUARTER)
        for top, left in itertools.product((0, height - tall), (0, width - wide)):
            yield left, top, image[top : top + tall, left : left + wide]


def _seek(
    image: np.ndarray, network: _Network, grids: tuple[tuple[int, int], ...], min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns boxes (n, 4), scores (n,), and six points of each face (n, 6, 2), the first two of which are the eyes."""
    canvas, scale = scrfd.letterbox(image, network.side)
    offsets, logits = network.run(canvas.astype(np.float32) / np.float32(127.5) - 1)
    scores = sigmoid(logits[:, 0])
    chosen = np.flatnonzero(scores >= min_score)
    places = [np.divmod(np.repeat(np.arange(cells * cells), num), cells) for cells, num in grids]
    middles = [(np.stack(place[::-1], axis=1) + 0.5) / cells for place, (cells, _) in zip(places, grids, strict=True)]
    anchors = np.concatenate(middles)[chosen] * network.side
    # The box's middle and size, then the points, all but the size from the anchor's middle.
    values = offsets[chosen].reshape(-1, 8, 2)
    middle, half = values[:, 0] + anchors, values[:, 1] / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    return boxes / scale, scores[chosen], (values[:, 2:] + anchors[:, None]) / scale


def _without_parts(faces: Detections) -> Detections:
    """Leaves out what lies in the middle of a more certain face: an eye in a quarter may look like a face."""
    kept: list[int] = []
    for k, middle in enumerate(np.asarray(faces.landmarks).mean(axis=1)):
        better = faces.boxes[kept]
        if not ((better[:, :2] < middle) & (middle < better[:, 2:])).all(axis=1).any():
            kept.append(k)
    return faces.take(np.array(kept, int))


def _lay(image: np.ndarray, mesh: _Network, box: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns a box, (4,), and five landmarks, (5, 2), in the photo's pixels; None if there is no face."""
    middle, size = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    for _ in range(_ROUNDS):
        along = (eyes[1] - eyes[0]) / max(float(np.linalg.norm(eyes[1] - eyes[0])), 1e-6)
        # The square's axes in the photo: the eyes lie level in it.
        axes = np.stack([along, [-along[1], along[0]]], axis=1)
        matrix = axes * (_MARGIN * size / mesh.side)
        shift = middle - matrix @ np.full(2, mesh.side / 2)
        placed = np.column_stack([matrix, shift])
        square = cv2.warpAffine(image, placed, (mesh.side, mesh.side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        values, presence = mesh.run(square.astype(np.float32) / np.float32(255))
        if not sigmoid(presence).item() >= _MIN_PRESENCE:
            return None
        inside = values.reshape(-1, 3)[:, :2]
        points = inside @ matrix.T + shift
        five = np.stack([points[list(which)].mean(axis=0) for which in _LANDMARKS])
        low, high = inside.min(axis=0), inside.max(axis=0)
        middle, eyes = (low + high) / 2 @ matrix.T + shift, five[:2]
        size = float((high - low).max()) * _MARGIN * size / mesh.side
    return np.concatenate([points.min(axis=0), points.max(axis=0)]), five
