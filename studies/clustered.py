"""The AUC's variance by a formula that knows people: a check of the bootstrap."""

from __future__ import annotations

import math

import numpy as np
from scipy import special, stats

from mint_keras.records import InputError, Scores
from mint_keras.statistics import figures, metrics
from mint_keras.statistics.intervals import CONFIDENCE, Estimate


def clustered_auc_variance(part: Scores) -> float:
    """Returns the variance of the AUC where photos come in people (Obuchowski, Biometrics 53, 1997).

    A photo's placement is the share of the other class that it outscores, ties counting half. Placements of a person
    are added up, on both sides if the person is on both, and their spread over people is the variance. People with
    one photo each give DeLong's variance (Biometrics 44, 1988).

    Raises:
        InputError: if membership is not known, or there are fewer than two people.
    """
    is_member = figures.membership(part)
    member, external = part.logit[is_member], part.logit[~is_member]
    names, person_of = np.unique(part.samples.people(), return_inverse=True)
    sums = []
    for mask, placement in (
        (is_member, _share_below(external, member)),
        (~is_member, 1 - _share_below(member, external)),
    ):
        above = placement - placement.mean()  # the mean is the AUC on both sides
        num_people = len(np.unique(person_of[mask]))
        if num_people < 2:
            raise InputError(f"Expected at least two people on each side, received {num_people}.")
        # As a sample's variance divides by one less than its number, so here with people.
        scale = np.sqrt(num_people / (num_people - 1)) / len(placement)
        sums.append(scale * np.bincount(person_of[mask], above, len(names)))
    # The sides are added before squaring: whoever is on both is one person, and the product is the covariance.
    return float(np.sum((sums[0] + sums[1]) ** 2))


def _share_below(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Returns, for each of `of`, the share of values below it, ties counting half."""
    values = np.sort(values)
    return (np.searchsorted(values, of, "left") + np.searchsorted(values, of, "right")) / (2 * len(values))


def auc_interval(part: Scores, confidence: float = CONFIDENCE) -> Estimate:
    """Returns the AUC of one training with Obuchowski's interval, on the logit scale with t quantiles.

    It is `intervals.student` with the formula in place of draws.

    Raises:
        InputError: as for `clustered_auc_variance`; also for an AUC of 0 or 1, whose variance the formula takes for 0.
    """
    area = metrics.auc(figures.membership(part), part.logit)
    if not 0 < area < 1:
        raise InputError(f"Expected an AUC between 0 and 1, received {area:g}. Take `intervals.estimate`.")
    deviation = math.sqrt(clustered_auc_variance(part)) / (area * (1 - area))
    half = stats.t.ppf((1 + confidence) / 2, min(figures.count_people(part)) - 1) * deviation
    low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Estimate(area, float(low), float(high), 1)
