"""Bounds by formula: variances that know people, exact binomial limits, and what a number of people can certify."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import special, stats

from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.statistics import figures, metrics
from mint_keras.statistics.intervals import CONFIDENCE, Estimate


def clustered_auc_variance(part: Scores) -> float:
    """Returns the variance of the AUC where photos come in people (Obuchowski, Biometrics 53, 1997).

    A photo's placement is the share of the other class that it outscores, ties counting half. Placements of a person
    are added up, on both sides if the person is on both, and their spread over people is the variance. People with
    one photo each give DeLong's variance.

    Raises:
        InputError: if membership is not known, or there are fewer than two people.
    """
    is_member = figures.membership(part)
    member, external = part.score[is_member], part.score[~is_member]
    names, person = np.unique(part.samples.people(), return_inverse=True)
    sums = []
    for mask, placement in (
        (is_member, _share_below(external, member)),
        (~is_member, 1 - _share_below(member, external)),
    ):
        above = placement - placement.mean()  # the mean is the AUC on both sides
        num_people = len(np.unique(person[mask]))
        if num_people < 2:
            raise InputError(f"Expected at least two people on each side, received {num_people}.")
        scale = np.sqrt(num_people / (num_people - 1)) / len(placement)
        sums.append(scale * np.bincount(person[mask], above, len(names)))
    return float(np.sum((sums[0] + sums[1]) ** 2))


def _share_below(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Returns, for each of `of`, the share of values below it, ties counting half."""
    values = np.sort(values)
    return (np.searchsorted(values, of, "left") + np.searchsorted(values, of, "right")) / (2 * len(values))


def auc_interval(part: Scores, confidence: float = CONFIDENCE) -> Estimate:
    """Returns the AUC of one training with Obuchowski's interval, on the logit scale with t quantiles.

    `intervals.student` with the formula in place of draws.

    Raises:
        InputError: see `clustered_auc_variance`; also for an AUC of 0 or 1, whose variance the formula takes for 0.
    """
    area = metrics.auc(figures.membership(part), part.score)
    if not 0 < area < 1:
        raise InputError(f"Expected an AUC between 0 and 1, received {area:g}. Take `intervals.estimate`.")
    deviation = math.sqrt(clustered_auc_variance(part)) / (area * (1 - area))
    half = stats.t.ppf((1 + confidence) / 2, min(figures.count_people(part)) - 1) * deviation
    low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Estimate(area, float(low), float(high), 1)


def delong_interval(part: Scores, confidence: float = CONFIDENCE) -> Estimate:
    """Returns the AUC with DeLong's interval (Biometrics 44, 1988), which takes photos for independent.

    Raises:
        InputError: if a person has more than one photo.
    """
    one_photo_each(part.samples.people(), "DeLong's interval")
    area = metrics.auc(figures.membership(part), part.score)
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(clustered_auc_variance(part))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half), 1)


