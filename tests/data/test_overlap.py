"""Copies are found by pixels, by hash and by embedding, other photos are not, and the neighbours are the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.data import overlap, synthetic


def faces(num: int, start: int = 0) -> np.ndarray:
    return np.stack([synthetic.render(f"synthetic:1/web/{start + i}/0") for i in range(num)])


def prints(photos: np.ndarray, embedding: np.ndarray | None = None) -> overlap.Fingerprints:
    digest, pdq, mirrored, quality = overlap.hash_faces(photos)
    return overlap.Fingerprints(np.array(digest), pdq, mirrored, quality, embedding)


def test_pixels_and_hashes() -> None:
    photos = faces(40, 2)  # the hash of face 1 is of too low quality
    rng = np.random.default_rng(1)
    kinds = ["encoded again", "mirrored", "brighter 10%", "darker 10%"]
    copies = [overlap.alter(photos[i], kind, rng) for i, kind in enumerate(kinds)]
    found = overlap.find_overlap(prints(np.stack([*photos, *copies, photos[9]])), 1.0)
    pairs = dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.reason.tolist(), strict=True))
    expected = {(i, 40 + i): overlap.PERCEPTUAL for i in range(4)} | {(9, 44): overlap.EXACT}
    assert expected.items() <= pairs.items()
    assert np.isnan(found.cosine).all()


def test_the_mirrored_hash_is_that_of_the_mirrored_photo() -> None:
    photos = faces(20, 100)
    _, plain, mirrored, quality = overlap.hash_faces(photos)
    _, of_mirrored, _, _ = overlap.hash_faces(np.ascontiguousarray(photos[:, :, ::-1]))
    bits = np.unpackbits(mirrored ^ of_mirrored, axis=1).sum(axis=1)
    assert bits.max() < overlap.MAX_BITS
    assert np.unpackbits(plain ^ of_mirrored, axis=1).sum(axis=1).min() > overlap.MAX_BITS
    assert ((quality >= 0) & (quality <= 100)).all()


def test_flat_pictures_are_not_each_others_copies() -> None:
    flat = np.stack([np.full((112, 112, 3), value, np.uint8) for value in (10, 100, 200)])
    assert len(overlap.find_overlap(prints(flat), 0.9).first) == 0


def test_embeddings_find_what_a_slow_search_finds() -> None:
    rng = np.random.default_rng(2)
    embedding = rng.normal(size=(500, 16)).astype(np.float32)
    embedding[250:300] = embedding[:50] + 0.2 * rng.normal(size=(50, 16))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    digest = np.array([str(i) for i in range(500)])
    empty = np.zeros((500, 32), np.uint8)
    all_prints = overlap.Fingerprints(digest, empty, empty, np.zeros(500, int), embedding)
    found = overlap.find_overlap(all_prints, 0.9)
    similar = np.triu(embedding @ embedding.T, 1)
    slow = set(zip(*(x.tolist() for x in np.nonzero(similar >= 0.9)), strict=True))
    received = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert received <= slow
    assert len(received) >= 0.98 * len(slow) > 45
    np.testing.assert_allclose(found.cosine, [similar[pair] for pair in sorted(received)], rtol=1e-5)
    assert set(found.reason) == {overlap.EMBEDDING}


@pytest.mark.parametrize("kind", overlap.ALTERATIONS)
def test_alterations_change_a_little(kind: str) -> None:
    face = faces(1)[0]
    altered = overlap.alter(face, kind, np.random.default_rng(1))
    assert altered.shape == face.shape
    assert altered.dtype == np.uint8
    assert not np.array_equal(altered, face)
    reference = face[:, ::-1] if kind == "mirrored" else face
    assert np.abs(altered.astype(int) - reference).mean() < 20
