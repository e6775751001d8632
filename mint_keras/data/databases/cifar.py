"""CIFAR-100: the official pickles (read without running them), or a folder of PNG files per class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras.data import files, pickles
from mint_keras.records import InputError, Sample

PARTS = ("train", "test")
_SIDE = 32
_NUM_CLASSES = 100
_MAX_BYTES = 2**30


def is_pickled(folder: Path) -> bool:
    """The official layout: the pickles train, test and meta."""
    return (folder / "meta").is_file() and any((folder / part).is_file() for part in PARTS)


def read_pickled(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the pictures with their classes and parts; every picture is an identity of its own.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    Raises:
        InputError: if a pickle is damaged, or names what it does not need.
    """
    names = _load(folder / "meta").get(b"fine_label_names", [])
    for part in PARTS:
        if not (folder / part).is_file():
            continue
        content = _load(folder / part)
        labels, filenames = content.get(b"fine_labels", []), content.get(b"filenames", [])
        num = len(pickles.byte_rows(content.get(b"data"), 3 * _SIDE**2))
        if len(labels) != num or len(filenames) not in (0, num) or not all(0 <= label < len(names) for label in labels):
            raise InputError(f"Expected a class of {folder / 'meta'} for each picture of {folder / part}.")
        for row, label in enumerate(labels):
            name = f"{part}/{row:05d}"
            attributes = {"class": names[label].decode("utf-8", "replace"), "part": part}
            yield Sample(f"{database}/{name}", database, name, f"{folder / part}#{row}", attributes=attributes)


def open_pickled(path: Path) -> Callable[[int], np.ndarray]:
    """Returns a function from a row to its picture, RGB of shape (32, 32, 3), uint8."""
    rows = pickles.byte_rows(_load(path).get(b"data"), 3 * _SIDE**2)
    return lambda row: np.ascontiguousarray(rows[row].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0))


def is_folders(folder: Path) -> bool:
    """PNG files in train/CLASS/ and test/CLASS/ of a folder with cifar in its name."""
    train = folder / "train"
    if "cifar" not in folder.name.lower() or not train.is_dir():
        return False
    return sum(entry.is_dir() for entry in train.iterdir()) == _NUM_CLASSES


def read_folders(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the pictures with their classes and parts; every picture is an identity of its own."""
    for name in files.list_images(folder):
        part, _, rest = name.partition("/")
        attributes = {"class": rest.rpartition("/")[0], "part": part}
        yield Sample(f"{database}/{name}", database, name, str(folder / name), attributes=attributes)


def _load(path: Path) -> dict[bytes, Any]:
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"Expected {path} of at most {_MAX_BYTES} bytes, received {path.stat().st_size}.")
    try:
        with open(path, "rb") as file:
            content = pickles.load(file, pickles.ARRAYS, encoding="bytes")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"Expected a dictionary in {path}, received {type(content).__name__}.")
    return content
