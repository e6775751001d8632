"""How much better one scorer is than another on the same samples."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras.records import InputError, Scores
from mint_keras.statistics import figures, intervals
from mint_keras.statistics.intervals import Estimate


def difference(
    parts: Sequence[Scores],
    others: Sequence[Scores],
    num_draws: int = intervals.NUM_DRAWS,
    seed: int = 1,
    names: Sequence[str] = intervals.DEFAULT_NAMES,
    method: str = "student",
) -> dict[str, Estimate]:
    """Estimates figures of one scorer minus those of another, with intervals of the difference itself.

    Two intervals that overlap can hide a difference that is certain. The second scorer has scores for the same training
    seeds, or one entry that stands beside every training. See `intervals.estimate` for the rest.

    Raises:
        InputError: if the trainings or the samples are not the same, or membership is not known.
    """
    trainings = pair(parts, others)
    # Every draw takes the same training and people for both, so that what both find easy in them cancels.
    values = [[intervals.plain_figures(part, names) for part in pair] for pair in trainings]
    draws = intervals.resample(trainings, num_draws, seed, names)
    num_people = min(figures.effective_people(first) for first, _ in trainings)
    return {
        name: intervals.METHODS[method](
            [first[name] - second[name] for first, second in values],
            intervals.widened(np.concatenate([one[name] - two[name] for one, two in draws]), [*parts, *others]),
            num_people,
            intervals.DIFFERENCE,
        )
        for name in names
    }


def pair(parts: Sequence[Scores], others: Sequence[Scores]) -> list[tuple[Scores, Scores]]:
    """Returns scores of two scorers, training by training, in the order of the first scorer's samples.

    Raises:
        InputError: as for `difference`.
    """
    if not parts or not others:
        raise InputError("Expected scores of at least one training of both scorers, received none of one.")
    if len(others) == 1:
        return [(part, align(others[0], part)) for part in parts]
    by_seed = {other.seed: other for other in others}
    seeds = [part.seed for part in parts]
    if len(by_seed) != len(others) or sorted(by_seed) != sorted(seeds):
        raise InputError(
            f"Expected the same training seeds of both scorers (or one training of the second), received "
            f"{seeds} and {[other.seed for other in others]}."
        )
    return [(part, align(by_seed[part.seed], part)) for part in parts]


def align(other: Scores, like: Scores) -> Scores:
    """Returns scores in the order of other scores of the same samples, joined on `sample_id`.

    Raises:
        InputError: if a sample occurs twice, is in one of them only, or changes its class or person.
    """
    for part in (like, other):
        if len(np.unique(part.samples.sample_id)) != len(part.samples):
            raise InputError(f"Expected every sample_id once, received some twice in scores of {part.scorer!r}.")
    only_one = np.setxor1d(like.samples.sample_id, other.samples.sample_id)
    if len(only_one):
        raise InputError(
            f"Expected scores of the same samples, received {len(only_one)} that only one of {like.scorer!r} and "
            f"{other.scorer!r} has, such as {only_one[0]!r}. Leave them out of both first (`paired.shared`)."
        )
    order = np.argsort(other.samples.sample_id)
    rows = order[np.searchsorted(other.samples.sample_id, like.samples.sample_id, sorter=order)]
    aligned = take(other, rows)
    is_same = figures.membership(aligned) == figures.membership(like)
    is_same &= aligned.samples.people() == like.samples.people()
    if not is_same.all():
        raise InputError(
            f"Expected the same classes and people in both, received others for {np.count_nonzero(~is_same)} samples "
            f"of {like.scorer!r} and {other.scorer!r}."
        )
    return aligned


def shared(parts: Sequence[Scores]) -> list[Scores]:
    """Returns the scores of those samples that all parts have, in the order of the first.

    For scorers that cannot score everything. Say how many were left out: `len(parts[0].logit)` before and after.

    Raises:
        InputError: if nothing is shared.
    """
    ids = parts[0].samples.sample_id
    # Scorers that give up on some photos would otherwise be compared on the easier ones.
    common = ids[np.all([np.isin(ids, part.samples.sample_id) for part in parts], axis=0)]
    if not len(common):
        raise InputError("Expected scorers of the same evaluation, received samples that none has in common.")
    kept = [take(part, np.isin(part.samples.sample_id, common)) for part in parts]
    return [kept[0], *(align(part, kept[0]) for part in kept[1:])]


def take(part: Scores, rows: np.ndarray) -> Scores:
    """Returns the given rows (indices or a boolean mask) of scores."""
    is_member = None if part.is_member is None else part.is_member[rows]
    return dataclasses.replace(
        part, samples=part.samples.take(rows), is_member=is_member, logit=np.asarray(part.logit)[rows]
    )
