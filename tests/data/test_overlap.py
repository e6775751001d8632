"""Copies are found by pixels, by hash and by embedding, other photos are not, and the neighbours are the nearest."""

from __future__ import annotations

import cv2
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
    copies = [overlap.ALTERATIONS[kind](photos[i], rng) for i, kind in enumerate(kinds)]
    found = overlap.find_overlap(prints(np.stack([*photos, *copies, photos[9]])), 1.0)
    pairs = dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.reason.tolist(), strict=True))
    expected = {(i, 40 + i): overlap.PERCEPTUAL for i in range(4)} | {(9, 44): overlap.EXACT}
    assert expected.items() <= pairs.items()
    assert np.isnan(found.cosine).all()


def test_alike_photos_are_laid_on_each_other() -> None:
    """The whole way: copies of every kind are found among people who look alike, and no two people are one photo."""
    table = synthetic.sample_table("synthetic:1/web/0-19/2")
    searched = overlap.fingerprint(table, 2, 1, None)
    assert searched is not None
    found = overlap.find_overlap(searched.prints, 1.0, (), searched.is_copy())
    hits = searched.hits(found)
    assert set(hits) == set(overlap.ALTERATIONS)
    assert sum(map(sum, hits.values())) >= 0.9 * 2 * len(hits)
    assert overlap.REGISTERED in found.reason
    assert not (found.second < len(table)).any()


@pytest.mark.parametrize("num_copies", [15, 40])
def test_many_copies_of_one_photo_do_not_hide_each_other(num_copies: int) -> None:
    photos = faces(60, 2)
    members, others = photos[:20], photos[20:]
    copies = [
        cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 95 - copy])[1], cv2.IMREAD_COLOR)
        for copy in range(num_copies)
        for face in members
    ]
    everything = np.stack([*members, *others, *copies])
    side = np.repeat([0, 1], [20, len(everything) - 20])
    found = overlap.find_overlap(prints(everything), 1.0)
    left_out, across = overlap.leave_out(found, side)
    assert left_out.tolist() == across.tolist() == list(range(60, len(everything)))
    directly = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert {(i, 60 + 20 * copy + i) for i in range(20) for copy in range(num_copies)} <= directly


def test_a_thousand_equal_photos_are_a_thousand_pairs() -> None:
    one, *others = faces(30, 2)
    found = overlap.find_overlap(prints(np.stack([one] * 1000 + others)), 1.0)
    assert found.first.tolist() == [0] * 999
    assert found.second.tolist() == list(range(1, 1000))


def test_neighbours_are_asked_for_until_one_is_far() -> None:
    """Against all pairs, in groups larger than the first question."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(30, 32))
    embedding = np.repeat(centres, 30, axis=0) + 0.2 * rng.normal(size=(900, 32))
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    digest = np.array([str(i) for i in range(900)])
    empty = np.zeros((900, 32), np.uint8)
    found = overlap.find_overlap(overlap.Fingerprints(digest, empty, empty, np.zeros(900, int), embedding), 0.8)
    expected = np.stack(np.nonzero(np.triu(embedding @ embedding.T >= 0.8, 1)))
    assert len(expected.T) == 30 * 30 * 29 / 2
    np.testing.assert_array_equal(np.stack([found.first, found.second]), expected)


def test_what_is_joined_through_others_is_left_out() -> None:
    """Rows 0 to 2 are members, 3 to 5 one database, 6 to 8 another."""
    side = np.repeat([0, 1, 2], 3)
    pairs = np.array([[0, 4], [4, 7], [1, 2], [3, 6], [5, 8], [6, 8]]).T
    found = overlap.Overlap(*pairs, np.full(6, overlap.KNOWN), np.full(6, np.nan))
    left_out, across = overlap.leave_out(found, side)
    assert left_out.tolist() == [2, 4, 6, 7, 8]  # 2 is a copy of its neighbour 1, and nobody else's
    assert across.tolist() == [4, 6, 7, 8]  # 7 is a member's only through 4
    nothing = overlap.Overlap(*np.empty((2, 0), int), np.empty(0, str), np.empty(0))
    assert [len(rows) for rows in overlap.leave_out(nothing, side)] == [0, 0]


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
