"""Known signs: they point to whoever was used, whatever the labels say, and to nobody where nobody was."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.aad import views
from mint_keras.records import Observations, Scores
from mint_keras.scorers.contract import cross_fit
from mint_keras.scorers.direction import Direction
from mint_keras.statistics import metrics
from tests.scorers.seen import observed, only

NUM = 100
PERSON = np.repeat(np.arange(NUM), 3)
WAS_USED = PERSON < NUM // 2


def seen(
    seed: int, longer: float = 0.0, steadier: float = 0.0, nearer: float = 0.0, person: np.ndarray = PERSON
) -> Observations:
    """What a network makes of people of whom half were used."""
    rng, used = np.random.default_rng(seed), (person < NUM // 2)[:, None]
    own = rng.normal(size=(NUM, 16))[person]
    outcome = own + (1 - nearer * used) * rng.normal(size=own.shape)
    outcome *= np.exp(0.2 * rng.normal(size=used.shape) + longer * used) / np.linalg.norm(
        outcome, axis=1, keepdims=True
    )
    turned = 0.1 * np.exp(0.3 * rng.normal(size=(len(person), len(views.VIEWS))) - steadier * used)
    return observed(person, {"outcome": outcome, views.COSINES: 1 - turned})


def crossed(shown: Observations, is_member: np.ndarray = WAS_USED) -> Scores:
    return cross_fit(Direction(), shown, is_member, "same_database", 1)


def auc(part: Scores) -> float:
    return metrics.auc(part.is_member, part.logit)


@pytest.mark.parametrize("effect", [{"longer": 0.4}, {"steadier": 0.4}, {"nearer": 0.5}])
def test_each_sign_points_to_who_was_used_whoever_is_claimed(effect: dict[str, float]) -> None:
    shown = seen(1, **effect)
    assert auc(crossed(shown)) > 0.65
    assert auc(crossed(shown, ~WAS_USED)) < 0.35


def test_labels_make_no_difference() -> None:
    shown = seen(2, longer=0.2)
    first, second = (Direction().fit(shown, truth)(shown) for truth in (WAS_USED, ~WAS_USED))
    np.testing.assert_array_equal(first, second)
    assert auc(crossed(seen(2))) == pytest.approx(0.5, abs=0.1)
    assert crossed(shown).num_folds == 0


def test_more_photos_of_a_person_are_no_sign() -> None:
    """Claimed members have twice as many photos, and a centroid of many photos is nearer to each of them."""
    person = np.repeat(np.arange(NUM), np.where(np.arange(NUM) < NUM // 2, 6, 3))
    assert auc(crossed(seen(3, person=person), person < NUM // 2)) == pytest.approx(0.5, abs=0.1)


def test_it_takes_what_there_is() -> None:
    shown = seen(4, longer=0.4)
    assert auc(crossed(only(shown, ("outcome",)))) > 0.65
    single = shown.take(np.arange(0, len(PERSON), 3))  # of one photo nobody can say how near it is to the others
    assert auc(crossed(single, WAS_USED[::3])) > 0.65
    # People of one photo among those who are scored: nobody's other photos count.
    some = Direction().fit(shown, WAS_USED)(shown.take(np.arange(1, len(PERSON))))
    assert np.isfinite(some).all()


def test_the_same_embedding_for_everybody_is_no_number_that_says_something() -> None:
    shown = observed(PERSON, {"outcome": np.ones((len(PERSON), 4))})
    assert np.ptp(crossed(shown).logit) < 1e-3
