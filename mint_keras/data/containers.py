"""Files that hold many images each; a location inside one is `FILE#KEY`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mint_keras.data import pickles, recordio
from mint_keras.data.databases import tfds
from mint_keras.records import InputError

# `train` and `test` are CIFAR's pickles. A name may hold a # itself: the key is what follows the last one.
_LOCATION = re.compile(r"(.+(?:\.rec|\.bin|\.tfrecord-\d{5}-of-\d{5}|/train|/test))#(\d+)", re.DOTALL)
Container = Callable[[int], bytes | np.ndarray]


def split(location: str) -> tuple[str, int] | None:
    """Returns the container and the key of a location, None if it is a file of its own."""
    match = _LOCATION.fullmatch(location)
    return (match[1], int(match[2])) if match else None


def open_container(path: Path) -> Container:
    """Returns a function from a key to an image, encoded or as RGB pixels.

    Raises:
        InputError: if the file is missing or damaged; the function raises it for one image.
    """
    if not path.is_file():
        raise InputError(f"Expected a file at {path}, received none.")
    if path.suffix == ".rec":
        return recordio.RecordFile(path).image
    if ".tfrecord-" in path.name:
        return tfds.open_shard(path)
    images: Sequence[bytes] | np.ndarray
    if path.suffix == ".bin":
        images = pickles.read_verification(path)[0]
    else:
        images = pickles.cifar_pictures(pickles.read_cifar(path))

    def read(key: int) -> bytes | np.ndarray:
        if key >= len(images):
            raise InputError(f"Expected one of {len(images)} images of {path}, received {key}.")
        # Pictures of CIFAR are kept channel by channel, which OpenCV does not take.
        image = images[key]
        return image if isinstance(image, bytes) else np.ascontiguousarray(image)

    return read
