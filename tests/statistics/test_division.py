"""Nobody chooses and is reported on, and who has more photos must not look like a member."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.data import protocol
from mint_keras.records import Labelled, Observations, SampleTable
from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.statistics import division, metrics
from tests.scorers.seen import observed
from tests.statistics.worlds import draw


def test_nobody_chooses_and_is_reported() -> None:
    part = draw((10, 20), 3, 1.0, np.random.default_rng(1))
    divided = division.divide(part, 1)
    (choosing,), (reported,) = divided.choosing([part]), divided.reported([part])
    assert not set(choosing.samples.people()) & set(reported.samples.people())
    assert (choosing.is_member.sum(), (~choosing.is_member).sum()) == (3 * 4, 3 * 8)
    assert len(choosing.logit) + len(reported.logit) == len(part.logit)
    assert set(division.divide(part, 2).validation) != set(divided.validation)


def test_calibration_and_report_are_of_other_people() -> None:
    names = np.array([f"photo{k:03d}" for k in range(100)])
    table = SampleTable(names, np.full(100, "web"), np.repeat(np.arange(50), 2).astype(str), names)
    part = np.repeat(np.arange(5), 20)
    for main, of_training, of_test in (
        (protocol.UNSEEN_DATABASE, protocol.HELD_OUT, protocol.HELD_OUT),
        (protocol.SAME_DATABASE, protocol.TRAIN_EXTERNALS, protocol.TEST_EXTERNALS),
    ):
        run = protocol.Protocol(table, part, main, 1)
        tested = np.isin(part, (protocol.TEST_MEMBERS, of_test))
        choosers = division.Division(np.unique(table.people()[tested][::4]))
        (known, is_member), (scored, truth) = division.calibration(run, choosers), division.reported(run, choosers)
        assert not set(table.people()[known]) & set(table.people()[scored])
        assert set(part[scored[truth]]) == {protocol.TEST_MEMBERS}
        assert set(part[scored[~truth]]) == {of_test}
        assert set(part[known[is_member]]) == {protocol.TRAIN_MEMBERS, protocol.TEST_MEMBERS}
        assert set(part[known[~is_member]]) == {of_training, of_test}


def test_null_sides_are_of_people_who_are_no_members() -> None:
    part = draw((10, 20), 3, 1.0, np.random.default_rng(2))
    (null,) = division.without_membership([part], 1)
    people, claimed = null.samples.people(), null.is_member
    assert set(people) == set(part.samples.people()[~part.is_member])
    assert not set(people[claimed]) & set(people[~claimed])
    assert claimed.sum() == 30
    assert division.without_membership([draw((10, 3), 3, 1.0, np.random.default_rng(2))], 1) == []


def test_every_photo_gets_the_mean_of_its_person() -> None:
    part = draw((2, 2), 3, 1.0, np.random.default_rng(3))
    found = division.mean_of_persons(part).logit.reshape(4, 3)
    assert found == pytest.approx(np.repeat(part.logit.reshape(4, 3).mean(axis=1), 3).reshape(4, 3))


def test_no_more_rows_than_memory_holds() -> None:
    rows, is_member = np.arange(100, 130), np.arange(30) < 20
    kept, truth = division.limited(Labelled(rows, is_member), 1, 12)
    assert (truth.sum(), (~truth).sum()) == (12, 10)
    assert np.array_equal(truth, kept < 120)
    assert (np.diff(kept) > 0).all()


def null_world(seed: int) -> tuple[Observations, dict[str, Labelled]]:
    """People who differ in nothing but this: claimed members have eight photos each, the others three."""
    rng = np.random.default_rng(seed)
    is_claimed = np.arange(240) < 120
    person = np.repeat(np.arange(240), np.where(is_claimed, 8, 3))
    outcome = rng.normal(size=(240, 16))[person] + rng.normal(size=(len(person), 16))
    sides = {
        name: Labelled(np.flatnonzero(mask), is_claimed[person[mask]])
        for name, mask in (("fitted on", person % 2 == 0), ("scored", person % 2 == 1))
    }
    return observed(np.char.zfill(person.astype(str), 4), {OUTCOME: outcome}), sides


def auc(seen: Observations, sides: dict[str, Labelled], level: str) -> float:
    known, scored = sides["fitted on"], sides["scored"]
    score = mint_plus.MintPlus(level=level, ingredients=("others",)).fit(seen.take(known.rows), known.is_member)
    return metrics.auc(scored.is_member, score(seen.take(scored.rows)))


def equal(seen: Observations, sides: dict[str, Labelled], least: int = 50) -> tuple[int, dict[str, Labelled]]:
    names = np.arange(len(seen)).astype(str)
    return division.equal_photos(sides, {"fitted on": 10, "scored": least}, seen.people(), names, seed=1)


@pytest.mark.parametrize("level", [mint_plus.WITH_OTHERS, mint_plus.OF_PERSON])
def test_null_worlds_of_unequal_photos_stay_at_chance(level: str) -> None:
    found, careless = [], []
    for seed in range(2):
        seen, sides = null_world(seed)
        num, chosen = equal(seen, sides)
        assert num == 3
        found.append(auc(seen, chosen, level))
        careless.append(auc(seen, sides, level))
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)
    assert min(careless) > 0.9  # why photos are made equal


def test_equal_photos_of_the_same_people_on_both_sides() -> None:
    """Where photos and not people are members, only people with enough photos on both sides are chosen."""
    person = np.repeat(np.arange(30), 6)
    is_member = np.tile(np.arange(6), 30) < np.repeat(np.where(np.arange(30) < 20, 3, 1), 6)  # 10 have one used photo
    people = np.char.add("web/", np.char.zfill(person.astype(str), 2))
    rows = np.arange(len(person))
    everybody = {"all": Labelled(rows, is_member)}
    num, chosen = division.equal_photos(everybody, {"all": 15}, people, rows.astype(str), seed=1)
    assert num == 3
    kept, truth = chosen["all"]
    assert np.array_equal(truth, is_member[kept])
    assert set(person[kept]) == set(range(20))
    for side in (truth, ~truth):
        assert np.unique(np.unique(person[kept[side]], return_counts=True)[1]).tolist() == [3]


def test_too_few_people_with_two_photos() -> None:
    seen, sides = null_world(0)
    assert equal(seen, sides, least=61) == (0, {})
