"""The formula against a slow twin, and against the bootstrap."""

import numpy as np
import pytest

from mint_keras.records import InputError, Scores
from mint_keras.statistics import intervals
from studies import clustered
from tests.statistics.worlds import draw, scores_of


def obuchowski(part: Scores) -> float:
    """The paper's sums, written out: S10, S01 and S11 over people with m_i member and n_i external photos."""
    people, member = part.samples.people(), part.is_member
    x, y = part.logit[member], part.logit[~member]
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
    assert clustered.clustered_auc_variance(part) == pytest.approx(obuchowski(part), rel=1e-12)
    both = scores_of(np.arange(80) % 2 == 0, np.arange(80) // 4, rng.normal(size=80))  # everybody on both sides
    assert clustered.clustered_auc_variance(both) == pytest.approx(obuchowski(both), rel=1e-12)


def test_clustered_variance_and_bootstrap_agree() -> None:
    part = draw((60, 60), 5, 0.8, np.random.default_rng(2))
    draws = intervals.resample([(part,)], 3000, 1, ["auc"])[0][0]["auc"]
    assert np.std(draws) == pytest.approx(np.sqrt(clustered.clustered_auc_variance(part)), rel=0.06)
    by_formula, by_draws = clustered.auc_interval(part), intervals.estimate([part], 3000, 1, ["auc"], "student")["auc"]
    assert by_formula.low == pytest.approx(by_draws.low, abs=0.005)
    assert by_formula.high == pytest.approx(by_draws.high, abs=0.005)


def test_clustered_variance_of_one_photo_each_is_delongs() -> None:
    part = draw((40, 30), 1, 1.0, np.random.default_rng(3))
    x, y = part.logit[part.is_member], part.logit[~part.is_member]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    expected = psi.mean(axis=1).var(ddof=1) / len(x) + psi.mean(axis=0).var(ddof=1) / len(y)
    assert clustered.clustered_auc_variance(part) == pytest.approx(expected)


def test_perfect_scores_and_lonely_people() -> None:
    perfect = scores_of(np.arange(20) < 10, np.arange(20), np.arange(20)[::-1])
    with pytest.raises(InputError, match="between 0 and 1"):
        clustered.auc_interval(perfect)
    found = intervals.estimate([perfect], 50, names=["auc"], method="student")["auc"]
    assert (found.value, found.high) == (pytest.approx(1), 1)
    assert found.low == pytest.approx(0.025**0.1)
    lonely = scores_of(np.arange(20) < 10, np.arange(20) < 10, np.arange(20)[::-1] % 7)
    with pytest.raises(InputError, match="two people"):
        clustered.clustered_auc_variance(lonely)
    alone = intervals.estimate([lonely], 50, names=["auc"], method="student")["auc"]
    assert (alone.low, alone.high) == (0, 1)
