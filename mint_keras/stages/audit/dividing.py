"""The scorers of a run, and its people: some choose among the scorers, the others are reported on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras.aad.models import UNTRAINED
from mint_keras.audit import paired
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.records import Scores
from mint_keras.stages import mint_run

VALIDATION_SHARE = 0.4  # of the people of each side; they choose, the others are reported on


@dataclasses.dataclass(frozen=True, order=True)
class Scorer:
    """A head or baseline of a run.

    Attributes:
        name: for example "vanilla".
        tap: what it looks at.
    """

    name: str
    tap: str

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} on {self.tap}"

    def parts(self, scores: Sequence[Scores], evaluation: str, suffix: str = "") -> list[Scores]:
        """Returns its scores in an evaluation, one entry for each training seed; with the suffix another model's."""
        key = (self.name + suffix, self.tap, evaluation)
        return [part for part in scores if (part.scorer, part.tap, part.evaluation) == key]


def scorers(scores: Sequence[Scores], evaluation: str) -> list[Scorer]:
    """Returns what scored an evaluation through the audited model."""
    found = {Scorer(p.scorer, p.tap): None for p in scores if p.evaluation == evaluation}
    return [scorer for scorer in found if not scorer.name.endswith(f"_{UNTRAINED}")]


@dataclasses.dataclass(frozen=True)
class Division:
    """People of a reference: some choose the scorer, the others are reported on.

    Attributes:
        validation: names of those who choose, as in `SampleTable.people`.
    """

    validation: np.ndarray

    def choosing(self, parts: Sequence[Scores]) -> list[Scores]:
        """Returns the scores of people who choose."""
        return [paired.take(part, np.isin(part.samples.people(), self.validation)) for part in parts]

    def reported(self, parts: Sequence[Scores]) -> list[Scores]:
        """Returns the scores of everybody else."""
        return [paired.take(part, ~np.isin(part.samples.people(), self.validation)) for part in parts]


def divide(part: Scores, seed: int) -> Division:
    """Divides the people of both sides.

    Raises:
        InputError: if a side has fewer than two people.
    """
    assert part.is_member is not None  # noqa: S101 # of a run
    rng = np.random.default_rng([seed, 4])
    chosen = []
    for side in (part.is_member, ~part.is_member):
        people = part.samples.people()[side]
        chosen.append(np.unique(people[splits.split_people(people, VALIDATION_SHARE, rng)]))
    return Division(np.concatenate(chosen))


def calibration(run: mint_run.Run, division: Division) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of members, and of others of their database, who are not reported on, and who is a member.

    Whatever is fitted where only membership differs is fitted on these: pixels and MINT+ alike.
    """
    part = run.protocol.part
    is_chooser = np.isin(run.protocol.table.people(), division.validation)
    is_same = run.protocol.main_evaluation == protocols.SAME_DATABASE  # its externals are people of the same database
    others = (protocols.TRAIN_EXTERNALS, protocols.TEST_EXTERNALS) if is_same else (protocols.HELD_OUT,)
    members = (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)
    is_training = np.isin(part, (protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS))
    rows = np.flatnonzero(np.isin(part, (*members, *others)) & (is_training | is_chooser))
    return rows, np.isin(part[rows], members)


def without_membership(parts: Sequence[Scores], seed: int) -> list[Scores]:
    """Returns the scores of those who are no members, half of the people claimed to be: there is nothing to find."""
    found = []
    for part in parts:
        assert part.is_member is not None  # noqa: S101
        others = paired.take(part, ~part.is_member)
        claimed = splits.split_people(others.samples.people(), 0.5, np.random.default_rng([seed, 5]))
        found.append(dataclasses.replace(others, is_member=claimed))
    return found
