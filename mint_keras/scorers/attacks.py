"""Published membership inference attacks as scorers: what each makes of the log-odds of the true person or class.

A face network has no classes any more. In their place stands the person: the log-odds of a photo are those of the
person's other photos against all other people (`scorers.log_odds`). Of classifiers they are those of the true class,
which samples say by an array `LABEL`. From there on each attack is as published.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from scipy import special, stats
from scipy.spatial import distance

from mint_keras import vectors
from mint_keras.aad.signals import BN_DISTANCE
from mint_keras.audited import taps
from mint_keras.data import splits
from mint_keras.records import Observations
from mint_keras.scorers import log_odds
from mint_keras.scorers.baselines import FIRST_MAXIMA, fit_logistic_regression, fit_quantile
from mint_keras.scorers.contract import Fitted, Needs, as_truth
from mint_keras.scorers.ingredients import cohort_of, columns

LABEL = "label"  # the number of each sample's class, (n,)
IS_IN = "is_in_"  # how names of arrays begin that say who is in a reference, (n,), bool; the reference's name follows
_SPREAD, _TINY = 1e-6, 1e-12  # the least standard deviation; the least that a logarithm is taken of
_PRIOR_REFERENCES = 4.0  # as much as so many references the variance of all photos counts for one photo's
# `a` and `gamma` of the paper, which takes 2: at a scale of 32 most probabilities are near 1, and nearly everybody ties
# (AUC 0.54 on a fine-tuned MobileFaceNet, where the calibrated loss has 0.85).
_RMIA_SLOPE, _RMIA_GAMMA = 0.3, 1.0


class Odds(NamedTuple):
    """Log-odds of n samples, (n,), and through r references, (n, r); and whom each is known to have been trained on."""

    audited: np.ndarray
    references: np.ndarray
    is_in: np.ndarray

    def side(self, is_in: bool) -> np.ndarray:
        """Returns the references' log-odds, (n, r), NaN where it is not known that the sample is on this side."""
        return np.where(self.is_in == is_in, self.references, np.nan)


@dataclasses.dataclass(frozen=True)
class Attack:
    """A published attack, a key of `ATTACKS`; see `scorers.contract.Scorer`."""

    name: str

    tap: ClassVar[str] = taps.OUTCOME

    @property
    def needs(self) -> Needs:
        """The outcome; some learn from labels."""
        return Needs((taps.OUTCOME,), has_labels=self.name in _LEARNING)

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns what the attack learns from samples of other people; see `contract.Scorer`."""
        del seed
        fitted = ATTACKS[self.name](_Known(seen, as_truth(is_member)))
        return lambda shown: fitted(shown).astype(np.float32)


class _Known(NamedTuple):
    """The samples that an attack is fitted on."""

    seen: Observations
    is_member: np.ndarray

    def odds(self, shown: Observations) -> Odds:
        """Returns the log-odds of samples against the people of the known ones, or among classes."""
        names, none = log_odds.references(shown), np.zeros(len(shown), bool)
        beside = [self.log_odds(shown, name) for name in names]
        is_in = [shown.arrays.get(f"{IS_IN}{name}", none) for name in names]
        references, inside = (np.reshape(one, (len(names), len(shown))).T for one in (beside, is_in))
        return Odds(self.log_odds(shown, taps.OUTCOME), references, inside.astype(bool))

    def log_odds(self, shown: Observations, name: str) -> np.ndarray:
        """Returns those of one network, whose embeddings or logits have this name."""
        if LABEL in shown.arrays:
            return of_class(shown[name], shown[LABEL])
        return log_odds.log_odds(shown[name], shown.people(), log_odds.people_of(self.seen[name], self.seen.people()))


def of_class(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns the log-odds of a class, (n,), of a classifier's logits, (n, classes)."""
    rows, others = np.arange(len(logits)), np.array(logits, np.float64)
    others[rows, label] = -np.inf
    return logits[rows, label] - special.logsumexp(others, axis=1)


