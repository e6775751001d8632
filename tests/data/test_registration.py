"""A photo is itself again after small changes, and nobody else."""

import cv2
import numpy as np
import pytest

from mint_keras.data import alterations, registration, synthetic


def fine(face: np.ndarray) -> np.ndarray:
    return registration.grey(face[None], registration.FINE)[0]


@pytest.mark.parametrize("kind", alterations.ALTERATIONS)
def test_a_copy_is_a_copy(kind: str) -> None:
    rng = np.random.default_rng(1)
    for person in (3, 4):
        face = synthetic.render(f"synthetic:1/web/{person}/0")
        assert registration.is_copy(fine(face), fine(alterations.ALTERATIONS[kind](face, rng)))


def test_which_of_both_is_the_original_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid on each other one way, fine detail may be lost; then it is tried the other way."""
    face = synthetic.render("synthetic:1/web/3/0")
    pair = fine(face), fine(alterations.ALTERATIONS["tighter 10%"](face, np.random.default_rng(1)))
    found = iter([(0.99, 0.5), (0.99, 0.9)])
    monkeypatch.setattr(registration, "agreement", lambda *_: next(found))
    assert registration.is_copy(*pair)
    assert next(found, None) is None


def test_of_copies_the_first_is_kept() -> None:
    rng = np.random.default_rng(1)
    for person in (3, 4):
        face = synthetic.render(f"synthetic:1/web/{person}/0")
        copies = [alteration(face, rng) for alteration in alterations.ALTERATIONS.values()]
        tiny = cv2.resize(cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA), (112, 112))
        others = [synthetic.render(f"synthetic:1/web/{who}") for who in ("5/0", "5/1", "7/0")]
        rough = registration.grey(np.stack([others[0], face, *copies, tiny, *others[1:]]), registration.ROUGH)
        assert np.flatnonzero(registration.distinct(rough)).tolist() == [0, 1, len(rough) - 2, len(rough) - 1]
        assert registration.distinct(rough[:1]).tolist() == [True]


def test_others_are_no_copies() -> None:
    one, again, other = (fine(synthetic.render(f"synthetic:1/web/{who}")) for who in ("3/0", "3/1", "5/0"))
    assert not registration.is_copy(one, again)
    assert not registration.is_copy(one, other)
    flat = np.full_like(one, 100)
    assert not registration.is_copy(one, flat)
    assert not registration.is_copy(flat, flat)  # nothing to see: their digests say whether they are equal


def test_rough_pictures_find_views_of_themselves() -> None:
    faces = np.stack([synthetic.render(f"synthetic:1/web/{who}/0") for who in range(20)])
    copies = np.stack([alterations.ALTERATIONS["mirrored, cropped"](face, np.random.default_rng(1)) for face in faces])
    rough = [registration.grey(some, registration.ROUGH) for some in (faces, copies[:, :, ::-1])]
    scale = registration.Scale.of(rough[0])
    views, queries = scale.describe(rough[0], registration.VIEWS), scale.describe(rough[1])[:, 0]
    np.testing.assert_allclose(np.linalg.norm(views, axis=2), 1, rtol=1e-5)
    best = np.max(views @ queries.T, axis=1)
    assert (best.argmax(axis=0) == np.arange(20)).all()
    assert np.diag(best).min() > registration.MIN_COSINE
    alone = registration.Scale.of(rough[0][:1])
    assert (alone.describe(rough[0][:1], registration.VIEWS)[0] @ alone.describe(rough[1][:1])[0, 0]).max() > 0.9


def test_small_moves_stay_on_the_plane_of_a_picture() -> None:
    """Nearer than any one view, which others are not; and rows are of length 1 and at right angles."""
    faces = np.stack([synthetic.render(f"synthetic:1/web/{who}/0") for who in range(20)])
    rng = np.random.default_rng(1)
    copies = np.stack([alterations.ALTERATIONS["another detector"](face, rng) for face in faces])
    rough = [registration.grey(some, registration.ROUGH) for some in (faces, copies)]
    scale = registration.Scale.of(rough[0])
    views, planes = scale.describe(rough[0], registration.VIEWS), scale.planes(rough[1])
    np.testing.assert_allclose(planes @ planes.swapaxes(1, 2), np.tile(np.eye(7), (20, 1, 1)), atol=1e-5)
    cosines = np.einsum("ovd,qd->oqv", views, scale.describe(rough[1])[:, 0])
    placed = np.linalg.norm(np.einsum("ovd,qkd->oqvk", views, planes), axis=3)
    assert (placed >= np.abs(cosines) - 1e-5).all()
    own = np.eye(20, dtype=bool)
    assert placed[own].max(axis=1).min() > 0.95 > registration.MIN_PLACED
    assert placed[own].max(axis=1).min() > placed[~own].max()


def test_a_face_squeezed_between_bars_is_no_farther_than_a_copy_may_be() -> None:
    """Of those that are copies, nobody is lost to the bound that spares others the comparison."""
    faces = np.stack([synthetic.render(f"synthetic:1/web/{who}/0") for who in range(12)])
    squeezed = np.zeros_like(faces)
    for to, face in zip(squeezed, faces, strict=True):
        to[12:100] = cv2.resize(face, (112, 88))
    rough, fine = ([registration.grey(some, size) for some in (faces, squeezed)] for size in (24, registration.FINE))
    scale = registration.Scale.of(rough[0])
    views, planes = scale.describe(rough[0], registration.VIEWS), scale.planes(rough[1])
    cosines = np.einsum("nvd,nd->nv", views, scale.describe(rough[1])[:, 0])
    placed = np.where(
        cosines > registration.MIN_COSINE, np.linalg.norm(np.einsum("nvd,nkd->nvk", views, planes), axis=2), 0
    )
    found = [who for who in range(12) if placed[who].any() and registration.is_copy(fine[0][who], fine[1][who])]
    assert found
    assert all(placed[who].max() > registration.MIN_PLACED for who in found)
