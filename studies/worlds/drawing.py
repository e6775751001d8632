"""Worlds of known truth: whom an auditor is told to be members of a model, and who really was.

Five kinds with externals, by what differs between the claimed members and the people they are compared with. In every
one there may be a reference: people of the claimed members' own database who were kept out, drawn at random with them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, InputError, SampleTable
from mint_keras.statistics import findings


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is true in a world.

    Attributes:
        is_member: The model was trained on the claimed members.
        is_home: They are of the database that the model was trained on, with which it is familiar.
        is_shifted: The externals are of other databases than the claimed members.
    """

    is_member: bool
    is_home: bool
    is_shifted: bool


KINDS = {
    "neither": Kind(is_member=False, is_home=False, is_shifted=False),
    "shift": Kind(is_member=False, is_home=False, is_shifted=True),
    "familiar": Kind(is_member=False, is_home=True, is_shifted=True),
    "membership": Kind(is_member=True, is_home=True, is_shifted=False),
    "both": Kind(is_member=True, is_home=True, is_shifted=True),
}
PIXELS = "pixels"  # stands where networks are named, for what looks at no network
TRAITS = ("sex", "age", "race")  # what is guessed of people: being female, of age 40 or more, not being white


@dataclasses.dataclass(frozen=True)
class Reference:
    """What is true of a reference, a world without externals: it asks the auditor only.

    Attributes:
        is_member: The model was trained on the claimed members; None if it was trained on both sides alike, where
            nothing can be found.
        is_swapped: It was trained on those who are said to have been kept out.
        axis: What people are sorted by: a principal axis of what a network here sees of them, or a trait; "" for
            nothing.
        is_recompressed: People differ by this: their photos were compressed once more, as strong JPEG.
        share: The share of the claimed members who are in the upper half by it, or are recompressed; of those who were
            kept out it is the rest.
        has_twins: Half of the people are there under two names.
        has_more_photos: Claimed members have all of their photos, the others half.
        has_few: There are 60 people a side.
    """

    is_member: bool | None = False
    is_swapped: bool = False
    axis: str = ""
    is_recompressed: bool = False
    share: float = 0.5
    has_twins: bool = False
    has_more_photos: bool = False
    has_few: bool = False


REFERENCES = {
    "alike": Reference(),
    **{f"look{100 * share:.0f}": Reference(axis=AUDITED, share=share) for share in (0.65, 0.75, 1.0)},
    **{f"other_look{100 * share:.0f}": Reference(axis=findings.LOOK, share=share) for share in (0.65, 0.75)},
    "pixels75": Reference(axis=PIXELS, share=0.75),
    "photos": Reference(has_more_photos=True),
    "twins": Reference(has_twins=True),
    "few": Reference(has_few=True),
    "swapped": Reference(is_swapped=True),
    "used": Reference(is_member=True),
    "used_few": Reference(is_member=True, has_few=True),
    "all_used": Reference(is_member=None),
    "sex65": Reference(axis="sex", share=0.65),
    "sex75": Reference(axis="sex", share=0.75),
    "age75": Reference(axis="age", share=0.75),
    "race75": Reference(axis="race", share=0.75),
    "jpeg75": Reference(is_recompressed=True, share=0.75),
}


ALL: dict[str, Kind | Reference] = {**KINDS, **REFERENCES}
NULL, WITH_MEMBERS = (tuple(name for name, kind in KINDS.items() if kind.is_member == truth) for truth in (False, True))


@dataclasses.dataclass(frozen=True)
class People:
    """Who may appear in the worlds of one audited model.

    Attributes:
        members: Samples that it was trained on.
        others: Samples that it was not trained on, by database; the members' own comes first, at least two more follow.
    """

    members: SampleTable
    others: dict[str, SampleTable]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many people a world has: claimed members, people of their database who are kept out, and externals.

    As many externals again are there to evaluate on.
    """

    claimed: int
    held_out: int
    externals: int


def recompressed(table: SampleTable) -> SampleTable:
    """Returns the same samples under the names that they have after strong compression."""
    return dataclasses.replace(table, sample_id=np.array([f"{name}~jpeg" for name in table.sample_id.tolist()]))


def draw(kind: str, people: People, sizes: Sizes, rng: np.random.Generator) -> protocols.Sources:
    """Draws people and databases for a world of a kind, a key of `KINDS`, and returns what an auditor is given.

    Externals of the claimed members' own database are divided between training and evaluation; of others, heads train
    on one database and are evaluated on another, as in the paper.

    Raises:
        InputError: for another kind, or if there are too few people.
    """
    if kind not in KINDS:
        raise InputError(f"Expected a world of {list(KINDS)}, received {kind!r}.")
    truth, (home, *away) = KINDS[kind], people.others
    database = home if truth.is_home else str(rng.choice(away))
    # One queue for claimed members and held-out people of a database, so that nobody is both.
    same = _Queue(people.others[database], rng)
    claimed = _Queue(people.members, rng).take(sizes.claimed) if truth.is_member else same.take(sizes.claimed)
    held_out = same.take(sizes.held_out)
    if not truth.is_shifted:
        return protocols.Sources(claimed, same.take(2 * sizes.externals), None, held_out)
    first, second = rng.permutation([name for name in people.others if name != database])[:2]
    externals, evaluate = (_Queue(people.others[name], rng).take(sizes.externals) for name in (first, second))
    return protocols.Sources(claimed, externals, evaluate, held_out)


class _Queue:
    """People in random order, of whom each is taken once."""

    def __init__(self, table: SampleTable, rng: np.random.Generator) -> None:
        self.table = table
        self.names: list[str] = rng.permutation(np.unique(table.people())).tolist()

    def take(self, num: int) -> SampleTable:
        """Returns all samples of the next people."""
        if num > len(self.names):
            raise InputError(f"Expected {num} more people for a world, received {len(self.names)}.")
        chosen, self.names = self.names[:num], self.names[num:]
        return self.table.take(np.isin(self.table.people(), chosen))