def _plain(score: Callable[[Odds], np.ndarray]) -> Callable[[_Known], Fitted]:
    """Returns an attack that takes nothing from known samples but the other people."""
    return lambda known: lambda shown: score(known.odds(shown))


def _loss(log_odds_of: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, -log_odds_of)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns number, mean and sum of squared deviations of each row, (n,), NaN left out."""
    num = np.isfinite(values).sum(axis=1)
    mean = np.divide(np.nansum(values, axis=1), num, out=np.full(len(values), np.nan), where=num > 0)
    return num, mean, np.nansum((values - mean[:, None]) ** 2, axis=1)


def _pooled(values: np.ndarray) -> float:
    """Returns the standard deviation within rows, over all rows."""
    num, _, squares = _moments(values)
    return float(np.sqrt(max(squares.sum() / max((num - 1).clip(0).sum(), 1), _SPREAD**2)))


def _lira(known: _Known, is_online: bool, is_fixed: bool) -> Fitted:
    """LiRA (Carlini et al., arXiv 2112.03570): normal distributions of what references say, each sample's own.

    Online it is the ratio of the likelihoods among references that saw the sample and that did not; offline, how far
    above the latter the sample is. Where the spread is fixed, it is that of all samples.
    """
    at_known = known.odds(known.seen)
    pooled = {side: _pooled(at_known.side(side)) if is_fixed else None for side in (True, False)}

    def score(shown: Observations) -> np.ndarray:
        odds = known.odds(shown)

        def normal(side: bool) -> tuple[np.ndarray, np.ndarray]:
            num, mean, squares = _moments(odds.side(side))
            own = np.sqrt(np.divide(squares, num - 1, out=np.full(len(num), np.nan), where=num > 1))
            spread = np.maximum(own, _SPREAD) if pooled[side] is None else np.full(len(num), pooled[side])
            return mean, spread

        if is_online:
            return stats.norm.logpdf(odds.audited, *normal(True)) - stats.norm.logpdf(odds.audited, *normal(False))
        mean, spread = normal(False)
        return (odds.audited - mean) / spread

    return score


def _bavaria(known: _Known) -> Fitted:
    """BaVarIA-t (arXiv 2603.11799): Student's t in place of the normal, each variance drawn to that of all samples.

    Our reading: the mean has a flat prior, the variance an inverse-gamma one that counts as `_PRIOR_REFERENCES`. Where
    it is known who is in a reference it is the ratio of likelihoods; otherwise how unlikely so high a value is.
    """
    at_known = known.odds(known.seen)
    spread = {side: _pooled(at_known.side(side)) for side in (True, False)}

    def score(shown: Observations) -> np.ndarray:
        odds = known.odds(shown)

        def predicted(side: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            num, mean, squares = _moments(odds.side(side))
            freedom = _PRIOR_REFERENCES + np.maximum(num - 1, 0)
            variance = (_PRIOR_REFERENCES * spread[side] ** 2 + squares) / freedom
            return freedom, mean, np.sqrt(variance * (1 + 1 / np.maximum(num, 1)))

        outside = stats.t.logpdf(odds.audited, *predicted(False))
        if not odds.is_in.any():
            return -stats.t.logsf(odds.audited, *predicted(False))
        return stats.t.logpdf(odds.audited, *predicted(True)) - outside

    return score


def _rmia(known: _Known) -> Fitted:
    """RMIA offline (Zarifzadeh et al., arXiv 2312.03262): the share of other samples whose ratio the sample's exceeds.

    The ratio is the probability of the true person over what references that never saw the sample give it.
    """

    def ratio(odds: Odds) -> np.ndarray:
        outside = _moments(special.expit(odds.side(is_in=False)))[1]
        mean = 0.5 * ((1 + _RMIA_SLOPE) * outside + 1 - _RMIA_SLOPE)
        return special.expit(odds.audited) / mean

    population = np.sort(ratio(known.odds(known.seen)))

    def score(shown: Observations) -> np.ndarray:
        found = ratio(known.odds(shown))
        beaten = np.searchsorted(population, found / _RMIA_GAMMA, side="right") / len(population)
        return np.where(np.isfinite(found), beaten, np.nan)

    return score


def _trajectory(known: _Known) -> Fitted:
    """The loss trajectory (Liu et al., arXiv 2208.13702): logistic regression on the losses of checkpoints and model.

    References are its checkpoints. The paper distils them; here they are given.
    """

    def losses(shown: Observations) -> np.ndarray:
        odds = known.odds(shown)
        return _loss(np.column_stack([odds.references, odds.audited]))

    return _regression(losses, known)


def _user_embedding(known: _Known) -> Fitted:
    """The user-level attack on metric embeddings (Li et al., arXiv 2203.02077): how a person's photos lie together.

    Logistic regression on mean, spread and largest distance from the person's centroid, and the mean distance of pairs.
    """
    return _regression(lying_together, known)


def _regression(see: Callable[[Observations], np.ndarray], known: _Known) -> Fitted:
    """Returns logistic regression on numbers of samples, (n, k); NaN where there is one among these."""

    def given(shown: Observations) -> Observations:
        return Observations(shown.table, {"columns": see(shown)})

    columns_of = given(known.seen)
    kept = np.isfinite(columns_of["columns"]).all(axis=1)
    fitted = fit_logistic_regression("columns", columns_of.take(kept), known.is_member[kept])

    def score(shown: Observations) -> np.ndarray:
        numbers = see(shown)
        found = fitted(Observations(shown.table, {"columns": np.nan_to_num(numbers)}))
        return np.where(np.isfinite(numbers).all(axis=1), found, np.nan)

    return score


def lying_together(seen: Observations) -> np.ndarray:
    """Returns of every photo's person how far the photos lie from their centroid and from one another, (n, 4)."""
    found = np.zeros((len(seen), 4))
    unit = vectors.unit_rows(seen[taps.OUTCOME])
    for rows in splits.rows_by_person(seen.people()):
        away = np.linalg.norm(unit[rows] - unit[rows].mean(axis=0), axis=1)
        pairs = distance.pdist(unit[rows]).mean() if len(rows) > 1 else 0.0
        found[rows] = away.mean(), away.std(), away.max(), pairs
    return found


