"""Copies are found by pixels, by hash and by embedding, other photos are not, and the neighbours are the nearest."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.data import images, overlap, overlap_search, registration, samples, synthetic


def faces(num: int, start: int = 0) -> np.ndarray:
    return np.stack([synthetic.render(f"synthetic:1/web/{start + i}/0") for i in range(num)])


def search(photos: np.ndarray, num_members: int = 0, embedding: np.ndarray | None = None) -> overlap.Overlap:
    """Looks the photos behind the members up in these, or all in all."""
    rows, prints = np.arange(len(photos)), overlap.Fingerprints.of(photos)._replace(embedding=embedding)
    at = num_members or len(photos)
    members, others = (overlap.Fingerprints(*(None if x is None else x[part] for x in prints))
                       for part in (slice(at), slice(num_members, None)))  # fmt: skip
    index = overlap.Index(rows[:at], members, registration.Scale.of(prints.rough), 0.8)
    compare = overlap.comparing(registration.grey(photos, registration.FINE).__getitem__)
    return overlap.Overlap.of([*overlap.equal_pairs(prints.digest), *index.search(rows[num_members:], others, compare)])


def as_pairs(found: overlap.Overlap) -> dict[tuple[int, int], str]:
    return dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.reason.tolist(), strict=True))


def test_pixels_and_hashes() -> None:
    photos = faces(40, 2)  # the hash of face 1 is of too low quality
    rng = np.random.default_rng(1)
    kinds = ["encoded again", "mirrored", "brighter 10%", "tighter 10%"]
    copies = [overlap_search.ALTERATIONS[kind](photos[i], rng) for i, kind in enumerate(kinds)]
    found = search(np.stack([*photos, *copies, photos[9]]))
    expected = {(i, 40 + i): overlap.PERCEPTUAL for i in range(3)}
    assert as_pairs(found) == expected | {(3, 43): overlap.REGISTERED, (9, 44): overlap.EXACT}
    assert np.isnan(found.cosine).all()


@pytest.mark.parametrize("is_within", [True, False])
def test_the_whole_way(is_within: bool) -> None:
    """Copies of every kind are found among people who look alike, and no two people are one photo."""
    sources = [synthetic.sample_table(f"synthetic:1/web/{people}/2") for people in ("0-11", "12-19")]
    table, side = samples.join(sources), np.repeat([0, 1], [24, 16])
    found = overlap_search.search(table, side, overlap_search.Settings(1.0, is_within, 2, 1))
    assert set(found.hits) == set(overlap_search.ALTERATIONS)
    assert sum(map(sum, found.hits.values())) >= 0.9 * 2 * len(found.hits)
    assert found.is_read.all()
    assert not len(found.found.first)


def test_each_pair_of_databases_is_searched_and_one_within_where_asked(tmp_path: Path) -> None:
    """The largest comes first, in the middle and last."""
    one, two, three, *others = faces(14, 2)
    databases = ([one, two], [one[:, ::-1], two, two[:, ::-1], *others], [three, two[:, ::-1], three[:, ::-1]])
    names = iter(range(99))
    parts = []
    for number, photos in enumerate(databases):
        for photo in photos:
            images.write_png(tmp_path / str(number) / f"{next(names):02}.png", photo)
        parts.append(samples.list_samples(str(tmp_path / str(number))))
    across = {(0, 2): overlap.PERCEPTUAL, (1, 3): overlap.EXACT, (1, 4): overlap.PERCEPTUAL,
              (1, 17): overlap.PERCEPTUAL, (3, 17): overlap.PERCEPTUAL, (4, 17): overlap.EXACT}  # fmt: skip
    within = {(3, 4): overlap.PERCEPTUAL, (16, 18): overlap.PERCEPTUAL}
    for is_within, expected in ((False, across), (True, across | within)):
        settings = overlap_search.Settings(1.0, is_within, 0, 1)
        side = np.repeat(range(3), [len(part) for part in parts])
        assert as_pairs(overlap_search.search(samples.join(parts), side, settings).found) == expected


def test_few_photos_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap_search, "_SAMPLE", 4)
    for name in "ab":
        images.write_png(tmp_path / name / "0.png", faces(1, 2)[0])
        for k in range(60):
            (tmp_path / name / f"x{k}.png").write_bytes(b"no photo")
    table = samples.join([samples.list_samples(str(tmp_path / name)) for name in "ab"])
    for seed in range(3):
        settings = overlap_search.Settings(1.0, False, 0, seed)
        found = overlap_search.search(table, np.repeat([0, 1], 61), settings)
        assert found.is_read.sum() == len(found.found.first) + 1 == 2


@pytest.mark.parametrize(("num_copies", "is_indexed"), [(15, False), (40, True)])
def test_many_copies_of_one_photo_do_not_hide_each_other(num_copies: int, is_indexed: bool) -> None:
    photos = faces(12, 2)
    copies = [
        cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 95 - copy])[1], cv2.IMREAD_COLOR)
        for copy in range(num_copies)
        for face in photos[:4]
    ]
    first, second = (copies, photos) if is_indexed else (photos, copies)
    found = search(np.stack([*first, *second]), len(first))
    pairs = {(one, two - len(first)) for one, two in as_pairs(found)}
    assert {pair[::-1] if is_indexed else pair for pair in pairs} == {(k % 4, k) for k in range(len(copies))}


def test_a_thousand_equal_photos_are_a_thousand_pairs() -> None:
    one, *others = faces(10, 2)
    found = search(np.stack([one] * 1000 + others))
    assert found.first.tolist() == [0] * 999
    assert found.second.tolist() == list(range(1, 1000))


def test_large_databases_are_searched_in_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all that a search among all finds."""
    photos = faces(24, 2)
    copies = np.stack([overlap_search.ALTERATIONS["cropped 5%"](face, np.random.default_rng(1)) for face in photos])
    both = np.concatenate([photos, copies])
    slow = as_pairs(search(both, 24))
    monkeypatch.setattr(overlap, "_EXACT_UP_TO", 100)
    found = as_pairs(search(both, 24))
    assert len(found) >= 0.95 * len(slow) >= 0.9 * 24
    assert set(found) <= set(slow)


