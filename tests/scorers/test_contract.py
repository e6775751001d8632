"""Cross-fitting: nobody is scored by what was fitted on them, and everybody is scored."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from mint_keras.records import AUDITED, Observations, Scores
from mint_keras.scorers.contract import NUM_FOLDS, Fitted, Needs, cross_fit
from tests.scorers.seen import observed

PERSON = np.repeat(np.arange(60), 3)
IS_MEMBER = PERSON < 30


@dataclasses.dataclass
class Spy:
    """Gives each sample the share of the fitted people who are members, and notes who was fitted on and who scored."""

    name: str = "spy"
    tap: str = "outcome"
    needs: ClassVar[Needs] = Needs()
    told: list[tuple[set, set, float]] = dataclasses.field(default_factory=list)

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        assert seed == 7

        def score(others: Observations) -> np.ndarray:
            self.told.append((set(seen.people()), set(others.people()), is_member.mean()))
            return np.where(others["outcome"] > 0, is_member.mean(), np.nan).astype(np.float32)

        return score


def crossed(recipe: Spy, outcome: np.ndarray) -> Scores:
    seen = observed(PERSON, {"outcome": outcome})
    return cross_fit(recipe, seen, IS_MEMBER, "same_database", 7)


def test_everybody_is_scored_once_by_what_was_fitted_without_them() -> None:
    spy = Spy()
    found = crossed(spy, np.ones(len(PERSON)))
    assert len(spy.told) == NUM_FOLDS == found.num_folds
    scored = [name for _, names, _ in spy.told for name in names]
    assert len(scored) == len(set(scored)) == 60
    for fitted, names, share in spy.told:
        assert not fitted & names
        assert len(fitted) == 48
        assert share == pytest.approx(0.5)  # both sides are in every fold
    assert found.samples.sample_id.tolist() == observed(PERSON, {}).table.sample_id.tolist()
    assert (found.scorer, found.tap, found.evaluation, found.model) == ("spy", "outcome", "same_database", AUDITED)
    assert np.array_equal(found.is_member, IS_MEMBER)


def test_what_cannot_be_scored_is_left_out() -> None:
    found = crossed(Spy(), np.where(PERSON % 2, 1.0, -1.0))
    assert len(found.logit) == 90
    assert np.array_equal(found.is_member, IS_MEMBER[PERSON % 2 == 1])


def test_whoever_takes_nothing_from_labels_has_intervals_as_if_fitted_on_nobody() -> None:
    @dataclasses.dataclass
    class Unlabelled(Spy):
        needs: ClassVar[Needs] = Needs(has_labels=False)

    assert crossed(Unlabelled(), np.ones(len(PERSON))).num_folds == 0
