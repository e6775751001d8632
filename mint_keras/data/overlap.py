"""Are there photos on both sides? Exact copies, near copies by perceptual hash, and near copies by embedding.

A claim that an external was not used in training is worth what this search is worth, so it comes with its own recall:
plant altered copies, and count how many are found.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import cv2
import numpy as np

from mint_keras import progress
from mint_keras.data import images
from mint_keras.records import SampleTable

EXACT, PERCEPTUAL, EMBEDDING, KNOWN = "exact", "perceptual", "embedding", "known"
# PDQ's authors take two photos for one up to a distance of 31 of 256 bits, and trust hashes from a quality of 50.
# Source: https://github.com/facebook/ThreatExchange/tree/main/pdq
MAX_BITS = 31
MIN_QUALITY = 50
_NEIGHBOURS = 8
_MOST_NEIGHBOURS = 2048  # further copies of a photo are joined through each other
_BATCH_SIZE = 64
_CHUNK = 2**16  # pairs whose embeddings are copied at once
_NUM_STEPS = 4  # of parts, each way
_LINKS, _EFFORT = 32, 64  # of the graph of neighbours; more find more and take longer


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """What photos are told apart by, n rows each.

    Attributes:
        digest: SHA-256 of the pixels, shape (n,), str.
        pdq: Perceptual hashes, shape (n, 32), uint8.
        mirrored: Perceptual hashes of the mirrored photos, shape (n, 32), uint8.
        quality: Quality of the hashes, 0 to 100, shape (n,); flat pictures have little.
        embedding: Embeddings of length 1, shape (n, d), by a face-recognition model that gives the mirrored photo the
            same one; None if there is no model.
        cropped: Perceptual hashes of parts of the photos, shape (n, number of parts, 32); None leaves them out.
    """

    digest: np.ndarray
    pdq: np.ndarray
    mirrored: np.ndarray
    quality: np.ndarray
    embedding: np.ndarray | None
    cropped: np.ndarray | None = None


class Overlap(NamedTuple):
    """Pairs of rows that show the same photo, the smaller row first, as columns of shape (m,).

    The reason is `EXACT`, `PERCEPTUAL`, `EMBEDDING` or `KNOWN`, the first that applies; the cosine is that of the
    embeddings, NaN without.
    """

    first: np.ndarray
    second: np.ndarray
    reason: np.ndarray
    cosine: np.ndarray

    def take(self, chosen: np.ndarray) -> Self:
        """Returns some of the pairs (indices or a boolean mask)."""
        return type(self)(*(column[chosen] for column in self))


def hash_faces(faces: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Returns digests, hashes, hashes of the mirrored faces, and qualities of faces, uint8, (n, height, width, 3)."""
    import pdqhash  # compiled, and needed in this module only

    digests = [hashlib.sha256(face.tobytes()).hexdigest() for face in faces]
    hashed = [pdqhash.compute_dihedral(np.ascontiguousarray(face)) for face in faces]
    # The dihedral group: as it is, turned three times, flipped upside down, mirrored, and both diagonals.
    plain, mirrored = (np.packbits(np.array([h[0][i] for h in hashed], np.uint8), axis=1) for i in (0, 5))
    return digests, plain, mirrored, np.array([h[1] for h in hashed], np.int64)


def hash_crops(faces: np.ndarray) -> np.ndarray:
    """Returns hashes of the parts of faces that lack 5% of width and height, shape (n, number of parts, 32), uint8."""
    import pdqhash

    # A hash survives a shift of one pixel in a hundred, so parts are taken at steps of two.
    height, width = faces.shape[1:3]
    new_height, new_width = round(0.95 * height), round(0.95 * width)
    places = [
        (round(top), round(left))
        for top in np.linspace(0, height - new_height, _NUM_STEPS)
        for left in np.linspace(0, width - new_width, _NUM_STEPS)
    ]
    hashes = [
        pdqhash.compute(cv2.resize(face[top : top + new_height, left : left + new_width], (width, height)))[0]
        for face in faces
        for top, left in places
    ]
    return np.packbits(np.array(hashes, np.uint8), axis=1).reshape(len(faces), len(places), -1)


