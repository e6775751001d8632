"""Figures of weighted samples, for many weightings at once: what resampling computes again and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mint_keras.records import InputError, Scores
from mint_keras.statistics import metrics

ACCURACY, AUC, TPR_AT_1, BALANCED_ACCURACY = "accuracy", "auc", "tpr_at_1_fpr", "balanced_accuracy"


@dataclasses.dataclass(frozen=True)
class _Weighted:
    """Samples under k weightings.

    Attributes:
        is_right: Whether a sample is on the right side of 0.5, shape (n,).
        is_member: Whether it is a member, shape (n,).
        sides: Weights of the members, (k, m), and of the externals, (k, n - m); each row sums to 1.
        true_positive_rate: True-positive rates of the ROC curves, shape (k, points).
        false_positive_rate: False-positive rates of the ROC curves, shape (k, points).
    """

    is_right: np.ndarray
    is_member: np.ndarray
    sides: tuple[np.ndarray, np.ndarray]
    true_positive_rate: np.ndarray
    false_positive_rate: np.ndarray


def _accuracy(weighted: _Weighted) -> np.ndarray:
    sides = zip(weighted.sides, (weighted.is_member, ~weighted.is_member), strict=True)
    return np.mean([weights @ weighted.is_right[side] for weights, side in sides], 0)


def _auc(weighted: _Weighted) -> np.ndarray:
    middles = (weighted.true_positive_rate[:, 1:] + weighted.true_positive_rate[:, :-1]) / 2
    return np.sum(np.diff(weighted.false_positive_rate) * middles, axis=1)


def _tpr_at(max_fpr: float) -> Callable[[_Weighted], np.ndarray]:
    def tpr(weighted: _Weighted) -> np.ndarray:
        # Sums of shares may exceed the rate by rounding alone.
        allowed = weighted.false_positive_rate <= max_fpr + 1e-12
        return np.where(allowed, weighted.true_positive_rate, 0.0).max(axis=1)

    return tpr


# In all of them both classes weigh the same, as in the balanced evaluation: there, accuracy is balanced accuracy.
FIGURES: dict[str, Callable[[_Weighted], np.ndarray]] = {
    ACCURACY: _accuracy,
    BALANCED_ACCURACY: _accuracy,
    AUC: _auc,
    **{f"tpr_at_{100 * rate:g}_fpr": _tpr_at(rate) for rate in metrics.LOW_FPRS},
}


def figures(part: Scores, weights: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Computes figures under k weightings.

    Args:
        part: Scores of n samples with known membership.
        weights: How often each sample counts, shape (k, n).
        names: Keys of `FIGURES`.

    Returns:
        Values by name, shape (k,) each.

    Raises:
        InputError: if membership is not known or one class is missing.
    """
    score, is_member = part.score, membership(part)
    masks = (is_member, ~is_member)
    positive, negative = (weights[:, side] / weights[:, side].sum(axis=1, keepdims=True) for side in masks)
    # The scores are sorted once for all weightings: that is what makes a thousand draws cheap.
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    rates = np.zeros((2, len(weights), len(score)))
    for rate, side, weight in zip(rates, masks, (positive, negative), strict=True):
        rate[:, side] = weight
    true_positive_rate, false_positive_rate = (
        np.pad(np.cumsum(rate[:, order], axis=1)[:, last_of_tie], ((0, 0), (1, 0))) for rate in rates
    )
    is_right = (score > metrics.THRESHOLD) == is_member
    weighted = _Weighted(is_right, is_member, (positive, negative), true_positive_rate, false_positive_rate)
    return {name: FIGURES[name](weighted) for name in names}


def membership(part: Scores) -> np.ndarray:
    """Returns which samples are members, shape (n,).

    Raises:
        InputError: if nobody knows, or all are of one class.
    """
    if part.is_member is None:
        raise InputError(f"Expected scores with known membership, received {part.evaluation!r} without.")
    if part.is_member.all() or not part.is_member.any():
        raise InputError(f"Expected members and externals, received only one of them in {part.evaluation!r}.")
    return part.is_member


def count_people(part: Scores) -> tuple[int, int]:
    """Returns the numbers of people among the members and among the externals."""
    people, is_member = part.samples.people(), membership(part)
    return len(np.unique(people[is_member])), len(np.unique(people[~is_member]))
