"""The person as the unit: what several photos of one say together. NumPy only.

Photos of one person are alike, so their p-values or e-values must not be multiplied: that accuses far more people than
promised. Instead the statistic of n photos of a person is compared with the same statistic of n photos of each
calibration person, which are as much alike: `conformal.calibrate(aggregate(externals, n), head_people)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mint_keras.records import InputError, SampleTable, Scores
from mint_keras.statistics import figures, intervals, paired
from mint_keras.statistics.intervals import Estimate

# From logits of n photos of each of k people, (k, n), to what they say together, (k,).
STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda logits: logits.mean(axis=1),
    "max": lambda logits: logits.max(axis=1),
    # For those who look after every photo and stop when they like: the largest mean of the first 1, 2 ... n. It is
    # calibrated as such, so that looking early is no cheating.
    "sequential": lambda logits: np.max(np.cumsum(logits, axis=1) / np.arange(1, logits.shape[1] + 1), axis=1),
}


def statistic_of(logits: np.ndarray, statistic: str = "mean") -> float:
    """Returns the statistic of one person's photos, in the order in which they came, shape (n,)."""
    return float(_statistic(statistic)(np.asarray(logits, np.float64)[None])[0])


def aggregate(part: Scores, num_photos: int, statistic: str = "mean", seed: int = 1) -> Scores:
    """Returns scores of people in place of photos: one row for each who has at least `num_photos`.

    Where a person has more photos, the first of a random order count; for a smaller number they are among those of a
    larger one.

    Args:
        part: Scores of photos.
        num_photos: The number of photos of each person.
        statistic: A key of `STATISTICS`.
        seed: Seeds the order of a person's photos, which does not depend on that of the scores.

    Returns:
        Scores whose logit is the statistic and whose sample_id is `person:member` or `person:external`: a person who
        is on both sides (where images are members) has two rows. `person:unknown` where membership is not known.

    Raises:
        InputError: if nobody has so many photos, or there is no such statistic.
    """
    function = _statistic(statistic)
    sides, rows = _photos_of_people(part, num_photos, seed)
    if not len(rows):
        raise InputError(f"Expected somebody with {num_photos} photos or more, received nobody. Take fewer.")
    first = part.samples.take(rows[:, 0])
    sample_id = np.char.add(np.char.add(first.people(), ":"), sides)
    table = SampleTable(sample_id, first.database, first.identity, first.location, first.group)
    is_member = None if part.is_member is None else part.is_member[rows[:, 0]]
    logit = function(np.asarray(part.logit, np.float64)[rows])
    # Scores again, so that intervals, calibration and differences need no second version for people.
    return dataclasses.replace(part, samples=table, is_member=is_member, logit=logit.astype(np.float32))


