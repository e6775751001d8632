"""The people of an audit, divided: some choose the scorer, or it is fitted on them; the others are reported on."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras import streams
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.records import InputError, Labelled, Scores
from mint_keras.statistics import figures, paired

VALIDATION_SHARE = 0.4  # of the people of each side; they choose, the others are reported on
_MOST_PHOTOS = 8
MOST_IN_MEMORY = 2000  # faces of a side, 75 MB


@dataclasses.dataclass(frozen=True)
class Division:
    """People of a reference: those of the validation choose the scorer, the others are reported on."""

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
    is_member, rng = figures.membership(part), streams.stream(seed, streams.DIVISION)
    chosen = []
    for side in (is_member, ~is_member):
        people = part.samples.people()[side]
        chosen.append(np.unique(people[splits.split_people(people, VALIDATION_SHARE, rng)]))
    return Division(np.concatenate(chosen))


def of_all(parts: Sequence[Scores], seed: int) -> Division:
    """Divides the people of several evaluations, who are on one side of the division in all of them."""
    return Division(np.unique(np.concatenate([divide(part, seed).validation for part in parts])))


def of_reference(protocol: protocols.Protocol) -> Labelled:
    """Returns the rows of members, and of others of their database, whatever part they play for the heads.

    Whatever is fitted where only membership differs is fitted on these, fold by fold, and scores them: pixels, the
    look network and MINT+ alike. These are more photos than in the evaluation, which has as many of both sides.
    """
    members = (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)
    is_same = protocol.main_evaluation == protocols.SAME_DATABASE
    others = (protocols.TRAIN_EXTERNALS, protocols.TEST_EXTERNALS) if is_same else (protocols.HELD_OUT,)
    database = protocol.table.database
    # Of a database on one side only they would learn the database, and see less of how people differ within another.
    shared = [np.isin(database, np.unique(database[np.isin(protocol.part, side)])) for side in (members, others)]
    rows = np.flatnonzero(np.isin(protocol.part, (*members, *others)) & shared[0] & shared[1])
    return Labelled(rows, np.isin(protocol.part[rows], members))


def equal_photos(
    photos: Labelled, least: int, people: np.ndarray, sample_id: np.ndarray, seed: int
) -> tuple[int, Labelled]:
    """Chooses the same number of photos of every person, whether a member or not.

    If people have photos on both sides of membership, only those who have enough on both are chosen.

    Args:
        photos: Rows of a table, with their membership.
        least: How many people of each side must remain.
        people: The person of every row of the table, shape (n,).
        sample_id: The name of every row of the table, shape (n,).
        seed: Seeds the choice.

    Returns:
        The number of photos, the largest one up to 8 that leaves enough people, and the chosen rows and membership; 0
        and no rows if two photos are too many.
    """
    # The more photos a person has, the nearer and better known the others are: a scorer that compares the photos of a
    # person would see that, and not the membership. Weights for unequal numbers would have to be right; equal ones are.
    by_side = [photos.rows[photos.is_member], photos.rows[~photos.is_member]]
    is_of_both = np.isin(people[by_side[0]], people[by_side[1]]).any()
    for num in range(_MOST_PHOTOS, 1, -1):
        chosen = [side[splits.choose_photos(people[side], sample_id[side], num, seed)] for side in by_side]
        if is_of_both:
            both = np.intersect1d(people[chosen[0]], people[chosen[1]])
            chosen = [side[np.isin(people[side], both)] for side in chosen]
        kept = Labelled(np.concatenate(chosen), np.arange(sum(map(len, chosen))) < len(chosen[0]))
        if kept.smaller_side >= num * least:
            return num, kept
    return 0, Labelled(photos.rows[:0], photos.is_member[:0])


def without_membership(parts: Sequence[Scores], seed: int) -> list[Scores]:
    """Returns the scores of those who are no members, half of the people claimed to be: there is nothing to find.

    There are none if there are too few people for two sides.
    """
    found = []
    for part in parts:
        others = paired.take(part, ~figures.membership(part))
        # An interval needs two people on each side.
        if len(np.unique(others.samples.people())) < 4:
            return []
        claimed = splits.split_people(others.samples.people(), 0.5, streams.stream(seed, streams.NOBODY))
        # Dealt out by lot after all fitting: whoever was fitted on whom makes no difference to these sides.
        found.append(dataclasses.replace(others, is_member=claimed, num_folds=0))
    return found


def with_equal_databases(part: Scores, seed: int) -> Scores:
    """Returns scores of as many photos of each database on both sides; of one database, all of them.

    A model is familiar with some databases, and sides with other shares of them would be told apart by that.

    Raises:
        InputError: if no database is on both sides.
    """
    database = part.samples.database
    if len(np.unique(database)) == 1:
        return part
    sides = np.flatnonzero(figures.membership(part)), np.flatnonzero(~figures.membership(part))
    kept = splits.balance_within(database, *sides, streams.stream(seed, streams.DATABASES))
    if not len(kept[0]):
        named = " and ".join(", ".join(np.unique(database[side])) or "none" for side in sides)
        raise InputError(
            f"Expected a database with photos on both sides, received {named}: then it alone would tell them apart."
        )
    return paired.take(part, np.isin(np.arange(len(database)), np.concatenate(kept)))


def mean_of_persons(part: Scores) -> Scores:
    """Returns scores in which every photo has the mean logit of its person's photos."""
    _, person_of = np.unique(part.samples.people(), return_inverse=True)
    means = np.bincount(person_of, part.logit) / np.bincount(person_of)
    return dataclasses.replace(part, logit=means[person_of].astype(np.float32))


def limited(side: Labelled, seed: int, num: int = MOST_IN_MEMORY) -> Labelled:
    """Returns random rows of a comparison whose faces are all held at once: at most so many of each side."""
    rows, is_member = side
    rng = streams.stream(seed, streams.HELD_AT_ONCE)
    kept = np.sort(np.concatenate([rng.permutation(np.flatnonzero(is_member == of))[:num] for of in (True, False)]))
    return Labelled(rows[kept], is_member[kept])
