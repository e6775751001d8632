"""From photos to crops on disk: what one process does with one part of a sample table."""

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np

from mint_keras import formats
from mint_keras.data import decoding, files, images
from mint_keras.faces import align, detectors, policies, scrfd
from mint_keras.records import InputError, SampleTable

DETECT, STORED = "detect", "stored"
ENCODINGS = {"png": (".png", []), "jpg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])}


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """How crops are made.

    The treatment "detect" finds the face with a detector that `detectors.find_file` knows ("" for the others),
    "annotated" aligns by the database's landmarks, and "stored" takes a square image as it is. The policy and the
    overlap are those of `policies.choose`, the border that of `detectors.with_border`. Faces of a smaller size or a
    larger residual (see `align.Fit`) are rejected; 0 rejects none. Crops have `size` pixels a side.
    """

    treatment: str
    detector: str
    policy: str
    min_overlap: float
    min_score: float
    border: float
    encoding: str
    min_size: float = 0.0
    max_residual: float = 0.0
    size: int = images.IMAGE_SIZE


@dataclasses.dataclass(frozen=True)
class Crop:
    """What became of a sample: `file` under the output folder, or else the `reason` why there is none."""

    row: int
    file: str
    reason: str
    num_faces: int
    score: float
    fit: tuple[float, ...] = ()  # see `align.Fit`; () without landmarks


def write_part(table: SampleTable, start: int, settings: CropSettings, out: Path) -> list[Crop]:
    """Makes the crops of some samples, the first of which has row `start` in the whole table, in crops/ of a folder."""
    crops = []
    suffix, parameters = ENCODINGS[settings.encoding]

    @functools.lru_cache(maxsize=1)  # the faces of one photo follow each other
    def look(location: str) -> tuple[np.ndarray, scrfd.Detections | None, int]:
        reader, detector = _tools(settings)
        stored = reader.stored(location)
        image = images.decode(stored) if isinstance(stored, bytes) else stored
        how = decoding.orientation(stored) if isinstance(stored, bytes) else 1
        return image, detector(image) if detector else None, how

    for position, location in enumerate(table.location.tolist()):
        row = start + position
        # Named by rows, because names of files may be anything.
        file = f"crops/{row // 1000:06d}/{row:09d}{suffix}"
        num_faces, score, points = 1, 1.0, None
        try:
            image, faces, how = look(location)
            if faces is not None:
                box = None if table.box is None else table.box[position]
                if box is not None:
                    policies.check_upright(faces, image.shape, box, how, settings.min_overlap)
                chosen = policies.choose(faces, image.shape, settings.policy, box, settings.min_overlap)
                assert faces.landmarks is not None  # noqa: S101 # a detector without is refused when it is opened
                points = faces.landmarks[chosen]
                num_faces, score = len(faces), float(faces.scores[chosen])
            elif settings.treatment != STORED:
                if table.landmarks is None or np.isnan(table.landmarks[position]).any():
                    raise InputError("Expected landmarks that the database gives, received a sample without.")
                points = table.landmarks[position]
            fit = () if points is None else _checked(align.fit(points), settings)
            framed = images.Framing(settings.size)
            face = framed.apply(image) if points is None else align.align(image, points, settings.size)
        except (InputError, cv2.error) as error:  # OpenCV has limits of its own, such as 32,767 pixels a side
            crops.append(Crop(row, "", files.reason(error, location), 0, 0.0))
            continue
        encoded = cv2.imencode(suffix, cv2.cvtColor(face, cv2.COLOR_RGB2BGR), parameters)[1]
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes(encoded.tobytes())
        crops.append(Crop(row, file, "", num_faces, score, tuple(fit)))
    # A part counts once its list is written, which is after this; one by one they would cost as much as aligning.
    formats.flush_files([out / crop.file for crop in crops if crop.file])
    return crops


def _checked(fit: align.Fit, settings: CropSettings) -> align.Fit:
    """Returns how a face lies, or raises InputError if the settings reject it."""
    if fit.size < settings.min_size:
        raise InputError(f"Expected a face of at least {settings.min_size:g} pixels, received one of {fit.size:.0f}.")
    if 0 < settings.max_residual < fit.residual:
        raise InputError(
            f"Expected landmarks up to {settings.max_residual:g} pixels off the template, received {fit.residual:.1f}."
        )
    return fit


@functools.cache
def _tools(settings: CropSettings) -> tuple[images.FaceReader, detectors.Detector | None]:
    """Returns a reader, and a detector if one is needed; opened once per process, as that takes longer than a photo."""
    reader = images.FaceReader()
    if settings.treatment != DETECT:
        return reader, None
    cv2.setNumThreads(1)  # there are as many processes as processors
    detector = detectors.open_detector(settings.detector, settings.min_score)
    return reader, detectors.with_border(detector, settings.border)
