"""The scorers of a run, and its people: some choose among the scorers, the others are reported on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mint_keras.aad.models import UNTRAINED
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.records import Scores
from mint_keras.statistics import paired

VALIDATION_SHARE = 0.4  # of the people of each side; they choose, the others are reported on
_MOST_PHOTOS = 8
MOST_IN_MEMORY = 2000  # faces of a side, 75 MB
Side = tuple[np.ndarray, np.ndarray]  # rows of a table, and who of them is a member


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


def calibration(protocol: protocols.Protocol, division: Division) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of members, and of others of their database, who are not reported on, and who is a member.

    Whatever is fitted where only membership differs is fitted on these: pixels and MINT+ alike.
    """
    part, others = protocol.part, _others(protocol)
    is_chooser = np.isin(protocol.table.people(), division.validation)
    members = (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)
    is_training = np.isin(part, (protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS))
    rows = np.flatnonzero(np.isin(part, (*members, *others)) & (is_training | is_chooser))
    return rows, np.isin(part[rows], members)


def reported(protocol: protocols.Protocol, division: Division) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of members, and of others of their database, who are reported on, and who is a member.

    More photos than in the evaluation, which has as many of both sides.
    """
    part, others = protocol.part, _others(protocol)[1:]
    is_chooser = np.isin(protocol.table.people(), division.validation)
    rows = np.flatnonzero(np.isin(part, (protocols.TEST_MEMBERS, *others)) & ~is_chooser)
    return rows, part[rows] == protocols.TEST_MEMBERS


def _others(protocol: protocols.Protocol) -> tuple[int, int]:
    """Returns the parts that people of the members' database play who are no members: in training, and in test."""
    if protocol.main_evaluation == protocols.SAME_DATABASE:
        return protocols.TRAIN_EXTERNALS, protocols.TEST_EXTERNALS
    return protocols.HELD_OUT, protocols.HELD_OUT


def equal_photos(
    sides: Mapping[str, Side], least: Mapping[str, int], people: np.ndarray, sample_id: np.ndarray, seed: int
) -> tuple[int, dict[str, Side]]:
    """Chooses the same number of photos of every person, whether a member or not.

    Who has more photos is closer to their others, and more precisely known: a scorer that compares the photos of a
    person would see that, and not the membership.

    Args:
        sides: rows and membership of those to fit on, and of those to score, by name. If people have photos on both
            sides of membership, only those who have enough on both are chosen.
        least: how many people of each side of membership must remain, by name.
        people: the person of every row.
        sample_id: of every row.
        seed: of the choice.

    Returns:
        How many photos, and the chosen rows and membership: the largest number, up to 8, that leaves enough people. 0
        and nothing if two are too many.
    """
    for num in range(_MOST_PHOTOS, 1, -1):
        kept = {name: _with_photos(side, num, people, sample_id, seed) for name, side in sides.items()}
        if all(
            min(np.count_nonzero(is_member), np.count_nonzero(~is_member)) >= num * least[name]
            for name, (_, is_member) in kept.items()
        ):
            return num, kept
    return 0, {}


def _with_photos(side: Side, num: int, people: np.ndarray, sample_id: np.ndarray, seed: int) -> Side:
    rows, is_member = side
    chosen = [rows[is_member == of] for of in (True, False)]
    chosen = [some[splits.choose_photos(people[some], sample_id[some], num, seed)] for some in chosen]
    if np.isin(people[rows[is_member]], people[rows[~is_member]]).any():
        both = np.intersect1d(people[chosen[0]], people[chosen[1]])
        chosen = [some[np.isin(people[some], both)] for some in chosen]
    return np.concatenate(chosen), np.arange(sum(map(len, chosen))) < len(chosen[0])


def without_membership(parts: Sequence[Scores], seed: int) -> list[Scores]:
    """Returns the scores of those who are no members, half of the people claimed to be: there is nothing to find.

    Nothing if there are too few people for two sides.
    """
    found = []
    for part in parts:
        assert part.is_member is not None  # noqa: S101
        others = paired.take(part, ~part.is_member)
        if len(np.unique(others.samples.people())) < 4:
            return []
        claimed = splits.split_people(others.samples.people(), 0.5, np.random.default_rng([seed, 5]))
        found.append(dataclasses.replace(others, is_member=claimed))
    return found


def mean_of_persons(part: Scores) -> Scores:
    """Returns scores in which every photo has the mean logit of its person's photos."""
    _, person = np.unique(part.samples.people(), return_inverse=True)
    means = np.bincount(person, part.logit) / np.bincount(person)
    return dataclasses.replace(part, logit=means[person].astype(np.float32))


def some(side: Side, seed: int, num: int = MOST_IN_MEMORY) -> Side:
    """Returns random rows of a comparison whose faces are all held at once: at most so many of each side."""
    rows, is_member = side
    rng = np.random.default_rng([seed, 14])
    chosen = [rng.permutation(np.flatnonzero(is_member == of))[:num] for of in (True, False)]
    kept = np.sort(np.concatenate(chosen))
    return rows[kept], is_member[kept]
