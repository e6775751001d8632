"""Intervals against slow twins, and their coverage where the truth is known."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from mint_keras.data.people import unknown
from mint_keras.records import InputError, Observations, Sample, SampleTable, Scores, tabulate
from mint_keras.scorers import contract
from mint_keras.statistics import figures, intervals, metrics, paired
from tests.scorers.seen import observed


def scores(num_people: int, per_person: int, rng: np.random.Generator) -> Scores:
    """Members and externals whose scores share a part that is the person's own."""
    num = 2 * num_people * per_person
    person = np.repeat(np.arange(2 * num_people), per_person)
    is_member = person < num_people
    logit = rng.normal(size=2 * num_people)[person] + rng.normal(size=num) + np.where(is_member, 1, -1)
    names = np.array([f"s{i}" for i in range(num)])
    table = SampleTable(names, np.full(num, "db"), person.astype(str), names)
    return Scores("vanilla", "conv1", "unseen_database", 1, table, is_member, logit.astype(np.float32))


def test_value_is_the_mean_over_seeds_of_the_plain_figures() -> None:
    rng = np.random.default_rng(1)
    parts = [dataclasses.replace(scores(20, 3, rng), seed=seed) for seed in (1, 2, 3)]
    parts[2].logit[:60] = 0.25  # many ties
    found = intervals.estimate(parts, 30)
    plain = {"accuracy": metrics.accuracy, "auc": metrics.auc, "tpr_at_1_fpr": metrics.tpr_at_fpr}
    for name, function in plain.items():
        assert found[name].value == pytest.approx(np.mean([function(p.is_member, p.logit) for p in parts]), abs=1e-12)
        assert found[name].low <= found[name].high
        assert found[name].num_seeds == 3


def test_people_with_most_of_the_photos_are_few_people() -> None:
    """Of 60 people of whom one has a hundred photos an interval must not be as sure as of 60 with three each."""
    rng = np.random.default_rng(1)
    equal = scores(60, 3, rng)
    assert figures.effective_people(equal) == 60
    person = np.repeat(np.arange(120), [100] + [2] * 59 + [3] * 60)
    names = np.arange(len(person)).astype(str)
    table = SampleTable(names, np.full(len(person), "db"), person.astype(str), names)
    logit = (rng.normal(size=120)[person] + rng.normal(size=len(person))).astype(np.float32)
    part = Scores("vanilla", "conv1", "same_database", 1, table, person < 60, logit)
    assert figures.effective_people(part) == pytest.approx(218**2 / (100**2 + 59 * 4))
    found = intervals.estimate([part], 200, names=["auc"], method="student")["auc"]
    draws = intervals.draw([part], 200, 1, ["auc"])["auc"]
    as_of_sixty = intervals.student([found.value], draws, 60, intervals.RATE)
    assert found.half_width > 1.3 * as_of_sixty.half_width


def test_a_draw_repeats_people_with_all_their_photos() -> None:
    part = scores(6, 2, np.random.default_rng(2))
    weights = intervals._weights(part, 50, np.random.default_rng(3), np.arange(len(part.logit)))
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights[:, part.is_member].sum(1) == 12).all()
    found = figures.figures(part, weights, figures.FIGURES)
    for row in range(50):  # the same samples, written out
        rows = np.repeat(np.arange(24), weights[row].astype(int))
        truth, score = part.is_member[rows], part.logit[rows]
        assert found["accuracy"][row] == pytest.approx(metrics.accuracy(truth, score))
        assert found["auc"][row] == pytest.approx(metrics.auc(truth, score))
        assert found["tpr_at_1_fpr"][row] == pytest.approx(metrics.tpr_at_fpr(truth, score))
        assert found["tpr_at_0.1_fpr"][row] == pytest.approx(metrics.tpr_at_fpr(truth, score, 0.001))
        assert found["tnr_at_1_fnr"][row] == pytest.approx(metrics.tpr_at_fpr(~truth, -score))
        # As many are of either class: both accuracies are the same.
        assert found["balanced_accuracy"][row] == pytest.approx(metrics.accuracy(truth, score))


