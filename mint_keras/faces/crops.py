"""From photos to crops on disk: what one process does with one part of a sample table."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np

from mint_keras import formats
from mint_keras.data import images
from mint_keras.faces import align, detectors, policies
from mint_keras.records import InputError, SampleTable

ENCODINGS = {"png": (".png", []), "jpg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])}


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """How crops are made.

    Attributes:
        detector: see `detectors.find_file`; "" if faces are taken as they are stored.
        policy: which of several faces, a key of `policies.POLICIES`.
        min_score: below it a face does not count.
        border: see `detectors.with_border`.
        encoding: a key of `ENCODINGS`.
    """

    detector: str
    policy: str
    min_score: float
    border: float
    encoding: str


@dataclasses.dataclass(frozen=True)
class Crop:
    """What became of a sample: `file` under the output folder, or else the `reason` why there is none."""

    row: int
    file: str
    reason: str
    num_faces: int
    score: float


def write_part(table: SampleTable, start: int, settings: CropSettings, out: Path) -> list[Crop]:
    """Makes and writes the crops of some samples.

    Args:
        table: the samples.
        start: row of the first in the whole table; crops are named by their rows, as names of files may be anything.
        settings: how.
        out: folder of the crops.
    """
    reader = _reader()
    crops = []
    for position, location in enumerate(table.location.tolist()):
        row = start + position
        suffix, parameters = ENCODINGS[settings.encoding]
        file = f"crops/{row // 1000:06d}/{row:09d}{suffix}"
        try:
            face, num_faces, score = _face(reader.image(location), settings)
        except InputError as error:
            crops.append(Crop(row, "", " ".join(str(error).split()), 0, 0.0))
            continue
        encoded = cv2.imencode(suffix, cv2.cvtColor(face, cv2.COLOR_RGB2BGR), parameters)[1]
        with formats.atomic_path(out / file) as temporary:
            temporary.write_bytes(encoded.tobytes())
        crops.append(Crop(row, file, "", num_faces, score))
    return crops


def _face(image: np.ndarray, settings: CropSettings) -> tuple[np.ndarray, int, float]:
    if not settings.detector:
        return images.to_face(image), 1, 1.0
    faces = _detector(settings.detector, settings.min_score, settings.border)(image)
    chosen = policies.choose(faces, image.shape, settings.policy)
    assert faces.landmarks is not None  # noqa: S101 # detectors without landmarks are refused when they are opened
    return align.align(image, faces.landmarks[chosen]), len(faces), float(faces.scores[chosen])


@functools.cache
def _detector(detector: str, min_score: float, border: float) -> detectors.Detector:
    """One per process: opening a session takes longer than a photo."""
    cv2.setNumThreads(1)
    return detectors.with_border(detectors.open_detector(detector, min_score), border)


@functools.cache
def _reader() -> images.FaceReader:
    return images.FaceReader()
