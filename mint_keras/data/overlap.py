"""Are there photos on both sides? Exact copies, near copies by perceptual hash, and near copies by embedding.

A claim that an external was not used in training is worth what this search is worth, so it comes with its own recall:
plant altered copies, and count how many are found.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from mint_keras.records import SampleTable

EXACT, PERCEPTUAL, EMBEDDING, KNOWN = "exact", "perceptual", "embedding", "known"
# PDQ's authors take two photos for one up to a distance of 31 of 256 bits, and trust hashes from a quality of 50.
# Source: https://github.com/facebook/ThreatExchange/tree/main/pdq
MAX_BITS = 31
MIN_QUALITY = 50
_NEIGHBOURS = 8
_LINKS = 32
_EFFORT = 64


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """What photos are told apart by, n rows each.

    Attributes:
        digest: SHA-256 of the pixels.
        pdq: perceptual hash, shape (n, 32), uint8.
        mirrored: that of the mirrored photo.
        quality: of the hash, 0 to 100; flat pictures have little.
        embedding: of a face-recognition model, the same for the mirrored photo, length 1, shape (n, d); None if there
            is no model.
    """

    digest: np.ndarray
    pdq: np.ndarray
    mirrored: np.ndarray
    quality: np.ndarray
    embedding: np.ndarray | None

    def __len__(self) -> int:
        return len(self.digest)


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Pairs of rows that show the same photo.

    Attributes:
        first: smaller row of each pair, shape (m,).
        second: larger row.
        reason: `EXACT`, `PERCEPTUAL`, `EMBEDDING` or `KNOWN`, the first that applies.
        cosine: of the embeddings; NaN without.
    """

    first: np.ndarray
    second: np.ndarray
    reason: np.ndarray
    cosine: np.ndarray


def hash_faces(faces: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Returns digests, hashes, hashes of the mirrored faces, and qualities of faces, uint8, (n, height, width, 3)."""
    import pdqhash  # compiled, and needed here only

    digests = [hashlib.sha256(face.tobytes()).hexdigest() for face in faces]
    hashed = [pdqhash.compute_dihedral(np.ascontiguousarray(face)) for face in faces]
    # The dihedral group: as it is, turned three times, flipped upside down, mirrored, and both diagonals.
    plain, mirrored = (np.packbits(np.array([h[0][i] for h in hashed], np.uint8), axis=1) for i in (0, 5))
    return digests, plain, mirrored, np.array([h[1] for h in hashed], np.int64)


def find_overlap(fingerprints: Fingerprints, min_cosine: float, known: Sequence[tuple[int, int]] = ()) -> Overlap:
    """Finds the pairs of rows that show the same photo, in about n log n steps.

    Args:
        fingerprints: of all photos of all sides.
        min_cosine: embeddings closer than this are taken for one photo.
        known: pairs that others have found.
    """
    pairs: dict[tuple[int, int], str] = {}
    order = np.argsort(fingerprints.digest, kind="stable")
    same = fingerprints.digest[order][1:] == fingerprints.digest[order][:-1]
    _note(pairs, order[:-1][same], order[1:][same], EXACT)
    usable = np.flatnonzero(fingerprints.quality >= MIN_QUALITY)
    for queries in (fingerprints.pdq, fingerprints.mirrored):
        rows, found = _hash_neighbours(fingerprints.pdq[usable], queries[usable])
        _note(pairs, usable[rows], usable[found], PERCEPTUAL)
    if fingerprints.embedding is not None:
        rows, found = _embedding_neighbours(fingerprints.embedding, min_cosine)
        _note(pairs, rows, found, EMBEDDING)
    for pair in known:
        _note(pairs, np.array(pair[:1]), np.array(pair[1:]), KNOWN)
    keys = sorted(pairs)
    first, second = (np.array([key[i] for key in keys], int) for i in (0, 1))
    cosine = np.full(len(keys), np.nan)
    if fingerprints.embedding is not None and len(keys):
        cosine = np.sum(fingerprints.embedding[first] * fingerprints.embedding[second], axis=1)
    return Overlap(first, second, np.array([pairs[key] for key in keys]), cosine)


def match_known(table: SampleTable, lines: Sequence[Sequence[str]]) -> tuple[list[tuple[int, int]], list[int], int]:
    """Finds the samples that a published list of duplicates names.

    Args:
        table: the samples.
        lines: names of samples or people, with the database in front (`lfw/Al_Gore/1.jpg`) or without. Several names in
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


def alter(face: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Returns a near copy of a face, as photos change on their way through the net.

    Args:
        face: RGB, uint8.
        kind: a key of `ALTERATIONS`.
        rng: says where a crop lies.
    """
    return ALTERATIONS[kind](face, rng)


def _encoded_again(face: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    encoded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def _cropped(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = face.shape[:2]
    new_height, new_width = round(0.95 * height), round(0.95 * width)
    top, left = rng.integers(0, [height - new_height + 1, width - new_width + 1])
    return cv2.resize(face[top : top + new_height, left : left + new_width], (width, height))


def _brightened(face: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(np.rint(face * factor), 0, 255).astype(np.uint8)


ALTERATIONS = {
    "encoded again": _encoded_again,
    "cropped 5%": _cropped,
    "mirrored": lambda face, _: np.ascontiguousarray(face[:, ::-1]),
    "brighter 10%": lambda face, _: _brightened(face, 1.1),
    "darker 10%": lambda face, _: _brightened(face, 0.9),
}


def _note(pairs: dict[tuple[int, int], str], rows: np.ndarray, others: np.ndarray, reason: str) -> None:
    for row, other in zip(rows.tolist(), others.tolist(), strict=True):
        if row != other:
            pairs.setdefault((min(row, other), max(row, other)), reason)


def _hash_neighbours(hashes: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    if not len(hashes):
        return np.empty(0, int), np.empty(0, int)
    faiss.omp_set_num_threads(1)  # the graph depends on the order of insertion
    index = faiss.IndexBinaryHNSW(8 * hashes.shape[1], _LINKS)
    index.hnsw.efSearch = _EFFORT
    index.add(hashes)
    distances, neighbours = index.search(queries, min(_NEIGHBOURS, len(hashes)))
    rows, columns = np.nonzero((distances <= MAX_BITS) & (neighbours >= 0))
    return rows, neighbours[rows, columns]


def _embedding_neighbours(embeddings: np.ndarray, min_cosine: float) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(embeddings.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = _EFFORT
    index.add(np.ascontiguousarray(embeddings, np.float32))
    cosines, neighbours = index.search(np.ascontiguousarray(embeddings, np.float32), min(_NEIGHBOURS, len(embeddings)))
    rows, columns = np.nonzero((cosines >= min_cosine) & (neighbours >= 0))
    return rows, neighbours[rows, columns]
