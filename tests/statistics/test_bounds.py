"""Formulae against slow twins, and guarantees where the truth is known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from mint_keras.records import InputError
from mint_keras.statistics import bounds
from tests.statistics.worlds import draw, scores_of


def test_exact_interval_is_what_defines_it() -> None:
    found = bounds.exact_interval(3, 20)
    # At either limit, 3 of 20 or worse has a chance of 2.5%.
    assert stats.binom.sf(2, 20, found.low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 20, found.high) == pytest.approx(0.025)
    with pytest.raises(InputError, match="at least one person"):
        bounds.exact_interval(0, 0)


@pytest.mark.parametrize(("fpr", "needed"), [(0.01, 299), (0.001, 2995), (0.0001, 29956)])
def test_people_who_certify_a_rate(fpr: float, needed: int) -> None:
    assert bounds.people_needed(fpr) == needed
    assert bounds.upper_limit(0, needed) <= fpr < bounds.upper_limit(0, needed - 1)
    assert bounds.people_needed(bounds.upper_limit(0, needed)) == needed
    with pytest.raises(InputError, match="between 0 and 1"):
        bounds.people_needed(0.0)


def test_certified_rates_by_hand() -> None:
    # 300 externals of two photos each and 100 members: with 300 people nobody may lie above the threshold.
    person = np.concatenate([np.repeat(np.arange(300), 2), 300 + np.arange(100)])
    is_member = person >= 300
    logit = np.where(is_member, np.where(person < 360, 9.0, -1.0), person / 100)
    part = scores_of(is_member, person, logit)
    found = bounds.certify([part])
    assert (found.max_fpr, found.thresholds, found.num_allowed) == (0.01, (pytest.approx(2.99),), 0)
    assert found.tpr == bounds.exact_interval(60, 100)
    assert (found.num_members, found.num_externals) == (100, 300)
    assert found.describe() == (
        "At a false-positive rate of at most 1%, 0.600 [0.497, 0.697] of the claimed members are found, by one photo "
        "of each of 100 people. With 300 people who are no members, no false-positive rate below 0.99% can be "
        "certified."
    )
    # 5% of 300: as many as the binomial limit allows, counted.
    loose = bounds.certify([part], 0.05)
    assert stats.binom.cdf(loose.num_allowed, 300, 0.05) <= 0.05 < stats.binom.cdf(loose.num_allowed + 1, 300, 0.05)
    with pytest.raises(InputError, match="known membership"):
        bounds.certify([dataclasses.replace(part, is_member=None)])


def test_few_people_certify_what_they_can() -> None:
    found = bounds.certify([draw((80, 48), 3, 1.5, np.random.default_rng(5))])
    assert found.max_fpr == found.smallest_fpr == pytest.approx(1 - 0.05 ** (1 / 48))
    assert found.num_allowed == 0
    assert "With 48 people who are no members, no false-positive rate below 6.1% can be certified (1% takes 299)." in (
        found.describe()
    )


def test_several_trainings_count_with_the_widest_ends() -> None:
    part = draw((60, 60), 2, 1.5, np.random.default_rng(6))
    reverse = dataclasses.replace(part, seed=2, logit=-part.logit)
    alone, other, both = bounds.certify([part]), bounds.certify([reverse]), bounds.certify([part, reverse])
    assert both.tpr.value == pytest.approx((alone.tpr.value + other.tpr.value) / 2)
    assert (both.tpr.low, both.tpr.high, both.tpr.num_seeds) == (other.tpr.low, alone.tpr.high, 2)
    assert both.thresholds == (*alone.thresholds, *other.thresholds)


def test_people_on_both_sides_count_on_one() -> None:
    """Where photos are members, nobody's trial may depend on a threshold from their own other photos."""
    person = np.repeat(np.arange(40), 2)
    is_member = np.arange(80) % 2 == 0
    rng = np.random.default_rng(7)
    part = scores_of(is_member, np.char.zfill(person.astype(str), 2), rng.normal(size=80))
    found = bounds.certify([part])
    assert (found.num_members, found.num_externals) == (20, 20)
    counted = part.logit[~is_member & (person % 2 == 0)]
    assert found.thresholds == (pytest.approx(counted.max()),)
    assert found.tpr.value == np.mean(part.logit[is_member & (person % 2 == 1)] > counted.max())


def test_certified_rates_hold() -> None:
    rng = np.random.default_rng(4)
    spread, wrong_fpr, wrong_tpr = np.hypot(0.7, 0.7), 0, 0
    for _ in range(200):
        found = bounds.certify([draw((60, 100), 3, 1.5, rng)], 0.05)
        (threshold,), truth = found.thresholds, stats.norm.sf((found.thresholds[0] - 1.5) / spread)
        wrong_fpr += stats.norm.sf(threshold / spread) > 0.05
        wrong_tpr += not found.tpr.low <= truth <= found.tpr.high
    assert wrong_fpr <= 17  # 5% of 200; more has a chance of 1%
    assert 0 < wrong_tpr <= 17


def test_limits_of_a_rate_by_hand() -> None:
    assert bounds.upper_limit(0, 60) == pytest.approx(1 - 0.05 ** (1 / 60))  # 4.9%
    assert bounds.lower_limit(30, 30) == pytest.approx(0.05 ** (1 / 30))
    assert (bounds.upper_limit(6, 6), bounds.lower_limit(0, 6)) == (1.0, 0.0)
    assert (bounds.upper_limit(0, 0), bounds.lower_limit(0, 0)) == (1.0, 0.0)
    low = bounds.lower_limit(28, 30)  # at this rate 28 or more are found once in twenty times
    assert sum(math.comb(30, k) * low**k * (1 - low) ** (30 - k) for k in (28, 29, 30)) == pytest.approx(0.05)
    assert low == pytest.approx(0.80, abs=0.01)
    for wrong in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match="hits"):
            bounds.upper_limit(*wrong)
