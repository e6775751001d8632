"""The log-odds of the own person: what a margin loss raises for those on whom a network is trained.

References are other networks that look at the same faces: the checkpoint before fine-tuning, or shadows that were
trained on random halves. What they say too is how a person looks; what only the audited network says may be membership.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import logsumexp

from mint_keras import vectors
from mint_keras.aad import views
from mint_keras.data import splits
from mint_keras.records import REFERENCE, Observations
from mint_keras.scorers.baselines import OUTCOME, compactness
from mint_keras.scorers.contract import Calibration, Needs, calibration_of

NAME = "log_odds"
SCALE = 32.0  # of the softmax over people, half of arcface_torch's


class People(NamedTuple):
    """People as a network sees them: their names, (p,), and the unit centroids of their photos, (p, d)."""

    names: np.ndarray
    centroids: np.ndarray


def people_of(outcome: np.ndarray, people: np.ndarray) -> People:
    """Returns the people on n photos from their embeddings, (n, d)."""
    unit = vectors.unit_rows(outcome)
    sums = np.stack([unit[rows].sum(axis=0) for rows in splits.rows_by_person(people)])
    return People(np.unique(people), vectors.unit_rows(sums))


def log_odds(outcome: np.ndarray, people: np.ndarray, others: People) -> np.ndarray:
    """Returns the log-odds of the person's other photos against all other people, (n,); NaN for an only photo.

    Nobody among the others is an other to itself.
    """
    cosines = vectors.unit_rows(outcome) @ others.centroids.T
    cosines[people[:, None] == others.names] = -np.inf
    # The mean cosine, and not the cosine with the mean, which is larger for people with more photos.
    return SCALE * compactness(outcome, people) - logsumexp(SCALE * cosines, axis=1)


def references(seen: Observations) -> list[str]:
    """Returns the names of the arrays that hold references' embeddings, (n, d) each."""
    return sorted(name for name in seen.arrays if name.startswith(REFERENCE))


def through(seen: Observations, reference: str) -> Observations:
    """Returns what a reference gave, named as if it were the audited network: for what is taken off, and alone."""
    given = {OUTCOME: reference, **{name: f"{name}_{reference}" for name in views.ADDED}}
    return Observations(seen.table, {name: seen[of] for name, of in given.items() if of in seen.arrays})


@dataclasses.dataclass(frozen=True)
class LogOdds:
    """The log-odds of the own person, less their mean through the references; see `scorers.contract.Scorer`.

    Nothing is fitted, and the sign is known. Without references it is the log-odds alone.

    Example:
        >>> from mint_keras.records import Sample, tabulate
        >>> table = tabulate([Sample(str(row), "web", str(row // 2), "") for row in range(80)])
        >>> seen = Observations(table, {"outcome": np.random.default_rng(1).normal(size=(80, 8))})
        >>> LogOdds().fit(seen, np.arange(80) % 4 < 2)(seen).shape
        (80,)
    """

    name: ClassVar[str] = NAME
    tap: ClassVar[str] = OUTCOME
    needs: ClassVar[Needs] = Needs(taps=(OUTCOME,), has_labels=False)

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> FittedLogOdds:
        """Takes the other people from samples; which of them are members makes no difference."""
        others = {name: people_of(seen[name], seen.people()) for name in (OUTCOME, *references(seen))}
        return FittedLogOdds(self, others, calibration_of(seen, is_member, seed))


@dataclasses.dataclass(frozen=True)
class FittedLogOdds:
    """Log-odds against known other people: a function from observations to logits, (n,), float32."""

    recipe: LogOdds
    others: dict[str, People]  # as each network sees them
    calibration: Calibration

    def by_network(self, seen: Observations) -> dict[str, np.ndarray]:
        """Returns the log-odds of n samples through the audited network, `OUTCOME`, and through each reference."""
        return {name: log_odds(seen[name], seen.people(), others) for name, others in self.others.items()}

    def __call__(self, seen: Observations) -> np.ndarray:
        """Scores n samples; a person's other photos are those given."""
        audited, *theirs = self.by_network(seen).values()
        return (audited - (np.mean(theirs, axis=0) if theirs else 0.0)).astype(np.float32)
