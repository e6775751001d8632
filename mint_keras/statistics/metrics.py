"""How well scores tell members from externals; pure functions of arrays."""

from __future__ import annotations

import numpy as np

from mint_keras.records import InputError

THRESHOLD = 0.5
LOW_FPR = 0.01
LOW_FPRS = (0.01, 0.001, 0.0001)  # what membership inference is judged by (arXiv 2112.03570)
_NUM_BINS = 15  # of reliability diagrams, as in arXiv 1706.04599


def roc_curve(is_member: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns false- and true-positive rates, shape (k,) each, one point per distinct score, from (0, 0) to (1, 1).

    Raises:
        InputError: if one class is missing or a score is not finite.
    """
    is_member = _both_classes(is_member)
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        raise InputError(f"Expected finite scores, received {np.count_nonzero(~np.isfinite(scores))} that are not.")
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    true_positives = np.cumsum(is_member[order])[last_of_tie]
    false_positives = np.cumsum(~is_member[order])[last_of_tie]
    return np.append(0.0, false_positives / false_positives[-1]), np.append(0.0, true_positives / true_positives[-1])


def auc(is_member: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the ROC curve: the chance that a member outscores an external, ties counting half."""
    return float(np.trapezoid(*reversed(roc_curve(is_member, scores))))


def tpr_at_fpr(is_member: np.ndarray, scores: np.ndarray, max_fpr: float = LOW_FPR) -> float:
    """Returns the best true-positive rate at a false-positive rate of at most `max_fpr`, without interpolation."""
    false_positive_rate, true_positive_rate = roc_curve(is_member, scores)
    return float(true_positive_rate[false_positive_rate <= max_fpr].max())


def accuracy(is_member: np.ndarray, scores: np.ndarray) -> float:
    """Returns the share of samples on the right side of 0.5; a score of exactly 0.5 says external."""
    return float(np.mean((np.asarray(scores) > THRESHOLD) == np.asarray(is_member, bool)))


def balanced_accuracy(is_member: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean of the shares of members above 0.5 and of externals not above it; classes count alike."""
    is_member = _both_classes(is_member)
    says_member = np.asarray(scores) > THRESHOLD
    return float((np.mean(says_member[is_member]) + np.mean(~says_member[~is_member])) / 2)


def partial_auc(is_member: np.ndarray, scores: np.ndarray, max_fpr: float) -> float:
    """Returns the area under the ROC curve up to a false-positive rate, on a scale of its own: 0.5 chance, 1 perfect.

    The standardisation is McClish's (1989), as in `sklearn.metrics.roc_auc_score(max_fpr=...)`. Between two points the
    curve is a straight line, so that at `max_fpr` 1 it is the AUC.

    Raises:
        InputError: if `max_fpr` is not in (0, 1].
    """
    if not 0 < max_fpr <= 1:
        raise InputError(f"Expected a false-positive rate above 0 and at most 1, received {max_fpr}.")
    false_positive_rate, true_positive_rate = roc_curve(is_member, scores)
    inside = false_positive_rate <= max_fpr
    x = np.append(false_positive_rate[inside], max_fpr)
    y = np.append(true_positive_rate[inside], np.interp(max_fpr, false_positive_rate, true_positive_rate))
    chance = max_fpr**2 / 2
    return float((1 + (np.trapezoid(y, x) - chance) / (max_fpr - chance)) / 2)


def brier_score(is_member: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean squared distance of scores in [0, 1] from the truth (Brier, 1950); 0.25 for always 0.5."""
    return float(np.mean((np.asarray(scores, np.float64) - np.asarray(is_member, bool)) ** 2))


def expected_calibration_error(is_member: np.ndarray, scores: np.ndarray) -> float:
    """Returns how far scores in [0, 1] are from the share of members among samples that have them (arXiv 1706.04599).

    15 bins of equal width, weighted by their samples. A score is calibrated for one share of members only: the one in
    these samples, not the one among an auditor's photos. Few samples give more than 0 also to calibrated scores.
    """
    scores = np.asarray(scores, np.float64)
    gaps = np.bincount(
        np.minimum((scores * _NUM_BINS).astype(int), _NUM_BINS - 1), np.asarray(is_member, bool) - scores, _NUM_BINS
    )
    return float(np.abs(gaps).sum() / len(scores))


def cross_entropy(is_member: np.ndarray, logits: np.ndarray) -> float:
    """Returns the mean binary cross-entropy, in nats, of logits."""
    logits = np.asarray(logits, np.float64)
    return float(np.mean(np.logaddexp(0.0, np.where(np.asarray(is_member, bool), -logits, logits))))


def _both_classes(is_member: np.ndarray) -> np.ndarray:
    is_member = np.asarray(is_member, bool)
    if is_member.all() or not is_member.any():
        raise InputError("Expected samples of both classes, received only one.")
    return is_member
