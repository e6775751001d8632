"""Formulae against slow twins, and guarantees where the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.statistics import bounds, intervals, metrics
from tests.statistics.worlds import draw, scores_of


def obuchowski(part: Scores) -> float:
    """The paper's sums, written out: S10, S01 and S11 over people with m_i member and n_i external photos."""
    people, member = part.samples.people(), part.is_member
    x, y = part.score[member], part.score[~member]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    area, names = psi.mean(), np.unique(people)
    v10 = {p: psi[people[member] == p].mean(axis=1) - area for p in names}
    v01 = {p: psi[:, people[~member] == p].mean(axis=0) - area for p in names}
    m, n = len(x), len(y)
    num10, num01 = (sum(len(v[p]) > 0 for p in names) for v in (v10, v01))
    s10 = num10 / ((num10 - 1) * m) * sum(v10[p].sum() ** 2 for p in names)
    s01 = num01 / ((num01 - 1) * n) * sum(v01[p].sum() ** 2 for p in names)
    num = len(names)
    s11 = num / (num - 1) * sum(v10[p].sum() * v01[p].sum() for p in names)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def test_clustered_variance_equals_the_slow_twin() -> None:
    rng = np.random.default_rng(1)
    part = draw((12, 17), 4, 0.8, rng)
    part = scores_of(part.is_member, part.samples.identity, np.round(part.logit, 1))  # ties
    assert bounds.clustered_auc_variance(part) == pytest.approx(obuchowski(part), rel=1e-12)
    both = scores_of(np.arange(80) % 2 == 0, np.arange(80) // 4, rng.normal(size=80))  # everybody on both sides
    assert bounds.clustered_auc_variance(both) == pytest.approx(obuchowski(both), rel=1e-12)


def test_clustered_variance_and_bootstrap_agree() -> None:
    part = draw((60, 60), 5, 0.8, np.random.default_rng(2))
    draws = intervals.resample([(part,)], 3000, 1, ["auc"])[0][0]["auc"]
    assert np.std(draws) == pytest.approx(np.sqrt(bounds.clustered_auc_variance(part)), rel=0.06)
    by_formula, by_draws = bounds.auc_interval(part), intervals.estimate([part], 3000, 1, ["auc"], "student")["auc"]
    assert by_formula.low == pytest.approx(by_draws.low, abs=0.005)
    assert by_formula.high == pytest.approx(by_draws.high, abs=0.005)


def test_delong_equals_its_formula_and_refuses_several_photos() -> None:
    part = draw((40, 30), 1, 1.0, np.random.default_rng(3))
    x, y = part.score[part.is_member], part.score[~part.is_member]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    deviation = np.sqrt(psi.mean(axis=1).var(ddof=1) / len(x) + psi.mean(axis=0).var(ddof=1) / len(y))
    found = bounds.delong_interval(part)
    assert found.value == pytest.approx(metrics.auc(part.is_member, part.score))
    assert (found.low, found.high) == pytest.approx(
        (found.value - 1.959964 * deviation, found.value + 1.959964 * deviation)
    )
    with pytest.raises(InputError, match="70 of 70 people with more"):
        bounds.delong_interval(draw((40, 30), 2, 1.0, np.random.default_rng(3)))


def test_exact_rates() -> None:
    is_hit = np.arange(20) < 3
    found = bounds.exact_rate(is_hit, np.arange(20).astype(str))
    # What defines the limits: at either, 3 of 20 or worse has a chance of 2.5%.
    assert stats.binom.sf(2, 20, found.low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 20, found.high) == pytest.approx(0.025)
    with pytest.raises(InputError, match="one photo per person"):
        bounds.exact_rate(is_hit, np.repeat(np.arange(10), 2).astype(str))
    with pytest.raises(InputError, match="at least one person"):
        bounds.exact_interval(0, 0)


def test_perfect_scores_and_lonely_people() -> None:
    perfect = scores_of(np.arange(20) < 10, np.arange(20), np.arange(20)[::-1])
    with pytest.raises(InputError, match="between 0 and 1"):
        bounds.auc_interval(perfect)
    found = intervals.estimate([perfect], 50, names=["auc"], method="student")["auc"]
    assert (found.value, found.high) == (pytest.approx(1), 1)
    assert found.low == pytest.approx(0.025**0.1)
    lonely = scores_of(np.arange(20) < 10, np.arange(20) < 10, np.arange(20)[::-1] % 7)
    with pytest.raises(InputError, match="two people"):
        bounds.clustered_auc_variance(lonely)
    with pytest.raises(InputError, match="two people"):
        intervals.estimate([lonely], 50, names=["auc"], method="student")


@pytest.mark.parametrize(("fpr", "needed"), [(0.01, 299), (0.001, 2995), (0.0001, 29956)])
def test_floor_of_what_people_certify(fpr: float, needed: int) -> None:
    assert bounds.people_needed(fpr) == needed
    assert bounds.fpr_floor(needed) <= fpr < bounds.fpr_floor(needed - 1)
    assert bounds.people_needed(bounds.fpr_floor(needed)) == needed
    bounds.check_claim(fpr, needed)
    with pytest.raises(RefusedError, match=f"{needed - 1:,} external people certify"):
        bounds.check_claim(fpr, needed - 1)


def test_floor_of_nobody() -> None:
    with pytest.raises(InputError, match="at least one external"):
        bounds.fpr_floor(0)
    with pytest.raises(InputError, match="between 0 and 1"):
        bounds.people_needed(0.0)


def test_certified_rates_by_hand() -> None:
    # 300 externals of two photos each and 100 members: with 300 people nobody may lie above the threshold.
    person = np.concatenate([np.repeat(np.arange(300), 2), 300 + np.arange(100)])
    is_member = person >= 300
    logit = np.where(is_member, np.where(person < 360, 9.0, -1.0), person / 100)
    found = bounds.certify(scores_of(is_member, person, logit), 0.01)
    assert (found.threshold, found.num_allowed, found.tpr) == (pytest.approx(2.99), 0, 0.6)
    assert stats.binom.sf(59, 100, found.min_tpr) == pytest.approx(0.05)
    # 5% of 300: as many as the binomial limit allows, counted.
    loose = bounds.certify(scores_of(is_member, person, logit), 0.05)
    assert stats.binom.cdf(loose.num_allowed, 300, 0.05) <= 0.05 < stats.binom.cdf(loose.num_allowed + 1, 300, 0.05)
    with pytest.raises(RefusedError, match="no claim"):
        bounds.certify(scores_of(is_member, person, logit), 0.009)
    with pytest.raises(InputError, match="who are both"):
        bounds.certify(scores_of(np.arange(40) % 2 == 0, np.arange(40) // 2, np.arange(40.0)), 0.5)


def test_certified_rates_hold() -> None:
    rng = np.random.default_rng(4)
    spread, wrong_fpr, wrong_tpr = np.hypot(0.7, 0.7), 0, 0
    for _ in range(200):
        found = bounds.certify(draw((60, 100), 3, 1.5, rng), 0.05)
        wrong_fpr += stats.norm.sf(found.threshold / spread) > 0.05
        wrong_tpr += stats.norm.sf((found.threshold - 1.5) / spread) < found.min_tpr
    assert wrong_fpr <= 17  # 5% of 200; more has a chance of 1%
    assert 0 < wrong_tpr <= 17


def test_limits_of_a_rate_by_hand() -> None:
    assert bounds.upper_limit(0, 60) == pytest.approx(1 - 0.05 ** (1 / 60))  # 4.9%
    assert bounds.upper_limit(0, 60) == pytest.approx(bounds.fpr_floor(60))
    assert bounds.lower_limit(30, 30) == pytest.approx(0.05 ** (1 / 30))
    assert (bounds.upper_limit(6, 6), bounds.lower_limit(0, 6)) == (1.0, 0.0)
    low = bounds.lower_limit(28, 30)  # at this rate 28 or more are found once in twenty times
    assert sum(math.comb(30, k) * low**k * (1 - low) ** (30 - k) for k in (28, 29, 30)) == pytest.approx(0.05)
    assert low == pytest.approx(0.80, abs=0.01)
    for wrong in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match="hits"):
            bounds.upper_limit(*wrong)
