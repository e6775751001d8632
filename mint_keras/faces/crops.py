"""From photos to crops on disk: what one process does with one part of a sample table."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mint_keras import formats
from mint_keras.data import images
from mint_keras.faces import align, detectors, policies
from mint_keras.faces.scrfd import Detections
from mint_keras.records import InputError, SampleTable

ENCODINGS = {"png": (".png", []), "jpg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])}


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """How crops are made.

    Attributes:
        treatment: a key of `TREATMENTS`.
        detector: see `detectors.find_file`; "" if none is needed.
        policy: which of several faces, a key of `policies.POLICIES`.
        min_overlap: see `policies.overlapping`.
        min_score: below it a face does not count.
        border: see `detectors.with_border`.
        encoding: a key of `ENCODINGS`.
    """

    treatment: str
    detector: str
    policy: str
    min_overlap: float
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
    crops = []
    look = _photo_reader(settings)
    for position, location in enumerate(table.location.tolist()):
        row = start + position
        suffix, parameters = ENCODINGS[settings.encoding]
        file = f"crops/{row // 1000:06d}/{row:09d}{suffix}"
        try:
            face, num_faces, score = TREATMENTS[settings.treatment](*look(location), table, position, settings)
        except (InputError, cv2.error) as error:  # OpenCV has limits of its own, such as 32,767 pixels a side
            crops.append(Crop(row, "", " ".join(str(error).split()), 0, 0.0))
            continue
        encoded = cv2.imencode(suffix, cv2.cvtColor(face, cv2.COLOR_RGB2BGR), parameters)[1]
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes(encoded.tobytes())
        crops.append(Crop(row, file, "", num_faces, score))
    # A part counts once its list is written, which is after this; one by one they would cost as much as aligning.
    formats.flush_files([out / crop.file for crop in crops if crop.file])
    return crops


def _photo_reader(settings: CropSettings) -> Callable[[str], tuple[np.ndarray, Detections | None]]:
    """Returns a function from a location to a photo and the faces found in it, if any are sought."""

    @functools.lru_cache(maxsize=1)  # the faces of one photo follow each other
    def look(location: str) -> tuple[np.ndarray, Detections | None]:
        image = _reader().image(location)
        faces = None
        if settings.treatment == DETECT:
            faces = _detector(settings.detector, settings.min_score, settings.border)(image)
        return image, faces

    return look


def _detected(
    image: np.ndarray, faces: Detections | None, table: SampleTable, row: int, settings: CropSettings
) -> tuple[np.ndarray, int, float]:
    # Detectors without landmarks are refused when they are opened.
    assert faces is not None and faces.landmarks is not None  # noqa: PT018, S101
    box = None if table.box is None else table.box[row]
    chosen = policies.choose(faces, image.shape, settings.policy, box, settings.min_overlap)
    return align.align(image, faces.landmarks[chosen]), len(faces), float(faces.scores[chosen])


def _annotated(
    image: np.ndarray, faces: Detections | None, table: SampleTable, row: int, settings: CropSettings
) -> tuple[np.ndarray, int, float]:
    if table.landmarks is None or np.isnan(table.landmarks[row]).any():
        raise InputError("Expected landmarks that the database gives, received a sample without.")
    return align.align(image, table.landmarks[row]), 1, 1.0


def _stored(
    image: np.ndarray, faces: Detections | None, table: SampleTable, row: int, settings: CropSettings
) -> tuple[np.ndarray, int, float]:
    return images.FACE.apply(image), 1, 1.0


DETECT = "detect"
# From a photo, its faces and its row of the table to a crop, the number of faces, and how certain this one is.
TREATMENTS = {DETECT: _detected, "annotated": _annotated, "stored": _stored}


@functools.cache
def _detector(detector: str, min_score: float, border: float) -> detectors.Detector:
    """One per process: opening a session takes longer than a photo."""
    cv2.setNumThreads(1)
    return detectors.with_border(detectors.open_detector(detector, min_score), border)


@functools.cache
def _reader() -> images.FaceReader:
    return images.FaceReader()
