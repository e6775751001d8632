"""The person as the unit: what several photos of one say together. NumPy only.

Photos of one person are alike, so their p-values or e-values must not be multiplied: that accuses far more people than
promised. Instead the statistic of n photos of a person is compared with the same statistic of n photos of each
calibration person, which are as much alike: `conformal.calibrate(aggregate(externals, n), head_people)`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras.records import InputError, SampleTable, Scores
from mint_keras.statistics import figures, intervals, paired
from mint_keras.statistics.intervals import Estimate


def statistic_of(logits: np.ndarray) -> float:
    """Returns what one person's photos say together, as `aggregate` does: the mean of their logits, shape (n,)."""
    return float(np.asarray(logits, np.float64).mean())


def aggregate(part: Scores, num_photos: int, seed: int = 1) -> Scores:
    """Returns scores of people in place of photos: the mean logit of `num_photos` of each who has as many.

    Where a person has more photos, the first of a random order count, which the seed decides. For a smaller number
    they are among those of a larger one.

    Returns:
        Scores whose sample_id is `person:member` or `person:external`: a person who is on both sides (where images are
        members) has two rows. It is `person:unknown` where membership is not known.

    Raises:
        InputError: if nobody has so many photos.
    """
    sides, rows = photos_of_people(part, num_photos, seed)
    if not len(rows):
        raise InputError(f"Expected somebody with {num_photos} photos or more, received nobody. Take fewer.")
    first = part.samples.take(rows[:, 0])
    sample_id = np.char.add(np.char.add(first.people(), ":"), sides)
    table = SampleTable(sample_id, first.database, first.identity, first.location, first.group)
    is_member = None if part.is_member is None else part.is_member[rows[:, 0]]
    logit = np.asarray(part.logit, np.float64)[rows].mean(axis=1)
    # Scores again, so that intervals, calibration and differences need no second version for people.
    return dataclasses.replace(part, samples=table, is_member=is_member, logit=logit.astype(np.float32))


def photos_of_people(part: Scores, num_photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the side of every person with enough photos, (k,), and the rows of so many of them, (k, num_photos).

    Raises:
        InputError: if no photo is asked for.
    """
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


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """How well people are told apart by n photos of each, `num_used` of which were used of a member.

    AUC, true-positive rate and numbers are of people.
    """

    num_photos: int
    num_used: int
    auc: Estimate
    tpr_at_1_fpr: Estimate
    num_members: int
    num_externals: int


def power_curve(parts: Sequence[Scores], max_photos: int, seed: int = 1) -> list[CurvePoint]:
    """Returns how well n = 1 ... `max_photos` photos of a person tell members from externals.

    Args:
        parts: Scores of one scorer, tap and evaluation, one entry for each training seed; people on one side each.
        max_photos: The last n.
        seed: Seeds the photos' order and the intervals.

    Raises:
        InputError: if nobody of one side has so many photos.
    """
    # The people of the last point are those of all points: otherwise the curve would show who has many photos.
    kept = []
    for part in parts:
        sides, rows = photos_of_people(part, max_photos, seed)
        num_members = np.count_nonzero(sides == "member")
        if not 0 < num_members < len(sides):
            raise InputError(
                f"Expected people with {max_photos} photos on both sides, received {num_members} members and "
                f"{len(sides) - num_members} externals. Take fewer photos."
            )
        kept.append(paired.take(part, rows.ravel()))
    nums = range(1, max_photos + 1)
    return [point([aggregate(part, num, seed) for part in kept], num, num, seed) for num in nums]


def photos_needed(curve: Sequence[CurvePoint], auc: float) -> int | None:
    """Returns from how many photos on the interval of the AUC lies at or above `auc`; None if it never stays there."""
    needed = None
    for one in reversed(curve):
        if one.auc.low < auc:
            break
        needed = one.num_photos
    return needed


def point(parts: Sequence[Scores], num_photos: int, num_used: int, seed: int) -> CurvePoint:
    """Returns how well scores of people, one row each, tell members from externals."""
    found = intervals.estimate(parts, seed=seed, names=(figures.AUC, figures.TPR_AT_1))
    num_members = int(figures.membership(parts[0]).sum())
    num_externals = len(parts[0].logit) - num_members
    return CurvePoint(num_photos, num_used, found[figures.AUC], found[figures.TPR_AT_1], num_members, num_externals)
