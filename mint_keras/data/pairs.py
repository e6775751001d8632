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
_SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of faces; an image that occurs in several pairs is listed once where its name tells.

    Attributes:
        first: Positions of the pairs' first images in `images`, shape (n,).
        second: Positions of their second images, shape (n,).
        genuine: Whether both show the same person, shape (n,), bool.
        folds: Folds of the pairs, shape (n,); a fold's threshold is chosen on the other folds.
        images: Encoded images, or the files.
    """

    first: np.ndarray
    second: np.ndarray
    genuine: np.ndarray
    folds: np.ndarray
    images: list[bytes | Path]


def read_pairs(path: Path, images: Path | None = None) -> Pairs:
    """Reads pairs.

    Args:
        path: Insightface's `.bin`; LFW's `pairs.txt`; or a `.csv` with columns first, second, is_same (1 or 0) and,
            if you want, fold.
        images: The folder that the names in a text file are relative to, by default its own. For pairs.txt it holds
            one folder per person with name_0001.jpg and so on.

    Raises:
        InputError: if it is none of these, or an image that it names is missing.
    """
    if not path.is_file():
        raise InputError(f"Expected a file of pairs (.bin, .txt, .csv), received {path}: not found.")
    if path.suffix == ".bin":
        encoded, labels = pickles.read_verification(path)
        first = np.arange(0, len(encoded), 2)
        # insightface takes the folds in the file's order, as scikit-learn's KFold cuts them.
        parts = np.array_split(np.arange(len(labels)), NUM_FOLDS)
        folds = np.repeat(np.arange(NUM_FOLDS), [len(part) for part in parts])
        return Pairs(first, first + 1, np.array(labels, bool), folds, [*encoded])
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
    columns = zip(*((position[row[0]], position[row[1]], row[2], row[3]) for row in rows), strict=True)
    first, second, genuine, folds = map(np.array, columns)
    return Pairs(first, second, genuine, folds, list(position))


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
        # A list of one fold is cut into ten, because a fold's threshold is chosen on the others.
        fold = number // (2 * num_per_class) if num_folds > 1 else number * NUM_FOLDS // (len(lines) - 1)
        if len(line) == 3:
            names = [(line[0], line[1]), (line[0], line[2])]
        elif len(line) == 4:
            names = [(line[0], line[1]), (line[2], line[3])]
        else:
            raise InputError(f"Expected 3 or 4 columns in line {number + 2} of {path}, received {len(line)}.")
        found = []
        for name, index in ((name.strip(), index.strip()) for name, index in names):
            if not index.isdecimal() or Path(name).name != name:
                raise InputError(f"Expected a name and a number of an LFW image, received {name!r} and {index!r}.")
            files = [images / name / f"{name}_{int(index):04d}{suffix}" for suffix in _SUFFIXES]
            found.append(next((file for file in files if file.is_file()), files[0]))
        yield found[0], found[1], len(line) == 3, fold


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
