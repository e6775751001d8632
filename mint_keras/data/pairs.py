"""Verification pairs: two faces, and whether they show the same person.

Insightface's `.bin` files (lfw.bin, cfp_fp.bin, agedb_30.bin), LFW's pairs.txt beside a folder of aligned faces, and a
CSV of one's own.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mint_keras.data import pickles
from mint_keras.records import InputError

NUM_FOLDS = 10
_MAX_BYTES = 2**31
_SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of faces; images that occur in several pairs are listed once where their names tell.

    Attributes:
        first: position of a pair's first image in `images`, shape (n,).
        second: of its second.
        genuine: whether both show the same person, shape (n,).
        folds: fold of a pair, shape (n,); thresholds are chosen on the others.
        images: encoded images, or the files.
    """

    first: np.ndarray
    second: np.ndarray
    genuine: np.ndarray
    folds: np.ndarray
    images: list[bytes | Path]


def read_pairs(path: Path, images: Path | None = None) -> Pairs:
    """Reads pairs.

    Args:
        path: insightface's `.bin`; LFW's `pairs.txt`; or a `.csv` with columns first, second, is_same (1 or 0) and,
            if you want, fold.
        images: the folder that the names in a text file are relative to; its own by default. For pairs.txt it holds
            one folder per person with name_0001.jpg and so on.

    Raises:
        InputError: if it is none of these, or an image that it names is missing.
    """
    if not path.is_file():
        raise InputError(f"Expected a file of pairs (.bin, .txt, .csv), received {path}: not found.")
    if path.suffix == ".bin":
        return _read_bin(path)
    if path.suffix not in (".txt", ".csv"):
        raise InputError(f"Expected a file of pairs (.bin, .txt, .csv), received {path}.")
    read = _read_lfw if path.suffix == ".txt" else _read_csv
    try:
        rows = list(read(path, images or path.parent))
    except UnicodeDecodeError as error:
        raise InputError(f"Expected text in {path}, received bytes that are none.") from error
    if not rows:
        raise InputError(f"Expected pairs in {path}, received none.")
    missing = sorted({str(file) for row in rows for file in row[:2] if not file.is_file()})
    if missing:
        raise InputError(f"Expected every image of {path}, received {len(missing)} that do not exist: {missing[:3]}.")
    position = {file: i for i, file in enumerate(dict.fromkeys(itertools.chain.from_iterable(r[:2] for r in rows)))}
    return Pairs(
        first=np.array([position[row[0]] for row in rows]),
        second=np.array([position[row[1]] for row in rows]),
        genuine=np.array([row[2] for row in rows]),
        folds=np.array([row[3] for row in rows]),
        images=list(position),
    )


def _read_bin(path: Path) -> Pairs:
    """Reads (list of 2n encoded images, list of n booleans) as Python 2 or 3 pickled it.

    Source: insightface recognition/arcface_torch/eval/verification.py, load_bin.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"Expected {path} of at most {_MAX_BYTES} bytes, received {path.stat().st_size}.")
    try:
        with open(path, "rb") as file:
            content = pickles.load(file, pickles.ARRAYS, encoding="bytes")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(content, tuple | list) or len(content) != 2 or not all(isinstance(x, list) for x in content):
        raise InputError(f"Expected two lists, images and labels, in {path}, received {type(content).__name__}.")
    images, labels = ([pickles.plain(item) for item in part] for part in content)
    if not labels or len(images) != 2 * len(labels) or not all(isinstance(image, bytes) for image in images):
        raise InputError(f"Expected two images for each label in {path}, received {len(images)} for {len(labels)}.")
    if not all(label in (0, 1) for label in labels):
        raise InputError(f"Expected labels true or false in {path}, received others.")
    first = np.arange(0, len(images), 2)
    # insightface takes the folds in the file's order, as scikit-learn's KFold cuts them.
    parts = np.array_split(np.arange(len(labels)), NUM_FOLDS)
    folds = np.repeat(np.arange(NUM_FOLDS), [len(part) for part in parts])
    return Pairs(first, first + 1, np.array(labels, bool), folds, images)


def _read_lfw(path: Path, images: Path) -> Iterator[tuple[Path, Path, bool, int]]:
    """Reads LFW's pairs.txt: a line of folds and pairs per class, then genuine and impostor lines in turn.

    Source: http://vis-www.cs.umass.edu/lfw/README.txt, section II.
    """
    lines = [line.split("\t") for line in path.read_text().splitlines() if line.strip()]
    header = lines[0] if lines else []
    if not 1 <= len(header) <= 2 or not all(item.strip().isdecimal() for item in header):
        raise InputError(f"Expected LFW's first line, folds and pairs, in {path}, received {header[:4] or 'none'}.")
    num_folds, num_per_class = (int(item) for item in (header if len(header) == 2 else ["1", *header]))
    if len(lines) - 1 != 2 * num_folds * num_per_class:
        raise InputError(f"Expected {2 * num_folds * num_per_class} pairs in {path}, received {len(lines) - 1}.")
    for number, line in enumerate(lines[1:]):
        fold = number // (2 * num_per_class) if num_folds > 1 else number * NUM_FOLDS // (len(lines) - 1)
        if len(line) == 3:
            names = [(line[0], line[1]), (line[0], line[2])]
        elif len(line) == 4:
            names = [(line[0], line[1]), (line[2], line[3])]
        else:
            raise InputError(f"Expected 3 or 4 columns in line {number + 2} of {path}, received {len(line)}.")
        first, second = (_lfw_file(images, name.strip(), index.strip()) for name, index in names)
        yield first, second, len(line) == 3, fold


def _lfw_file(images: Path, name: str, index: str) -> Path:
    if not index.isdecimal() or Path(name).name != name:
        raise InputError(f"Expected a name and a number of an LFW image, received {name!r} and {index!r}.")
    files = [images / name / f"{name}_{int(index):04d}{suffix}" for suffix in _SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def _read_csv(path: Path, images: Path) -> Iterator[tuple[Path, Path, bool, int]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        if not {"first", "second", "is_same"} <= set(row) or row["is_same"] not in ("0", "1"):
            raise InputError(
                f"Expected columns first, second and is_same (0 or 1) in line {number + 2} of {path}, received {row}."
            )
        fold = row.get("fold") or str(number * NUM_FOLDS // len(rows))
        if not fold.isdecimal():
            raise InputError(f"Expected a number as fold in line {number + 2} of {path}, received {fold!r}.")
        yield images / row["first"], images / row["second"], row["is_same"] == "1", int(fold)
