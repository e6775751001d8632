"""The only place where images are read: from files, RecordIO databases and the lab, to RGB faces or pictures."""

import collections
import dataclasses
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from mint_keras import formats, texts
from mint_keras.borders import check_regular, shown
from mint_keras.data import files, pickles, recordio, synthetic
from mint_keras.data.databases import tfds
from mint_keras.data.decoding import decode as decode
from mint_keras.records import InputError, Rejected, SampleTable

IMAGE_SIZE = 112
PIXELS = "pixels"  # what stores and models call faces that are kept as they are
MIN_SIZE = 16
_MAX_BYTES = 64 * 2**20  # a file is read whole
# `train` and `test` are CIFAR's pickles. A name may hold a # itself: the key is what follows the last one.
_INSIDE = re.compile(r"(.+(?:\.rec|\.bin|\.tfrecord-\d{5}-of-\d{5}|/train|/test))#(\d+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Framing:
    """What an image becomes before a model sees it.

    Attributes:
        size: Side of the square that the model takes, in pixels.
        is_face: An aligned face must be square; of a picture the largest central square is taken.
        native: Squares that are larger are shrunk to this side first, and lose what smaller ones never had; 0 for none.
    """

    # `native` is for all samples: a control that treated one side otherwise would be a difference of its own.

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
                f"an aligned face of {self.size}x{self.size} or a square face crop" if self.is_face else "a picture"
            )
            raise InputError(f"Expected {wanted} of at least {MIN_SIZE} pixels a side, received {width}x{height}.")
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


def shrunk(image: np.ndarray, most: int) -> np.ndarray:
    """Returns an image whose sides have at most so many pixels: itself, or one of its shape."""
    longest = max(image.shape[:2])
    size = [max(1, side * most // longest) for side in image.shape[1::-1]]
    return image if longest <= most else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class FaceReader:
    """Reads faces, or pictures as a classifier takes them, in batches, and keeps account of what it met.

    Threads may read single images; for batches each has a reader of its own, which shares open files with `another`.

    Attributes:
        rejected: The samples that could not be used, and why.
        resized: How many images had another size, by database.
    """

    def __init__(self, framing: Framing = FACE, another: Self | None = None) -> None:
        self.framing = framing
        self.rejected: list[Rejected] = []
        self.resized: collections.Counter[str] = collections.Counter()
        self._containers: dict[str, Callable[[int], bytes | np.ndarray]] = another._containers if another else {}
        # A file has one place that is read.
        self._lock: threading.Lock = another._lock if another else threading.Lock()
        self._digest = hashlib.sha256()

    def batches(self, table: SampleTable, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows of the table, faces) with faces uint8 RGB of shape (batch, size, size, 3)."""
        rows: list[int] = []
        faces: list[np.ndarray] = []
        columns = map(texts.column, (table.sample_id, table.location))
        for row, (name, location) in enumerate(zip(*columns, strict=True)):
            try:
                image = self.image(location)
                face = self.framing.apply(image)
            except InputError as error:
                # A damaged photo does not end a run of a million: whoever runs it counts and lists what was rejected.
                self.rejected.append(Rejected(shown(name, location), files.reason(error, location)))
            else:
                if face.shape != image.shape:
                    self.resized[str(table.database[row])] += 1
                # Of what a model sees, not of the files: equal pixels give equal AAD.
                self._digest.update(face.tobytes())
                rows.append(row)
                faces.append(face)
            # Filled over rejected samples, so that only the last batch is short.
            if faces and (len(faces) == batch_size or row == len(table) - 1):
                yield np.array(rows), np.stack(faces)
                rows, faces = [], []

    def decode_to(self, path: Path | None, table: SampleTable, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Decodes everything once into a memory-mapped `.npy` file, or into memory; returns what `read_faces` does."""
        shape = (len(table), self.framing.size, self.framing.size, 3)
        # One array for all: parts that are joined at the end would take twice the memory.
        faces = np.lib.format.open_memmap(path, "w+", np.uint8, shape) if path else np.empty(shape, np.uint8)
        used: list[int] = []
        for rows, batch in self.batches(table, batch_size):
            faces[len(used) : len(used) + len(rows)] = batch
            used += rows.tolist()
        return np.array(used, int), faces[: len(used)]

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels read so far, in order."""
        return self._digest.hexdigest()

    def image(self, location: str) -> np.ndarray:
        """Decodes one image as it is: RGB, shape (height, width, 3), uint8, turned as its EXIF orientation says."""
        stored = self.stored(location)
        return decode(stored) if isinstance(stored, bytes) else stored

    def stored(self, location: str) -> bytes | np.ndarray:
        """Returns an image as it is kept: encoded, or pixels where nothing is (drawn faces, CIFAR).

        Raises:
            InputError: if it cannot be read.
        """
        if synthetic.is_synthetic(location):
            return synthetic.render(location)
        if reason := files.why_unusable(location):
            raise InputError(reason)
        container, key = split(location)
        if key is None:
            return read_bytes(files.find(location))
        # A container stays open: the index of a database of millions of records is read once.
        with self._lock:
            if container not in self._containers:
                self._containers[container] = _open_container(Path(container))
            return self._containers[container](key)


def split(location: str) -> tuple[str, int | None]:
    """Returns the file that a location `FILE#KEY` lies in, and its key there; None for a file of its own."""
    match = _INSIDE.fullmatch(location)
    return (match[1], int(match[2])) if match else (location, None)


def _open_container(path: Path) -> Callable[[int], bytes | np.ndarray]:
    """Returns a function from a key to an image, encoded or as RGB pixels."""
    if not path.is_file():
        raise InputError(f"Expected a file at {path}, received none.")
    if path.suffix == ".rec":
        return recordio.open_shared(path)
    if ".tfrecord-" in path.name:
        return tfds.open_shard(path)
    is_cifar = path.suffix != ".bin"
    pictures = pickles.cifar_pictures(pickles.read_cifar(path)) if is_cifar else pickles.read_verification(path)[0]

    def read(key: int) -> bytes | np.ndarray:
        if key >= len(pictures):
            raise InputError(f"Expected one of {len(pictures)} images of {path}, received {key}.")
        # Pictures of CIFAR are kept channel by channel, which OpenCV does not take.
        return np.ascontiguousarray(pictures[key]) if is_cifar else pictures[key]

    return read


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

    Returns:
        The usable rows of the table, shape (n,), and their faces, uint8 RGB of shape (n, size, size, 3); both are empty
        if none is usable.
    """
    return FaceReader(framing).decode_to(None, table, batch_size)


def read_bytes(path: Path) -> bytes:
    """Reads an image file; InputError if it cannot be read, is no regular file or is larger than 64 MiB."""
    try:
        check_regular(path, _MAX_BYTES, "")
        return path.read_bytes()
    except InputError:
        raise
    except (OSError, ValueError) as error:  # of a name with NUL in it
        raise InputError(f"Expected a readable file, received: {getattr(error, 'strerror', error)}.") from error


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes RGB, shape (height, width, 3), uint8, without loss."""
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with formats.atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