@pytest.mark.parametrize("is_of_both", [False, True])
def test_an_auc_alone_is_drawn_as_beside_other_figures(is_of_both: bool) -> None:
    """It takes another way, by who outranks whom: unequal numbers of photos, ties, people on both sides, any order."""
    rng = np.random.default_rng(11)
    part = scores(15, 4, rng)
    part.logit[:40] = 0.25
    kept = rng.permutation(120)[:90]
    is_member = rng.random(90) < 0.5 if is_of_both else part.is_member[kept]
    part = dataclasses.replace(part, samples=part.samples.take(kept), is_member=is_member, logit=part.logit[kept])
    other = dataclasses.replace(part, logit=rng.permutation(part.logit))
    for draws in (
        lambda names: intervals.draw([part], 60, 3, names)["auc"],
        lambda names: intervals.draw([part, dataclasses.replace(other, seed=2)], 60, 3, names)["auc"],
        lambda names: intervals.resample([(part, other)], 60, 3, names)[0][1]["auc"],
        lambda names: intervals.draw([part], 60, np.int64(3), names)["auc"],  # seeds out of arrays
    ):
        np.testing.assert_allclose(draws(["auc"]), draws(["auc", "accuracy"]), rtol=1e-12)


def test_draws_in_chunks_are_of_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    part = scores(6, 2, np.random.default_rng(12))
    monkeypatch.setattr(intervals, "_CHUNK", 24 * 24)  # of 48 draws each; who outranks whom still fits
    draws = intervals.draw([part], 240, 3, ["auc"])["auc"]
    assert not np.array_equal(draws[:48], draws[48:96])


def test_intervals_cover_the_truth_where_photos_of_a_person_are_alike() -> None:
    rng = np.random.default_rng(4)
    truth = intervals.estimate([scores(20_000, 1, rng)], 1)["auc"].value
    hits, naive = 0, 0
    for _ in range(60):
        part = scores(25, 6, rng)
        found = intervals.estimate([part], 200)["auc"]
        hits += found.low <= truth <= found.high
        alone = dataclasses.replace(part.samples, identity=part.samples.sample_id)
        found = intervals.estimate([dataclasses.replace(part, samples=alone)], 200)["auc"]
        naive += found.low <= truth <= found.high
    assert hits >= 51  # of 60: 95% of draws of 60 with a coverage of 0.92 lie above
    assert naive < hits  # photos drawn on their own pretend to know more


def test_trainings_that_disagree_widen_the_interval() -> None:
    part = scores(50, 2, np.random.default_rng(5))
    other = dataclasses.replace(part, seed=2, logit=-part.logit)
    alone, both = intervals.estimate([part])["auc"], intervals.estimate([part, other])["auc"]
    assert alone.half_width < 0.1
    assert both.low < 0.2 < 0.8 < both.high
    assert both.value == pytest.approx(0.5)


def test_an_estimate_as_text() -> None:
    assert f"{intervals.Estimate(0.75, 0.7, 0.81239, 1)}" == "0.750 [0.700, 0.812]"


def test_same_seed_same_interval() -> None:
    part = scores(10, 2, np.random.default_rng(6))
    assert intervals.estimate([part], 50) == intervals.estimate([part], 50)


def test_nothing_to_estimate() -> None:
    with pytest.raises(InputError, match="at least one training"):
        intervals.estimate([])
    with pytest.raises(InputError, match="known membership"):
        intervals.estimate([dataclasses.replace(scores(2, 1, np.random.default_rng(1)), is_member=None)])
    with pytest.raises(InputError, match="only one of them"):
        intervals.estimate([dataclasses.replace(scores(2, 1, np.random.default_rng(1)), is_member=np.ones(4, bool))])


def test_student_intervals_are_wider_for_few_people_and_stay_in_range() -> None:
    part = scores(6, 2, np.random.default_rng(7))
    narrow, wide = (intervals.estimate([part], names=["auc"], method=name)["auc"] for name in intervals.METHODS)
    assert narrow.value == wide.value
    assert 0 < wide.low < narrow.low < narrow.high < 1
    assert wide.high < 1
    assert wide.half_width > narrow.half_width


