"""Several candidates: chosen beforehand, or corrected for."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from mint_keras.records import UNTRAINED, InputError
from mint_keras.statistics import selection
from tests.statistics.worlds import draw


def test_candidates_are_what_scored_through_the_audited_model() -> None:
    part = draw((4, 4), 1, 1.0, np.random.default_rng(0))
    untrained = dataclasses.replace(part, model=UNTRAINED)
    scores = [part, untrained, dataclasses.replace(part, seed=2), dataclasses.replace(part, evaluation="elsewhere")]
    (found,) = selection.candidates(scores, "same_database")
    assert str(found) == "vanilla on conv1"
    assert [one.seed for one in found.parts(scores, "same_database")] == [1, 2]
    assert found.parts(scores, "same_database", UNTRAINED) == [untrained]


def test_choice_is_the_best_on_other_people() -> None:
    rng = np.random.default_rng(1)
    validation = {"conv1": [draw((20, 20), 2, 0.1, rng)], "conv4": [draw((20, 20), 2, 2.0, rng)]}
    elsewhere = draw((10, 10), 2, 0.0, rng, database="scan")
    assert selection.choose(validation, [elsewhere]) == "conv4"
    with pytest.raises(InputError, match="20 of 20 in both for 'conv1'"):
        selection.choose(validation, [draw((10, 10), 2, 0.0, rng)])
    with pytest.raises(InputError, match="at least one candidate"):
        selection.choose({}, [elsewhere])


def test_holm_by_hand_and_limits() -> None:
    found = selection.holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.9})
    assert found == pytest.approx({"a": 0.09, "b": 0.04, "c": 0.09, "d": 0.9})
    assert list(found) == ["a", "b", "c", "d"]
    assert selection.holm({}) == {}
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        selection.holm({"a": 1.2})


def test_p_values_of_an_auc() -> None:
    rng = np.random.default_rng(2)
    strong, none = draw((40, 40), 3, 1.0, rng), draw((40, 40), 3, 0.0, rng)
    assert selection.p_above([strong], num_draws=500) == 1 / 501
    assert selection.p_above([none], num_draws=500) > 0.02
    reverse = dataclasses.replace(strong, logit=-strong.logit)
    assert selection.p_above([reverse], num_draws=500) == 1
    assert selection.p_differs([reverse], num_draws=500) == 2 / 501
    with pytest.raises(InputError, match="at least one training"):
        selection.p_above([])


def test_p_values_are_uniform_where_nothing_is_to_be_found() -> None:
    rng = np.random.default_rng(3)
    found = [selection.p_above([draw((40, 40), 2, 0.0, rng)], num_draws=300) for _ in range(150)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