def _gradient_norm(known: _Known) -> Fitted:
    """The gradient's length (Nasr et al., arXiv 1812.00910), of a softmax loss to the own centroid; short for members.

    Of classifiers it is that of the cross-entropy by the logits.
    """
    if LABEL in known.seen.arrays:

        def of_logits(shown: Observations) -> np.ndarray:
            gradient = special.softmax(np.asarray(shown[taps.OUTCOME], np.float64), axis=1)
            gradient[np.arange(len(shown)), shown[LABEL]] -= 1
            return -np.log(np.maximum(np.linalg.norm(gradient, axis=1), _TINY))

        return of_logits
    cohort = cohort_of(known.seen, known.is_member)
    return lambda shown: -columns(shown, cohort, ["margin"])["margin/log_gradient"]


def _qmia(known: _Known) -> Fitted:
    """QMIA (Bertran et al., arXiv 2307.03694): the log-odds above their quantile among others that look alike."""

    def value(shown: Observations) -> np.ndarray:
        return known.odds(shown).audited

    return fit_quantile(value, known.seen, known.is_member)


def _confidence(known: _Known) -> Fitted:
    """Confidence (Salem et al., arXiv 1806.01246): the log-odds of the likeliest class, whichever is true."""
    del known

    def score(shown: Observations) -> np.ndarray:
        logits = shown[taps.OUTCOME]
        return of_class(logits, np.argmax(logits, axis=1))

    return score


