"""How the files of a database are encoded, and faces of another database taken the same way.

A control: if scores move when nothing but this was changed, a head looks at it. What a file does not say is not made
up. A face that was prepared and written as PNG does not say how its photo was compressed, nor does a drawn one.
"""

import collections
import functools
import io
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from mint_keras.data import decoding, images
from mint_keras.records import InputError, SampleTable

GREY = "grey"
# How luma's horizontal and vertical sampling exceeds chroma's, and what OpenCV calls it.
_SAMPLING = {
    "4:4:4": ((1, 1), cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "4:2:2": ((2, 1), cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    "4:2:0": ((2, 2), cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
    "4:4:0": ((1, 2), cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "4:1:1": ((4, 1), cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
}
_QUALITIES = range(1, 101)
_NOT_JPEG, _PIXELS = "no JPEG files", "drawn, or kept as pixels"
_UNREAD = "cannot be read, too small, or a rare kind of JPEG"


class Header(NamedTuple):
    """What a JPEG file says before its pixels."""

    width: int
    height: int
    sampling: str  # of chroma, "4:2:0" or the like; "grey" without chroma
    tables: tuple[tuple[int, ...], ...]  # quantisation steps of luma and, where there is any, chroma, 64 each


class Encoding(NamedTuple):
    """How to encode an image as a file was."""

    side: int  # of the largest central square, in pixels
    quality: int  # at which the tables of OpenCV's encoder are nearest to the file's, 1 to 100
    deviation: float  # mean of |log(step of the file / step at that quality)|; 0 if the tables are the same
    sampling: str  # as in `Header`


class Pipeline(NamedTuple):
    """What the files of a database say of how they were made."""

    encodings: tuple[Encoding, ...]  # of its JPEG files
    sides: np.ndarray  # of the largest central square of every image that could be read, in pixels, shape (n,)
    silent: Mapping[str, int]  # how many samples say nothing of how they were made, by reason

    def describe(self) -> str:
        """Says in a sentence or two what is known, and of how many samples it is not."""
        lines = []
        if self.encodings:
            _, qualities, deviations, samplings = zip(*self.encodings, strict=True)
            low, middle, high = np.percentile(qualities, (0, 50, 100)).round().astype(int)
            counts = ", ".join(f"{name} in {num}" for name, num in collections.Counter(samplings).most_common())
            lines.append(f"{len(qualities)} JPEG files of quality {low} to {high} (median {middle}), {counts}.")
            if others := [deviation for deviation in deviations if deviation]:
                off = f"the nearest quality is off by {np.expm1(np.mean(others)):.0%} a step"
                lines.append(f"{len(others)} of them have tables of another encoder; {off}.")
        lines += [f"{num} samples do not say: {reason}." for reason, num in self.silent.items()]
        if len(self.sides):
            low, middle, high = np.percentile(self.sides, (0, 50, 100))
            lines.append(f"Sides of {low:g} to {high:g} pixels (median {middle:g}).")
        return " ".join(lines)


def estimate(table: SampleTable) -> Pipeline:
    """Reads how samples are encoded from their files; a few hundred of a database are enough."""
    # Tables of OpenCV's encoder at every quality, shape (100, 2, 64). One quality stands for luma and chroma, because
    # OpenCV leaves out the chroma subsampling where it is given two.
    picture = np.zeros((16, 16, 3), np.uint8)
    ladder = np.array([read_header(encode(picture, quality, "4:2:0")).tables for quality in _QUALITIES])

    @functools.cache
    def nearest(tables: tuple[tuple[int, ...], ...]) -> tuple[int, float]:
        # From one quality to the next, steps change by a ratio.
        distance = np.abs(np.log(np.array(tables)) - np.log(ladder[:, : len(tables)])).mean(axis=(1, 2))
        return _QUALITIES[int(distance.argmin())], float(distance.min())

    reader = images.FaceReader()
    encodings: list[Encoding] = []
    sides: list[int] = []
    silent: collections.Counter[str] = collections.Counter()
    for location in table.location.tolist():
        try:
            stored = reader.stored(location)
            if isinstance(stored, bytes) and stored.startswith(decoding.JPEG_START):
                header = read_header(stored)
                sides.append(min(header.width, header.height))
                encodings.append(Encoding(sides[-1], *nearest(header.tables), header.sampling))
            else:
                pixels = images.decode(stored) if isinstance(stored, bytes) else stored
                sides.append(min(pixels.shape[:2]))
                silent[_NOT_JPEG if isinstance(stored, bytes) else _PIXELS] += 1
        except InputError:
            silent[_UNREAD] += 1
    return Pipeline(tuple(encodings), np.array(sides, int), dict(silent))


def transplant(faces: np.ndarray, pipeline: Pipeline, rng: np.random.Generator) -> np.ndarray:
    """Encodes every face as a random JPEG file of a database is, at its size, and reads it as that file is read.

    This adds what the other pipeline does; it does not take away what the face's own did before. Faces, before and
    after, are RGB of shape (n, size, size, 3), uint8.

    Raises:
        InputError: if the other database has no JPEG file, so that nothing is known of its compression.
    """
    if not pipeline.encodings:
        message = f"Expected a database with JPEG files, received others: {pipeline.describe()}"
        raise InputError(f"{message} Give the samples as they were published, or leave this control out.")
    framing = images.Framing(faces.shape[1])
    result = np.empty_like(faces)
    for k, choice in enumerate(rng.integers(len(pipeline.encodings), size=len(faces))):
        encoding = pipeline.encodings[choice]
        resized = images.Framing(encoding.side).apply(faces[k])
        result[k] = framing.apply(images.decode(encode(resized, encoding.quality, encoding.sampling)))
    return result


def common_resolution(first: np.ndarray, second: np.ndarray, size: int = images.IMAGE_SIZE, share: float = 0.05) -> int:
    """Returns the side to which images of two databases can be shrunk, so that none is sharper for being larger.

    It is the `native` of `images.Framing`, `--native-resolution` of train_mint.py. Sides are those of the files: a
    face that was enlarged before it was written has less than its side says.

    Args:
        first: Sides of the images of one database, in pixels, shape (n,), as in `Pipeline.sides`.
        second: Sides of the images of the other database, shape (m,).
        size: Side that the model takes; whatever is larger is shrunk to it anyway.
        share: Share of each database's images that may be smaller than the result, and stay so.

    Returns:
        The side in pixels; 0 if both databases are at least as large as the model takes, so that nothing is shrunk.
    """
    if not len(first) or not len(second):
        raise InputError("Expected images of both databases, received none of one.")
    native = int(min(np.quantile(sides, share, method="lower") for sides in (first, second)))
    return native if native < size else 0


def read_header(encoded: bytes) -> Header:
    """Reads the header of a JPEG file, which OpenCV does not give, decoding nothing.

    Raises:
        InputError: if it is no JPEG file, damaged, or of a kind that says less or other things.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "MPO")) as image:
            (width, height), layers, tables = image.size, image.layer, image.quantization  # type: ignore[attr-defined] # of JPEG
    except Exception as error:
        raise InputError("Expected a JPEG file with pixels, received another or a damaged one.") from error
    if min(height, width) < images.MIN_SIZE or len(layers) not in (1, 3):
        wanted = f"a JPEG file in grey or colour of at least {images.MIN_SIZE} pixels a side"
        raise InputError(f"Expected {wanted}, received {width}x{height} of {len(layers)} channels.")
    used = [tuple(tables.get(number, ())) for _, _, _, number in layers[:2]]
    if not all(len(steps) == 64 and all(steps) for steps in used):
        raise InputError("Expected a JPEG file with whole quantisation tables, of steps above 0, received another.")
    luma, *chroma = [(across, down) for _, across, down, _ in layers]
    fitting = [GREY] if not chroma else [
        name
        for name, ((across, down), _) in _SAMPLING.items()
        if all(luma == (across * one[0], down * one[1]) for one in chroma)
    ]  # fmt: skip
    if not fitting:
        raise InputError(f"Expected chroma sampled as one of {list(_SAMPLING)}, received factors {[luma, *chroma]}.")
    return Header(width, height, fitting[0], tuple(used))


def encode(image: np.ndarray, quality: int, sampling: str) -> bytes:
    """Returns an RGB image as a JPEG file of a quality from 1 to 100 and a chroma sampling, as in `Header`."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if sampling == GREY:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    else:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[sampling][1]]
    return cv2.imencode(".jpg", pixels, settings)[1].tobytes()
