"""What to expect when only some of a member's photos were used in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras.records import InputError, Scores
from mint_keras.statistics import figures, person
from mint_keras.statistics.person import CurvePoint


def mixture_curve(parts: Sequence[Scores], num_photos: int, seed: int = 1) -> list[CurvePoint]:
    """Returns what to expect when only some of a member's n photos were used in training: 0, 1 ... n of them.

    The other photos are the person's own unseen ones. With 0 used photos the curve says how much it matters to be a
    member without being on a photo that was used.

    Args:
        parts: For each training seed the scores of members' used photos (members), of their unseen photos
            (externals), and of photos of external people.
        num_photos: The number n. Members with n used and n unseen photos and external people with n take part.
        seed: Seeds the photos' order and the intervals.

    Raises:
        InputError: if nobody has so many of both kinds, or no external person so many.
    """
    if not parts:
        raise InputError("Expected scores of at least one training, received none.")
    mixed = [_mixtures(part, num_photos, seed) for part in parts]
    return [person.point(of_share, num_photos, used, seed) for used, of_share in enumerate(zip(*mixed, strict=True))]


def _mixtures(part: Scores, num_photos: int, seed: int) -> list[Scores]:
    """Returns scores of people for 0 ... n used photos of each member."""
    sides, rows = person.photos_of_people(part, num_photos, seed)
    people, is_member = part.samples.people(), figures.membership(part)
    name = people[rows[:, 0]] if len(rows) else people[:0]
    used = dict(zip(name[sides == "member"], rows[sides == "member"], strict=True))
    unseen = dict(zip(name[sides == "external"], rows[sides == "external"], strict=True))
    # The unused photos are the person's own: other people's would be unlike the person in more than that.
    both = [one for one in used if one in unseen]
    members = np.unique(people[is_member])
    others = [one for one in unseen if not np.isin(one, members)]
    if not both or not others:
        raise InputError(
            f"Expected members with {num_photos} used and {num_photos} unseen photos and externals with {num_photos}, "
            f"received {len(both)} and {len(others)} people."
        )
    seen = np.asarray(part.logit, np.float64)
    of_used, of_unseen = (seen[np.array([side[one] for one in both])] for side in (used, unseen))
    of_others = seen[np.array([unseen[one] for one in others])].mean(axis=1)
    # Which of the photos are used is random.
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(num_photos), (len(both), 1)), axis=1)
    table = part.samples.take(np.array([side[p][0] for side, names in ((used, both), (unseen, others)) for p in names]))
    truth = np.arange(len(table)) < len(both)
    mixed = (np.where(order < num, of_used, of_unseen).mean(axis=1) for num in range(num_photos + 1))
    logits = (np.append(of_members, of_others).astype(np.float32) for of_members in mixed)
    return [dataclasses.replace(part, samples=table, is_member=truth, logit=logit) for logit in logits]