def _entropy(known: _Known) -> Fitted:
    """Entropy (Salem et al., arXiv 1806.01246) of the probabilities, whichever class is true; low for members."""
    del known
    return lambda shown: -stats.entropy(special.softmax(np.asarray(shown[taps.OUTCOME], np.float64), axis=1), axis=1)


def _modified_entropy(known: _Known) -> Fitted:
    """The modified entropy (Song and Mittal, arXiv 2003.10595), which knows the true class; low for members."""
    del known

    def score(shown: Observations) -> np.ndarray:
        logits = np.asarray(shown[taps.OUTCOME], np.float64)
        # The log-odds of every class: log(1 - p) of a p near 1 would be rounded.
        odds = np.stack([of_class(logits, np.full(len(logits), k)) for k in range(logits.shape[1])], axis=1)
        right, wrong = special.expit(-odds) * special.log_expit(odds), special.expit(odds) * special.log_expit(-odds)
        return np.where(np.eye(logits.shape[1], dtype=bool)[shown[LABEL]], right, wrong).sum(axis=1)

    return score


def _batch_norm(known: _Known) -> Fitted:
    """Batch normalisation (arXiv 2401.13719): logistic regression on the distances to running statistics."""
    return _regression(lambda shown: np.log(np.maximum(np.asarray(shown[BN_DISTANCE], np.float64), _TINY)), known)


# By name: what is fitted on known samples. From the calibrated loss on they look at references.
ATTACKS: dict[str, Callable[[_Known], Fitted]] = {
    # Yeom et al., arXiv 1709.01604: a small loss.
    "loss": _plain(lambda odds: -_loss(odds.audited)),
    "confidence": _confidence,
    "entropy": _entropy,
    "modified_entropy": _modified_entropy,
    "gradient_norm": _gradient_norm,
    "qmia": _qmia,
    "user_embedding": _user_embedding,
    BN_DISTANCE: _batch_norm,
    # Watson et al., arXiv 2111.08440: a smaller loss than the references'.
    "calibrated_loss": _plain(lambda odds: _loss(odds.references).mean(axis=1) - _loss(odds.audited)),
    "loss_trajectory": _trajectory,
    "rmia": _rmia,
    "bavaria_t": _bavaria,
    "lira_offline_fixed": functools.partial(_lira, is_online=False, is_fixed=True),
    "lira_offline": functools.partial(_lira, is_online=False, is_fixed=False),
    "lira_online_fixed": functools.partial(_lira, is_online=True, is_fixed=True),
    "lira_online": functools.partial(_lira, is_online=True, is_fixed=False),
}
_OF_SEVERAL = ("lira_offline_fixed", "lira_offline", "lira_online_fixed", "lira_online")
_OF_CLASSES = ("confidence", "entropy", "modified_entropy")
_LEARNING = ("gradient_norm", "qmia", "user_embedding", BN_DISTANCE, "loss_trajectory")  # from labels


def available(seen: Observations) -> list[str]:
    """Returns the keys of `ATTACKS` that have what they look at: references, who is in them, classes, maxima."""
    names, has_labels = log_odds.references(seen), LABEL in seen.arrays
    is_in = [seen[f"{IS_IN}{name}"] for name in names if f"{IS_IN}{name}" in seen.arrays]
    lacking = {"user_embedding": has_labels} | dict.fromkeys(_OF_CLASSES, not has_labels)
    lacking |= {"qmia": FIRST_MAXIMA not in seen.arrays, BN_DISTANCE: BN_DISTANCE not in seen.arrays}
    lacking |= {name: len(names) < 2 for name in _OF_SEVERAL}
    lacking |= dict.fromkeys(("calibrated_loss", "loss_trajectory", "rmia", "bavaria_t"), not names)
    for name in ("lira_online_fixed", "lira_online"):
        lacking[name] |= not any(one.any() for one in is_in)
    return [name for name in ATTACKS if not lacking.get(name)]
