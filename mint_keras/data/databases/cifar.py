"""CIFAR-100: the official pickles (read without running them), or a folder of PNG files per class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mint_keras.data import files, pickles
from mint_keras.records import InputError, Sample

PARTS = ("train", "test")
_NUM_CLASSES = 100


def is_pickled(folder: Path) -> bool:
    """Says whether the official pickles are there: train, test and meta."""
    return (folder / "meta").is_file() and any((folder / part).is_file() for part in PARTS)


def read_pickled(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the pictures with their classes and parts; every picture is an identity of its own.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    Raises:
        InputError: if a pickle is damaged, or names what it does not need.
    """
    names = pickles.read_cifar(folder / "meta").get(b"fine_label_names", [])
    for part in PARTS:
        if not (folder / part).is_file():
            continue
        content = pickles.read_cifar(folder / part)
        labels, filenames = content.get(b"fine_labels", []), content.get(b"filenames", [])
        num = len(pickles.cifar_pictures(content))
        if len(labels) != num or len(filenames) not in (0, num) or not all(0 <= label < len(names) for label in labels):
            raise InputError(f"Expected a class of {folder / 'meta'} for each picture of {folder / part}.")
        for row, label in enumerate(labels):
            name = f"{part}/{row:05d}"
            attributes = {"class": names[label].decode("utf-8", "replace"), "part": part}
            yield Sample(f"{database}/{name}", database, name, f"{folder / part}#{row}", attributes=attributes)


def is_folders(folder: Path) -> bool:
    """Says whether a folder with cifar in its name has a folder per class in train/."""
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
