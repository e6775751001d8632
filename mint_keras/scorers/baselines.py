"""Scores that are not a head's, to compare the heads with. Each looks at the same samples as the heads.

The membership inference attack of the paper's Table 6, adapted there to the original model, needs no code here: it is
the vanilla head on the tap `outcome`, a row of every table.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mint_keras import vectors
from mint_keras.aad import pooling, signals
from mint_keras.audited import taps
from mint_keras.records import Observations
from mint_keras.scorers.contract import Fitted, Needs

# What a baseline may look at beside the two of `aad.signals`.
OUTCOME = taps.OUTCOME  # embeddings, (n, d)
MAXIMA = "maxima"  # the largest value of every channel of the taps in question, (n, c)
FIRST_MAXIMA = "first_maxima"  # those of the run's first tap, the nearest to the pixels

EMBEDDING_NORM = "embedding_norm"
ALPHA = 0.05  # the false-positive rate that `fit_quantile` puts its threshold at


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A way to score samples without a head.

    Attributes:
        fit: From what was seen of the heads' training samples, and which of them are members, (n,), bool, to a function
            from what was seen of k samples to their logits, (k,), float32; NaN where a sample cannot be scored.
        inputs: What it looks at.
        tap: What its scores say it looks at; None if it looks at each tap with maps, and at their combination.
        meaning: One line for the legend of a table.
        unscored: Why samples can be without a score.
    """

    fit: Callable[[Observations, np.ndarray], Fitted]
    inputs: tuple[str, ...]
    tap: str | None
    meaning: str
    unscored: str = ""


@dataclasses.dataclass(frozen=True)
class BaselineScorer:
    """A baseline, a key of `BASELINES`, on a group of taps, whose maxima it is given; see `scorers.contract.Scorer`."""

    name: str
    tap: str
    group: tuple[str, ...]

    @property
    def needs(self) -> Needs:
        """The group's taps, the outcome unless it looks at maxima alone, and its signals."""
        inputs = BASELINES[self.name].inputs
        if inputs == (MAXIMA,):
            return Needs(self.group)
        signalled = tuple(name for name in (signals.STABILITY, signals.BN_DISTANCE) if name in inputs)
        return Needs(tuple(dict.fromkeys([*self.group, OUTCOME])), signals=signalled)

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns from the heads' training samples; nothing about it is random."""
        del seed
        fitted = BASELINES[self.name].fit(self._look(seen), is_member)
        return lambda others: fitted(self._look(others))

    def _look(self, seen: Observations) -> Observations:
        def values_of(name: str) -> np.ndarray:
            if name not in (MAXIMA, FIRST_MAXIMA):
                return seen[name][:]
            names = (pooling.array_name(tap, pooling.MAX, tap != OUTCOME) for tap in self.group)
            return np.concatenate([seen[array][:] for array in names], axis=1)

        return Observations(seen.table, {name: values_of(name) for name in BASELINES[self.name].inputs})


