"""Exact binomial limits, and what a number of people can certify."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from mint_keras.records import InputError, Scores
from mint_keras.statistics import figures, metrics
from mint_keras.statistics.intervals import CONFIDENCE, Estimate


def exact_interval(num_hits: int, num: int) -> Estimate:
    """Returns a share of independent people with Clopper and Pearson's two-sided interval (Biometrika 26, 1934).

    Raises:
        InputError: if there is nobody.
    """
    if num < 1:
        raise InputError("Expected at least one person to count, received none.")
    interval = stats.binomtest(num_hits, num).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(num_hits / num, float(interval.low), float(interval.high), 1)


def upper_limit(num_hits: int, num: int) -> float:
    """Returns what a rate is at most, one-sided, after so many hits in independent trials; 1 where nothing was tried.

    The limit is Clopper and Pearson's, of 95% as all here.

    Raises:
        InputError: if there are more hits than trials.
    """
    _check_trials(num_hits, num)
    # The beta quantile is not defined where every trial was a hit.
    return 1.0 if num_hits == num else float(stats.beta.ppf(CONFIDENCE, num_hits + 1, num - num_hits))


def lower_limit(num_hits: int, num: int) -> float:
    """Returns what a rate is at least, one-sided, as `upper_limit` does; it is 0 where nothing was tried."""
    _check_trials(num_hits, num)
    return float(stats.beta.ppf(1 - CONFIDENCE, num_hits, num - num_hits + 1)) if num_hits else 0.0


def _check_trials(num_hits: int, num: int) -> None:
    if not 0 <= num_hits <= num:
        raise InputError(f"Expected from 0 up to as many hits as trials, received {num_hits} of {num}.")


def people_needed(fpr: float) -> int:
    """Returns how many external people, none of them accused, certify a false-positive rate.

    Photos are not counted: ten of one person are not ten trials.

    Raises:
        InputError: if the rate is not between 0 and 1.
    """
    if not 0 < fpr < 1:
        raise InputError(f"Expected a false-positive rate between 0 and 1, received {fpr}.")
    # The rounding keeps the rate that n people just certify from asking for n + 1.
    return math.ceil(math.log1p(-CONFIDENCE) / math.log1p(-fpr) - 1e-9)


@dataclasses.dataclass(frozen=True)
class Certified:
    """A low false-positive rate that is certified, one-sided with 95%, and the true-positive rate there.

    A logit above the threshold says member; there is one for each training, and `num_allowed` external people may lie
    above it. No rate below `smallest_fpr` can be certified with so many external people.
    """

    max_fpr: float
    smallest_fpr: float
    thresholds: tuple[float, ...]
    num_allowed: int
    tpr: Estimate
    num_members: int
    num_externals: int

    def describe(self) -> str:
        """Returns what is certified, and what cannot be, as sentences."""
        needed = people_needed(metrics.LOW_FPR)
        more = f" ({metrics.LOW_FPR:.0%} takes {needed})" if self.num_externals < needed else ""
        return (
            f"At a false-positive rate of at most {100 * self.max_fpr:.2g}%, {self.tpr} of the claimed members are "
            f"found, by one photo of each of {self.num_members:,} people. With {self.num_externals:,} people who are "
            f"no members, no false-positive rate below {100 * self.smallest_fpr:.2g}% can be certified{more}."
        )


def certify(parts: Sequence[Scores], max_fpr: float = metrics.LOW_FPR) -> Certified:
    """Finds thresholds for a low false-positive rate, and the true-positive rate there.

    The bootstrap cannot do this: where three people decide, it draws the same three again. External people count with
    their highest logit, so that the bound holds for any number of photos. How many of them may exceed the threshold
    follows from their number alone, so that the threshold, an order statistic, has the rate with the stated confidence
    (Wilks, 1941). Members count with one photo each, so that Clopper and Pearson's interval is exact for the mean over
    people. People who are on both sides count on one, every other one by name.

    Args:
        parts: Scores of one scorer, one entry for each training seed. The true-positive rate is the mean over them,
            between the lowest and the highest end of their intervals.
        max_fpr: The rate that is wanted. If there are too few people, it is the smallest that they can certify.

    Raises:
        InputError: if membership is not known.
    """
    thresholds, rates = [], []
    for part in parts:
        is_member = figures.membership(part)
        people, logit = figures.people_of(part), np.asarray(part.logit, np.float64)
        # A threshold from a person's own other photos would make that person's trial depend on it.
        both = np.intersect1d(people[is_member], people[~is_member])
        is_counted = np.where(is_member, ~np.isin(people, both[::2]), ~np.isin(people, both[1::2]))
        is_external = is_counted & ~is_member
        highest = figures.largest_by_person(logit[is_external], people[is_external])
        num = len(highest)
        smallest = upper_limit(0, num)
        limits = stats.beta.ppf(CONFIDENCE, np.arange(num) + 1, num - np.arange(num))
        # Rounding must not forbid the one case in which nobody is allowed.
        num_allowed = int(np.flatnonzero(limits <= max(max_fpr, smallest) + 1e-12).max())
        thresholds.append(float(np.sort(highest)[::-1][num_allowed]))
        rows = figures.one_photo_each(part, is_counted & is_member)
        num_found = int(np.count_nonzero(logit[rows] > thresholds[-1]))
        rates.append(exact_interval(num_found, len(rows)))
    ends = min(rate.low for rate in rates), max(rate.high for rate in rates)
    tpr = Estimate(float(np.mean([rate.value for rate in rates])), *ends, len(rates))
    return Certified(max(max_fpr, smallest), smallest, tuple(thresholds), num_allowed, tpr, len(rows), num)
