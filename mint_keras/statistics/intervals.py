"""How far figures would move with other people and another training: a bootstrap over identities and seeds."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mint_keras.records import InputError, Scores
from mint_keras.statistics import figures

NUM_DRAWS = 1002  # divides by 1, 2, 3 and 6 seeds
CONFIDENCE = 0.95
RATE, DIFFERENCE = "rate", "difference"
DEFAULT_NAMES = (figures.ACCURACY, figures.AUC, figures.TPR_AT_1)
_ROUNDING = 1e-9  # sums of shares are 1 up to this
_CHUNK = 2**22  # weights held at once, 32 MB


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its interval. As text it is `value [low, high]`.

    The value is the mean over training seeds. The interval is the 95% interval of one training, on other people like
    these.
    """

    value: float
    low: float
    high: float
    num_seeds: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def half_width(self) -> float:
        """Half of the interval's width: what stands behind a ± sign."""
        return (self.high - self.low) / 2


def estimate(
    parts: Sequence[Scores],
    num_draws: int = NUM_DRAWS,
    seed: int = 1,
    names: Sequence[str] = DEFAULT_NAMES,
    method: str = "percentile",
) -> dict[str, Estimate]:
    """Estimates figures with intervals that respect identities and training seeds.

    A draw takes one of the trainings, and people with replacement, within each class, all photos of a person together:
    photos of one person are alike, so photos drawn on their own would make the interval too narrow. A class weighs as
    much as the other in every draw, as in the balanced evaluation. How much databases differ from one another cannot
    be seen in one evaluation database: no interval says it. Nor can draws bound a true-positive rate at a
    false-positive rate that a handful of people decide: `bounds.certify` does.

    Scores are of one scorer, tap and evaluation, one entry for each training seed, each of which gets an equal share of
    the draws. Names are of `figures.FIGURES`; the method, a key of `METHODS`, says how draws become an interval.

    Raises:
        InputError: if there are no scores, or their membership is not known.
    """
    draws = draw(parts, num_draws, seed, names)
    values = [plain_figures(part, names) for part in parts]
    num_people = min(map(figures.effective_people, parts))
    return {name: METHODS[method]([one[name] for one in values], draws[name], num_people, RATE) for name in names}


