"""People in place of photos."""

import dataclasses

import numpy as np
import pytest

from mint_keras.records import InputError
from mint_keras.statistics import conformal, metrics, paired, person
from tests.statistics.worlds import draw, scores_of


def test_aggregate_takes_each_person_once_whatever_the_order() -> None:
    rng = np.random.default_rng(1)
    part = draw((4, 5), 3, 1.0, rng)
    part = paired.take(part, np.arange(26))  # the last person keeps two photos
    found = person.aggregate(part, 3)
    people = part.samples.people()
    assert sorted(found.samples.people()) == [name for name in np.unique(people) if name != "web/8"]
    for name, logit in zip(found.samples.people(), found.logit, strict=True):
        assert logit == pytest.approx(person.statistic_of(part.logit[people == name]), rel=1e-6)
    assert found.is_member.sum() == 4
    shuffled = person.aggregate(paired.take(part, rng.permutation(26)), 3)
    assert dict(zip(found.samples.sample_id, found.logit, strict=True)) == dict(
        zip(shuffled.samples.sample_id, shuffled.logit, strict=True)
    )
    with pytest.raises(InputError, match="received nobody"):
        person.aggregate(part, 4)
    with pytest.raises(InputError, match="at least one photo"):
        person.aggregate(part, 0)


def test_smaller_numbers_of_photos_lie_inside_larger_ones() -> None:
    part = draw((3, 3), 5, 0.0, np.random.default_rng(2))
    few, many = (person.photos_of_people(part, num, 1)[1] for num in (2, 4))
    np.testing.assert_array_equal(few, many[:, :2])


def test_people_on_both_sides_and_of_unknown_membership() -> None:
    part = scores_of(np.arange(8) % 2 == 0, np.arange(8) // 4, np.arange(8.0))
    found = person.aggregate(part, 2)
    assert found.samples.sample_id.tolist() == ["web/0:external", "web/0:member", "web/1:external", "web/1:member"]
    assert found.logit.tolist() == [2, 1, 6, 5]
    unknown = person.aggregate(dataclasses.replace(part, is_member=None), 4)
    assert unknown.is_member is None
    assert unknown.samples.sample_id.tolist() == ["web/0:unknown", "web/1:unknown"]


def test_people_are_accused_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(3)
    nobody, accused, independent = np.array([], str), 0, 0
    for _ in range(30):
        seen, new = draw((0, 99), 6, 0.0, rng), draw((0, 60), 6, 0.0, rng, database="scan")
        calibration = conformal.calibrate(person.aggregate(seen, 6), nobody)
        accused += np.count_nonzero(conformal._p_values(calibration, person.aggregate(new, 6).logit) <= 0.05)
        # The trap: as if photos of a person were independent, a mean of 6 spreads by a root of 6 less.
        z = new.logit.reshape(60, 6).mean(axis=1) * np.sqrt(6) / np.std(seen.logit)
        independent += np.count_nonzero(z > 1.645)
    assert accused / 1800 == pytest.approx(0.05, abs=0.02)
    assert independent > 3 * accused


def test_power_grows_with_photos_and_saturates() -> None:
    parts = [dataclasses.replace(draw((60, 60), 8, 1.0, np.random.default_rng(s), own=0.3), seed=s) for s in (1, 2)]
    parts[0] = paired.take(parts[0], np.arange(len(parts[0].logit) - 3))  # one external has 5 photos: left out
    curve = person.power_curve(parts, 8)
    assert [point.num_photos for point in curve] == list(range(1, 9))
    assert {(point.num_members, point.num_externals) for point in curve} == {(60, 59)}
    assert curve[7].auc.value > curve[0].auc.value + 0.08
    assert all(point.auc.low <= point.auc.value <= point.auc.high for point in curve)
    assert all(point.auc.num_seeds == 2 for point in curve)
    whole = [person.aggregate(part, 8) for part in parts]
    assert curve[7].auc.value == pytest.approx(np.mean([metrics.auc(p.is_member, p.logit) for p in whole]))
    needed = person.photos_needed(curve, 0.8)
    assert needed is not None
    assert curve[needed - 1].auc.low >= 0.8
    assert needed == 1 or curve[needed - 2].auc.low < 0.8
    assert person.photos_needed(curve, 0.9999) is None
    with pytest.raises(InputError, match="at least one training"):
        person.power_curve([], 3)
    with pytest.raises(InputError, match="0 members and 0 externals"):
        person.power_curve(parts, 9)