def exact_rate(is_hit: np.ndarray, people: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Returns a share of photos with Clopper and Pearson's two-sided interval (Biometrika 26, 1934).

    Args:
        is_hit: shape (n,), bool.
        people: who is on each photo, shape (n,), str.
        confidence: that the interval contains the rate; at least, because it is exact.

    Raises:
        InputError: if a person has more than one photo, or there is none.
    """
    one_photo_each(people, "The exact binomial interval")
    return exact_interval(int(np.count_nonzero(is_hit)), len(is_hit), confidence)


def exact_interval(num_hits: int, num: int, confidence: float = CONFIDENCE) -> Estimate:
    """Returns a share of independent people with Clopper and Pearson's interval; see `exact_rate`.

    Raises:
        InputError: if there is nobody.
    """
    if num < 1:
        raise InputError("Expected at least one person to count, received none.")
    interval = stats.binomtest(num_hits, num).proportion_ci(confidence, method="exact")
    return Estimate(num_hits / num, float(interval.low), float(interval.high), 1)


def upper_limit(num_hits: int, num: int, confidence: float = CONFIDENCE) -> float:
    """Returns what a rate is at most, one-sided, after so many hits in independent trials (Clopper and Pearson).

    Raises:
        InputError: if there is no trial.
    """
    _check_trials(num_hits, num)
    return 1.0 if num_hits == num else float(stats.beta.ppf(confidence, num_hits + 1, num - num_hits))


def lower_limit(num_hits: int, num: int, confidence: float = CONFIDENCE) -> float:
    """Returns what a rate is at least, one-sided; see `upper_limit`."""
    _check_trials(num_hits, num)
    return float(stats.beta.ppf(1 - confidence, num_hits, num - num_hits + 1)) if num_hits else 0.0


def _check_trials(num_hits: int, num: int) -> None:
    if not 0 <= num_hits <= num or num < 1:
        raise InputError(f"Expected up to as many hits as trials, and at least one trial, got {num_hits} of {num}.")


def one_photo_each(people: np.ndarray, what: str) -> None:
    """Refuses what holds for independent photos only.

    Raises:
        InputError: if a person has more than one photo.
    """
    names, counts = np.unique(people, return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"{what} is for one photo per person, received {np.count_nonzero(counts > 1)} of {len(names)} people with "
            "more. Take the bootstrap over identities (`intervals.estimate`), or one photo of each."
        )


def fpr_floor(num_people: int, confidence: float = CONFIDENCE) -> float:
    """Returns the smallest false-positive rate that so many external people can certify: when none is accused.

    One-sided: with no false positive among n people the rate is at most 1 - (1 - confidence)^(1/n). Photos are not
    counted: ten of one person are not ten trials.

    Raises:
        InputError: if there is nobody.
    """
    if num_people < 1:
        raise InputError("Expected at least one external person, received none.")
    return -math.expm1(math.log1p(-confidence) / num_people)


def people_needed(fpr: float, confidence: float = CONFIDENCE) -> int:
    """Returns how many external people, none of them accused, certify a false-positive rate.

    Raises:
        InputError: if the rate is not between 0 and 1.
    """
    if not 0 < fpr < 1:
        raise InputError(f"Expected a false-positive rate between 0 and 1, received {fpr}.")
    # The rounding keeps 0.05**(1/n) against its own floor.
    return math.ceil(math.log1p(-confidence) / math.log1p(-fpr) - 1e-9)


def check_claim(fpr: float, num_people: int, confidence: float = CONFIDENCE) -> None:
    """Refuses claims about false-positive rates that are too small for the number of people.

    Raises:
        RefusedError: if even no false positive among them would not certify the rate.
    """
    if people_needed(fpr, confidence) > num_people:
        raise RefusedError(f"A false-positive rate of {fpr:.2%} is no claim to make here. {describe_floor(num_people)}")


def describe_floor(num_people: int, confidence: float = CONFIDENCE) -> str:
    """Returns what so many external people can certify, as sentences."""
    needed = ", ".join(f"{people_needed(fpr, confidence):,} people for {fpr:.2%}" for fpr in metrics.LOW_FPRS)
    return (
        f"{num_people:,} external people certify a false-positive rate of {fpr_floor(num_people, confidence):.2%} at "
        f"best ({confidence:.0%}, one-sided), when none of them is accused; it takes {needed}."
    )


@dataclasses.dataclass(frozen=True)
class Certified:
    """A threshold with the error rates that hold for it, each at the stated one-sided confidence.

    Attributes:
        threshold: a logit above it says member.
        max_fpr: the false-positive rate is at most this.
        num_allowed: external people who may lie above the threshold.
        min_tpr: the true-positive rate is at least this.
        tpr: observed, one photo of each member.
        num_members: people behind the true-positive rate.
        num_externals: people behind the false-positive rate.
    """

    threshold: float
    max_fpr: float
    num_allowed: int
    min_tpr: float
    tpr: float
    num_members: int
    num_externals: int


def certify(part: Scores, max_fpr: float, confidence: float = CONFIDENCE) -> Certified:
    """Finds a threshold for a low false-positive rate, and a lower bound of the true-positive rate there.

    The bootstrap cannot do this: where three people decide, it draws the same three again. External people count with
    their highest logit, so that the bound holds for any number of photos. How many of them may exceed the threshold
    follows from their number alone, so that the threshold, an order statistic, has the rate with the stated confidence
    (Wilks, 1941). Members count with the photo whose sample_id comes first, which has nothing to do with its score;
    Clopper and Pearson's limit is then exact for the mean over people. Both hold together with 1 - 2 (1 - confidence).

    Raises:
        InputError: if membership is not known, or people are on both sides.
        RefusedError: if there are too few external people for the rate.
    """
    is_member = figures.membership(part)
    people, logit = part.samples.people(), np.asarray(part.logit, np.float64)
    if len(on_both := np.intersect1d(people[is_member], people[~is_member])):
        raise InputError(f"Expected other people as externals than as members, received {len(on_both)} who are both.")
    highest = largest_by_person(logit[~is_member], people[~is_member])
    num = len(highest)
    check_claim(max_fpr, num, confidence)
    allowed = np.arange(num)
    limits = stats.beta.ppf(confidence, allowed + 1, num - allowed)
    num_allowed = int(np.flatnonzero(limits <= max_fpr + 1e-12).max())
    threshold = np.sort(highest)[::-1][num_allowed]
    rows = np.flatnonzero(is_member)[np.argsort(part.samples.sample_id[is_member], kind="stable")]
    _, first = np.unique(people[rows], return_index=True)
    num_found, num_members = int(np.count_nonzero(logit[rows[first]] > threshold)), len(first)
    lower = lower_limit(num_found, num_members, confidence)
    return Certified(float(threshold), max_fpr, num_allowed, lower, num_found / num_members, num_members, num)


def largest_by_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Returns the largest value of each person, in the order of their names."""
    names, person = np.unique(people, return_inverse=True)
    largest = np.full(len(names), -np.inf)
    np.maximum.at(largest, person, values)
    return largest
