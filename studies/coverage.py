"""How often intervals contain the truth, where the truth is known: simulated people, photos and scorers.

The check that `docs/method.md` reports; `studies.measure_coverage` runs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from mint_keras.records import Observations, SampleTable, Scores
from mint_keras.statistics import figures, intervals, metrics, paired
from mint_keras.statistics.intervals import Estimate
from studies import clustered

STUDENT, NAIVE = "student", "student, as if folds were independent"
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


def measure_cross_fitted(
    num_runs: int, num_people: int = 60, effect: float = 0.0, num_draws: int = intervals.NUM_DRAWS, seed: int = 1
) -> dict[tuple[str, str], Coverage]:
    """Measures how often intervals of cross-fitted scores contain the truth; see `scorers.contract.cross_fit`.

    A photo is 20 numbers; the first of them is larger for members by the effect. Half of their variance is the
    person's; people have two photos. The scorer is `scorers.look.Look`, and the truth is the mean AUC, over runs, of
    what is fitted on four fifths of such people for 2,000 others (0.5 without an effect).

    Returns:
        By figure and method: "auc" by `STUDENT`, as verdicts have it, and `NAIVE`, as if folds were independent.
    """
    from mint_keras.scorers.contract import NUM_FOLDS, cross_fit  # they load Keras
    from mint_keras.scorers.look import Look

    rng, found, areas = np.random.default_rng(seed), [], []
    for run in range(num_runs):
        seen, is_member = _photos(num_people, effect, rng)
        part = cross_fit(Look(), seen, is_member, "drawn", run)
        naive = dataclasses.replace(part, num_folds=0)
        found.append(
            [intervals.estimate([one], num_draws, run, [figures.AUC], "student")[figures.AUC] for one in (part, naive)]
        )
        if effect:
            known = num_people * (NUM_FOLDS - 1) // NUM_FOLDS
            others, truth_of_others = _photos(1000, effect, rng)
            fitted = Look().fit(*_photos(known, effect, rng))
            areas.append(metrics.auc(truth_of_others, fitted(others)))
    expected = float(np.mean(areas)) if areas else 0.5
    by_method = zip((STUDENT, NAIVE), zip(*found, strict=True), strict=True)
    return {(figures.AUC, method): _summary(values, expected) for method, values in by_method}


def _photos(num_people: int, effect: float, rng: np.random.Generator) -> tuple[Observations, np.ndarray]:
    person = np.repeat(np.arange(2 * num_people), 2)
    outcome = _PERSON * rng.normal(size=(2 * num_people, 20))[person] + _PHOTO * rng.normal(size=(len(person), 20))
    is_member = person < num_people
    outcome[:, 0] += effect * is_member
    names = np.array([f"photo{k}" for k in range(len(person))])
    table = SampleTable(names, np.full(len(person), "drawn"), person.astype(str), names)
    return Observations(table, {"outcome": outcome}), is_member


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
    return {key: _summary(values, expected[key[0]]) for key, values in found.items()}


def _summary(values: Sequence[Estimate], expected: float) -> Coverage:
    low, high = (np.array([getattr(value, end) for value in values]) for end in ("low", "high"))
    too_low, too_high = float(np.mean(high < expected)), float(np.mean(low > expected))
    return Coverage(1 - too_low - too_high, too_low, too_high, float(np.mean(high - low)))
