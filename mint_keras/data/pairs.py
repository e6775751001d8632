"""Verification pairs: two faces, and whether they show the same person; and the people whom they join."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mint_keras import borders
from mint_keras.data import pickles
from mint_keras.records import InputError, Sample

NUM_FOLDS = 10
_SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp")


class Pairs(NamedTuple):
    """Pairs of faces: columns of shape (n,), and the images, encoded or as files, that `first` and `second` number.

    An image that occurs in several pairs is listed once where its name tells. `genuine` pairs show one person. A fold's
    threshold is chosen on the other folds.
    """

    first: np.ndarray
    second: np.ndarray
    genuine: np.ndarray
    folds: np.ndarray
    images: list[bytes | Path]


def read_pairs(path: Path, images: Path | None = None) -> Pairs:
    """Reads pairs.

    Args:
        path: Insightface's `.bin` (lfw.bin, agedb_30.bin); LFW's `pairs.txt`; or a `.csv` with columns first, second,
            is_same (1 or 0) and, if you want, fold.
        images: The folder that the names in a text file are relative to, by default its own. For pairs.txt it holds
            one folder per person with name_0001.jpg and so on.

    Raises:
        InputError: if it is none of these, or an image that it names is missing.
    """
    if not path.is_file() or path.suffix not in (".bin", ".txt", ".csv"):
        found = "another" if path.is_file() else "not found"
        raise InputError(f"Expected a file of pairs (.bin, .txt, .csv), received {path}: {found}.")
    if path.suffix == ".bin":
        encoded, labels = pickles.read_verification(path)
        first = np.arange(0, len(encoded), 2)
        # insightface takes the folds in the file's order, as scikit-learn's KFold cuts them.
        parts = np.array_split(np.arange(len(labels)), NUM_FOLDS)
        folds = np.repeat(np.arange(NUM_FOLDS), [len(part) for part in parts])
        return Pairs(first, first + 1, np.array(labels, bool), folds, [*encoded])
    read_rows = _read_lfw if path.suffix == ".txt" else _read_csv
    rows = list(read_rows(path, images or path.parent))
    if not rows:
        raise InputError(f"Expected pairs in {path}, received none.")
    if missing := sorted({str(file) for row in rows for file in row[:2] if not file.is_file()}):
        raise InputError(f"Expected every image of {path}, received {len(missing)} that do not exist: {missing[:3]}.")
    position = {file: i for i, file in enumerate(dict.fromkeys(itertools.chain.from_iterable(row[:2] for row in rows)))}
    numbered = [(position[first], position[second], is_same, fold) for first, second, is_same, fold in rows]
    first, second, genuine, folds = (np.array(column) for column in zip(*numbered, strict=True))
    return Pairs(first, second, genuine, folds, list(position))


def read(path: Path, database: str) -> Iterator[Sample]:
    """Yields every face of an insightface verification set (`.bin`) once, though pairs repeat it.

    The file names nobody. Faces that a chain of genuine pairs joins are one identity; whether two identities are two
    people is not known.
    """
    content = read_pairs(path)
    digests = [hashlib.sha256(image).hexdigest() for image in content.images if isinstance(image, bytes)]
    genuine = zip(content.first[content.genuine].tolist(), content.second[content.genuine].tolist(), strict=True)
    people = join_people((digests[first], digests[second]) for first, second in genuine)
    for key in np.sort(np.unique(digests, return_index=True)[1]).tolist():
        identity = people.get(digests[key], digests[key])[:16]
        yield Sample(f"{database}/{key:06d}", database, identity, f"{path}#{key}")


def join_people(pairs: Iterable[Iterable[str]]) -> dict[str, str]:
    """Returns for every name the first name, in alphabetical order, that a chain of pairs joins it to."""
    from scipy.sparse import coo_array  # the laptop scorer has no SciPy
    from scipy.sparse.csgraph import connected_components

    ends = np.array([list(pair) for pair in pairs], dtype=np.str_).reshape(-1, 2)
    names, positions = np.unique(ends, return_inverse=True)
    first, second = positions.reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    # Names are sorted, so the first of each component leads it.
    leaders = names[np.unique(component, return_index=True)[1]]
    return dict(zip(names.tolist(), leaders[component].tolist(), strict=True))


def _read_lfw(path: Path, images: Path) -> Iterator[tuple[Path, Path, bool, int]]:
    # A line of folds and pairs per class, then genuine and impostor lines in turn.
    # Source: http://vis-www.cs.umass.edu/lfw/README.txt, section II.
    lines = [line.split("\t") for line in borders.read_text(path).splitlines() if line.strip()]
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
    columns = borders.read_csv(path)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for number, row in enumerate(rows):
        if not {"first", "second", "is_same"} <= set(row) or row["is_same"] not in ("0", "1"):
            raise InputError(
                f"Expected columns first, second and is_same (0 or 1) in line {number + 2} of {path}, received {row}."
            )
        fold = row.get("fold") or str(number * NUM_FOLDS // len(rows))
        if not fold.isdecimal():
            raise InputError(f"Expected a number as fold in line {number + 2} of {path}, received {fold!r}.")
        yield images / row["first"], images / row["second"], row["is_same"] == "1", int(fold)
