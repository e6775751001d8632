"""Nobody chooses and is reported on, and who has more photos must not look like a member."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mint_keras.data import protocol
from mint_keras.records import InputError, Labelled, Observations, SampleTable
from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.scorers.contract import cross_fit
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


def test_members_and_others_of_their_database_are_the_reference_whatever_part_they_play() -> None:
    names = np.array([f"photo{k:03d}" for k in range(100)])
    table = SampleTable(names, np.full(100, "web"), np.repeat(np.arange(50), 2).astype(str), names)
    part = np.repeat(np.arange(5), 20)
    train, test = (protocol.TRAIN_MEMBERS, protocol.TRAIN_EXTERNALS), (protocol.TEST_MEMBERS, protocol.TEST_EXTERNALS)
    for main, others in (
        (protocol.UNSEEN_DATABASE, {protocol.HELD_OUT}),
        (protocol.SAME_DATABASE, {train[1], test[1]}),
    ):
        rows, is_member = division.of_reference(protocol.Protocol(table, part, main, 1))
        assert set(part[rows[is_member]]) == {train[0], test[0]}
        assert set(part[rows[~is_member]]) == others
        assert len(rows) == 20 * (2 + len(others))  # everybody, and nobody twice
        assert len(set(rows.tolist())) == len(rows)


def test_null_sides_are_of_people_who_are_no_members() -> None:
    part = dataclasses.replace(draw((10, 20), 3, 1.0, np.random.default_rng(2)), num_folds=5)
    (null,) = division.without_membership([part], 1)
    people, claimed = null.samples.people(), null.is_member
    assert set(people) == set(part.samples.people()[~part.is_member])
    assert not set(people[claimed]) & set(people[~claimed])
    assert claimed.sum() == 30
    assert null.num_folds == 0  # the lot was drawn after all fitting
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


def null_world(seed: int) -> tuple[Observations, Labelled]:
    """People who differ in nothing but this: claimed members have eight photos each, the others three."""
    rng = np.random.default_rng(seed)
    is_claimed = np.arange(240) < 120
    person = np.repeat(np.arange(240), np.where(is_claimed, 8, 3))
    outcome = rng.normal(size=(240, 16))[person] + rng.normal(size=(len(person), 16))
    seen = observed(np.char.zfill(person.astype(str), 4), {OUTCOME: outcome})
    return seen, Labelled(np.arange(len(person)), is_claimed[person])


def auc(seen: Observations, photos: Labelled, level: str) -> float:
    """The AUC of people each of whom is scored by what was fitted without them."""
    recipe = mint_plus.MintPlus(level=level, ingredients=("others",))
    found = cross_fit(recipe, seen.take(photos.rows), photos.is_member, protocol.SAME_DATABASE, seed=1)
    assert len(found.logit) == len(photos.rows)
    return metrics.auc(photos.is_member, found.logit)


def equal(seen: Observations, photos: Labelled, least: int = 50) -> tuple[int, Labelled]:
    return division.equal_photos(photos, least, seen.people(), np.arange(len(seen)).astype(str), seed=1)


@pytest.mark.parametrize("level", [mint_plus.WITH_OTHERS, mint_plus.OF_PERSON])
def test_null_worlds_of_unequal_photos_stay_at_chance(level: str) -> None:
    found, careless = [], []
    for seed in range(2):
        seen, photos = null_world(seed)
        num, chosen = equal(seen, photos)
        assert num == 3
        found.append(auc(seen, chosen, level))
        careless.append(auc(seen, photos, level))
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)
    assert min(careless) > 0.9  # why photos are made equal


def test_equal_photos_of_the_same_people_on_both_sides() -> None:
    """Where photos and not people are members, only people with enough photos on both sides are chosen."""
    person = np.repeat(np.arange(30), 6)
    is_member = np.tile(np.arange(6), 30) < np.repeat(np.where(np.arange(30) < 20, 3, 1), 6)  # 10 have one used photo
    people = np.char.add("web/", np.char.zfill(person.astype(str), 2))
    rows = np.arange(len(person))
    num, (kept, truth) = division.equal_photos(Labelled(rows, is_member), 15, people, rows.astype(str), seed=1)
    assert num == 3
    assert np.array_equal(truth, is_member[kept])
    assert set(person[kept]) == set(range(20))
    for side in (truth, ~truth):
        assert np.unique(np.unique(person[kept[side]], return_counts=True)[1]).tolist() == [3]


def test_too_few_people_with_two_photos() -> None:
    seen, photos = null_world(0)
    num, chosen = equal(seen, photos, least=121)
    assert (num, len(chosen.rows), len(chosen.is_member)) == (0, 0, 0)


def test_sides_of_no_common_database_are_no_comparison() -> None:
    """Whatever tells the two databases apart would look like membership."""
    sides = draw((10, 10), 3, 1.0, np.random.default_rng(1))
    database = np.where(sides.is_member, "web", "news")
    apart = dataclasses.replace(sides, samples=dataclasses.replace(sides.samples, database=database))
    with pytest.raises(InputError, match=r"photos on both sides, received web and news"):
        division.with_equal_databases(apart, 1)
