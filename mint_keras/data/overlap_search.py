"""Searches databases for photos that occur twice, a block at a time, with planted copies that measure the search."""

import collections
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mint_keras import borders, formats, progress, workers
from mint_keras.data import images, overlap, registration
from mint_keras.data.alterations import ALTERATIONS
from mint_keras.records import InputError, SampleTable

_BLOCK = 256  # photos that are looked up at once, by each processor
_PART = 2**17  # photos, minutes of work, whose pairs are kept for a search that continues
_SAMPLE = 512  # photos say how small pictures are described
# A row that is indexed, one that is looked up, why they are one photo, and the cosine of their embeddings.
_Pair = tuple[int, int, str, float]
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
    folder: Path | None = None,
) -> Searched:
    """Searches databases: all but the largest are indexed, and each is looked up in those that are smaller.

    Args:
        table: Photos of all databases.
        side: The number of the database of each, shape (n,). A single one is searched within.
        settings: How to search.
        embed: A face network that says which photos may be one, besides small pictures of them.
        known: Pairs of rows that others have found.
        folder: Where to keep what was found in parts of a database that is not indexed; the same search continues from
            there, and whoever called removes it.

    Raises:
        InputError: if no photo can be read.
    """
    return _Search(table, side, settings, embed).run(known, folder)


class _Block(NamedTuple):
    """Photos that were looked up: rows that could be read, their pairs, and the faces of which copies are planted."""

    rows: np.ndarray
    prints: overlap.Fingerprints
    found: list[_Pair]
    origins: dict[int, np.ndarray]


