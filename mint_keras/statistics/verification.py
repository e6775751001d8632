"""Face verification from embeddings: how well their distance tells the same person from another.

The scheme of arcface_torch, so that figures can be held against published ones
(insightface recognition/arcface_torch/eval/verification.py).
"""

from typing import Any

import numpy as np

from mint_keras.records import InputError
from mint_keras.statistics import metrics

THRESHOLDS = np.arange(0, 4, 0.01)
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)


def verify(first: np.ndarray, second: np.ndarray, genuine: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Computes verification accuracy, AUC and true-accept rates.

    Args:
        first: Embeddings of the pairs' first faces, shape (n, d); they need not have length 1.
        second: Embeddings of the pairs' second faces, shape (n, d).
        genuine: Whether a pair is of one person, shape (n,).
        folds: The fold of each pair, shape (n,). A fold's accuracy is at the squared distance, of 0, 0.01 ... 3.99,
            that is best on the other folds.

    Returns:
        accuracy and accuracy_std, mean and standard deviation over folds; auc of the cosine; tar_at_far_1e-02 ... or
        None where there are fewer impostors than the rate needs; num_pairs; num_genuine.

    Raises:
        InputError: if a class or all folds but one are missing, or an embedding is not finite or zero.
    """
    genuine, folds = np.asarray(genuine, bool), np.asarray(folds)
    if genuine.all() or not genuine.any() or len(np.unique(folds)) < 2:
        raise InputError("Expected genuine and impostor pairs in two folds or more, received fewer.")
    if not np.isfinite([np.ptp(first), np.ptp(second)]).all():
        raise InputError("Expected finite embeddings, received some that are not.")
    pairs = [np.asarray(embeddings, np.float64) for embeddings in (first, second)]
    norms = [np.linalg.norm(embeddings, axis=1, keepdims=True) for embeddings in pairs]
    if not np.all(norms):
        raise InputError("Expected embeddings other than zero, received some.")
    cosine = np.sum(pairs[0] / norms[0] * (pairs[1] / norms[1]), axis=1)
    # The squared distance of unit vectors, which arcface_torch's thresholds are for.
    is_right = (2 - 2 * cosine[:, None] < THRESHOLDS) == genuine[:, None]
    accuracies = []
    for fold in np.unique(folds):
        # Chosen on the fold itself, the threshold would flatter it.
        best = int(np.argmax(is_right[folds != fold].mean(axis=0)))
        accuracies.append(float(is_right[folds == fold, best].mean()))
    num_impostors = int(np.count_nonzero(~genuine))
    rates = {
        f"tar_at_far_{rate:.0e}": metrics.tpr_at_fpr(genuine, cosine, rate) if num_impostors * rate >= 1 else None
        for rate in FALSE_ACCEPT_RATES
    }
    return {
        "accuracy": float(np.mean(accuracies)),
        "accuracy_std": float(np.std(accuracies)),
        "auc": metrics.auc(genuine, cosine),
        **rates,
        "num_pairs": len(genuine),
        "num_genuine": int(np.count_nonzero(genuine)),
    }
