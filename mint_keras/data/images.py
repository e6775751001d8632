"""The only place where images are decoded: from files, RecordIO databases and the lab, to RGB faces or pictures."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mint_keras import formats
from mint_keras.data import containers, files, synthetic
from mint_keras.records import InputError, Rejected, SampleTable

IMAGE_SIZE = 112
PIXELS = "pixels"  # what stores and models call faces that are kept as they are
MIN_SIZE = 16
_MAX_BYTES = 64 * 2**20  # a file is read whole


@dataclasses.dataclass(frozen=True)
class Framing:
    """What an image becomes before a model sees it.

    Attributes:
        size: Side of the square that the model takes, in pixels.
        is_face: Images must be square, because a face is aligned; of a picture the largest central square is taken,
            so that no shape is squeezed.
        native: Squares that are larger are shrunk to this side first, and lose what smaller ones never had; 0 for none.
            It applies to all samples alike: a control that treated one side otherwise would be a difference of its own.
    """

    size: int = IMAGE_SIZE
    is_face: bool = True
    native: int = 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Returns the image itself if it is a square of the size; what is shrunk is averaged, the rest bilinear.

        Raises:
            InputError: if it is tiny, or no square where one is needed.
        """
        height, width = image.shape[:2]
        side = min(height, width)
        if side < MIN_SIZE or (self.is_face and height != width):
            wanted = (
                f"an aligned face of {self.size}x{self.size} or a square face crop of at least {MIN_SIZE} pixels"
                if self.is_face
                else f"a picture of at least {MIN_SIZE} pixels a side"
            )
            raise InputError(f"Expected {wanted}, received {width}x{height}.")
        if height != width:
            top, left = (height - side) // 2, (width - side) // 2
            image = np.ascontiguousarray(image[top : top + side, left : left + side])
        if 0 < self.native < side:
            image = _resize(image, self.native)
        return _resize(image, self.size)

    def settings(self) -> dict[str, Any]:
        """Returns what a manifest says of it; nothing of faces as they are."""
        return {} if self == FACE else {"framing": dataclasses.asdict(self)}

    def why_resized(self) -> str:
        """Says what was done with images of other sizes."""
        done = "resized without alignment" if self.is_face else "cut to the central square and resized"
        return f"Not {self.size}x{self.size}, so {done}"


FACE = Framing()


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    if image.shape[0] == size:
        return image
    # Bilinear shrinking would skip pixels and leave patterns that are not in the picture.
    interpolation = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=interpolation)


class FaceReader:
    """Reads faces of 112x112, or pictures as a classifier takes them, in batches, and keeps account of what it met.

    A square image of another size is resized and counted; what `Framing` does not take is rejected.

    Args:
        framing: What every image becomes.

    Attributes:
        rejected: The samples that could not be used, and why.
        resized: How many images had another size, by database.
    """

    def __init__(self, framing: Framing = FACE) -> None:
        self.framing = framing
        self.rejected: list[Rejected] = []
        self.resized: collections.Counter[str] = collections.Counter()
        self._containers: dict[str, containers.Container] = {}
        self._digest = hashlib.sha256()

    def batches(self, table: SampleTable, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows of the table, faces) with faces uint8 RGB of shape (batch, size, size, 3)."""
        rows: list[int] = []
        faces: list[np.ndarray] = []
        for row in range(len(table)):
            face = self._read(str(table.location[row]), str(table.database[row]))
            if face is not None:
                rows.append(row)
                faces.append(face)
            # Filled over rejected samples, so that only the last batch is short.
            if faces and (len(faces) == batch_size or row == len(table) - 1):
                yield np.array(rows), np.stack(faces)
                rows, faces = [], []

    def decode_to(self, path: Path, table: SampleTable, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Decodes everything once into a memory-mapped `.npy` file; returns rows and faces as `read_faces` does."""
        shape = (len(table), self.framing.size, self.framing.size, 3)
        return self._fill(np.lib.format.open_memmap(path, "w+", np.uint8, shape), table, batch_size)

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels read so far, in order."""
        return self._digest.hexdigest()

    def _fill(self, faces: np.ndarray, table: SampleTable, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        used: list[int] = []
        for rows, batch in self.batches(table, batch_size):
            faces[len(used) : len(used) + len(rows)] = batch
            used += rows.tolist()
        return np.array(used, int), faces[: len(used)]

    def _read(self, location: str, database: str) -> np.ndarray | None:
        try:
            image = self.image(location)
            face = self.framing.apply(image)
        except InputError as error:
            # A damaged photo does not end a run of a million: whoever runs it counts and lists what was rejected.
            self.rejected.append(Rejected(location, str(error)))
            return None
        if face.shape != image.shape:
            self.resized[database] += 1
        # Of what a model sees, not of the files: equal pixels give equal AAD.
        self._digest.update(face.tobytes())
        return face

    def image(self, location: str) -> np.ndarray:
        """Decodes one image as it is: RGB, shape (height, width, 3), uint8, turned as its EXIF orientation says.

        Raises:
            InputError: if it cannot be read.
        """
        image = self.stored(location)
        return decode(image) if isinstance(image, bytes) else image

    def stored(self, location: str) -> bytes | np.ndarray:
        """Returns an image as it is kept: encoded, or pixels where nothing is (drawn faces, CIFAR).

        Raises:
            InputError: if it cannot be read.
        """
        if synthetic.is_synthetic(location):
            return synthetic.render(location)
        if reason := files.why_unusable(location):
            raise InputError(reason)
        place = containers.split(location)
        if place is None:
            return read_bytes(files.find(location))
        path, key = place
        # A container stays open: the index of a database of millions of records is read once.
        if path not in self._containers:
            self._containers[path] = containers.open_container(Path(path))
        return self._containers[path](key)


def first_faces(table: SampleTable, num: int, framing: Framing = FACE) -> np.ndarray:
    """Reads the first usable faces of a table, uint8 RGB of shape (num or fewer, size, size, 3).

    Raises:
        InputError: if none is usable.
    """
    if not num:
        return np.empty((0, framing.size, framing.size, 3), np.uint8)
    batch = next(FaceReader(framing).batches(table, num), None)
    if batch is None:
        raise InputError("Expected images, received none that is usable.")
    return batch[1]


def read_faces(table: SampleTable, framing: Framing = FACE, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Reads all usable faces of a table into memory; `FaceReader` also says what was rejected.

    Args:
        table: The samples.
        framing: What every image becomes.
        batch_size: How many faces are decoded before they are copied to the others.

    Returns:
        The usable rows of the table, shape (n,), and their faces, uint8 RGB of shape (n, size, size, 3); both are empty
        if none is usable.
    """
    # One array for all: parts that are joined at the end would take twice the memory.
    faces = np.empty((len(table), framing.size, framing.size, 3), np.uint8)
    return FaceReader(framing)._fill(faces, table, batch_size)


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
            # OpenCV has one error for everything, so its message must tell. The limit is OpenCV's own, by its
            # environment variable, because only OpenCV can check it before decoding.
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