@dataclasses.dataclass(frozen=True)
class Means:
    """A linear discriminant of features whose covariance is known: the two means' difference."""

    name: str = "means"
    tap: str = "outcome"
    needs: ClassVar[contract.Needs] = contract.Needs()

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> contract.Fitted:
        features = seen["outcome"]
        weights = features[is_member].mean(axis=0) - features[~is_member].mean(axis=0)
        return lambda others: (others["outcome"] @ weights).astype(np.float32)


def test_cross_fitted_scores_of_nothing_are_chance_in_95_of_100_intervals() -> None:
    """Twenty features say nothing of 60 people a side; what is fitted on them in turn errs together."""
    rng, is_member = np.random.default_rng(5), np.arange(120) < 60
    missed, missed_naively = 0, 0
    for run in range(300):
        seen = observed(np.arange(120), {"outcome": rng.normal(size=(120, 20))})
        part = contract.cross_fit(Means(), seen, is_member, "same_database", run)
        for one in (part, dataclasses.replace(part, num_folds=0)):
            found = intervals.estimate([one], 100, run, ["auc"], "student")["auc"]
            is_missed = not found.low <= 0.5 <= found.high
            missed += is_missed and one is part
            missed_naively += is_missed and one is not part
    assert missed <= 0.08 * 300
    assert missed_naively >= 0.09 * 300


def test_widened_draws_keep_their_mean_and_only_where_scores_are_cross_fitted() -> None:
    part = scores(10, 1, np.random.default_rng(6))
    draws = np.random.default_rng(7).normal(0.6, 0.1, 1000)
    assert intervals.widened(draws, [part]) is draws
    wider = intervals.widened(draws, [part, dataclasses.replace(part, num_folds=5)])  # one of a pair is enough
    assert wider.mean() == pytest.approx(draws.mean())
    assert wider.std() == pytest.approx(np.sqrt(1 + 5 / 4) * draws.std())


def test_widened_percentiles_stay_in_the_range_of_a_figure() -> None:
    part = dataclasses.replace(scores(30, 2, np.random.default_rng(3)), num_folds=5)
    logit = np.where(figures.membership(part), 4, 0) + np.random.default_rng(4).normal(size=len(part.logit))
    found = intervals.estimate([dataclasses.replace(part, logit=logit)], seed=1)
    assert found[figures.AUC].value > 0.98
    assert all(0 <= one.low <= one.high <= 1 for one in found.values())


def test_what_is_told_apart_without_error_is_told_apart_with_an_auc_of_1() -> None:
    """Sums of many shares came out above 1 by rounding, and below the end of no interval."""
    for seed in range(20):
        part = scores(int(np.random.default_rng(seed).integers(5, 60)), 7, np.random.default_rng(seed))
        logit = np.where(figures.membership(part), 9, 0) + np.random.default_rng(seed).normal(size=len(part.logit))
        part = dataclasses.replace(part, logit=logit)
        for method in intervals.METHODS:
            found = intervals.estimate([part], seed=1, names=[figures.AUC], method=method)[figures.AUC]
            assert found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("method", intervals.METHODS)
def test_photos_of_nobody_knows_whom_are_one_person(method: str) -> None:
    """A side of them alone says nothing of others; among 40 known people their photos move together."""
    rng = np.random.default_rng(1)

    def part(num_unknown: int) -> Scores:
        names = [f"m{k}" for k in range(40)] + [f"e{k}" for k in range(40 - num_unknown)]
        names += [unknown(str(k)) for k in range(num_unknown)]
        table = tabulate([Sample(str(k), "db", name, "") for k, name in enumerate(names)])
        return Scores("a", "t", "e", 1, table, np.arange(80) < 40, np.where(np.arange(80) < 40, 1, 0) + logits)

    logits = rng.normal(size=80) + np.where(np.arange(80) < 60, 0, 1)  # one person's are alike
    whole, mixed, known = (
        intervals.estimate([part(num)], names=[figures.AUC], method=method)[figures.AUC] for num in (40, 20, 0)
    )
    assert (whole.low, whole.high) == (0.0, 1.0)
    assert whole.value == mixed.value == known.value
    assert mixed.half_width > 1.3 * known.half_width
    difference = paired.difference([part(40)], [part(40)], names=[figures.AUC], method=method)[figures.AUC]
    assert (difference.low, difference.high) == (-1.0, 1.0)
