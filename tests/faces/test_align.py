"""How faces lie in their photos."""

import numpy as np
import pytest

from mint_keras.faces import align


def test_size_and_turn_of_a_face() -> None:
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turned = 2 * align.TEMPLATE @ np.array([[cosine, sine], [-sine, cosine]])  # clockwise, as y points down
    assert align.fit(turned) == pytest.approx((224, 0, 30), abs=1e-3)
    assert align.fit(align.TEMPLATE / 8) == pytest.approx((14, 0, 0), abs=1e-3)


def test_a_crop_of_another_size_shows_the_same_face() -> None:
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[100:200, 100:200] = np.arange(100, dtype=np.uint8)[:, None]
    points = align.TEMPLATE * 1.5 + 50
    small, large = align.align(photo, points), align.align(photo, points, 224)
    assert (small.shape, large.shape) == ((112, 112, 3), (224, 224, 3))
    assert np.abs(large[::2, ::2].astype(float) - small).mean() < 1


def test_a_face_from_the_side_has_a_residual() -> None:
    side = align.TEMPLATE * [0.3, 1]
    assert align.fit(side).residual > 8
    assert align.fit(align.TEMPLATE + np.random.default_rng(1).normal(0, 1, (5, 2))).residual < 3
