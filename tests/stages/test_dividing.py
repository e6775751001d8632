"""Who has more photos must not look like a member."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import OUTCOME, PERSON
from mint_keras.stages.audit import dividing
from mint_keras.statistics import metrics

Side = tuple[np.ndarray, np.ndarray]


def null_world(seed: int) -> tuple[dict[str, np.ndarray], dict[str, Side]]:
    """People who differ in nothing but this: claimed members have eight photos each, the others three."""
    rng = np.random.default_rng(seed)
    is_claimed = np.arange(240) < 120
    person = np.repeat(np.arange(240), np.where(is_claimed, 8, 3))
    outcome = rng.normal(size=(240, 16))[person] + rng.normal(size=(len(person), 16))
    sides = {
        name: (np.flatnonzero(mask), is_claimed[person[mask]])
        for name, mask in (("fitted on", person % 2 == 0), ("scored", person % 2 == 1))
    }
    return {OUTCOME: outcome, PERSON: np.char.add("web/", np.char.zfill(person.astype(str), 4))}, sides


def auc(features: dict[str, np.ndarray], sides: dict[str, Side], level: str) -> float:
    (known, truth), (rows, is_claimed) = sides["fitted on"], sides["scored"]
    fit_on, scored = ({name: values[some] for name, values in features.items()} for some in (known, rows))
    return metrics.auc(is_claimed, mint_plus.fit(fit_on, truth, level=level, ingredients=("others",))(scored))


def equal(features: dict[str, np.ndarray], sides: dict[str, Side], least: int = 50) -> tuple[int, dict[str, Side]]:
    people = features[PERSON]
    return dividing.equal_photos(
        sides, {"fitted on": 10, "scored": least}, people, np.arange(len(people)).astype(str), seed=1
    )


@pytest.mark.parametrize("level", [mint_plus.WITH_OTHERS, mint_plus.OF_PERSON])
def test_null_worlds_of_unequal_photos_stay_at_chance(level: str) -> None:
    found, careless = [], []
    for seed in range(2):
        features, sides = null_world(seed)
        num, chosen = equal(features, sides)
        assert num == 3
        found.append(auc(features, chosen, level))
        careless.append(auc(features, sides, level))
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)
    assert min(careless) > 0.9  # why photos are made equal


def test_equal_photos_of_the_same_people_on_both_sides() -> None:
    """Where photos and not people are members, only people with enough photos on both sides are chosen."""
    person = np.repeat(np.arange(30), 6)
    is_member = np.tile(np.arange(6), 30) < np.repeat(np.where(np.arange(30) < 20, 3, 1), 6)  # 10 have one used photo
    people = np.char.add("web/", np.char.zfill(person.astype(str), 2))
    rows = np.arange(len(person))
    num, chosen = dividing.equal_photos({"all": (rows, is_member)}, {"all": 15}, people, rows.astype(str), seed=1)
    assert num == 3
    kept, truth = chosen["all"]
    assert np.array_equal(truth, is_member[kept])
    assert set(person[kept]) == set(range(20))
    for side in (truth, ~truth):
        assert np.unique(np.unique(person[kept[side]], return_counts=True)[1]).tolist() == [3]


def test_too_few_people_with_two_photos() -> None:
    features, sides = null_world(0)
    assert equal(features, sides, least=61) == (0, {})
