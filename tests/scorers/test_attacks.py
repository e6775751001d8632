"""Published attacks against slow and obvious twins, one sample after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mint_keras.aad.signals import BN_DISTANCE
from mint_keras.records import Observations
from mint_keras.scorers import attacks, log_odds
from mint_keras.scorers.attacks import IS_IN, LABEL, Attack
from mint_keras.scorers.baselines import FIRST_MAXIMA
from mint_keras.scorers.contract import cross_fit
from mint_keras.statistics import metrics
from tests.scorers.seen import observed

NUM, CLASSES, REFERENCES = 60, 5, 8
NAMES = [f"reference_{k}" for k in range(REFERENCES)]
IS_MEMBER = np.arange(NUM) % 2 == 0


def classifier(seed: int, num: int = NUM) -> Observations:
    """Logits of pictures through a classifier and references, each trained on half of them: more of the true class."""
    rng = np.random.default_rng(seed)
    label, hard = rng.integers(CLASSES, size=num), rng.normal(size=num)

    def logits(is_in: np.ndarray) -> np.ndarray:
        found = rng.normal(size=(num, CLASSES))
        found[np.arange(num), label] += 2 + hard + 2.0 * is_in
        return found

    arrays = {"outcome": logits(np.arange(num) % 2 == 0), LABEL: label, FIRST_MAXIMA: rng.normal(size=(num, 3))}
    arrays[BN_DISTANCE] = rng.gamma(2, np.where(np.arange(num) % 2 == 0, 1.0, 3.0)[:, None], size=(num, 2))
    for name in NAMES:
        is_in = rng.permutation(num) < num // 2
        arrays |= {name: logits(is_in), f"{IS_IN}{name}": is_in}
    return observed(np.arange(num), arrays)


KNOWN, SHOWN = classifier(1), classifier(2)


def odds(logits: np.ndarray, label: int) -> float:
    p = np.exp(logits) / np.exp(logits).sum()
    return math.log(p[label] / (1 - p[label]))


def sides(seen: Observations, row: int) -> tuple[float, list[float], list[float]]:
    """The audited model's log-odds of a sample, and those of references that saw it and that did not."""
    label = seen[LABEL][row]
    of = {name: odds(seen[name][row], label) for name in NAMES}
    inside = [value for name, value in of.items() if seen[f"{IS_IN}{name}"][row]]
    outside = [value for name, value in of.items() if not seen[f"{IS_IN}{name}"][row]]
    return odds(seen["outcome"][row], label), inside, outside


def pooled(side: int) -> float:
    squares, num = 0.0, 0
    for row in range(NUM):
        values = sides(KNOWN, row)[side]
        squares += sum((value - np.mean(values)) ** 2 for value in values)
        num += max(len(values) - 1, 0)
    return math.sqrt(squares / num)


def lira(row: int, is_online: bool, is_fixed: bool) -> float:
    audited, inside, outside = sides(SHOWN, row)
    spread = {side: pooled(side) if is_fixed else np.std(sides(SHOWN, row)[side], ddof=1) for side in (1, 2)}
    if not is_online:
        return (audited - np.mean(outside)) / spread[2]
    return stats.norm(np.mean(inside), spread[1]).logpdf(audited) - stats.norm(np.mean(outside), spread[2]).logpdf(
        audited
    )


def bavaria(row: int) -> float:
    audited, *both = sides(SHOWN, row)
    found = []
    for side, values in enumerate(both, start=1):
        freedom = 4 + len(values) - 1
        squares = sum((value - np.mean(values)) ** 2 for value in values)
        variance = (4 * pooled(side) ** 2 + squares) / freedom * (1 + 1 / len(values))
        found.append(stats.t(freedom, np.mean(values), math.sqrt(variance)).logpdf(audited))
    return found[0] - found[1]


def rmia(row: int) -> float:
    def ratio(seen: Observations, row: int) -> float:
        audited, _, outside = sides(seen, row)
        mean = np.mean([1 / (1 + math.exp(-value)) for value in outside]) if outside else math.nan
        return 1 / (1 + math.exp(-audited)) / (0.5 * (1.3 * mean + 0.7))

    return float(np.mean([ratio(SHOWN, row) / ratio(KNOWN, other) >= 1.0 for other in range(NUM)]))


def cross_entropy(value: float) -> float:
    return math.log(1 + math.exp(-value))


def entropies(row: int) -> tuple[float, float]:
    """The entropy and the modified one, as their papers print them."""
    p = np.exp(SHOWN["outcome"][row]) / np.exp(SHOWN["outcome"][row]).sum()
    true = p[SHOWN[LABEL][row]]
    others = [q for k, q in enumerate(p) if k != SHOWN[LABEL][row]]
    plain = -sum(q * math.log(q) for q in p)
    return plain, -(1 - true) * math.log(true) - sum(q * math.log(1 - q) for q in others)


