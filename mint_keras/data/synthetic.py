"""The lab's faces: people drawn from numbers, as databases with different capture pipelines show them.

A location `synthetic:SEED/DATABASE/IDENTITY/INDEX` names one image; `synthetic:1/web/0-399/10` all ten images of each
of 400 people. Person 17 of a seed is the same person in every database: databases differ in how images were captured
and in nothing else. Same location, same bytes. camera1 to camera999 are drawn from their numbers.
"""

import functools
import math
import re
from typing import NamedTuple

import cv2
import numpy as np

from mint_keras.data import face_drawing
from mint_keras.records import InputError, SampleTable

# Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture, in a crop of 112x112.
# Source: insightface 2.1, insightface/utils/face_align.py, arcface_dst.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
PREFIX = "synthetic:"
_NAMES = re.compile(r"synthetic:(\d{1,9})/([a-z]+\d*)/(\d{1,9})(?:-(\d{1,9}))?/(\d{1,9})", re.ASCII)
_CAMERA = re.compile(r"camera([1-9]\d{0,2})", re.ASCII)
# A typing error must not fill the memory.
_MAX_SAMPLES = 10_000_000


class Capture(NamedTuple):
    """What a camera, an archive and an uploader do to an image; pairs are the ends of uniform ranges."""

    size: tuple[int, int] = (112, 112)  # pixels a side to which it is reduced, and from which it is enlarged again
    jpeg: tuple[int, int] = (85, 95)  # quality, 1 to 100
    noise: tuple[int, int] = (2, 5)  # amplitude of the sensor's, in grey levels
    grain: int = 1  # side of a noise grain in pixels
    contrast: tuple[float, float] = (0.9, 1.1)  # factor around mid-grey
    brightness: tuple[int, int] = (-8, 8)  # grey levels that are added
    saturation: tuple[float, float] = (0.85, 1.1)  # factor of the colours; 0 is grey
    cast: tuple[int, int, int] = (0, 0, 0)  # grey levels that are added to red, green and blue
    sharpen: float = 0.0  # strength of unsharp masking


# From mild to strong. The place in this dict seeds the images: append, never reorder.
DATABASES: dict[str, Capture] = {
    "web": Capture(size=(84, 112)),
    "news": Capture(size=(90, 112), jpeg=(78, 90), contrast=(1.0, 1.18), saturation=(0.8, 1.0)),
    "phone": Capture(jpeg=(80, 92), noise=(1, 4), saturation=(1.15, 1.4), cast=(8, 2, -6), sharpen=0.7),
    "webcam": Capture((56, 84), (50, 70), (8, 16), brightness=(-45, -15), contrast=(0.75, 0.95), cast=(-2, 2, 6)),
    "scan": Capture((70, 96), (85, 95), (8, 14), 2, (0.6, 0.78), (8, 28), (0.4, 0.7), (10, 4, -16)),
    "cctv": Capture((28, 44), (25, 45), (6, 14), contrast=(0.8, 1.0), saturation=(0.0, 0.0)),
}


def is_synthetic(location: str) -> bool:
    """Says whether a location or a source names lab faces."""
    return location.startswith(PREFIX)


def sample_table(source: str) -> SampleTable:
    """Lists the lab faces that `synthetic:SEED/DATABASE/FIRST-LAST/IMAGES` (or one location) names.

    Raises:
        InputError: if it names none, or an unknown database.
    """
    match = _NAMES.fullmatch(source)
    if match:
        seed, database, first, last, number = match[1], match[2], *map(int, (match[3], match[4] or match[3], match[5]))
        # Without a range of people, the last number is that of one image.
        people, indices = range(first, last + 1), range(number) if match[4] else range(number, number + 1)
    if not match or not 0 < len(people) * len(indices) <= _MAX_SAMPLES:
        example = "synthetic:1/web/0-399/10 (SEED/DATABASE/IDENTITIES/IMAGES)"
        raise InputError(f"Expected lab faces like {example}, received {source!r}.")
    _capture(database)
    pairs = [(person, index) for person in people for index in indices]
    return SampleTable(
        sample_id=np.array([f"{seed}-{database}-{person:06d}-{index:03d}" for person, index in pairs]),
        database=np.full(len(pairs), database),
        identity=np.array([f"{seed}-{person:06d}" for person, _ in pairs]),
        location=np.array([f"{PREFIX}{seed}/{database}/{person}/{index}" for person, index in pairs]),
    )


