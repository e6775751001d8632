"""How often intervals contain the truth, where the truth is known: simulated people, photos and scorers.

The check that `docs/method.md` reports; `studies.measure_coverage` runs it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import norm

from mint_keras.records import SampleTable, Scores
from mint_keras.statistics import figures, intervals, paired
from mint_keras.statistics.intervals import Estimate
from studies import clustered

OBUCHOWSKI = "obuchowski"  # the name of the interval by formula, `clustered.auc_interval`
_PERSON, _PHOTO = 0.7, 0.7  # standard deviations: half of a score's variance is the person's
_SHARED = 0.5  # share of either that two scorers have in common


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How an interval did.

    Attributes:
        share: The share of runs whose interval contained the truth.
        too_low: The share of runs whose interval lay below the truth.
        too_high: The share of runs whose interval lay above the truth.
        width: The mean width.
    """

    share: float
    too_low: float
    too_high: float
    width: float


def simulate(
    num_people: int, effects: tuple[float, float], rng: np.random.Generator, num_photos: tuple[int, int] = (1, 11)
) -> tuple[Scores, Scores]:
    """Draws scores of two scorers for the same photos of as many members as externals.

    A logit is normal: the class's mean, plus a part that all photos of the person have, plus the photo's own. Half of
    the variance of both parts is common to the scorers.

    Args:
        num_people: The number of people on each side.
        effects: The distance between the classes' means of each scorer.
        rng: Draws everything.
        num_photos: The photos of a person are uniform from the first number to below the second.
    """
    person = np.repeat(np.arange(2 * num_people), rng.integers(*num_photos, 2 * num_people))
    num = len(person)
    is_member = person < num_people
    names = np.array([f"photo{k}" for k in range(num)])
    table = SampleTable(names, np.full(num, "drawn"), person.astype(str), names)
    # What the scorers have in common is what a paired difference must not count as spread.
    common, *own = rng.normal(size=(3, 2 * num_people)) * _PERSON
    common_photo, *own_photo = rng.normal(size=(3, num)) * _PHOTO
    parts = []
    for scorer, effect, of_person, of_photo in zip(("first", "second"), effects, own, own_photo, strict=True):
        alike = common[person] + common_photo
        alone = of_person[person] + of_photo
        logit = np.where(is_member, effect / 2, -effect / 2) + np.sqrt(_SHARED) * alike + np.sqrt(1 - _SHARED) * alone
        parts.append(Scores(scorer, "drawn", "drawn", 1, table, is_member, logit.astype(np.float32)))
    return parts[0], parts[1]


def truth(effect: float) -> dict[str, float]:
    """Returns AUC and balanced accuracy of endlessly many people like `simulate`'s."""
    deviation = np.hypot(_PERSON, _PHOTO)
    return {
        figures.AUC: float(norm.cdf(effect / np.sqrt(2) / deviation)),
        figures.BALANCED_ACCURACY: float(norm.cdf(effect / 2 / deviation)),
    }


def measure(
    num_runs: int,
    num_people: int = 50,
    effects: tuple[float, float] = (1.0, 0.5),
    num_draws: int = intervals.NUM_DRAWS,
    seed: int = 1,
) -> dict[tuple[str, str], Coverage]:
    """Measures how often 95% intervals contain the truth.

    Args:
        num_runs: The number of simulated evaluations.
        num_people: The number of people on each side.
        effects: The distance between the classes' means of each scorer.
        num_draws: The number of draws of each bootstrap.
        seed: Seeds the simulation.

    Returns:
        By figure and method: "auc" and "balanced_accuracy" of the first scorer, and ", difference" for the first minus
        the second, by each of `intervals.METHODS`; and the AUC by Obuchowski's formula.
    """
    rng = np.random.default_rng(seed)
    names = (figures.AUC, figures.BALANCED_ACCURACY)
    expected, other_expected = (truth(effect) for effect in effects)
    expected |= {f"{name}, {intervals.DIFFERENCE}": expected[name] - other_expected[name] for name in names}
    found: dict[tuple[str, str], list[Estimate]] = {}
    for run in range(num_runs):
        # Every method sees the same people; the bootstrap has a seed of its own in each run.
        part, other = simulate(num_people, effects, rng)
        for method in intervals.METHODS:
            estimates = intervals.estimate([part], num_draws, run, names, method)
            differences = paired.difference([part], [other], num_draws, run, names, method)
            estimates |= {f"{name}, {intervals.DIFFERENCE}": value for name, value in differences.items()}
            for name, value in estimates.items():
                found.setdefault((name, method), []).append(value)
        found.setdefault((figures.AUC, OBUCHOWSKI), []).append(clustered.auc_interval(part))
    summary = {}
    for key, values in found.items():
        low, high = (np.array([getattr(value, end) for value in values]) for end in ("low", "high"))
        too_low, too_high = float(np.mean(high < expected[key[0]])), float(np.mean(low > expected[key[0]]))
        summary[key] = Coverage(1 - too_low - too_high, too_low, too_high, float(np.mean(high - low)))
    return summary