TWINS = {
    "loss": lambda row: -cross_entropy(sides(SHOWN, row)[0]),
    "confidence": lambda row: max(odds(SHOWN["outcome"][row], label) for label in range(CLASSES)),
    "entropy": lambda row: -entropies(row)[0],
    "modified_entropy": lambda row: -entropies(row)[1],
    "calibrated_loss": lambda row: (
        np.mean([cross_entropy(odds(SHOWN[name][row], SHOWN[LABEL][row])) for name in NAMES])
        - cross_entropy(sides(SHOWN, row)[0])
    ),
    "lira_offline": lambda row: lira(row, is_online=False, is_fixed=False),
    "lira_offline_fixed": lambda row: lira(row, is_online=False, is_fixed=True),
    "lira_online": lambda row: lira(row, is_online=True, is_fixed=False),
    "lira_online_fixed": lambda row: lira(row, is_online=True, is_fixed=True),
    "bavaria_t": bavaria,
    "rmia": rmia,
}


@pytest.mark.parametrize("name", TWINS)
def test_it_is_what_the_paper_says(name: str) -> None:
    found = Attack(name).fit(KNOWN, IS_MEMBER)(SHOWN)
    rows = [row for row in range(12) if min(map(len, sides(SHOWN, row)[1:])) > 1]
    np.testing.assert_allclose(found[rows], [TWINS[name](row) for row in rows], rtol=1e-4, atol=1e-5)


def test_every_attack_is_right_about_who_was_trained_on() -> None:
    shown = classifier(3, num=400)
    is_member = np.arange(400) % 2 == 0
    names = attacks.available(shown)
    assert set(names) == set(attacks.ATTACKS) - {"user_embedding"}
    for name in names:
        part = cross_fit(Attack(name), shown, is_member, "same_database", 1)
        blurred = {"confidence", "entropy", "modified_entropy", "qmia", "loss", "gradient_norm"}
        least = 0.55 if name in blurred else 0.65
        assert metrics.auc(part.is_member, part.logit) > least, name


def test_gradient_of_the_cross_entropy_by_the_logits() -> None:
    found = Attack("gradient_norm").fit(KNOWN, IS_MEMBER)(SHOWN)
    logits, label = SHOWN["outcome"][7], SHOWN[LABEL][7]

    def loss(x: np.ndarray) -> float:
        return float(np.log(np.exp(x).sum()) - x[label])

    steps = [(loss(logits + 1e-5 * one) - loss(logits - 1e-5 * one)) / 2e-5 for one in np.eye(CLASSES)]
    assert found[7] == pytest.approx(-np.log(np.linalg.norm(steps)), abs=1e-4)


class TestFaces:
    def seen(self) -> Observations:
        rng = np.random.default_rng(1)
        person = np.repeat(np.arange(40), 3)
        arrays = {name: rng.normal(size=(120, 6)) for name in ("outcome", "reference_a", "reference_b")}
        return observed(person, arrays)

    def test_what_has_what_it_looks_at_is_there(self) -> None:
        seen = self.seen()
        alone = Observations(seen.table, {"outcome": seen["outcome"]})
        assert attacks.available(alone) == ["loss", "gradient_norm", "user_embedding"]
        beside = {"calibrated_loss", "loss_trajectory", "rmia", "bavaria_t", "lira_offline_fixed", "lira_offline"}
        assert set(attacks.available(seen)) - set(attacks.available(alone)) == beside

    def test_a_person_stands_where_a_class_would(self) -> None:
        seen = self.seen()
        known, shown = seen.take(np.arange(60)), seen.take(np.arange(60, 120))
        people = log_odds.people_of(known["outcome"], known.people())
        own = log_odds.log_odds(shown["outcome"], shown.people(), people)
        found = Attack("loss").fit(known, np.arange(60) < 30)(shown)
        np.testing.assert_allclose(found, [-cross_entropy(value) for value in own], rtol=1e-5)

    def test_how_a_person_s_photos_lie(self) -> None:
        seen = self.seen()
        found = attacks.lying_together(seen)
        unit = [row / np.linalg.norm(row) for row in seen["outcome"][:3]]
        away = [np.linalg.norm(row - sum(unit) / 3) for row in unit]
        pairs = [np.linalg.norm(unit[i] - unit[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        for row in range(3):
            np.testing.assert_allclose(found[row], [np.mean(away), np.std(away), max(away), np.mean(pairs)])
