"""Are there photos on both sides? Exact copies, near copies by perceptual hash, and by laying photos on each other.

The photos of a smaller database are indexed, in several views, and those of others are looked up one by one: time grows
with all of them, memory with those that are indexed. A claim that an external was not used in training is worth what
this search is worth, so it comes with its own recall: plant altered copies, and count how many are found.
"""

import collections
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from mint_keras.data import registration
from mint_keras.records import SampleTable
from mint_keras.texts import column

EXACT, PERCEPTUAL, REGISTERED, EMBEDDING, KNOWN = "exact", "perceptual", "registered", "embedding", "known"
# PDQ's authors take two photos for one up to 31 of 256 bits, and trust hashes from a quality of 50.
# Source: https://github.com/facebook/ThreatExchange/tree/main/pdq
MAX_BITS = 31
MIN_QUALITY = 50
_NEIGHBOURS = 32  # asked for at first, of which several may be views of one photo
_MOST_NEIGHBOURS = 2**14
_MISSES = 2  # so many photos that are no copies end a list of neighbours: a copy is nearer than other photos
_EXACT_UP_TO = 2**15  # views: more are searched in cells, of which the nearest are looked at
_PROBES = 32
_TRAINED_ON = 40  # views for each cell
_BATCH_SIZE = 64  # of a model
_CHUNK = 2**12  # photos that are described at once
_KEPT = 2**14  # photos that were compared stay in memory, 50 MB

# From faces, uint8 RGB, (n, 112, 112, 3), to embeddings of length 1, the same ones for a mirrored photo.
Embed = Callable[[np.ndarray], np.ndarray]


class Fingerprints(NamedTuple):
    """What photos are found by, n rows each.

    Attributes:
        digest: The first 8 bytes of the SHA-256 of the pixels, shape (n,), uint64.
        rough: Small grey pictures, shape (n, 24, 24), uint8, see `registration`.
        embedding: Embeddings of length 1, shape (n, d); None if there is no model.
        hashes: PDQ hashes of the photos and of them mirrored, shape (n, 2, 32), uint8.
        quality: Of the hashes, 0 to 100, shape (n,); flat pictures have little. Without both, none is found by hash.
    """

    digest: np.ndarray
    rough: np.ndarray
    embedding: np.ndarray | None = None
    hashes: np.ndarray = np.empty((0, 2, 32), np.uint8)
    quality: np.ndarray = np.empty(0, int)

    @classmethod
    def of(cls, faces: np.ndarray, embed: Embed | None = None) -> Self:
        """Takes them of faces, uint8 RGB, (n, height, width, 3)."""
        digests = b"".join(hashlib.sha256(face.tobytes()).digest()[:8] for face in faces)
        rough = registration.grey(faces, registration.ROUGH)
        hashes, quality = _pdq(faces)
        batches = (faces[start : start + _BATCH_SIZE] for start in range(0, len(faces), _BATCH_SIZE))
        embedding = np.concatenate([*map(embed, batches)]) if embed else None
        return cls(np.frombuffer(digests, np.uint64), rough, embedding, hashes, quality)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Returns those of several arrays of photos as one."""
        columns: list[Any] = [part[0] if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True)]
        return cls(*columns)


def _pdq(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the PDQ hashes of faces, uint8 RGB, and of them mirrored, (n, 2, 32), and their quality, (n,).

    To the bit as `pdqhash.compute_dihedral` would, which takes half of its time for six other ways to turn a picture.
    """
    import pdqhash  # compiled, and needed in this module only

    waves, quality = zip(*(pdqhash.compute_float(np.ascontiguousarray(face)) for face in faces), strict=True)
    plain = np.stack(waves).astype(np.float32).reshape(len(faces), 16, 16)
    # Mirrored, every second wave has the other sign. A bit says whether a wave is above the lower of the two medians.
    both = np.stack([plain, plain * np.resize(np.array([1, -1], np.float32), 16)], axis=1).reshape(len(faces), 2, 256)
    return np.packbits(both > np.partition(both, 127, axis=2)[..., 127:128], axis=2), np.array(quality)


# From two rows to whether one lies on the other.
Compare = Callable[[int, int], bool]


def comparing(fine: Callable[[int], np.ndarray]) -> Compare:
    """Returns what compares two photos by their rows, each pair once, if `fine` returns the picture of one."""
    fine = functools.lru_cache(_KEPT)(fine)

    @functools.lru_cache(16 * _KEPT)
    def compare(first: int, second: int) -> bool:
        return registration.is_copy(fine(first), fine(second))

    return lambda first, second: compare(min(first, second), max(first, second))


