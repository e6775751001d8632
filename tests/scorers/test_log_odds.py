"""The log-odds of the own person against a slow computation, and what references take away from it."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.records import Observations
from mint_keras.scorers import log_odds
from mint_keras.scorers.contract import cross_fit
from mint_keras.scorers.log_odds import LogOdds
from mint_keras.statistics import metrics
from tests.scorers.seen import observed

NUM = 80
PERSON = np.repeat(np.arange(NUM), 3)
WAS_USED = PERSON < NUM // 2


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def test_it_is_what_one_writes_down() -> None:
    rng = np.random.default_rng(1)
    people, outcome = np.array(["a", "a", "b", "b", "b", "c"]), rng.normal(size=(6, 4))
    # "b" is among the others, and no other to itself.
    others = log_odds.people_of(rng.normal(size=(5, 4)), np.array(["b", "b", "d", "e", "e"]))
    found = log_odds.log_odds(outcome, people, others)
    for k in range(5):
        own = [unit(outcome[k]) @ unit(outcome[j]) for j in range(6) if j != k and people[j] == people[k]]
        theirs = [
            np.exp(32 * unit(outcome[k]) @ centroid)
            for name, centroid in zip(others.names, others.centroids, strict=True)
            if name != people[k]
        ]
        assert found[k] == pytest.approx(32 * np.mean(own) - np.log(sum(theirs)))
    assert np.isnan(found[5])  # an only photo
    assert others.names.tolist() == ["b", "d", "e"]


def seen(seed: int, references: int = 1, known_to_reference: np.ndarray | None = None) -> Observations:
    """What networks make of photos; to the audited one those of who was used are more alike."""
    rng = np.random.default_rng(seed)
    look, noise = rng.normal(size=(NUM, 16))[PERSON], rng.normal(size=(len(PERSON), 16))
    noise *= np.exp(0.6 * rng.normal(size=(NUM, 1)))[PERSON]  # whoever looks alike does so to all networks

    def network(known: np.ndarray) -> np.ndarray:
        return look + (1 - 0.3 * known[:, None]) * noise + 0.2 * rng.normal(size=look.shape)

    nobody = np.zeros(len(PERSON))
    known = nobody if known_to_reference is None else known_to_reference
    beside = {f"reference_{k}": network(known) for k in range(references)}
    return observed(PERSON, {"outcome": network(1.0 * WAS_USED), **beside})


def auc(shown: Observations, is_member: np.ndarray = WAS_USED) -> float:
    part = cross_fit(LogOdds(), shown, is_member, "same_database", 1)
    assert part.num_folds == 0
    return metrics.auc(part.is_member, part.logit)


def test_a_reference_takes_away_how_people_look() -> None:
    alone, one, several = (auc(seen(1, num)) for num in (0, 1, 4))
    assert alone + 0.05 < one <= several


def test_labels_set_no_sign() -> None:
    assert auc(seen(1), ~WAS_USED) == pytest.approx(1 - auc(seen(1)))


def test_a_reference_that_knows_them_too_takes_it_all_away() -> None:
    assert auc(seen(3, known_to_reference=1.0 * WAS_USED)) == pytest.approx(0.5, abs=0.1)