def draw(parts: Sequence[Scores], num_draws: int, seed: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the draws that are behind `estimate`, by name, shape (k,)."""
    if not parts:
        raise InputError("Expected scores of at least one training, received none.")
    drawn = resample([(part,) for part in parts], num_draws, seed, names)
    return {name: widened(np.concatenate([of[0][name] for of in drawn]), parts) for name in names}


def widened(draws: np.ndarray, parts: Sequence[Scores]) -> np.ndarray:
    """Returns draws of a figure, (k,), spread further about their mean where scores are cross-fitted.

    What was fitted without a fold was fitted on the other folds, so that the folds' figures are no independent draws:
    with K folds their mean has the variance of as many times 1 + K / (K - 1) (Nadeau and Bengio, Machine Learning 52,
    2003). Without it, intervals about an AUC of 0.5 miss it 17 times in 100 and not 5; with it 3 times
    (`studies.measure_coverage --cross-fitted`).
    """
    num = max(part.num_folds for part in parts)
    mean = draws.mean()
    return mean + np.sqrt(1 + num / (num - 1)) * (draws - mean) if num > 1 else draws


def plain_figures(part: Scores, names: Sequence[str]) -> dict[str, float]:
    """Returns figures of the scores as they are, by name."""
    found = figures.figures(part, np.ones((1, len(part.logit))), names)
    return {name: float(value.item()) for name, value in found.items()}


def percentile(values: Sequence[float], draws: np.ndarray, num_people: float, kind: str) -> Estimate:
    """Returns the mean of a figure's values, one for each training, with the percentiles of its draws.

    It is exact neither for few people nor near 0 and 1, where it is too short (`coverage`, docs/method.md).
    """
    if num_people < 2:
        return _anything(values, kind)
    # Too short for verdicts (93.5% in place of 95%, less near an AUC of 1): it stays for the tables published with it.
    tail = (1 - CONFIDENCE) / 2
    # Widened draws leave the range that a figure has.
    low, high = np.clip(np.quantile(draws, [tail, 1 - tail]), -1.0 if kind == DIFFERENCE else 0.0, 1.0)
    return Estimate(float(np.mean(values)), float(low), float(high), len(values))


def student(values: Sequence[float], draws: np.ndarray, num_people: float, kind: str) -> Estimate:
    """Returns the mean of a figure's values with a t interval from the draws' standard deviation; needs SciPy.

    Degrees of freedom are the people of the smaller side, less one: where few of them have most photos, as many as all
    are worth (`figures.effective_people`). The kind is `RATE`, or `DIFFERENCE` of rates.
    """
    from scipy import special, stats  # tables and the laptop do without

    if num_people < 2:
        return _anything(values, kind)
    value = float(np.mean(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num_people - 1) * np.std(draws))
    if kind == DIFFERENCE:
        return Estimate(value, max(-1.0, value - half), min(1.0, value + half), len(values))
    # A rate of 0 or 1 has no spread: its interval is what an exact binomial limit over people leaves.
    if not _ROUNDING < value < 1 - _ROUNDING:
        limit = ((1 - CONFIDENCE) / 2) ** (1 / num_people)
        low, high = (limit, 1.0) if value > 0.5 else (0.0, 1 - limit)
        return Estimate(value, low, high, len(values))
    # On the logit scale an AUC is nearer to normal (Qin and Hotilovac, Statist. Methods in Medical Research 17, 2008).
    half /= value * (1 - value)
    low, high = special.expit(special.logit(value) + np.array([-half, half]))
    return Estimate(value, float(low), float(high), len(values))


def _anything(values: Sequence[float], kind: str) -> Estimate:
    """Returns the mean of a figure's values with all that it can be: one person on a side says nothing of others."""
    return Estimate(float(np.mean(values)), -1.0 if kind == DIFFERENCE else 0.0, 1.0, len(values))


METHODS = {"percentile": percentile, "student": student}


def resample(
    trainings: Sequence[tuple[Scores, ...]], num_draws: int, seed: int, names: Sequence[str]
) -> list[list[dict[str, np.ndarray]]]:
    """Returns draws of named figures for each training and scorer; every training gets an equal share of the draws.

    The scorers of a training have scored the same samples in the same order, and share the people of each draw.
    """
    rng = np.random.default_rng(seed)
    share = -(-num_draws // len(trainings))
    drawn = []
    for training in trainings:
        # Verdicts ask for thousands of draws of the AUC alone: counting once who outranks whom is ten times as fast.
        ranks = [_ranks(part) for part in training] if list(names) == [figures.AUC] else []
        columns = ranks[0].columns if ranks and ranks[0] else np.arange(len(training[0].logit))
        # Draws of large evaluations are made in chunks, because a weight for every draw and sample would fill memory.
        chunk = max(1, _CHUNK // len(columns))
        found: list[list[dict[str, np.ndarray]]] = [[] for _ in training]
        for start in range(0, share, chunk):
            weights = _weights(training[0], min(chunk, share - start), rng, columns)
            for k, part in enumerate(training):
                rank = ranks[k] if ranks else None
                found[k].append({figures.AUC: rank.areas(weights)} if rank else figures.figures(part, weights, names))
        drawn.append([{name: np.concatenate([v[name] for v in values]) for name in names} for values in found])
    return drawn


class _Ranks(NamedTuple):
    """How often photos of each member outrank photos of each external, ties counting half, (members, externals)."""

    above: np.ndarray
    num: tuple[np.ndarray, np.ndarray]  # photos of each
    columns: np.ndarray  # a row of each: members, then externals

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """Returns AUCs, (k,), from how often each person is drawn, (k, people)."""
        of_member, of_external = np.split(weights, [len(self.num[0])], axis=1)
        right = ((of_member @ self.above) * of_external).sum(axis=1)
        return np.round(right / ((of_member @ self.num[0]) * (of_external @ self.num[1])), figures.DECIMALS)


def _ranks(part: Scores) -> _Ranks | None:
    """Returns who outranks whom; None for too many photos."""
    is_member, people = figures.membership(part), figures.people_of(part)
    sides = [np.flatnonzero(is_member), np.flatnonzero(~is_member)]
    if len(sides[0]) * len(sides[1]) > _CHUNK:
        return None
    order = [rows[np.argsort(people[rows], kind="stable")] for rows in sides]
    start = [np.unique(people[rows], return_index=True)[1] for rows in order]
    member, external = (np.asarray(part.logit, np.float64)[rows] for rows in order)
    above = (member[:, None] > external).astype(np.float64) + 0.5 * (member[:, None] == external)
    above = np.add.reduceat(np.add.reduceat(above, start[0], axis=0), start[1], axis=1)
    num = tuple(np.diff(first, append=len(rows)) for first, rows in zip(start, order, strict=True))
    columns = np.concatenate([rows[first] for rows, first in zip(order, start, strict=True)])
    return _Ranks(above, (num[0], num[1]), columns)


def _weights(part: Scores, num_draws: int, rng: np.random.Generator, columns: np.ndarray) -> np.ndarray:
    """Returns how often some samples are in each draw, shape (num_draws, len(columns)).

    Members' people, externals' people, and people with photos on both sides are drawn as three groups.
    """
    is_member = figures.membership(part)
    weights = np.empty((num_draws, len(columns)))
    people = figures.people_of(part)
    # Drawn apart, the two sides of one person would vary as if they were of different people.
    on_both = np.isin(people, np.intersect1d(people[is_member], people[~is_member]))
    groups = [(mask, np.unique(people[mask])) for mask in (is_member & ~on_both, ~is_member & ~on_both, on_both)]
    groups = [(mask, names) for mask, names in groups if len(names)]
    sizes = tuple(len(names) for _, names in groups)
    state = rng.bit_generator.state["state"]
    times, rng.bit_generator.state = _times(sizes, num_draws, (state["state"], state["inc"]))
    for (mask, names), of_group in zip(groups, times, strict=True):
        wanted = mask[columns]
        weights[:, wanted] = of_group[:, np.searchsorted(names, people[columns[wanted]])]
    return weights


# The scorers and controls of a verdict, and the rows of a table, are drawn from one seed and have as many people.
@functools.lru_cache(maxsize=12)  # three evaluations by three trainings fit
def _times(sizes: tuple[int, ...], num_draws: int, state: tuple[int, int]) -> tuple[list[np.ndarray], Any]:
    """Returns how often people of each group are drawn by a generator in some state, and its state afterwards."""
    bits = np.random.PCG64()
    bits.state |= {"state": {"state": state[0], "inc": state[1]}}
    rng = np.random.Generator(bits)
    drawn = [rng.multinomial(size, np.full(size, 1 / size), num_draws).astype(np.int32) for size in sizes]
    return [*drawn], bits.state