def test_neighbours_are_asked_for_until_some_are_no_copies() -> None:
    """By embeddings, against all pairs, in groups larger than the first question; and two others end the list."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(12, 32))
    embedding = np.repeat(centres, 60, axis=0) + 0.2 * rng.normal(size=(720, 32))
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    prints = overlap.Fingerprints(np.arange(720), np.zeros((720, 24, 24), np.uint8), embedding)
    index = overlap.Index(np.arange(720), prints, registration.Scale.of(prints.rough), 0.8)
    index._least[overlap.REGISTERED] = 2.0
    found = overlap.Overlap.of([*index.search(index.rows, prints, lambda one, two: True)])
    cosines = embedding @ embedding.T
    expected = np.stack(np.nonzero(np.triu(cosines >= 0.8, 1)))
    assert len(expected.T) == 12 * 60 * 59 / 2
    np.testing.assert_array_equal(np.stack([found.first, found.second]), expected)
    np.testing.assert_allclose(found.cosine, cosines[tuple(expected)], rtol=1e-5)
    assert set(found.reason) == {overlap.EMBEDDING}
    asked: list[tuple[int, int]] = []
    assert not list(index.search(index.rows[:1], overlap.Fingerprints(*(x[:1] for x in prints)),
                                 lambda one, two: bool(asked.append((one, two)))))  # fmt: skip
    assert [one for one, _ in asked] == np.argsort(-cosines[0])[1:3].tolist()


def test_what_no_small_move_makes_alike_is_not_laid_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pairs are found with fewer looks at pictures."""
    photos, rng = faces(6, 2), np.random.default_rng(1)
    alike = [np.mean(some, axis=0).astype(np.uint8) for some in itertools.combinations(photos, 3)]
    copies = [overlap_search.ALTERATIONS["another detector"](face, rng) for face in alike]
    both = np.stack([*alike, *copies])
    asked, found, is_copy = [0, 0], list[dict[tuple[int, int], str]](), registration.is_copy
    for way, least in enumerate((-1.0, registration.MIN_PLACED)):

        def counted(first: np.ndarray, second: np.ndarray, way: int = way) -> bool:
            asked[way] += not (answer := is_copy(first, second))
            return answer

        monkeypatch.setattr(registration, "MIN_PLACED", least)
        monkeypatch.setattr(registration, "is_copy", counted)
        found.append(as_pairs(search(both)))
    assert len({(k, 20 + k) for k in range(20)} & set(found[0])) >= 18
    assert found[0] == found[1]
    assert asked[1] < 0.7 * asked[0]  # of those that are none


