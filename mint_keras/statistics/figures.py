"""Figures of weighted samples, for many weightings at once: what resampling computes again and again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mint_keras.data.people import known_units
from mint_keras.records import InputError, ResultRow, Scores
from mint_keras.statistics import metrics

ACCURACY, AUC, TPR_AT_1, BALANCED_ACCURACY = "accuracy", "auc", "tpr_at_1_fpr", "balanced_accuracy"
_MAX_FPRS = {f"tpr_at_{100 * rate:g}_fpr": rate for rate in metrics.LOW_FPRS}
# The share of externals below all but 1% of the members. Of a loss it is the high-loss tail that members lack, which
# says without references about what LiRA would find (arXiv 2510.19773).
TNR_AT_1 = "tnr_at_1_fnr"
FIGURES = (ACCURACY, BALANCED_ACCURACY, AUC, *_MAX_FPRS, TNR_AT_1)
# Of an AUC: sums of many shares are wrong after them, and then above 1 or outside of an interval that ends there.
DECIMALS = 12


def figures(part: Scores, weights: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Computes those of `FIGURES` that are named, under k weightings: values by name, shape (k,) each.

    Weights, shape (k, n), say how often each sample counts. Both classes weigh the same in all figures, as in the
    balanced evaluation: accuracy is balanced accuracy there.

    Raises:
        InputError: if membership is not known or one class is missing.
    """
    # Not the scores, which are all 1 above logits of about 37; in float64, so that no difference overflows.
    logit, is_member = np.asarray(part.logit, np.float64), membership(part)
    # They are sorted once for all weightings: that is what makes a thousand draws cheap.
    order = np.argsort(-logit, kind="stable")
    last_of_tie = np.append(np.diff(logit[order]) != 0, True)
    is_right = (logit > metrics.THRESHOLD) == is_member
    rates, right = [], []
    for side in (is_member, ~is_member):
        share = np.zeros((len(weights), len(logit)))
        share[:, side] = weights[:, side] / weights[:, side].sum(axis=1, keepdims=True)
        right.append(share[:, side] @ is_right[side])
        rates.append(np.pad(np.cumsum(share[:, order], axis=1)[:, last_of_tie], ((0, 0), (1, 0))))
    true_positive_rate, false_positive_rate = rates

    def figure(name: str) -> np.ndarray:
        if name == AUC:
            middles = (true_positive_rate[:, 1:] + true_positive_rate[:, :-1]) / 2
            return np.round(np.sum(np.diff(false_positive_rate) * middles, axis=1), DECIMALS)
        if name in (ACCURACY, BALANCED_ACCURACY):
            return np.mean(right, 0)
        if name == TNR_AT_1:
            allowed = true_positive_rate >= 1 - metrics.LOW_FPR - 1e-12
            return np.where(allowed, 1 - false_positive_rate, 0.0).max(axis=1)
        # Sums of shares may exceed the rate by rounding alone.
        allowed = false_positive_rate <= _MAX_FPRS[name] + 1e-12
        return np.where(allowed, true_positive_rate, 0.0).max(axis=1)

    return {name: figure(name) for name in names}


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


def people_of(part: Scores) -> np.ndarray:
    """Returns the person of every sample, shape (n,); all of a database of whom nobody knows who they are are one."""
    return known_units(part.samples.people())


def count_people(part: Scores) -> tuple[int, int]:
    """Returns the numbers of people among the members and among the externals, see `people_of`."""
    people, is_member = people_of(part), membership(part)
    return len(np.unique(people[is_member])), len(np.unique(people[~is_member]))


def effective_people(part: Scores) -> float:
    """Returns how many people with as many photos each the smaller side is worth, at most those that it has (Kish)."""
    people, is_member = people_of(part), membership(part)
    nums = [np.unique(people[side], return_counts=True)[1] for side in (is_member, ~is_member)]
    return min(float(num.sum() ** 2 / (num**2).sum()) for num in nums)


def largest_by_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Returns the largest value of each person, in the order of their names."""
    names, person_of = np.unique(people, return_inverse=True)
    largest = np.full(len(names), -np.inf)
    np.maximum.at(largest, person_of, values)
    return largest


def one_photo_each(part: Scores, is_counted: np.ndarray) -> np.ndarray:
    """Returns the rows of one photo of each person, among those that a mask of shape (n,) counts."""
    rows = np.flatnonzero(is_counted)
    # The photo whose sample_id comes first: that has nothing to do with its score.
    rows = rows[np.argsort(part.samples.sample_id[rows], kind="stable")]
    _, first = np.unique(people_of(part)[rows], return_index=True)
    return rows[first]


def summarise(scores: Scores, of_evaluate: Mapping[str, Any] | None = None) -> ResultRow:
    """Returns scores as a line of results.jsonl; accuracy, loss and cross_entropy are those of `evaluate`, if given.

    Raises:
        InputError: if nobody knows who is a member, or all are of one class.
    """
    is_member = membership(scores)
    if of_evaluate is None:
        # A head's loss has its L1 penalty besides; scores alone know nothing of it.
        cross_entropy = metrics.cross_entropy(is_member, scores.logit)
        accuracy = metrics.accuracy(is_member, scores.logit)
        of_evaluate = {"accuracy": accuracy, "loss": cross_entropy, "cross_entropy": cross_entropy}
    num_members = int(is_member.sum())
    return ResultRow(
        scorer=scores.scorer,
        tap=scores.tap,
        evaluation=scores.evaluation,
        seed=scores.seed,
        num_members=num_members,
        num_externals=len(is_member) - num_members,
        auc=metrics.auc(is_member, scores.logit),
        tpr_at_1_fpr=metrics.tpr_at_fpr(is_member, scores.logit),
        model=scores.model,
        **of_evaluate,
    )
