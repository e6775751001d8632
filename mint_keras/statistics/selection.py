"""Several taps, heads or scorers: one is chosen before the evaluation, or all are tested and pay for it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mint_keras.records import AUDITED, InputError, SampleTable, Scores
from mint_keras.statistics import figures, intervals

NUM_DRAWS = 9996  # smallest p-value 1/9997; divides by 1, 2, 3 and 6 seeds
_ROUNDING = 1e-9  # an AUC of 0.5 is 0.5 up to this


@dataclasses.dataclass(frozen=True, order=True)
class Candidate:
    """A head or baseline of a run, such as "vanilla", and the tap that it looks at."""

    name: str
    tap: str

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} on {self.tap}"

    def parts(self, scores: Sequence[Scores], evaluation: str, model: str = AUDITED) -> list[Scores]:
        """Returns its scores in an evaluation through a model, one entry for each training seed."""
        key = (self.name, model, self.tap, evaluation)
        return [part for part in scores if (part.scorer, part.model, part.tap, part.evaluation) == key]

    def scored(
        self,
        table: SampleTable,
        logit: np.ndarray,
        is_member: np.ndarray,
        evaluation: str,
        seed: int,
        model: str = AUDITED,
    ) -> Scores:
        """Returns logits, (n,), as its scores through a model, without samples that it could not score."""
        kept = np.flatnonzero(np.isfinite(logit))
        return Scores(self.name, self.tap, evaluation, seed, table.take(kept), is_member[kept], logit[kept], model)


def candidates(scores: Sequence[Scores], evaluation: str) -> list[Candidate]:
    """Returns what scored an evaluation through the audited model."""
    found = [part for part in scores if (part.model, part.evaluation) == (AUDITED, evaluation)]
    return list(dict.fromkeys(Candidate(part.scorer, part.tap) for part in found))


def choose(validation: Mapping[str, Sequence[Scores]], evaluation: Sequence[Scores]) -> str:
    """Returns the candidate with the highest mean AUC on validation people.

    Its figures in the evaluation then need no correction, because nothing was chosen there. Of the scores of the
    evaluation only the people are looked at.

    Raises:
        InputError: if there is no candidate, or people of the evaluation are in the validation.
    """
    if not validation:
        raise InputError("Expected at least one candidate, received none.")
    reserved = np.unique(np.concatenate([part.samples.people() for part in evaluation]))
    for name, parts in validation.items():
        used = np.isin(reserved, np.concatenate([part.samples.people() for part in parts]))
        if used.any():
            raise InputError(
                f"Expected other people in the validation than in the evaluation, received {np.count_nonzero(used)} "
                f"of {len(reserved)} in both for {name!r}."
            )
    area = {
        name: np.mean([intervals.plain_figures(part, [figures.AUC])[figures.AUC] for part in parts])
        for name, parts in validation.items()
    }
    return max(area, key=area.__getitem__)


def p_above(parts: Sequence[Scores], num_draws: int = NUM_DRAWS, seed: int = 1) -> float:
    """Returns a one-sided p-value of the hypothesis that an AUC is at most 0.5.

    It is the bootstrap interval read backwards: the share of draws at or below 0.5, draws of people and of trainings as
    in `intervals.estimate`. It speaks of an AUC; single photos have `conformal.p_values`.

    Raises:
        InputError: if there are no scores, or membership is not known.
    """
    draws = intervals.draw(parts, num_draws, seed, [figures.AUC])[figures.AUC]
    # The scores as they are count as one more draw, so that no p-value is 0.
    return float((1 + np.count_nonzero(draws <= 0.5 + _ROUNDING)) / (1 + len(draws)))


def p_differs(parts: Sequence[Scores], num_draws: int = NUM_DRAWS, seed: int = 1) -> float:
    """Returns a two-sided p-value of the hypothesis that an AUC is 0.5, from the draws of `p_above`.

    It is for controls, which tell the sides of a comparison apart also if they take one for the other.

    Raises:
        InputError: if there are no scores, or membership is not known.
    """
    draws = intervals.draw(parts, num_draws, seed, [figures.AUC])[figures.AUC]
    num = min(np.count_nonzero(draws <= 0.5 + _ROUNDING), np.count_nonzero(draws >= 0.5 - _ROUNDING))
    return float(min(1.0, 2 * (1 + num) / (1 + len(draws))))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Returns p-values adjusted for having been the best of several (Holm, 1979); valid whatever their dependence.

    Whoever is at most 0.05 then is significant although all were tried; with probability 95% nobody of those without
    an effect is.

    Raises:
        InputError: if a p-value is not in [0, 1].
    """
    if wrong := {name: p for name, p in p_values.items() if not 0 <= p <= 1}:
        raise InputError(f"Expected p-values in [0, 1], received {wrong}.")
    adjusted: dict[str, float] = {}
    largest = 0.0
    # A larger p-value must not be adjusted to less than a smaller one.
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
