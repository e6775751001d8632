"""Lengths and angles of rows, such as embeddings, with one rule each for a row of zeros."""

import numpy as np
from numpy.typing import DTypeLike


def unit_rows(rows: np.ndarray, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Returns rows of length 1; a row of zeros stays zeros.

    Args:
        rows: Vectors, shape (n, d).
        dtype: Type in which to compute; float64 is the same for everybody, float32 halves the memory.
    """
    rows = np.asarray(rows, dtype)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(rows.dtype).tiny)


def cosines(first: np.ndarray, second: np.ndarray, of_zeros: float = 0.0) -> np.ndarray:
    """Returns the cosine of every pair of rows, shape (n,), float64.

    Args:
        first: Values of n samples, shape (n, ...); all axes but the first count as one.
        second: Values of the same samples, of the same shape.
        of_zeros: Cosine of a pair in which a row is all zeros: 0 where nothing is known of it, 1 where two runtimes are
            compared, because a channel that is dead in both is no difference. NaN stays NaN.
    """
    a, b = (np.asarray(rows, np.float64).reshape(len(rows), -1) for rows in (first, second))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), norms, out=np.full(len(a), of_zeros), where=norms != 0)


def log_norms(rows: np.ndarray) -> np.ndarray:
    """Returns the natural logarithm of every row's length, shape (n,), float64; of the smallest float64 for zeros.

    Args:
        rows: Vectors, shape (n, d).
    """
    return np.log(np.maximum(np.linalg.norm(np.asarray(rows, np.float64), axis=1), np.finfo(np.float64).tiny))
