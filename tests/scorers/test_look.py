"""How people look to another network: what is there is found, on either side, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.records import Scores
from mint_keras.scorers.contract import cross_fit
from mint_keras.scorers.look import Look
from mint_keras.statistics import metrics
from tests.scorers.seen import observed

IS_MEMBER = np.arange(240) < 120


def crossed(outcome: np.ndarray) -> Scores:
    return cross_fit(Look(), observed(np.arange(240), {"outcome": outcome}), IS_MEMBER, "same_database", 1)


def auc(part: Scores) -> float:
    return metrics.auc(IS_MEMBER, part.logit)


def test_a_direction_and_a_length_are_seen() -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(240, 64))
    assert auc(crossed(directions)) == pytest.approx(0.5, abs=0.1)
    turned = directions + np.where(IS_MEMBER, 1.5, -1.5)[:, None] * (np.arange(64) == 5)
    assert auc(crossed(turned)) > 0.7
    longer = directions * np.exp(0.3 * rng.normal(size=240) + 0.5 * IS_MEMBER)[:, None]
    assert auc(crossed(longer)) > 0.7


def test_more_dimensions_than_people_are_no_memory_of_people() -> None:
    part = crossed(np.random.default_rng(2).normal(size=(240, 512)))
    assert np.isfinite(part.logit).all()
    assert auc(part) == pytest.approx(0.5, abs=0.1)


def test_nothing_about_it_is_random_and_sides_weigh_the_same() -> None:
    rng = np.random.default_rng(3)
    seen = observed(np.arange(240), {"outcome": rng.normal(size=(240, 8))})
    first, again = (Look().fit(seen, IS_MEMBER, seed)(seen) for seed in (1, 2))
    np.testing.assert_array_equal(first, again)
    few = np.arange(240) < 24
    assert abs(Look().fit(seen, few)(seen).mean() - Look().fit(seen, ~few)(seen).mean()) < 1.0
