"""Which of several ways to show a model its pixels is the one that it was trained with, and can that be told?

Accuracy cannot tell: networks recognise people through wrong colours and scalings almost as well (docs/fidelity.md).
What can is compared on the same faces, so that most of the chance is the same on both sides of every difference.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mint_keras import streams

NUM_DRAWS = 1000
CONFIDENCE = 0.99  # seven comparisons or so with the best


@dataclasses.dataclass(frozen=True)
class Ranked:
    """How well one convention does, with intervals that hold for other faces like these.

    Attributes:
        name: The convention.
        value: What was measured, see the function that ranked.
        low: Lower end of its 99% interval.
        high: Upper end.
        behind: How far it is behind the best, 0 or more.
        behind_low: Lower end of the interval of that difference, in which both are seen through the same faces.
        behind_high: Upper end.
    """

    name: str
    value: float
    low: float
    high: float
    behind: float
    behind_low: float
    behind_high: float


def by_margin(cosines: Mapping[str, np.ndarray], genuine: np.ndarray, seed: int) -> list[Ranked]:
    """Ranks by how far apart pairs of one person and pairs of two are: d' of the cosines; the larger the better.

    d' is the difference of the means over the root of the mean variance. Draws take pairs of both kinds.

    Args:
        cosines: Of every pair's embeddings, (n,), by convention.
        genuine: Whether a pair is of one person, (n,).
        seed: Seed of the draws.
    """
    rng = streams.stream(seed, streams.PIXELS)
    sides = [np.flatnonzero(genuine), np.flatnonzero(~genuine)]
    draws = [rng.choice(side, (NUM_DRAWS, len(side))) for side in sides]

    def margin(values: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
        one, other = (values[row] for row in rows)
        spread = np.sqrt((one.var(axis=-1) + other.var(axis=-1)) / 2)
        return (one.mean(axis=-1) - other.mean(axis=-1)) / np.maximum(spread, 1e-12)

    whole = {name: float(margin(values, sides)) for name, values in cosines.items()}
    return _ranked(whole, {name: margin(values, draws) for name, values in cosines.items()}, is_high_better=True)


def by_moments(moments: Mapping[str, np.ndarray], running: np.ndarray, seed: int) -> list[Ranked]:
    """Ranks by how far what goes into a normalisation is from what it saw in training; the smaller the better.

    It is the Kullback-Leibler divergence of normal distributions, from the running statistics, averaged over channels.

    Args:
        moments: Mean, and mean of the squares, of every channel in every face, (n, 2, channels), by convention.
        running: Running mean and variance of every channel, (2, channels).
        seed: Seed of the draws, which take faces.
    """
    num = len(next(iter(moments.values())))
    weights = streams.stream(seed, streams.PIXELS).multinomial(num, np.full(num, 1 / num), NUM_DRAWS) / num
    expected, variance = running[0], np.maximum(running[1], 1e-12)

    def divergence(mean: np.ndarray) -> np.ndarray:
        ratio = np.maximum(mean[..., 1, :] - mean[..., 0, :] ** 2, 1e-12) / variance
        distance = (mean[..., 0, :] - expected) ** 2 / variance
        return ((ratio + distance - 1 - np.log(ratio)) / 2).mean(axis=-1)

    wide = {name: values.astype(np.float64) for name, values in moments.items()}
    drawn = {name: divergence(np.einsum("dn,nmc->dmc", weights, values)) for name, values in wide.items()}
    whole = {name: float(divergence(values.mean(axis=0))) for name, values in wide.items()}
    return _ranked(whole, drawn, is_high_better=False)


def told(ranking: list[Ranked]) -> bool:
    """Tells whether the first is better than every other by more than chance."""
    return all(one.behind_low > 0 for one in ranking[1:])


def _ranked(whole: Mapping[str, float], draws: Mapping[str, np.ndarray], is_high_better: bool) -> list[Ranked]:
    sign = 1 if is_high_better else -1
    order = sorted(whole, key=lambda name: -sign * whole[name])
    best, found = order[0], []
    ends = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
    for name in order:
        low, high = np.percentile(draws[name], ends)
        behind = np.percentile(sign * (draws[best] - draws[name]), ends)
        difference = sign * (whole[best] - whole[name])
        found.append(Ranked(name, whole[name], *map(float, (low, high, difference, *behind))))
    return found