def _photos_of_people(part: Scores, num_photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the side of every person with enough photos, (k,), and the rows of `num_photos` of them, (k, n)."""
    if num_photos < 1:
        raise InputError(f"Expected at least one photo of each person, received {num_photos}.")
    num = len(part.samples)
    side = np.full(num, "unknown") if part.is_member is None else np.where(part.is_member, "member", "external")
    # By name first, so that the random choice does not depend on the order of the scores.
    by_id = np.argsort(part.samples.sample_id, kind="stable")
    shuffled = by_id[np.random.default_rng(seed).permutation(num)]
    keys = np.char.add(np.char.add(part.samples.people(), ":"), side)[shuffled]
    order = np.argsort(keys, kind="stable")
    _, start, count = np.unique(keys[order], return_index=True, return_counts=True)
    start = start[count >= num_photos]
    rows = shuffled[order[start[:, None] + np.arange(num_photos)]]
    return side[rows[:, 0]] if len(rows) else side[:0], rows


def largest_by_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Returns the largest value of each person, in the order of their names."""
    names, person_of = np.unique(people, return_inverse=True)
    largest = np.full(len(names), -np.inf)
    np.maximum.at(largest, person_of, values)
    return largest


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """How well people are told apart by n photos of each.

    Attributes:
        num_photos: The number n.
        num_used: The number of a member's n photos that were used in training.
        auc: The AUC over people.
        tpr_at_1_fpr: The true-positive rate over people at a false-positive rate of 1%.
        num_members: The number of people who are members.
        num_externals: The number of people who are not.
    """

    num_photos: int
    num_used: int
    auc: Estimate
    tpr_at_1_fpr: Estimate
    num_members: int
    num_externals: int


def power_curve(parts: Sequence[Scores], max_photos: int, statistic: str = "mean", seed: int = 1) -> list[CurvePoint]:
    """Returns how well n = 1 ... `max_photos` photos of a person tell members from externals.

    All points are of the same people, those who have `max_photos`.

    Args:
        parts: Scores of one scorer, tap and evaluation, one entry for each training seed; people on one side each.
        max_photos: The last n.
        statistic: A key of `STATISTICS`.
        seed: Seeds the photos' order and the intervals.

    Raises:
        InputError: if nobody of one side has so many photos.
    """
    # The people of the last point are those of all points: otherwise the curve would show who has many photos.
    kept = []
    for part in parts:
        sides, rows = _photos_of_people(part, max_photos, seed)
        num_members = np.count_nonzero(sides == "member")
        if not 0 < num_members < len(sides):
            raise InputError(
                f"Expected people with {max_photos} photos on both sides, received {num_members} members and "
                f"{len(sides) - num_members} externals. Take fewer photos."
            )
        kept.append(paired.take(part, rows.ravel()))
    nums = range(1, max_photos + 1)
    return [_point([aggregate(part, num, statistic, seed) for part in kept], num, num, seed) for num in nums]


def photos_needed(curve: Sequence[CurvePoint], auc: float) -> int | None:
    """Returns from how many photos on the interval of the AUC lies at or above `auc`; None if it never stays there."""
    needed = None
    for point in reversed(curve):
        if point.auc.low < auc:
            break
        needed = point.num_photos
    return needed


def mixture_curve(parts: Sequence[Scores], num_photos: int, statistic: str = "mean", seed: int = 1) -> list[CurvePoint]:
    """Returns what to expect when only some of a member's n photos were used in training: 0, 1 ... n of them.

    The other photos are the person's own unseen ones. With 0 used photos the curve says how much it matters to be a
    member without being on a photo that was used.

    Args:
        parts: For each training seed the scores of members' used photos (members), of their unseen photos
            (externals), and of photos of external people.
        num_photos: The number n. Members with n used and n unseen photos and external people with n take part.
        statistic: A key of `STATISTICS`.
        seed: Seeds the photos' order and the intervals.

    Raises:
        InputError: if nobody has so many of both kinds, or no external person so many.
    """
    if not parts:
        raise InputError("Expected scores of at least one training, received none.")
    mixed = [_mixtures(part, num_photos, statistic, seed) for part in parts]
    return [_point(list(of_share), num_photos, used, seed) for used, of_share in enumerate(zip(*mixed, strict=True))]


def _mixtures(part: Scores, num_photos: int, statistic: str, seed: int) -> list[Scores]:
    """Returns scores of people for 0 ... n used photos of each member."""
    function = _statistic(statistic)
    sides, rows = _photos_of_people(part, num_photos, seed)
    people, is_member = part.samples.people(), figures.membership(part)
    name = people[rows[:, 0]] if len(rows) else people[:0]
    used = dict(zip(name[sides == "member"], rows[sides == "member"], strict=True))
    unseen = dict(zip(name[sides == "external"], rows[sides == "external"], strict=True))
    # The unused photos are the person's own: other people's would be unlike the person in more than that.
    both = [person for person in used if person in unseen]
    members = np.unique(people[is_member])
    others = [person for person in unseen if not np.isin(person, members)]
    if not both or not others:
        raise InputError(
            f"Expected members with {num_photos} used and {num_photos} unseen photos and externals with {num_photos}, "
            f"received {len(both)} and {len(others)} people."
        )
    seen = np.asarray(part.logit, np.float64)
    of_used, of_unseen = (seen[np.array([side[person] for person in both])] for side in (used, unseen))
    of_others = function(seen[np.array([unseen[person] for person in others])])
    # In a random order, so that a sequential statistic does not see all used photos first.
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(num_photos), (len(both), 1)), axis=1)
    table = part.samples.take(np.array([side[p][0] for side, names in ((used, both), (unseen, others)) for p in names]))
    truth = np.arange(len(table)) < len(both)
    mixed = (function(np.where(order < num, of_used, of_unseen)) for num in range(num_photos + 1))
    logits = (np.append(of_members, of_others).astype(np.float32) for of_members in mixed)
    return [dataclasses.replace(part, samples=table, is_member=truth, logit=logit) for logit in logits]


def _point(parts: list[Scores], num_photos: int, num_used: int, seed: int) -> CurvePoint:
    found = intervals.estimate(parts, seed=seed, names=(figures.AUC, figures.TPR_AT_1))
    # Every row is a person.
    num_members = int(figures.membership(parts[0]).sum())
    num_externals = len(parts[0].logit) - num_members
    return CurvePoint(num_photos, num_used, found[figures.AUC], found[figures.TPR_AT_1], num_members, num_externals)


def _statistic(name: str) -> Callable[[np.ndarray], np.ndarray]:
    if name not in STATISTICS:
        raise InputError(f"Expected one of the statistics {list(STATISTICS)}, received {name!r}.")
    return STATISTICS[name]
