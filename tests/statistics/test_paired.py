"""Differences of scorers: joined by sample, the same draws for both."""

import dataclasses

import numpy as np
import pytest

from mint_keras.records import InputError
from mint_keras.statistics import intervals, metrics, paired
from tests.statistics.worlds import draw


def test_difference_of_plain_figures_however_the_rows_lie() -> None:
    rng = np.random.default_rng(1)
    part, other = draw((20, 30), 3, 1.0, rng), draw((20, 30), 3, 0.2, rng, scorer="blind")
    shuffled = paired.take(other, rng.permutation(len(other.logit)))
    found = paired.difference([part], [shuffled], 200)
    assert found == paired.difference([part], [other], 200)
    expected = metrics.auc(part.is_member, part.logit) - metrics.auc(other.is_member, other.logit)
    assert found["auc"].value == pytest.approx(expected)
    assert found["auc"].low < expected < found["auc"].high


def test_what_scorers_share_cancels() -> None:
    rng = np.random.default_rng(2)
    part = draw((30, 30), 4, 0.5, rng)
    better = dataclasses.replace(part, logit=part.logit + 0.3 * part.is_member.astype(np.float32))
    difference = paired.difference([better], [part])["auc"]
    alone = intervals.estimate([part], names=["auc"], method="student")["auc"]
    assert difference.low > 0
    assert difference.half_width < alone.half_width / 3
    nothing = paired.difference([part], [part], 100)["auc"]
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_trainings_are_paired_by_seed_or_share_one_partner() -> None:
    rng = np.random.default_rng(3)
    parts = [dataclasses.replace(draw((20, 20), 2, 1.0, rng), seed=seed) for seed in (1, 2, 3)]
    found = paired.difference(parts, parts[::-1], 90)["auc"]
    assert (found.low, found.high, found.num_seeds) == (0, 0, 3)
    one = paired.difference(parts, parts[:1], 90)["auc"]
    assert one.value == pytest.approx(
        np.mean([metrics.auc(part.is_member, part.logit) for part in parts])
        - metrics.auc(parts[0].is_member, parts[0].logit)
    )
    with pytest.raises(InputError, match="same training seeds"):
        paired.difference(parts, parts[:2])
    with pytest.raises(InputError, match="none of one"):
        paired.difference(parts, [])


def test_samples_that_do_not_match() -> None:
    part = draw((5, 5), 2, 1.0, np.random.default_rng(4))
    fewer = paired.take(part, np.arange(18))
    with pytest.raises(InputError, match="2 that only one"):
        paired.align(fewer, part)
    first, second = paired.shared([fewer, part])
    assert len(first.logit) == len(second.logit) == 18
    with pytest.raises(InputError, match="classes and people"):
        paired.align(dataclasses.replace(part, is_member=~part.is_member), part)
    with pytest.raises(InputError, match="unique samples"):
        paired.align(paired.take(part, np.array([0, *range(19)])), part)
    with pytest.raises(InputError, match="none has in common"):
        paired.shared([paired.take(part, np.arange(9)), paired.take(part, np.arange(10, 20))])


def test_people_on_both_sides_are_drawn_with_both() -> None:
    part = draw((6, 6), 2, 0.0, np.random.default_rng(5))
    mixed = dataclasses.replace(part, is_member=np.arange(24) % 2 == 0)
    weights = intervals._weights(mixed, 40, np.random.default_rng(6), np.arange(24))
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights.sum(axis=1) == 24).all()
    assert weights.max() > 1
