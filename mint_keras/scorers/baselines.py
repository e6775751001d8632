"""Scores that no head was trained for, to compare the heads with."""

from __future__ import annotations

import numpy as np

EMBEDDING_NORM = "embedding_norm"


def embedding_norm(outcome: np.ndarray, train_outcome: np.ndarray, train_is_member: np.ndarray) -> np.ndarray:
    """Scores a face by the length of its embedding: networks give longer ones to faces they know well.

    Only the threshold is learned: half way between the classes' means on the heads' training samples. A longer
    embedding always means member, so the score can be wrong, and below chance, but not turned round.

    Args:
        outcome: embeddings to score, shape (n, d).
        train_outcome: embeddings of the heads' training samples, shape (m, d).
        train_is_member: shape (m,), bool.

    Returns:
        Logits, shape (n,), float32: standard deviations above the threshold.
    """
    norm, train_norm = (np.linalg.norm(np.asarray(v, np.float64), axis=1) for v in (outcome, train_outcome))
    threshold = (train_norm[train_is_member].mean() + train_norm[~train_is_member].mean()) / 2
    return ((norm - threshold) / max(train_norm.std(), 1e-12)).astype(np.float32)
