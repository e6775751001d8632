"""Planted copies are near copies."""

import numpy as np
import pytest

from mint_keras.data import alterations, synthetic


@pytest.mark.parametrize("kind", alterations.ALTERATIONS)
def test_alterations_change_a_little(kind: str) -> None:
    face = synthetic.render("synthetic:1/web/0/0")
    altered = alterations.ALTERATIONS[kind](face, np.random.default_rng(1))
    assert altered.shape == face.shape
    assert altered.dtype == np.uint8
    assert not np.array_equal(altered, face)
    reference = face[:, ::-1] if "mirrored" in kind else face
    assert np.abs(altered.astype(int) - reference).mean() < 20


def test_looser_shows_more_and_tighter_less() -> None:
    """A bright middle of 40 pixels becomes smaller and larger."""
    face = np.zeros((112, 112, 3), np.uint8)
    face[36:76, 36:76] = 255
    width = {
        kind: int((alterations.ALTERATIONS[kind](face, np.random.default_rng(1))[56, :, 0] > 127).sum())
        for kind in ("looser 10%", "looser 5%", "tighter 5%", "tighter 10%")
    }
    assert width == {"looser 10%": 36, "looser 5%": 38, "tighter 5%": 42, "tighter 10%": 44}