def test_hashes_find_what_small_pictures_do_not() -> None:
    """Strong light from one side, also mirrored: all that are near by hash, and no others."""
    photos = faces(40, 2)
    lit = np.clip(photos * np.linspace(0.45, 1.55, photos.shape[2])[:, None], 0, 255).astype(np.uint8)
    both = np.concatenate([photos, lit, lit[:, :, ::-1]])
    _, rough, _, hashes, quality = overlap.Fingerprints.of(both)
    is_near = np.bitwise_count(hashes[:40, None, :1] ^ hashes[40:]).sum(axis=3) <= overlap.MAX_BITS
    expected = {(one, 40 + k) for one, k, _ in np.argwhere(is_near) if min(quality[[one, 40 + k]]) >= 50}
    assert {one for one, _ in expected} == {two % 40 for _, two in expected}
    scale = registration.Scale.of(rough)
    own = scale.describe(rough[:40], registration.VIEWS) @ scale.describe(rough[40:80])[:, 0, :, None]
    is_far = own.max(axis=(1, 2)) < registration.MIN_COSINE
    assert sum((k, 40 + k) in expected for k in np.flatnonzero(is_far).tolist()) >= 3
    found = as_pairs(search(both, 40))
    assert {pair for pair, reason in found.items() if reason == overlap.PERCEPTUAL} == expected


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
    for face in faces(6, 100):
        (plain, mirrored), (other, _) = overlap.Fingerprints.of(np.stack([face, face[:, ::-1]])).hashes
        assert np.bitwise_count(mirrored ^ other).sum() < overlap.MAX_BITS < np.bitwise_count(plain ^ other).sum()


def test_flat_pictures_are_not_each_others_copies() -> None:
    flat = np.stack([np.full((112, 112, 3), value, np.uint8) for value in (10, 100, 200)])
    assert not len(search(flat, embedding=np.eye(3, dtype=np.float32)).first)


def test_hashes_are_those_of_their_authors() -> None:
    """Both come of the waves that `pdqhash` says, and it says the hashes as well."""
    import pdqhash

    photos = np.concatenate([faces(40, 100), np.full((1, 112, 112, 3), 9, np.uint8)])
    _, _, _, hashes, quality = overlap.Fingerprints.of(photos)
    for photo, own, good in zip(photos, hashes, quality.tolist(), strict=True):
        bits, expected = pdqhash.compute_dihedral(photo)
        np.testing.assert_array_equal(np.unpackbits(own, axis=1), [bits[0], bits[5]])
        assert good == expected


def test_views_are_drawn_as_one_by_one() -> None:
    """All in one call, to the bit; and the first view is the picture itself, which need not be drawn."""
    placements, *maps = registration._views()
    for picture in registration.grey(faces(5), registration.FINE):
        size = (registration.FINE,) * 2
        drawn = cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        one_by_one = [cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REFLECT_101) for matrix in placements]
        np.testing.assert_array_equal(drawn, np.concatenate(one_by_one))
        np.testing.assert_array_equal(registration.moved(picture, *registration.VIEWS[0]), picture)


def test_planes_of_some_are_those_of_all() -> None:
    """Which are asked for depends on what else is in a block, and what is found must not."""
    rough = registration.grey(faces(40), registration.ROUGH)
    scale, some = registration.Scale.of(rough), [3, 17, 30]
    for pictures in (rough, rough[:, :, ::-1]):
        np.testing.assert_array_equal(scale.planes(pictures[some]), scale.planes(pictures)[some])


def test_detail_that_decides_nothing_is_not_looked_at() -> None:
    (first,) = registration.grey(faces(1, 2), registration.FINE)
    second = registration.moved(first, 1.02, 0.7)
    whole, detail = registration.agreement(first, second)
    assert min(whole, detail) > 0.9
    assert registration.agreement(first, second, whole) == (whole, 0.0)
    assert registration.agreement(first, second, whole - 0.01) == (whole, detail)