def scorers_of(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[BaselineScorer]:
    """Returns keys of `BASELINES` as scorers beside the heads of a run, whose taps are grouped by the head's name."""
    maps = {name: tuple(group) for name, group in groups.items() if OUTCOME not in group}
    found = []
    for name in names:
        tap = BASELINES[name].tap
        # The first group is the tap nearest to the pixels: it goes to whoever looks at no particular tap.
        looked_at = maps if tap is None else {tap: next(iter(maps.values()), ())}
        found += [BaselineScorer(name, tap, group) for tap, group in looked_at.items()]
    return found


def compactness(outcome: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Returns the mean cosine of every embedding with the others of the same person, (n,); NaN if there are none."""
    units = vectors.unit_rows(outcome)
    _, who, counts = np.unique(person, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), units.shape[1]))
    np.add.at(sums, who, units)
    others = counts[who] - 1
    cosines = (units * (sums[who] - units)).sum(axis=1)
    return np.divide(cosines, others, out=np.full(len(units), np.nan), where=others > 0)


def _lengths(seen: Observations) -> np.ndarray:
    return np.linalg.norm(np.asarray(seen[OUTCOME], np.float64), axis=1)


def _fit_threshold(
    statistic: Callable[[Observations], np.ndarray], train: Observations, is_member: np.ndarray
) -> Fitted:
    """Learns a threshold, half way between the classes' means; logits are standard deviations above it."""
    # A larger statistic always means member, so scores can be wrong, and below chance, but not turned round.
    values = statistic(train)
    is_known = np.isfinite(values)
    sides = [values[is_known & is_member], values[is_known & ~is_member]]
    threshold = sum(side.mean() for side in sides) / 2 if all(map(len, sides)) else np.nan
    scale = max(values[is_known].std(), 1e-12) if is_known.any() else 1.0
    return lambda seen: ((statistic(seen) - threshold) / scale).astype(np.float32)


def fit_logistic_regression(name: str, train: Observations, is_member: np.ndarray) -> Fitted:
    """Returns a scorer by logistic regression on one feature, standardised, with the classes in balance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Weights balance the classes as the heads' batches do.
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    model.fit(np.asarray(train[name], np.float64), is_member)
    return lambda seen: model.decision_function(np.asarray(seen[name], np.float64)).astype(np.float32)


def fit_quantile(value: Callable[[Observations], np.ndarray], train: Observations, is_member: np.ndarray) -> Fitted:
    """Scores a face by how much a value of it is larger than an external's of its kind may be (arXiv 2307.03694).

    From externals alone, boosted trees learn the 95% quantile of the value, given the maxima of the first tap: how a
    face looks, before the model has recognised anybody. Half of the people train the trees, the other half move the
    quantile to where 5% of their faces lie above it (conformalised quantile regression, arXiv 1905.03222), so that a
    logit above 0 has a false-positive rate of 5% for externals like these. Members teach it nothing.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    # It looks at the first tap and not at the embedding, of which its score is a function.
    values = value(train)
    known = ~is_member & np.isfinite(values)
    norm, look = values[known], train[FIRST_MAXIMA][known]
    _, number = np.unique(train.people()[known], return_inverse=True)
    is_fitted = number % 2 == 0
    num = int((~is_fitted).sum())
    place = math.ceil((num + 1) * (1 - ALPHA))
    if place > num:  # too few to say what 5% of them exceed
        return lambda seen: np.full(len(seen[OUTCOME]), np.nan, np.float32)
    # A quantile needs some faces above it: a leaf of 100 has five.
    trees = HistGradientBoostingRegressor(
        loss="quantile", quantile=1 - ALPHA, min_samples_leaf=round(5 / ALPHA), early_stopping=False
    )
    trees.fit(look[is_fitted], norm[is_fitted])
    excess = norm[~is_fitted] - trees.predict(look[~is_fitted])
    threshold, scale = np.sort(excess)[place - 1], max(excess.std(), 1e-12)

    def score(seen: Observations) -> np.ndarray:
        above = value(seen) - trees.predict(seen[FIRST_MAXIMA]) - threshold
        return (above / scale).astype(np.float32)

    return score


BASELINES = {
    # Networks give longer embeddings to faces that they know well.
    EMBEDDING_NORM: Baseline(
        functools.partial(_fit_threshold, _lengths),
        (OUTCOME,),
        OUTCOME,
        "the length of the embedding; a longer one means member",
    ),
    # Networks draw the faces of their own people together.
    "compactness": Baseline(
        functools.partial(_fit_threshold, lambda seen: compactness(seen[OUTCOME], seen.people())),
        (OUTCOME,),
        OUTCOME,
        "mean cosine with the person's other faces in the evaluation; a larger one means member",
        "the others are the only face of their person, or nobody's in training has two",
    ),
    "stability": Baseline(
        functools.partial(_fit_threshold, lambda seen: seen[signals.STABILITY].mean(axis=1)),
        (signals.STABILITY,),
        OUTCOME,
        "mean cosine with the embeddings of the face mirrored and moved by 4 pixels; a larger one means member",
    ),
    # What arXiv 2401.13719 looks at.
    "bn_distance": Baseline(
        functools.partial(fit_logistic_regression, signals.BN_DISTANCE),
        (signals.BN_DISTANCE,),
        "normalisations",
        "logistic regression on the distances to the running statistics of each batch normalisation",
    ),
    "qmia": Baseline(
        functools.partial(fit_quantile, _lengths),
        (OUTCOME, FIRST_MAXIMA),
        OUTCOME,
        "length of the embedding above its 95% quantile among externals that look alike; accuracy is at 5% FPR",
        "fewer than 19 externals of other people are left to set its threshold",
    ),
    "max_pool_lr": Baseline(
        functools.partial(fit_logistic_regression, MAXIMA),
        (MAXIMA,),
        None,
        "logistic regression on what the vanilla head sees",
    ),
}
