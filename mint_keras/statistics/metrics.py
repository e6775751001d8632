"""How well scores tell members from externals; pure functions of arrays.

Scores are logits wherever there are logits: the sigmoid of confident ones is 1, and ties that nobody scored decide.
"""

import numpy as np

from mint_keras.records import InputError

THRESHOLD = 0.0  # of a logit: a score of 0.5
LOW_FPR = 0.01
LOW_FPRS = (0.01, 0.001, 0.0001)  # what membership inference is judged by (arXiv 2112.03570)


def roc_curve(is_member: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns false- and true-positive rates, shape (k,) each, one point per distinct score, from (0, 0) to (1, 1).

    Raises:
        InputError: if one class is missing or a score is not finite.
    """
    is_member = np.asarray(is_member, bool)
    if is_member.all() or not is_member.any():
        raise InputError("Expected samples of both classes, received only one.")
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        raise InputError(f"Expected finite scores, received {np.count_nonzero(~np.isfinite(scores))} that are not.")
    order = np.argsort(-scores, kind="stable")
    # A threshold cannot cut through equal scores, so that a tie is one step of the curve.
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    true_positives = np.cumsum(is_member[order])[last_of_tie]
    false_positives = np.cumsum(~is_member[order])[last_of_tie]
    return np.append(0.0, false_positives / false_positives[-1]), np.append(0.0, true_positives / true_positives[-1])


def auc(is_member: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the ROC curve: the chance that a member outscores an external, ties counting half."""
    return float(np.trapezoid(*reversed(roc_curve(is_member, scores))))


def tpr_at_fpr(is_member: np.ndarray, scores: np.ndarray, max_fpr: float = LOW_FPR) -> float:
    """Returns the best true-positive rate at a false-positive rate of at most `max_fpr`, without interpolation."""
    # Between two points of the curve there is no threshold: interpolating would claim what nobody can choose.
    false_positive_rate, true_positive_rate = roc_curve(is_member, scores)
    return float(true_positive_rate[false_positive_rate <= max_fpr].max())


def accuracy(is_member: np.ndarray, logits: np.ndarray) -> float:
    """Returns the share of samples on the right side of a logit of 0, a score of 0.5; exactly 0 says external."""
    return float(np.mean((np.asarray(logits) > THRESHOLD) == np.asarray(is_member, bool)))


def cross_entropy(is_member: np.ndarray, logits: np.ndarray) -> float:
    """Returns the mean binary cross-entropy, in nats, of logits."""
    logits = np.asarray(logits, np.float64)
    return float(np.mean(np.logaddexp(0.0, np.where(np.asarray(is_member, bool), -logits, logits))))