def find_overlap(fingerprints: Fingerprints, min_cosine: float, known: Sequence[tuple[int, int]] = ()) -> Overlap:
    """Finds the pairs of rows that show the same photo, in about n log n steps, and adds those that others have found.

    Embeddings whose cosine is at least `min_cosine` are taken for one photo.
    """
    import faiss

    first_of = first_equal(fingerprints.digest)
    rows = np.arange(len(first_of))
    parts = [(EXACT, first_of, rows)]
    # Equal photos are searched for once: thousands of them would be millions of pairs.
    distinct = np.flatnonzero(first_of == rows)
    usable = distinct[fingerprints.quality[distinct] >= MIN_QUALITY]
    # A mirrored photo has another hash, but the embedding is the same for both.
    queries = [fingerprints.mirrored[usable]]
    if fingerprints.cropped is not None:
        queries += list(fingerprints.cropped[usable].swapaxes(0, 1))
    if len(usable):
        hashes = fingerprints.pdq[usable]
        index = faiss.IndexBinaryHNSW(8 * hashes.shape[1], _LINKS)
        for place, found in _near(index, hashes, [hashes, *queries], lambda distances: distances <= MAX_BITS):
            parts.append((PERCEPTUAL, usable[place], usable[found]))
    embedding = fingerprints.embedding
    if embedding is not None:
        vectors = np.ascontiguousarray(embedding[distinct], np.float32)
        graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        for place, found in _near(graph, vectors, [vectors], lambda cosines: cosines >= min_cosine):
            parts.append((EMBEDDING, distinct[place], distinct[found]))
    parts.append((KNOWN, *np.array(known, int).reshape(-1, 2).T))
    # Each pair once, for the first reason that found it: `unique` keeps the first of equal ones.
    reasons, ones, others = zip(*parts, strict=True)
    reason = np.repeat(reasons, [len(part) for part in ones])
    pairs = np.sort(np.stack([np.concatenate(ones), np.concatenate(others)]), axis=0)
    is_pair = pairs[0] != pairs[1]
    first, second = pairs[:, is_pair]
    _, kept = np.unique(first * (pairs.max(initial=0) + 1) + second, return_index=True)
    first, second = first[kept], second[kept]
    cosine = np.full(len(first), np.nan)
    if embedding is not None:
        for start in range(0, len(first), _CHUNK):
            part = slice(start, start + _CHUNK)
            cosine[part] = np.sum(embedding[first[part]] * embedding[second[part]], axis=1)
    return Overlap(first, second, reason[is_pair][kept], cosine)


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
    for names in (table.sample_id.tolist(), table.people().tolist()):
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


def _cropped(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = face.shape[:2]
    new_height, new_width = round(0.95 * height), round(0.95 * width)
    top, left = rng.integers(0, [height - new_height + 1, width - new_width + 1])
    return cv2.resize(face[top : top + new_height, left : left + new_width], (width, height))


# From a face, RGB, uint8, to a near copy of it as photos are changed on the net; only a crop is drawn at random.
ALTERATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    # OpenCV takes the channels for BGR both ways, so they come back in their order.
    "encoded again": lambda face, _: cv2.imdecode(
        cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR
    ),
    "cropped 5%": _cropped,
    "mirrored": lambda face, _: np.ascontiguousarray(face[:, ::-1]),
    "brighter 10%": lambda face, _: np.clip(np.rint(face * 1.1), 0, 255).astype(np.uint8),
    "darker 10%": lambda face, _: np.clip(np.rint(face * 0.9), 0, 255).astype(np.uint8),
}