class Overlap(NamedTuple):
    """Pairs of rows that show the same photo, the smaller row first, as columns of shape (m,).

    The reason is `EXACT`, `PERCEPTUAL`, `REGISTERED`, `EMBEDDING` or `KNOWN`, the first that applies; the cosine is of
    the embeddings, NaN where the search did not compare them.
    """

    first: np.ndarray
    second: np.ndarray
    reason: np.ndarray
    cosine: np.ndarray

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int, str, float]]) -> Self:
        """Returns each pair once, in order, for the first reason given."""
        once: dict[tuple[int, int], tuple[str, float]] = {}
        for one, two, reason, cosine in pairs:
            if one != two:
                once.setdefault((min(one, two), max(one, two)), (reason, cosine))
        rows = np.array(sorted(once), int).reshape(-1, 2)
        reasons, cosines = zip(*(once[pair] for pair in sorted(once)), strict=True) if once else ((), ())
        return cls(rows[:, 0], rows[:, 1], np.array(reasons, str), np.array(cosines, float))


class Index:
    """Photos of a database, among which copies of others are looked up.

    Args:
        rows: Numbers of these photos, shape (n,).
        prints: Their fingerprints.
        scale: How small pictures are described.
        min_cosine: From which cosine of their embeddings two photos may be one.
    """

    def __init__(self, rows: np.ndarray, prints: Fingerprints, scale: registration.Scale, min_cosine: float) -> None:
        import faiss

        # Equal photos are indexed once: thousands of them would be millions of pairs.
        distinct = np.sort(np.unique(prints.digest, return_index=True)[1])
        self.rows, self.digest = rows[distinct], prints.digest[distinct]
        self._scale, self._embedding = scale, None
        self._hashed = np.flatnonzero(np.isin(distinct, np.flatnonzero(prints.quality >= MIN_QUALITY)))
        # One by one, 1 ns each. By words of 16 bits, of which one is almost equal, it takes three to six times as long:
        # faces share many words.
        self._hashes: Any = faiss.IndexBinaryFlat(8 * prints.hashes.shape[2])
        self._hashes.add(np.ascontiguousarray(prints.hashes[distinct[self._hashed], 0]))
        rough, views, size = prints.rough[distinct], registration.VIEWS, len(scale.mean)
        self._rough = _index_of(lambda some: scale.describe(rough[some], views).reshape(-1, size), len(rough))
        self._least = {REGISTERED: registration.MIN_COSINE, EMBEDDING: min_cosine}
        if prints.embedding is not None:
            self._embedding = prints.embedding[distinct]
            self._embedded = _index_of(self._embedding.__getitem__, len(distinct))

    def search(
        self,
        rows: np.ndarray,
        prints: Fingerprints,
        compare: Compare,
        ways: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    ) -> Iterator[tuple[int, int, str, float]]:
        """Yields a row that is indexed, one of these, why they are one photo, and the cosine of their embeddings.

        The `ways` of their rough pictures are the same for every index of one scale: whoever asks several gives them.
        """
        searches: list[tuple[str, Any, np.ndarray, Any]] = [
            (REGISTERED, self._rough, described, rough) for rough, described in ways or self._scale.ways(prints.rough)
        ]
        if self._embedding is not None and prints.embedding is not None:
            searches.append((EMBEDDING, self._embedded, prints.embedding, None))
        by_hash = self._by_hash(prints)
        near = (self._near(one, rows, compare, by_hash) for one in searches)
        for reason, place, own in itertools.chain(((PERCEPTUAL, *pair) for pair in sorted(by_hash)), *near):
            cosine = math.nan
            if self._embedding is not None and prints.embedding is not None:
                cosine = float(self._embedding[own] @ prints.embedding[place])
            if self.rows[own] != rows[place]:
                yield int(self.rows[own]), int(rows[place]), reason, cosine

    def _by_hash(self, prints: Fingerprints) -> set[tuple[int, int]]:
        """Returns queries and those whose hash is theirs, or that of the mirrored query."""
        found: set[tuple[int, int]] = set()
        places = np.flatnonzero(prints.quality >= MIN_QUALITY)
        for hashes in prints.hashes[places].swapaxes(0, 1):
            ends, _, own = self._hashes.range_search(np.ascontiguousarray(hashes), MAX_BITS + 1)  # nearer than that
            place = np.repeat(places, np.diff(ends.astype(int)))
            found |= set(zip(place.tolist(), self._hashed[own].tolist(), strict=True))
        return found

    def _near(
        self, asked: tuple[str, Any, np.ndarray, Any], rows: np.ndarray, compare: Compare, by_hash: set[tuple[int, int]]
    ) -> Iterator[tuple[str, int, int]]:
        """Yields queries and their other copies, most alike first, until some that are near are no copies."""
        reason, index, queries, rough = asked
        waiting, num, planes = np.arange(len(queries)), _NEIGHBOURS, dict[int, np.ndarray]()
        while len(waiting):
            num = min(num, index.ntotal, _MOST_NEIGHBOURS)
            distance, neighbours = index.search(np.ascontiguousarray(queries[waiting], np.float32), num)
            # Rows are of length 1. Where faiss finds fewer than it is asked for, it answers -1.
            is_near = (distance <= 2 - 2 * self._least[reason]) & (neighbours >= 0)
            again = []
            if rough is not None and not planes and is_near.any():  # of few photos
                at = waiting[is_near[:, 0]]
                planes = dict(zip(at.tolist(), self._scale.planes(rough[at]), strict=True))
            for k in np.flatnonzero(is_near[:, 0]).tolist():
                place, misses, near = int(waiting[k]), 0, neighbours[k, is_near[k]]
                alike, num_views = 3 - distance[k, is_near[k]], 1  # all are above the limit, the nearest most
                if rough is not None:
                    alike = np.linalg.norm(planes[place] @ index.reconstruct_batch(near).T, axis=0)
                    num_views = len(registration.VIEWS)
                views = sorted(zip(alike.tolist(), (near // num_views).tolist(), strict=True))
                for own in sorted(best := {own: value for value, own in views}, key=best.__getitem__, reverse=True):
                    if self.rows[own] == rows[place] or (place, own) in by_hash:
                        continue
                    if best[own] > registration.MIN_PLACED and compare(int(self.rows[own]), int(rows[place])):
                        yield reason, place, own
                    elif (misses := misses + 1) == _MISSES:
                        break
                if misses < _MISSES and is_near[k, -1]:
                    again.append(place)
            waiting = np.array(again if num < min(index.ntotal, _MOST_NEIGHBOURS) else [], int)
            num *= 4


def _index_of(describe: Callable[[slice], np.ndarray], num: int) -> Any:
    """Returns a search among the rows that so many photos are described by, each by as many."""
    import faiss

    num_views, size = describe(slice(0, 1)).shape
    num_cells = int(3 * math.sqrt(num * num_views))
    is_small = num * num_views <= _EXACT_UP_TO
    index: Any = faiss.index_factory(size, "Flat" if is_small else f"IVF{num_cells},SQfp16")
    if not is_small:
        index.nprobe = _PROBES
        step = max(num * num_views // (_TRAINED_ON * num_cells), 1)
        num_threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # sums depend on the number
        index.train(np.ascontiguousarray(describe(slice(0, num, step)), np.float32))
        faiss.omp_set_num_threads(num_threads)
        index.make_direct_map()  # rows are asked for again
    for start in range(0, num, _CHUNK):
        index.add(np.ascontiguousarray(describe(slice(start, start + _CHUNK)), np.float32))
    return index


def first_equal(digest: np.ndarray) -> np.ndarray:
    """Returns for each row the first one with the same pixels, shape (n,)."""
    _, first, group = np.unique(digest, return_index=True, return_inverse=True)
    return first[group]


def equal_pairs(digest: np.ndarray) -> Iterator[tuple[int, int, str, float]]:
    """Yields the pairs of rows of equal pixels, of each row with the first one only, as `Index.search` does."""
    first = first_equal(digest)
    rows = np.flatnonzero(first != np.arange(len(first)))
    yield from ((one, two, EXACT, math.nan) for one, two in zip(first[rows].tolist(), rows.tolist(), strict=True))


def leave_out(found: Overlap, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Says what to leave out, so that no photo is on two sides, or twice on one.

    Photos that pairs join, also through others, are one group. The first side that has one of a group keeps its own;
    what later sides have of it is left out. Within a side it is the later photo of each pair. The side of each row,
    shape (n,), never falls from a row to the next.

    Returns:
        The rows to leave out, sorted, and those of them that an earlier side has too.
    """
    import scipy.sparse.csgraph  # takes longer to load than all else here, and is needed here only

    rows, ends = np.unique(np.stack([found.first, found.second]), return_inverse=True)
    edges = scipy.sparse.coo_array((np.ones(len(found.first), bool), tuple(ends.reshape(2, -1))), (len(rows),) * 2)
    num_groups, group = scipy.sparse.csgraph.connected_components(edges, directed=False)
    first_side = np.full(num_groups, np.iinfo(int).max)
    np.minimum.at(first_side, group, side[rows])
    across = rows[side[rows] > first_side[group]]
    return np.union1d(found.second, across), across


def match_known(table: SampleTable, lines: Sequence[Sequence[str]]) -> tuple[list[tuple[int, int]], list[int], int]:
    """Finds the samples that a published list of duplicates names.

    Args:
        table: The samples to look at.
        lines: Names of samples or people, with the database in front (`lfw/Al_Gore/1.jpg`) or without. Several names in
            a line show one photo; a name alone is to be left out, a person with all photos.

    Returns:
        Pairs of rows, rows to leave out, and the number of names that are nobody's or, without database, of several.
    """
    rows_of: dict[str, set[int]] = collections.defaultdict(set)
    wanted = {name for line in lines for name in line}
    for names in map(column, (table.sample_id, table.people()) if wanted else ()):
        for row, name in enumerate(names):
            for key in (name, name.partition("/")[2]):
                if key in wanted:
                    rows_of[key].add(row)
    pairs, alone, num_unknown = [], [], 0
    for line in lines:
        matched = []
        for name in line:
            rows = sorted(rows_of.get(name, ()))
            is_clear = len({str(table.database[row]) for row in rows}) == 1 and (len(line) == 1 or len(rows) == 1)
            num_unknown += not is_clear
            matched += rows if is_clear else []
        if len(line) == 1:
            alone += matched
        else:
            pairs += list(itertools.combinations(sorted(set(matched)), 2))
    return pairs, alone, num_unknown
