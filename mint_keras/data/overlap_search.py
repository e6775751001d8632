"""Searches databases for photos that occur twice, a block at a time, with planted copies that measure the search."""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mint_keras import progress
from mint_keras.data import images, overlap, registration
from mint_keras.data.alterations import ALTERATIONS
from mint_keras.records import InputError, SampleTable

_BLOCK = 1024  # photos that are looked up at once
_SAMPLE = 512  # photos say how small pictures are described
# Of which rows and kinds copies are, and what they are found by.
_Planted = tuple[list[tuple[int, str]], overlap.Fingerprints]


class Settings(NamedTuple):
    """How to search: see `FindOverlap`, whose options these are."""

    min_cosine: float
    is_within: bool
    num_planted: int
    seed: int


class Searched(NamedTuple):
    """Pairs of rows that show one photo, which rows could be read, (n,), and of each planted copy if it was found."""

    found: overlap.Overlap
    is_read: np.ndarray
    hits: dict[str, list[bool]]


def search(
    table: SampleTable,
    side: np.ndarray,
    settings: Settings,
    embed: overlap.Embed | None = None,
    known: Sequence[tuple[int, int]] = (),
) -> Searched:
    """Searches databases: all but the largest are indexed, and each is looked up in those that are smaller.

    Args:
        table: Photos of all databases.
        side: The number of the database of each, shape (n,). A single one is searched within.
        settings: How to search.
        embed: A face network that says which photos may be one, besides small pictures of them.
        known: Pairs of rows that others have found.

    Raises:
        InputError: if no photo can be read.
    """
    return _Search(table, side, settings, embed).run(known)


class _Search:
    def __init__(self, table: SampleTable, side: np.ndarray, settings: Settings, embed: overlap.Embed | None) -> None:
        self._table, self._side, self._settings, self._embed = table, side, settings, embed
        self._rng = np.random.default_rng(settings.seed)
        self._order = np.argsort(np.bincount(side), kind="stable").tolist()
        self._is_within = settings.is_within or len(self._order) == 1
        self._indexed = self._order if self._is_within else self._order[:-1]
        self._kinds: dict[int, list[str]] = collections.defaultdict(list)
        rows = np.flatnonzero(np.isin(side, self._indexed))
        for kind in ALTERATIONS:
            for row in self._rng.choice(rows, min(settings.num_planted, len(rows)), replace=False).tolist():
                self._kinds[row].append(kind)
        self._digest, self._is_read = np.zeros(len(table), np.uint64), np.zeros(len(table), bool)
        self._fine: list[np.ndarray] = []  # of planted copies
        self._hits: dict[str, list[bool]] = {}
        self._reader = images.FaceReader()
        self._compare = overlap.comparing(self._picture)
        self._indices: list[overlap.Index] = []
        self._found: list[tuple[int, int, str, float]] = []

    def run(self, known: Sequence[tuple[int, int]]) -> Searched:
        # Any that can be read: in a download that broke off most cannot.
        shuffled = self._table.take(self._rng.permutation(len(self._table)))
        if (sample := next(images.FaceReader().batches(shuffled, _SAMPLE), None)) is None:
            raise InputError("Expected aligned faces in --samples, received none that is usable.")
        self._scale = registration.Scale.of(registration.grey(sample[1], registration.ROUGH))
        with progress.bar(total=len(self._table), desc="photos", unit="photo") as bar:
            for database in self._order:
                self._look_up(database, bar)
        read, cosine = np.flatnonzero(self._is_read), 1.0 if self._embed else np.nan
        equal = [(int(read[a]), int(read[b]), why, cosine) for a, b, why, _ in overlap.equal_pairs(self._digest[read])]
        others = [(*pair, overlap.KNOWN, np.nan) for pair in known if self._is_read[list(pair)].all()]
        return Searched(overlap.Overlap.of([*equal, *self._found, *others]), self._is_read, self._hits)

    def _look_up(self, database: int, bar: tqdm) -> None:
        """Looks a database up in those that are indexed, and indexes it."""
        rows = np.flatnonzero(self._side == database)
        kept: list[tuple[np.ndarray, overlap.Fingerprints]] = []
        planted: list[_Planted] = []
        for chosen, faces in images.FaceReader().batches(self._table.take(rows), _BLOCK):
            block, prints = rows[chosen], overlap.Fingerprints.of(faces, self._embed)
            self._digest[block], self._is_read[block] = prints.digest, True
            for index in self._indices:
                self._found += index.search(block, prints, self._compare)
            if database in self._indexed:
                kept.append((block, prints))
                planted += self._plant(block, faces)
            bar.update(len(block))
        if kept:
            blocks, parts = zip(*kept, strict=True)
            joined = overlap.Fingerprints.join(parts)
            index = overlap.Index(np.concatenate(blocks), joined, self._scale, self._settings.min_cosine)
            self._indices.append(index)
            for block, prints in kept if self._is_within else ():
                self._found += index.search(block, prints, self._compare)
            self._count(index, planted)

    def _plant(self, rows: np.ndarray, faces: np.ndarray) -> Iterator[_Planted]:
        """Yields altered copies of some faces, and of which rows and kinds they are."""
        chosen = [(place, kind) for place, row in enumerate(rows.tolist()) for kind in self._kinds.get(row, ())]
        for start in range(0, len(chosen), _BLOCK):
            some = chosen[start : start + _BLOCK]
            copies = np.stack([ALTERATIONS[kind](faces[place], self._rng) for place, kind in some])
            self._fine += list(registration.grey(copies, registration.FINE))
            yield [(int(rows[place]), kind) for place, kind in some], overlap.Fingerprints.of(copies, self._embed)

    def _count(self, index: overlap.Index, planted: list[_Planted]) -> None:
        """Looks up planted copies; of photos with equal pixels the one that is indexed stands for all."""
        start = len(self._table) + sum(map(len, self._hits.values()))
        for origins, prints in planted:
            rows = start + np.arange(len(origins))
            found = {(one, two) for one, two, *_ in index.search(rows, prints, self._compare)}
            for row, (origin, kind) in zip(rows.tolist(), origins, strict=True):
                same = index.rows[index.digest == self._digest[origin]]
                self._hits.setdefault(kind, []).append((int(same[0]), row) in found)
            start += len(origins)

    def _picture(self, row: int) -> np.ndarray:
        if row >= len(self._table):
            return self._fine[row - len(self._table)]
        face = images.FACE.apply(self._reader.image(str(self._table.location[row])))
        return registration.grey(face[None], registration.FINE)[0]
