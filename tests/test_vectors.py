"""Lengths and angles of rows, and what becomes of rows of zeros."""

import numpy as np

from mint_keras import vectors

ROWS = np.array([[3.0, 4.0], [0.0, 0.0], [-5.0, 12.0]], np.float32)


def test_rows_of_length_one() -> None:
    units = vectors.unit_rows(ROWS)
    np.testing.assert_allclose(units, [[0.6, 0.8], [0.0, 0.0], [-5 / 13, 12 / 13]], rtol=1e-15)
    assert units.dtype == np.float64
    assert vectors.unit_rows(ROWS, np.float32).dtype == np.float32
    np.testing.assert_allclose(vectors.unit_rows(ROWS, np.float32), units, rtol=1e-6)


def test_cosines_of_pairs() -> None:
    other = np.array([[4.0, -3.0], [1.0, 0.0], [-10.0, 24.0]], np.float32)
    np.testing.assert_allclose(vectors.cosines(ROWS, other), [0.0, 0.0, 1.0], atol=1e-15)
    np.testing.assert_allclose(vectors.cosines(ROWS, other, of_zeros=1.0), [0.0, 1.0, 1.0], atol=1e-15)


def test_cosines_of_maps_are_those_of_their_values() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 5, 3, 4, 2))
    by_hand = [a.ravel() @ b.ravel() / np.sqrt((a**2).sum() * (b**2).sum()) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(vectors.cosines(first, second), by_hand, rtol=1e-12)


def test_nan_is_no_cosine_of_one() -> None:
    broken = np.array([[np.nan, 1.0]])
    assert np.isnan(vectors.cosines(broken, np.ones((1, 2)), of_zeros=1.0)).all()


def test_logarithms_of_lengths() -> None:
    found = vectors.log_norms(ROWS)
    np.testing.assert_allclose(found[[0, 2]], np.log([5.0, 13.0]))
    assert np.isfinite(found[1])
    assert found[1] < -700
