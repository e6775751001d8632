"""The only place where images are decoded: from files, RecordIO databases and the lab, to aligned RGB faces."""

from __future__ import annotations

import collections
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mint_keras import formats
from mint_keras.data import containers, files, synthetic
from mint_keras.records import InputError, Rejected, SampleTable

IMAGE_SIZE = 112
PIXELS = "pixels"  # what stores and models call faces that are kept as they are
_MIN_SIZE = 16
_MAX_BYTES = 64 * 2**20


class FaceReader:
    """Reads faces of 112x112 in batches and keeps account of what it met.

    A square image of another size is resized and counted as unaligned; anything else is rejected.

    Attributes:
        rejected: the samples that could not be used, and why.
        resized: how many images were resized, by database.
    """

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []
        self.resized: collections.Counter[str] = collections.Counter()
        self._containers: dict[str, containers.Container] = {}
        self._digest = hashlib.sha256()

    def batches(self, table: SampleTable, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows of the table, faces) with faces uint8 RGB of shape (batch, 112, 112, 3)."""
        rows: list[int] = []
        faces: list[np.ndarray] = []
        for row in range(len(table)):
            face = self._read(str(table.location[row]), str(table.database[row]))
            if face is not None:
                rows.append(row)
                faces.append(face)
            if faces and (len(faces) == batch_size or row == len(table) - 1):
                yield np.array(rows), np.stack(faces)
                rows, faces = [], []

    def decode_to(self, path: Path, table: SampleTable, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Decodes everything once into a memory-mapped `.npy` file.

        Returns:
            The usable rows of the table, shape (n,), and their faces, uint8 of shape (n, 112, 112, 3).
        """
        shape = (len(table), IMAGE_SIZE, IMAGE_SIZE, 3)
        faces = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        used: list[np.ndarray] = []
        for rows, batch in self.batches(table, batch_size):
            start = sum(len(part) for part in used)
            faces[start : start + len(rows)] = batch
            used.append(rows)
        rows = np.concatenate(used) if used else np.empty(0, int)
        return rows, faces[: len(rows)]

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels read so far, in order."""
        return self._digest.hexdigest()

    def _read(self, location: str, database: str) -> np.ndarray | None:
        try:
            image = self.image(location)
            face = to_face(image)
        except InputError as error:
            self.rejected.append(Rejected(location, str(error)))
            return None
        if face is not image:
            self.resized[database] += 1
        self._digest.update(face.tobytes())
        return face

    def image(self, location: str) -> np.ndarray:
        """Decodes one image as it is: RGB, shape (height, width, 3), uint8, turned as its EXIF orientation says.

        Raises:
            InputError: if it cannot be read.
        """
        if synthetic.is_synthetic(location):
            return synthetic.render(location)
        if reason := files.why_unusable(location):
            raise InputError(reason)
        place = containers.split(location)
        if place is None:
            return decode(read_bytes(files.find(location)))
        path, key = place
        if path not in self._containers:
            self._containers[path] = containers.open_container(Path(path))
        image = self._containers[path](key)
        return decode(image) if isinstance(image, bytes) else image


def first_faces(table: SampleTable, num: int) -> np.ndarray:
    """Reads the first usable faces of a table, uint8 RGB of shape (num or fewer, 112, 112, 3).

    Raises:
        InputError: if none is usable.
    """
    if not num:
        return np.empty((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    batch = next(FaceReader().batches(table, num), None)
    if batch is None:
        raise InputError("Expected face images, received none that is usable.")
    return batch[1]


def read_bytes(path: Path) -> bytes:
    """Reads an image file of sane size.

    Raises:
        InputError: if it cannot be read, is no regular file or is larger than 64 MiB.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device never ends
            raise InputError("Expected a file, received a folder, pipe or device.")
        if status.st_size > _MAX_BYTES:
            raise InputError(f"Expected an image file of at most {_MAX_BYTES} bytes, received {status.st_size}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"Expected a readable file, received: {error.strerror}.") from error


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image to RGB, shape (height, width, 3), uint8.

    An EXIF orientation is followed. Grey becomes three equal channels, 16 bits become 8, transparency is dropped, of an
    animation the first picture is taken.

    Raises:
        InputError: if the bytes are not an image, or one of more pixels than `OPENCV_IO_MAX_IMAGE_PIXELS` allows, which
            is known before decoding.
    """
    image = None
    if encoded:
        try:
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error as error:
            if "CV_IO_MAX_IMAGE" in str(error):
                raise InputError(
                    "Expected an image of sane size, received more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows "
                    "(67 million, unless you set that environment variable)."
                ) from error
    if image is None:
        raise InputError("Expected an image, received bytes that OpenCV cannot decode.")
    return image


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes RGB, shape (height, width, 3), uint8, without loss."""
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with formats.atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def to_face(image: np.ndarray) -> np.ndarray:
    """Returns the image itself if it is 112x112, resized if it is square.

    Raises:
        InputError: if it is not square or tiny.
    """
    height, width = image.shape[:2]
    if (height, width) == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    if height != width or height < _MIN_SIZE:
        raise InputError(
            f"Expected an aligned face of {IMAGE_SIZE}x{IMAGE_SIZE} or a square face crop of at least {_MIN_SIZE} "
            f"pixels, received {width}x{height}."
        )
    interpolation = cv2.INTER_AREA if height > IMAGE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=interpolation)