def render(location: str) -> np.ndarray:
    """Draws one aligned face as its database shows it: RGB, shape (112, 112, 3), uint8.

    Raises:
        InputError: if the location does not name one lab face.
    """
    match = _NAMES.fullmatch(location)
    if not match or match[4]:
        raise InputError(f"Expected one lab face like synthetic:1/web/17/3, received {location!r}.")
    database = match[2]
    capture, place = _capture(database)
    seed, identity, index = int(match[1]), int(match[3]), int(match[5])
    # The database is no seed of the person, who is the same in all of them.
    person = face_drawing.Person(np.random.default_rng([seed, identity]))
    rng = np.random.default_rng([seed, identity, place, index, 1])
    scene = face_drawing.Scene(rng)
    # The similarity that brings the detected landmarks onto the template, as an aligner would (Umeyama). With points as
    # complex numbers it is z -> factor * z + offset, and least squares has a closed form.
    detected = face_drawing.landmarks(person, scene) + scene.jitter
    source, target = (points[:, 0] + 1j * points[:, 1] for points in (detected, TEMPLATE))
    centred = source - source.mean()
    factor = complex(np.sum(centred.conj() * (target - target.mean())) / np.sum(np.abs(centred) ** 2))
    offset = complex(target.mean() - factor * source.mean())
    return _capture_image(face_drawing.draw(person, scene, factor, offset), capture, rng)


@functools.cache
def _capture(database: str) -> tuple[Capture, int]:
    """Returns how a database captures, and the number that seeds its images."""
    if database in DATABASES:
        return DATABASES[database], list(DATABASES).index(database)
    if not (match := _CAMERA.fullmatch(database)):
        raise InputError(f"Expected a lab database of {[*DATABASES, 'camera1 to camera999']}, received {database!r}.")
    # Whole numbers, which are the same on every processor, from ranges that hold the named databases.
    ranges = [(28, 104), (25, 88), (1, 12), (1, 2), (60, 110), (-45, 10), (0, 120), (-7, 7), *[(-16, 16)] * 3]
    low, high = np.transpose(ranges)
    drawn = np.random.default_rng([int(match[1]), 2]).integers(low, high, endpoint=True)
    size, jpeg, noise, grain, contrast, bright, colour, sharpen, red, green, blue = drawn.tolist()
    capture = Capture(
        (size, min(size + 24, 112)), (jpeg, jpeg + 10), (noise, noise + 4), grain,
        (contrast / 100, contrast / 100 + 0.2), (bright, bright + 20), (colour / 100, colour / 100 + 0.25),
        (red, green, blue), max(sharpen, 0) / 10,
    )  # fmt: skip
    return capture, 1000 + int(match[1])


def _capture_image(image: np.ndarray, capture: Capture, rng: np.random.Generator) -> np.ndarray:
    # In the order of a camera and an uploader: reduce, grade, add noise, enlarge, sharpen, compress.
    u = rng.random(5)
    size = _integer_between(capture.size, u[0])
    if size < image.shape[0]:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    contrast, brightness = _between(capture.contrast, u[1]), _integer_between(capture.brightness, u[2])
    saturation = _between(capture.saturation, u[1])
    # Colour by colour: of three numbers at a time NumPy would take five times as long.
    graded = (np.stack(cv2.split(image)) - np.float32(128)) * np.float32(contrast) + np.float32(128 + brightness)
    # Not a matrix product: its order of additions differs between processors.
    grey = sum(plane * np.float32(weight) for plane, weight in zip(graded, (0.299, 0.587, 0.114), strict=True))
    graded = grey + (graded - grey) * np.float32(saturation) + np.array(capture.cast, np.float32)[:, None, None]
    image = cv2.merge([*np.clip(np.round(graded), 0, 255).astype(np.uint8)])
    height, width = image.shape[:2]
    amplitude, grain = _integer_between(capture.noise, u[3]), capture.grain
    shape = (-(-height // grain), -(-width // grain), 3 if capture.saturation[1] else 1)
    # The sum of two uniform variables: near enough to normal, and the same integers on every processor.
    noise = np.add(*rng.integers(-amplitude, amplitude + 1, (2, *shape), dtype=np.int8), dtype=np.int16)
    if grain > 1:
        noise = noise.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if image.shape[0] != face_drawing.SIZE:
        image = cv2.resize(image, (face_drawing.SIZE,) * 2, interpolation=cv2.INTER_LINEAR_EXACT)
    if capture.sharpen:
        detail = (image - cv2.GaussianBlur(image, (5, 5), 1.2).astype(np.int16)) * np.float32(capture.sharpen)
        image = np.clip(image + detail, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _integer_between(capture.jpeg, u[4])]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _between(ends: tuple[float, float], u: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(u)


def _integer_between(ends: tuple[int, int], u: float) -> int:
    return ends[0] + math.floor((ends[1] - ends[0] + 1) * u)
