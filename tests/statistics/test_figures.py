"""Figures are of logits: scores of 1 that tie are nobody's."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mint_keras.records import Scores
from mint_keras.statistics import bounds, conformal, figures, intervals, paired, person, selection
from studies import clustered
from tests.statistics.worlds import draw


@pytest.fixture
def near_zero() -> Scores:
    """Logits between -20 and 20 in steps of 1/64, some of them equal."""
    part = draw((60, 60), 3, 1.0, np.random.default_rng(1))
    return dataclasses.replace(part, logit=np.round(np.clip(5 * part.logit, -20, 20) * 64) / 64)


@pytest.fixture
def confident(near_zero: Scores) -> Scores:
    """The same between 40 and 80: their sigmoid is 1, and their order is as before."""
    part = dataclasses.replace(near_zero, logit=near_zero.logit + 60)
    assert part.logit.min() >= 40
    assert set(part.score.tolist()) == {1.0}
    return part


def test_confident_logits_have_the_figures_of_others(near_zero: Scores, confident: Scores) -> None:
    names = [name for name in figures.FIGURES if "accuracy" not in name]
    found = intervals.plain_figures(confident, figures.FIGURES)
    assert found[figures.AUC] == pytest.approx(sklearn_metrics.roc_auc_score(confident.is_member, confident.logit))
    assert found[figures.AUC] > 0.7
    assert found[figures.ACCURACY] == 0.5  # all are called members
    for method in intervals.METHODS:
        assert intervals.estimate([confident], 200, names=names, method=method) == intervals.estimate(
            [near_zero], 200, names=names, method=method
        )
    assert paired.difference([confident], [near_zero], 100, names=names)["auc"].half_width == 0
    assert selection.p_above([confident], 500) == selection.p_above([near_zero], 500)
    assert clustered.auc_interval(confident) == clustered.auc_interval(near_zero)
    assert person.power_curve([confident], 2)[1].auc == person.power_curve([near_zero], 2)[1].auc


def test_confident_logits_are_certified_as_others_are(near_zero: Scores, confident: Scores) -> None:
    here, there = bounds.certify([near_zero]), bounds.certify([confident])
    assert here.tpr == there.tpr
    assert there.thresholds[0] - 60 == here.thresholds[0]
    nobody = np.array([], str)
    p = [
        conformal._p_values(
            conformal.calibrate(paired.take(part, ~part.is_member), nobody), part.logit.astype(np.float64)
        )
        for part in (near_zero, confident)
    ]
    np.testing.assert_array_equal(*p)


def test_a_result_is_of_logits(near_zero: Scores, confident: Scores) -> None:
    here, there = figures.summarise(near_zero), figures.summarise(confident)
    assert (here.auc, here.tpr_at_1_fpr) == (there.auc, there.tpr_at_1_fpr)
    assert there.accuracy == 0.5


def test_one_photo_each_does_not_look_at_scores() -> None:
    part = draw((5, 5), 4, 1.0, np.random.default_rng(2))
    rows = figures.one_photo_each(part, part.is_member)
    assert rows.tolist() == [0, 4, 8, 12, 16]
    shuffled = np.random.default_rng(3).permutation(40)
    other = dataclasses.replace(paired.take(part, shuffled), logit=-part.logit)
    again = figures.one_photo_each(other, other.is_member)
    assert sorted(other.samples.sample_id[again]) == sorted(part.samples.sample_id[rows])
    assert len(figures.one_photo_each(part, np.zeros(40, bool))) == 0