def _near(
    index: Any, rows: np.ndarray, queries: Sequence[np.ndarray], is_near: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fills a graph with rows, and yields for each array of queries the pairs (query, row) that are near.

    Queries whose last neighbour is near as well are asked again for more.
    """
    import faiss

    faiss.omp_set_num_threads(1)  # the graph depends on the order of insertion
    index.hnsw.efSearch = _EFFORT
    index.add(rows)
    for asked in queries:
        waiting, num = np.arange(len(asked)), _NEIGHBOURS
        found = []
        while len(waiting):
            num = min(num, index.ntotal, _MOST_NEIGHBOURS)
            values, neighbours = index.search(asked[waiting], num)
            # Where faiss finds fewer than it is asked for, it answers -1.
            near = is_near(values) & (neighbours >= 0)
            is_done = ~near[:, -1] | (num in (index.ntotal, _MOST_NEIGHBOURS))
            places, columns = np.nonzero(near & is_done[:, None])
            found.append((waiting[places], neighbours[places, columns]))
            waiting, num = waiting[~is_done], 4 * num
        queried, others = zip(*found, strict=True)
        yield np.concatenate(queried), np.concatenate(others)


class Searched(NamedTuple):
    """What a search compares.

    `rows` are those of the table that could be read, shape (n,). `prints` are their fingerprints, and behind them those
    of the planted copies. `planted` says of every copy the place in `rows` of what it copies, and the alteration.
    """

    rows: np.ndarray
    prints: Fingerprints
    planted: list[tuple[int, str]]

    def hits(self, found: Overlap) -> dict[str, list[bool]]:
        """Tells of every planted copy whether the search found it, by alteration, and of all of them.

        Of photos with equal pixels the first stands for all, because only it was searched for.
        """
        pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        first = first_equal(self.prints.digest).tolist()
        hits = [(first[place], row) in pairs for row, (place, _) in enumerate(self.planted, start=len(self.rows))]
        by_kind = {
            kind: [hit for hit, (_, other) in zip(hits, self.planted, strict=True) if other == kind]
            for kind in ALTERATIONS
        }
        return {kind: hits for kind, hits in {**by_kind, "all": hits}.items() if hits}


def fingerprint(
    table: SampleTable, num_planted: int, seed: int, embed: Callable[[np.ndarray], np.ndarray] | None
) -> Searched | None:
    """Takes the fingerprints of photos, and plants altered copies of some of them.

    Args:
        table: The samples to look at.
        num_planted: How many of them are copied, at most.
        seed: Seeds the choice of what is copied, and the place of crops.
        embed: Turns uint8 RGB faces, (n, 112, 112, 3), into embeddings of length 1; None searches without.

    Returns:
        What to search, or None if no photo could be read.
    """
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(len(table), min(num_planted, len(table)), replace=False).tolist())
    kinds = list(ALTERATIONS)
    parts: list[tuple] = []
    copies: list[tuple] = []
    rows: list[int] = []
    planted: list[tuple[int, str]] = []

    def look(faces: np.ndarray) -> tuple:
        return *hash_faces(faces), embed(faces) if embed else None, hash_crops(faces)

    with progress.bar(total=len(table), desc="photos", unit="photo") as bar:
        for batch_rows, faces in images.FaceReader().batches(table, _BATCH_SIZE):
            parts.append(look(faces))
            altered = []
            for position, row in enumerate(batch_rows.tolist()):
                if row in chosen:
                    # The alterations take turns, so that each is tried equally often.
                    kind = kinds[len(planted) % len(kinds)]
                    planted.append((len(rows) + position, kind))
                    altered.append(ALTERATIONS[kind](faces[position], rng))
            if altered:
                copies.append(look(np.stack(altered)))
            rows += batch_rows.tolist()
            bar.update(len(batch_rows))
    if not rows:
        return None
    # Copies come last: whatever is found at a row beyond the photos is one of them.
    *columns, embedding, cropped = zip(*parts, *copies, strict=True)
    digest, pdq, mirrored, quality = map(np.concatenate, columns)
    embeddings = np.concatenate(embedding) if embed else None
    prints = Fingerprints(digest, pdq, mirrored, quality, embeddings, np.concatenate(cropped))
    return Searched(np.array(rows), prints, planted)
