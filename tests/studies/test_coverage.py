"""The simulation's truth, and a few runs of it; `docs/method.md` has 2,000."""

import numpy as np
import pytest

from mint_keras.statistics import intervals
from studies import coverage


def test_simulated_figures_are_what_they_are_said_to_be() -> None:
    parts = coverage.simulate(20_000, (1.0, 0.4), np.random.default_rng(1), (2, 3))
    for part, effect in zip(parts, (1.0, 0.4), strict=True):
        names = ("auc", "balanced_accuracy")
        assert intervals.plain_figures(part, names) == pytest.approx(coverage.truth(effect), abs=0.005)
    person = parts[0].logit.reshape(-1, 2) - np.where(parts[0].is_member, 0.5, -0.5).reshape(-1, 2)
    assert np.corrcoef(person.T)[0, 1] == pytest.approx(0.5, abs=0.02)  # photos of one person
    assert np.corrcoef(parts[0].logit[::2], parts[1].logit[::2])[0, 1] > 0.5  # two scorers


def test_intervals_cover() -> None:
    found = coverage.measure(60, num_draws=150)
    assert {method for _, method in found} == {*intervals.METHODS, "obuchowski"}
    for key, value in found.items():
        assert value.share >= 51 / 60, key  # 95% of draws of 60 with a coverage of 0.92 lie above
        assert value.share + value.too_low + value.too_high == pytest.approx(1)
        assert value.width < 0.25


def test_intervals_that_are_too_short_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(values, draws, num_people, kind):
        return intervals.percentile(values, np.mean(draws) + (draws - np.mean(draws)) / 3, num_people, kind)

    monkeypatch.setitem(intervals.METHODS, "percentile", short)
    found = coverage.measure(30, num_draws=100)
    assert found["auc", "percentile"].share < 0.75
