"""Fingerprints of all photos of some databases, and of altered copies that are hidden among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mint_keras import progress
from mint_keras.data import images, overlap
from mint_keras.records import SampleTable

BATCH_SIZE = 64
Embed = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Searched:
    """What a search compares.

    Attributes:
        rows: The rows of the table that could be read, shape (n,).
        prints: Fingerprints of these rows, and behind them those of the planted copies.
        planted: Of every planted copy, the place in `rows` of what it copies, and the alteration.
    """

    rows: np.ndarray
    prints: overlap.Fingerprints
    planted: list[tuple[int, str]]

    def hits(self, found: overlap.Overlap) -> dict[str, list[bool]]:
        """Tells of every planted copy whether the search found it, by alteration, and of all of them.

        Of photos with equal pixels the first stands for all, because only it was searched for.
        """
        pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        first_equal = overlap.first_equal(self.prints.digest)
        by_kind: dict[str, list[bool]] = {kind: [] for kind in [*overlap.ALTERATIONS, "all"]}
        for number, (place, kind) in enumerate(self.planted):
            is_found = (int(first_equal[place]), len(self.rows) + number) in pairs
            by_kind[kind].append(is_found)
            by_kind["all"].append(is_found)
        return {kind: hits for kind, hits in by_kind.items() if hits}


def fingerprint(table: SampleTable, num_planted: int, seed: int, embed: Embed | None) -> Searched | None:
    """Takes the fingerprints of photos, and plants altered copies of some of them.

    Args:
        table: The samples.
        num_planted: How many of them are copied, at most.
        seed: Seeds the choice of what is copied, and the place of crops.
        embed: Turns uint8 RGB faces, (n, 112, 112, 3), into embeddings of length 1; None searches without.

    Returns:
        What to search, or None if no photo could be read.
    """
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(len(table), min(num_planted, len(table)), replace=False).tolist())
    kinds = list(overlap.ALTERATIONS)
    parts: list[tuple] = []
    copies: list[tuple] = []
    rows: list[int] = []
    planted: list[tuple[int, str]] = []

    def look(faces: np.ndarray) -> tuple:
        return *overlap.hash_faces(faces), overlap.hash_crops(faces), embed(faces) if embed else None

    with progress.bar(total=len(table), desc="photos", unit="photo") as bar:
        for batch_rows, faces in images.FaceReader().batches(table, BATCH_SIZE):
            parts.append(look(faces))
            altered = []
            for position, row in enumerate(batch_rows.tolist()):
                if row in chosen:
                    # The alterations take turns, so that each is tried equally often.
                    kind = kinds[len(planted) % len(kinds)]
                    planted.append((len(rows) + position, kind))
                    altered.append(overlap.alter(faces[position], kind, rng))
            if altered:
                copies.append(look(np.stack(altered)))
            rows += batch_rows.tolist()
            bar.update(len(batch_rows))
    if not rows:
        return None
    # Copies come last: whatever is found at a row beyond the photos is one of them.
    digest, pdq, mirrored, quality, cropped, embedding = zip(*parts, *copies, strict=True)
    prints = overlap.Fingerprints(
        digest=np.concatenate(digest),
        pdq=np.concatenate(pdq),
        mirrored=np.concatenate(mirrored),
        quality=np.concatenate(quality),
        embedding=np.concatenate(embedding) if embed else None,
        cropped=np.concatenate(cropped),
    )
    return Searched(np.array(rows), prints, planted)