class _Search:
    def __init__(self, table: SampleTable, side: np.ndarray, settings: Settings, embed: overlap.Embed | None) -> None:
        import faiss

        self._num_threads = faiss.omp_get_max_threads()  # one for each processor, or what OMP_NUM_THREADS says
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
        self._faces: dict[int, np.ndarray] = {}  # of blocks that are looked up now
        self._compare = overlap.comparing(self._picture)
        self._indices: list[overlap.Index] = []
        self._found: list[_Pair] = []

    def run(self, known: Sequence[tuple[int, int]], folder: Path | None) -> Searched:
        # Any that can be read: in a download that broke off most cannot.
        shuffled = self._table.take(self._rng.permutation(len(self._table)))
        if (sample := next(images.FaceReader(another=self._reader).batches(shuffled, _SAMPLE), None)) is None:
            raise InputError("Expected aligned faces in --samples, received none that is usable.")
        del shuffled  # as large as the table
        self._scale = registration.Scale.of(registration.grey(sample[1], registration.ROUGH))
        with progress.bar(total=len(self._table), desc="photos", unit="photo") as bar:
            for database in self._order:
                if database in self._indexed or folder is None:
                    self._look_up(database, bar)
                else:
                    self._look_up_parts(database, bar, folder)
        read, cosine = np.flatnonzero(self._is_read), 1.0 if self._embed else np.nan
        equal = [(int(read[a]), int(read[b]), why, cosine) for a, b, why, _ in overlap.equal_pairs(self._digest[read])]
        others = [(*pair, overlap.KNOWN, np.nan) for pair in known if self._is_read[list(pair)].all()]
        return Searched(overlap.Overlap.of([*equal, *self._found, *others]), self._is_read, self._hits)

    def _look_up(self, database: int, bar: tqdm) -> None:
        """Looks a database up in those that are indexed, and indexes it."""
        rows = np.flatnonzero(self._side == database)
        kept: list[tuple[np.ndarray, overlap.Fingerprints]] = []
        planted: list[_Planted] = []
        for block in self._blocks(rows, bar):
            self._found += block.found
            if database in self._indexed:
                kept.append((block.rows, block.prints))
                planted += self._plant(block.origins)
        if kept:
            blocks, parts = zip(*kept, strict=True)
            joined = overlap.Fingerprints.join(parts)
            index = overlap.Index(np.concatenate(blocks), joined, self._scale, self._settings.min_cosine)
            self._indices.append(index)
            works = (functools.partial(self._among, [index], *one) for one in kept if self._is_within)
            for found in workers.in_order(works, self._num_threads):
                self._found += found
            self._count(index, planted)

    def _look_up_parts(self, database: int, bar: tqdm, folder: Path) -> None:
        """Looks a database up that is not indexed, but for parts of which it is known what was found."""
        rows = np.flatnonzero(self._side == database)
        for start in range(0, len(rows), _PART):
            part, path = rows[start : start + _PART], folder / f"{start:09d}.npz"
            bar.update(len(part) if path.is_file() else 0)
            kept = formats.kept(path, functools.partial(self._part, part, bar), _write, _read)
            self._digest[part], self._is_read[part] = kept["digest"], kept["is_read"]
            self._found += zip(*(kept[name].tolist() for name in overlap.Overlap._fields), strict=True)

    def _part(self, rows: np.ndarray, bar: tqdm) -> dict[str, np.ndarray]:
        pairs = overlap.Overlap.of([pair for block in self._blocks(rows, bar) for pair in block.found])
        return {"digest": self._digest[rows], "is_read": self._is_read[rows], **pairs._asdict()}

    def _blocks(self, rows: np.ndarray, bar: tqdm) -> Iterator[_Block]:
        """Looks photos up on all processors; yields blocks of them, in order."""
        blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
        works = (functools.partial(self._block, block) for block in blocks)
        for block in filter(None, workers.in_order(works, self._num_threads)):
            self._digest[block.rows], self._is_read[block.rows] = block.prints.digest, True
            bar.update(len(block.rows))
            yield block

    def _block(self, rows: np.ndarray) -> _Block | None:
        reader = images.FaceReader(another=self._reader)
        if (read := next(reader.batches(self._table.take(rows), _BLOCK), None)) is None:
            return None
        rows, faces = rows[read[0]], read[1]
        prints = overlap.Fingerprints.of(faces, self._embed)
        self._faces.update(zip(rows.tolist(), faces, strict=True))
        found = self._among(self._indices, rows, prints)
        seen = {row: self._faces.pop(row) for row in rows.tolist()}
        return _Block(rows, prints, found, {row: seen[row].copy() for row in seen if row in self._kinds})

    def _among(self, indices: list[overlap.Index], rows: np.ndarray, prints: overlap.Fingerprints) -> list[_Pair]:
        import faiss

        faiss.omp_set_num_threads(1)  # of this one's: there is one for each processor
        ways = self._scale.ways(prints.rough)
        return [pair for index in indices for pair in index.search(rows, prints, self._compare, ways)]

    def _plant(self, faces: dict[int, np.ndarray]) -> Iterator[_Planted]:
        """Yields altered copies of faces by row, and of which rows and kinds they are."""
        chosen = [(row, kind) for row in faces for kind in self._kinds[row]]
        for start in range(0, len(chosen), _BLOCK):
            some = chosen[start : start + _BLOCK]
            copies = np.stack([ALTERATIONS[kind](faces[row], self._rng) for row, kind in some])
            self._fine += list(registration.grey(copies, registration.FINE))
            yield some, overlap.Fingerprints.of(copies, self._embed)

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
        if (face := self._faces.get(row)) is None:
            face = images.FACE.apply(self._reader.image(str(self._table.location[row])))
        return registration.grey(face[None], registration.FINE)[0]


def _write(path: Path, found: dict[str, np.ndarray]) -> None:
    with formats.atomic_path(path) as temporary:
        np.savez(temporary, **found)  # type: ignore[arg-type]


def _read(path: Path) -> dict[str, np.ndarray]:
    with borders.reading(f"what a search found, or nothing, in {path}"), np.load(path, allow_pickle=False) as found:
        return dict(found)
