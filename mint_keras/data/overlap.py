"""Are there photos on both sides? Exact copies, near copies by perceptual hash, and by laying photos on each other.

A claim that an external was not used in training is worth what this search is worth, so it comes with its own recall:
plant altered copies, and count how many are found.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from mint_keras import progress
from mint_keras.data import images, registration
from mint_keras.data.alterations import ALTERATIONS
from mint_keras.records import SampleTable
from mint_keras.texts import column

EXACT, PERCEPTUAL, REGISTERED, EMBEDDING, KNOWN = "exact", "perceptual", "registered", "embedding", "known"
# PDQ's authors take two photos for one up to a distance of 31 of 256 bits, and trust hashes from a quality of 50.
# Source: https://github.com/facebook/ThreatExchange/tree/main/pdq
MAX_BITS = 31
MIN_QUALITY = 50
_NEIGHBOURS = 8
_CANDIDATES = 5  # itself, and four that are laid on it: a copy is nearer than other photos
_MOST_COPIES = 3  # planted of one photo on average: more would hide it from each other
_MOST_NEIGHBOURS = 2048  # further copies of a photo are joined through each other
_BATCH_SIZE = 64
_CHUNK = 2**16  # pairs whose embeddings are copied at once
_KEPT = 2**15  # small pictures in memory, 100 MB
_LINKS, _EFFORT = 32, 64  # of the graph of neighbours; more find more and take longer


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """What photos are told apart by, n rows each.

    Attributes:
        digest: The first half of the SHA-256 of the pixels, shape (n,), bytes.
        pdq: Perceptual hashes, shape (n, 32), uint8.
        mirrored: Perceptual hashes of the mirrored photos, shape (n, 32), uint8.
        quality: Quality of the hashes, 0 to 100, shape (n,); flat pictures have little.
        embedding: Embeddings of length 1, shape (n, d), by a face-recognition model that gives the mirrored photo the
            same one; None if there is no model.
        rough: Small grey pictures, shape (n, 24, 24), uint8, see `registration`; None if they are not searched.
    """

    digest: np.ndarray
    pdq: np.ndarray
    mirrored: np.ndarray
    quality: np.ndarray
    embedding: np.ndarray | None
    rough: np.ndarray | None = None


class Overlap(NamedTuple):
    """Pairs of rows that show the same photo, the smaller row first, as columns of shape (m,).

    The reason is `EXACT`, `PERCEPTUAL`, `REGISTERED`, `EMBEDDING` or `KNOWN`, the first that applies; the cosine is of
    the embeddings, NaN without.
    """

    first: np.ndarray
    second: np.ndarray
    reason: np.ndarray
    cosine: np.ndarray

    def take(self, chosen: np.ndarray) -> Self:
        """Returns some of the pairs (indices or a boolean mask)."""
        return type(self)(*(column[chosen] for column in self))


def hash_faces(faces: np.ndarray) -> tuple[list[bytes], np.ndarray, np.ndarray, np.ndarray]:
    """Returns digests, hashes, hashes of the mirrored faces, and qualities of faces, uint8, (n, height, width, 3)."""
    import pdqhash  # compiled, and needed in this module only

    digests = [hashlib.sha256(face.tobytes()).digest()[:16] for face in faces]
    hashed = [pdqhash.compute_dihedral(np.ascontiguousarray(face)) for face in faces]
    # The dihedral group: as it is, turned three times, flipped upside down, mirrored, and both diagonals.
    plain, mirrored = (np.packbits(np.array([h[0][i] for h in hashed], np.uint8), axis=1) for i in (0, 5))
    return digests, plain, mirrored, np.array([h[1] for h in hashed], np.int64)


def find_overlap(
    fingerprints: Fingerprints,
    min_cosine: float,
    known: Sequence[tuple[int, int]] = (),
    is_copy: Callable[[int, int], bool] | None = None,
) -> Overlap:
    """Finds the pairs of rows that show the same photo, in about n log n steps, and adds those that others have found.

    Args:
        fingerprints: What photos are told apart by.
        min_cosine: From which cosine of their embeddings two photos may be one.
        known: Pairs of rows that others have found.
        is_copy: Looks at two photos that may be one, by their rows; None takes all of them for one.
    """
    first_of = first_equal(fingerprints.digest)
    rows = np.arange(len(first_of))
    parts = [(EXACT, first_of, rows), *_candidates(fingerprints, np.flatnonzero(first_of == rows), min_cosine, is_copy)]
    parts.append((KNOWN, *np.array(known, int).reshape(-1, 2).T))
    # Each pair once, for the first reason that found it: `unique` keeps the first of equal ones.
    reasons, ones, others = zip(*parts, strict=True)
    reason = np.repeat(reasons, [len(part) for part in ones])
    pairs = np.sort(np.stack([np.concatenate(ones), np.concatenate(others)]), axis=0)
    is_pair = pairs[0] != pairs[1]
    (first, second), reason = pairs[:, is_pair], reason[is_pair]
    _, kept = np.unique(first * (pairs.max(initial=0) + 1) + second, return_index=True)
    found = Overlap(first[kept], second[kept], reason[kept], np.full(len(kept), np.nan))
    if is_copy is not None:
        is_sure = ~np.isin(found.reason, (REGISTERED, EMBEDDING))
        looked = zip(is_sure.tolist(), found.first.tolist(), found.second.tolist(), strict=True)
        bar = progress.bar(looked, total=len(is_sure), desc="pairs", unit="pair")
        found = found.take(np.array([sure or is_copy(a, b) for sure, a, b in bar], bool))
    if fingerprints.embedding is not None:
        for start in range(0, len(found.first), _CHUNK):
            part = slice(start, start + _CHUNK)
            ends = (fingerprints.embedding[rows[part]] for rows in (found.first, found.second))
            found.cosine[part] = np.sum(np.prod(list(ends), axis=0), axis=1)
    return found


def _candidates(
    fingerprints: Fingerprints, distinct: np.ndarray, min_cosine: float, is_copy: Callable[[int, int], bool] | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields a reason and pairs of rows, for each search among distinct photos.

    Equal photos are searched for once: thousands of them would be millions of pairs.
    """
    import faiss

    usable = distinct[fingerprints.quality[distinct] >= MIN_QUALITY]
    if len(usable):
        hashes = fingerprints.pdq[usable]
        index = faiss.IndexBinaryHNSW(8 * hashes.shape[1], _LINKS)
        # A mirrored photo has another hash, but the embedding is the same for both.
        queries = (hashes, fingerprints.mirrored[usable])
        for place, found in _near(index, hashes, queries, lambda distances: distances <= MAX_BITS):
            yield PERCEPTUAL, usable[place], usable[found]
    most = _MOST_NEIGHBOURS if is_copy is None else _CANDIDATES
    searches: list[tuple[str, float, Iterator[np.ndarray]]] = []
    if fingerprints.rough is not None:
        searches.append((REGISTERED, registration.MIN_COSINE, registration.describe(fingerprints.rough[distinct])))
    if fingerprints.embedding is not None:
        vectors = np.ascontiguousarray(fingerprints.embedding[distinct], np.float32)
        searches.append((EMBEDDING, min_cosine, iter((vectors, vectors))))
    for reason, least, described in searches:
        rows = next(described)
        graph = faiss.IndexHNSWFlat(rows.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        for place, found in _near(graph, rows, described, functools.partial(np.less_equal, least), most):
            yield reason, distinct[place], distinct[found]


def first_equal(digest: np.ndarray) -> np.ndarray:
    """Returns for each row the first one with the same pixels, shape (n,)."""
    _, first, group = np.unique(digest, return_index=True, return_inverse=True)
    return first[group]


def leave_out(found: Overlap, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Says what to leave out, so that no photo is on two sides, or twice on one.

    Photos that pairs join, also through others, are one group. The first side that has one of a group keeps its own;
    what later sides have of it is left out. Within a side it is the later photo of each pair. The side of each row,
    shape (n,), never falls from a row to the next.

    Returns:
        The rows to leave out, sorted, and those of them that an earlier side has too.
    """
    import scipy.sparse.csgraph  # takes longer to load than all else here, and is needed here only

    num = len(side)
    edges = scipy.sparse.coo_array((np.ones(len(found.first), bool), (found.first, found.second)), (num, num))
    num_groups, group = scipy.sparse.csgraph.connected_components(edges, directed=False)
    first_side = np.full(num_groups, np.iinfo(int).max)
    np.minimum.at(first_side, group, side)
    across = np.flatnonzero(side > first_side[group])
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


def _near(
    index: Any,
    rows: np.ndarray,
    queries: Iterable[np.ndarray],
    is_near: Callable[[np.ndarray], np.ndarray],
    most: int = _MOST_NEIGHBOURS,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fills a graph with rows, and yields for each array of queries the pairs (query, row) that are near.

    Queries whose last neighbour is near as well are asked again for more, up to the most.
    """
    import faiss

    faiss.omp_set_num_threads(1)  # the graph depends on the order of insertion
    index.hnsw.efSearch = _EFFORT
    index.add(rows)
    for asked in queries:
        waiting, num = np.arange(len(asked)), _NEIGHBOURS
        found = []
        while len(waiting):
            num = min(num, index.ntotal, most)
            values, neighbours = index.search(asked[waiting], num)
            # Where faiss finds fewer than it is asked for, it answers -1.
            near = is_near(values) & (neighbours >= 0)
            is_done = ~near[:, -1] | (num in (index.ntotal, most))
            places, columns = np.nonzero(near & is_done[:, None])
            found.append((waiting[places], neighbours[places, columns]))
            waiting, num = waiting[~is_done], 4 * num
        queried, others = zip(*found, strict=True)
        yield np.concatenate(queried), np.concatenate(others)


class Searched(NamedTuple):
    """What a search compares.

    `rows` are those of samples that could be read, and `table` these n. `prints` are their fingerprints, and behind
    them those of the planted copies. `planted` says of every copy the row of what it copies and the alteration, and
    `copies` are grey pictures of them, (m, 56, 56).
    """

    rows: np.ndarray
    table: SampleTable
    prints: Fingerprints
    planted: list[tuple[int, str]]
    copies: np.ndarray

    def hits(self, found: Overlap) -> dict[str, list[bool]]:
        """Tells of every planted copy whether the search found it, by alteration.

        Of photos with equal pixels the first stands for all, because only it was searched for.
        """
        pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        first = first_equal(self.prints.digest).tolist()
        hits: dict[str, list[bool]] = {}
        for row, (place, kind) in enumerate(self.planted, start=len(self.table)):
            hits.setdefault(kind, []).append((first[place], row) in pairs)
        return hits

    def is_copy(self) -> Callable[[int, int], bool]:
        """Returns what looks at two photos, by their rows, and says whether they are one."""
        reader = images.FaceReader()

        @functools.lru_cache(_KEPT)
        def grey(row: int) -> np.ndarray:
            if row >= len(self.table):
                return self.copies[row - len(self.table)]
            face = images.FACE.apply(reader.image(str(self.table.location[row])))
            return registration.grey(face[None], registration.FINE)[0]

        return lambda first, second: registration.is_copy(grey(first), grey(second))


def fingerprint(
    table: SampleTable, num_planted: int, seed: int, embed: Callable[[np.ndarray], np.ndarray] | None
) -> Searched | None:
    """Takes the fingerprints of photos, and plants altered copies of some of them.

    Args:
        table: The samples to look at.
        num_planted: How many of them are copied by each alteration; fewer where there are too few photos.
        seed: Seeds the choice of what is copied, and how.
        embed: Turns uint8 RGB faces, (n, 112, 112, 3), into embeddings of length 1; None searches without.

    Returns:
        What to search, or None if no photo could be read.
    """
    rng = np.random.default_rng(seed)
    num = min(num_planted, -(-_MOST_COPIES * len(table) // len(ALTERATIONS)))
    kinds: dict[int, list[str]] = collections.defaultdict(list)
    for kind in ALTERATIONS:
        for row in rng.choice(len(table), num, replace=False).tolist():
            kinds[row].append(kind)
    parts: list[tuple] = []
    copies: list[tuple] = []
    rows: list[int] = []
    planted: list[tuple[int, str]] = []
    fine: list[np.ndarray] = [np.empty((0, registration.FINE, registration.FINE), np.uint8)]

    def look(faces: np.ndarray) -> tuple:
        return *hash_faces(faces), embed(faces) if embed else None, registration.grey(faces, registration.ROUGH)

    with progress.bar(total=len(table), desc="photos", unit="photo") as bar:
        for batch_rows, faces in images.FaceReader().batches(table, _BATCH_SIZE):
            parts.append(look(faces))
            new = [(position, kind) for position, row in enumerate(batch_rows.tolist()) for kind in kinds[row]]
            planted += [(len(rows) + position, kind) for position, kind in new]
            altered = np.array([ALTERATIONS[kind](faces[position], rng) for position, kind in new], np.uint8)
            for start in range(0, len(altered), _BATCH_SIZE):
                some = altered[start : start + _BATCH_SIZE]
                copies.append(look(some))
                fine.append(registration.grey(some, registration.FINE))
            rows += batch_rows.tolist()
            bar.update(len(batch_rows))
    if not rows:
        return None
    # Copies come last: whatever is found at a row beyond the photos is one of them.
    *columns, embedding, rough = zip(*parts, *copies, strict=True)
    digest, pdq, mirrored, quality = map(np.concatenate, columns)
    embeddings = np.concatenate(embedding) if embed else None
    prints = Fingerprints(digest, pdq, mirrored, quality, embeddings, np.concatenate(rough))
    return Searched(np.array(rows), table.take(np.array(rows)), prints, planted, np.concatenate(fine))
