"""Draws `drawing.REFERENCES`: who is claimed, who is said to have been kept out, and how the groups differ besides."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from mint_keras import vectors
from mint_keras.audited import taps
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.records import InputError, SampleTable, Scores, concatenate_tables
from mint_keras.scorers import blind
from mint_keras.statistics import verdict
from studies.worlds import drawing, scores, verdicts
from studies.worlds.drawing import PIXELS
from studies.worlds.networks import PeopleSeen
from studies.worlds.spec import World, WorldsSpec

_NUM_AXES = 3  # of which a skew takes one
_FEW = 60  # people a side where there are few


def score(spec: WorldsSpec, world: World, people: PeopleSeen) -> list[Scores]:
    """Draws a reference and scores it; see `scores.of_reference`."""
    seed = spec.seed_of(world)
    drawn = draw(world.kind, people, spec.held_out, seed)
    by_network = people.of(drawn.table)
    protocol, is_competent = scores.who_is_who(by_network, drawn)
    hangs = functools.partial(verdicts.hangs_on_networks, world)
    return scores.of_reference(by_network, protocol, is_competent, seed, hangs)


def draw(kind: str, seen: PeopleSeen, num: int, seed: int) -> protocols.Protocol:
    """Draws a reference of a kind, a key of `drawing.REFERENCES`, of at most `num` people a side.

    Raises:
        InputError: if there are too few people.
    """
    truth, rng = drawing.REFERENCES[kind], np.random.default_rng(seed)
    members, others = seen.people.members, next(iter(seen.people.others.values()))
    num = _FEW if truth.has_few else num
    used = _some(members, rng.permutation(np.unique(members.people()))[:num])
    names = rng.permutation(np.unique(others.people()))
    if truth.is_member is None:
        shuffled = rng.permutation(np.unique(members.people()))
        claimed, kept_out = _some(members, shuffled[::2]), _some(members, shuffled[1::2])
    elif truth.is_member or truth.is_swapped:
        unused = _some(others, names[:num])
        claimed, kept_out = (used, unused) if truth.is_member else (unused, used)
    else:
        num = min(num, len(names) // 2)
        is_upper = np.zeros(len(names), bool)
        if truth.axis:
            place = _along_axis(truth.axis, seen, names, rng)
            # A trait has a natural bound, log-odds of 0; an axis of looks has none.
            is_upper = place > (0 if truth.axis in drawing.TRAITS else np.median(place))
        else:
            is_upper[: len(names) // 2] = True  # in random order
        upper, lower = names[is_upper], names[~is_upper]
        num = min(num, len(upper), len(lower))  # each half is divided between the sides
        first = round(truth.share * num)
        claimed = _some(others, [*upper[:first], *lower[: num - first]])
        kept_out = _some(others, [*upper[first:num], *lower[num - first : num]])
    if (least := min(len(np.unique(side.people())) for side in (claimed, kept_out))) < verdict.MIN_PEOPLE:
        raise InputError(f"Expected {verdict.MIN_PEOPLE} people on each side of {kind!r}, received {least}.")
    if truth.has_more_photos:
        most = int(np.unique(kept_out.people(), return_counts=True)[1].max())
        kept_out = kept_out.take(splits.choose_photos(kept_out.people(), kept_out.sample_id, max(1, most // 2), seed))
    if truth.is_recompressed:
        claimed, kept_out = (
            _recompressed(side, share, rng) for side, share in ((claimed, truth.share), (kept_out, 1 - truth.share))
        )
    if truth.has_twins:
        claimed, kept_out = _twins(claimed, rng), _twins(kept_out, rng)
    part = np.repeat([protocols.TEST_MEMBERS, protocols.HELD_OUT], [len(claimed), len(kept_out)])
    return protocols.Protocol(concatenate_tables([claimed, kept_out]), part, protocols.UNSEEN_DATABASE, seed)


def _some(table: SampleTable, names: np.ndarray | list[str]) -> SampleTable:
    return table.take(np.isin(table.people(), names))


def _along_axis(network: str, seen: PeopleSeen, names: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns where people lie along a trait, or along a principal axis of what a network, or pixels, say of them."""
    if network in drawing.TRAITS:
        return np.array([seen.traits[network][name] for name in names.tolist()])
    table = _some(next(iter(seen.people.others.values())), names)
    shown = seen.of(table)[network]
    if network == PIXELS:
        values = np.asarray(shown[blind.STATISTICS], np.float64)
        values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    else:
        values = vectors.unit_rows(shown[taps.OUTCOME])
    people = table.people()
    means = np.stack([values[people == name].mean(axis=0) for name in names])
    centred = means - means.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][rng.integers(_NUM_AXES)]
    return centred @ axis


def _recompressed(table: SampleTable, share: float, rng: np.random.Generator) -> SampleTable:
    """Returns photos in which those of a share of the people are the compressed ones."""
    people = np.unique(table.people())
    chosen = rng.permutation(people)[: round(share * len(people))]
    again = np.isin(table.people(), chosen)
    return dataclasses.replace(table, sample_id=np.where(again, drawing.recompressed(table).sample_id, table.sample_id))


def _twins(table: SampleTable, rng: np.random.Generator) -> SampleTable:
    """Returns photos in which half of the people who have two are there under two names."""
    identity, people = table.identity.astype(object), table.people()
    names = np.unique(people)
    for name in rng.permutation(names)[: len(names) // 2]:
        rows = np.flatnonzero(people == name)
        identity[rows[len(rows) // 2 :]] += "_again"
    return dataclasses.replace(table, identity=identity.astype(str))
