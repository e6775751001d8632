"""How far accuracies would move with other people and another training: a bootstrap over identities and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras.audit import metrics
from mint_keras.records import InputError, Scores

NUM_DRAWS = 1002  # divides by 1, 2, 3 and 6 seeds
_CONFIDENCE = 0.95
_CHUNK = 2**22  # weights held at once


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the mean over training seeds.
        low: lower end of the 95% interval of one training, on other people like these.
        high: upper end.
        num_seeds: trainings behind it.
    """

    value: float
    low: float
    high: float
    num_seeds: int

    @property
    def half_width(self) -> float:
        """Half of the interval's width: what stands behind a ± sign."""
        return (self.high - self.low) / 2


def estimate(parts: Sequence[Scores], num_draws: int = NUM_DRAWS, seed: int = 1) -> dict[str, Estimate]:
    """Estimates accuracy, AUC and TPR at 1% FPR with intervals that respect identities and training seeds.

    A draw takes one of the trainings, and people with replacement, within each class, all photos of a person together:
    photos of one person are alike, so photos drawn on their own would make the interval too narrow. A class weighs as
    much as the other in every draw, as in the balanced evaluation. How much databases differ from one another cannot
    be seen in one evaluation database: no interval says it.

    Args:
        parts: scores of one scorer, tap and evaluation, one entry for each training seed.
        num_draws: in all; every training gets an equal share.
        seed: of the draws.

    Returns:
        Estimates by name: "accuracy", "auc", "tpr_at_1_fpr".

    Raises:
        InputError: if there are no scores, or their membership is not known.
    """
    if not parts:
        raise InputError("Expected scores of at least one training, received none.")
    rng = np.random.default_rng(seed)
    share = -(-num_draws // len(parts))
    values = [_figures(part, np.ones((1, len(part.logit)))) for part in parts]
    draws = [_draw(part, share, rng) for part in parts]
    tail = (1 - _CONFIDENCE) / 2
    found = {}
    for name in values[0]:
        low, high = np.quantile(np.concatenate([draw[name] for draw in draws]), [tail, 1 - tail])
        mean = float(np.mean([value[name] for value in values]))
        found[name] = Estimate(mean, float(low), float(high), len(parts))
    return found


def _draw(part: Scores, num_draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the figures of so many resamples of the people of one training's scores."""
    chunk = max(1, _CHUNK // len(part.logit))
    sizes = [min(chunk, num_draws - start) for start in range(0, num_draws, chunk)]
    found = [_figures(part, _weights(part, size, rng)) for size in sizes]
    return {name: np.concatenate([figures[name] for figures in found]) for name in found[0]}


def _weights(part: Scores, num_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Returns how often each sample is in each draw, shape (num_draws, n)."""
    is_member = _membership(part)
    weights = np.empty((num_draws, len(is_member)))
    people = part.samples.people()
    for rows in (np.flatnonzero(is_member), np.flatnonzero(~is_member)):
        names, person = np.unique(people[rows], return_inverse=True)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), num_draws)
        weights[:, rows] = times[:, person]
    return weights


def _figures(part: Scores, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns accuracy, AUC and TPR at 1% FPR of weighted samples, one value for each row of weights (k, n)."""
    is_member = _membership(part)
    score = part.score
    sides = [weights[:, side] / weights[:, side].sum(axis=1, keepdims=True) for side in (is_member, ~is_member)]
    right = (score > metrics.THRESHOLD) == is_member
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    rates = np.zeros((2, len(weights), len(score)))
    for rate, side, weight in zip(rates, (is_member, ~is_member), sides, strict=True):
        rate[:, side] = weight
    true_positive_rate, false_positive_rate = (
        np.pad(np.cumsum(rate[:, order], axis=1)[:, last_of_tie], ((0, 0), (1, 0))) for rate in rates
    )
    steps, middles = np.diff(false_positive_rate), (true_positive_rate[:, 1:] + true_positive_rate[:, :-1]) / 2
    # Sums of shares may exceed 0.01 by rounding alone.
    allowed = np.where(false_positive_rate <= metrics.LOW_FPR + 1e-12, true_positive_rate, 0.0)
    return {
        "accuracy": np.mean([side @ right[mask] for side, mask in zip(sides, (is_member, ~is_member), strict=True)], 0),
        "auc": np.sum(steps * middles, axis=1),
        "tpr_at_1_fpr": allowed.max(axis=1),
    }


def _membership(part: Scores) -> np.ndarray:
    if part.is_member is None:
        raise InputError(f"Expected scores with known membership, received {part.evaluation!r} without.")
    return part.is_member
