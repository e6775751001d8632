"""One person under several names, and several under one, by the embeddings of a face network. Does it know people?

Names of one person are not independent: with some in the calibration or on the other side, whatever was learnt of the
person looks like membership.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
from scipy import sparse, stats
from scipy.cluster import hierarchy
from scipy.sparse import csgraph
from scipy.spatial import distance

from mint_keras import vectors
from mint_keras.data import registration, splits
from mint_keras.records import InputError
from mint_keras.statistics import bounds

MIN_PEOPLE = 20  # with two photos or more: fewer say little of a network
# Of `Competence.low`. Face networks are above 0.99 on faces of their kind; untrained or on other faces, below 0.85.
MIN_VERIFICATION = 0.95
MIN_RECALL = 0.5  # below, a search that finds nothing says nothing
COPY = 0.9999  # cosine from which embeddings are the same up to rounding
_MAX_MISSED = 0.01  # share of the people under two names who may be missed for the sake of fewer false links
_MAX_FALSE_LINKS = 0.02  # expected for each name
_TAIL = 0.025  # of the cosines of different names, from where a normal tail goes on
_STRETCH = 1.05  # of that tail: between LFW's people, and between drawn ones, cosines go so much farther
_ROUNDING = 1e-6  # of directions, in float32
_NUM_IMPOSTORS = 20_000
_FOUND, _NUM_JOINED = 0.99, 500  # share of so many pairs of names, taken for one, that must be told from a person
_BLOCK = 512


class Pictures(NamedTuple):
    """What small pictures say of photos, without any network.

    Attributes:
        details: What they show, shape (n, d).
        is_distinct: Which are no copies of an earlier photo of the same person, shape (n,), bool.
    """

    details: np.ndarray
    is_distinct: np.ndarray

    @classmethod
    def of(cls, rough: np.ndarray, people: np.ndarray) -> Self:
        """Takes it of rough pictures of photos, (n, 24, 24), see `registration`, and who is on them, (n,)."""
        is_distinct = np.ones(len(rough), bool)
        for rows in splits.rows_by_person(people):
            is_distinct[rows] = registration.distinct(rough[rows])
        # Every second pixel of either side: the finest details are not in there.
        return cls(registration.details(rough)[:, ::2, ::2].reshape(len(rough), -1), is_distinct)


class Competence(NamedTuple):
    """How well a network's cosines tell two photos of one person from photos of two people.

    Attributes:
        auc: AUC, in which every person counts once; None where fewer than `MIN_PEOPLE` people have two photos.
        low: Lower end of its 95% interval over people.
        num_people: People with two photos or more that are no copies of one another.
        num_pairs: Pairs of such photos of one person.
        by_pictures: `low` of small pictures, in place of a network; None as there.
    """

    auc: float | None
    low: float | None
    num_people: int
    num_pairs: int
    by_pictures: float | None = None

    @property
    def is_competent(self) -> bool:
        """Whether the network is known to tell people apart, on photos where that takes one."""
        return self.low is not None and self.low >= MIN_VERIFICATION > (self.by_pictures or 0)

    def describe(self) -> str:
        """Returns what was found, in plain English."""
        if self.low is None:
            return f"{self.num_people} people have two photos; {MIN_PEOPLE} must, to see whether it tells people apart."
        if self.by_pictures is not None and self.by_pictures >= MIN_VERIFICATION:
            return (
                f"The photos of each of {self.num_people} people are so alike that small pictures tell people apart, "
                f"too (AUC at least {self.by_pictures:.4f}). They do not show whether the network does."
            )
        said = "tells people apart" if self.is_competent else "does not tell people apart well enough"
        return (
            f"The network {said}: AUC {self.auc:.4f}, at least {self.low:.4f} with 95% confidence ({self.num_people} "
            f"people; {MIN_VERIFICATION} is needed)."
        )


class Merged(NamedTuple):
    """Which names are one person.

    Attributes:
        people: The person on each photo, shape (n,): the first in sorted order of the names that are one person.
        groups: Names that are one person, two or more in each group, sorted.
        threshold: Cosine of two names' mean embeddings from which they count as one person; None where fewer than
            `MIN_PEOPLE` names have two photos, and only copies of photos can be found.
        recall: Share of people, split into two names with half of their photos each, that reach the threshold.
        false_alarm: Share of pairs of different people that reach it, by a tail on which real twins have little weight.
        num_names: Names.
        num_split: Names with two photos or more that are no copies, which were split.
        num_copies: Pairs of names that share a photo.
    """

    people: np.ndarray
    groups: tuple[tuple[str, ...], ...]
    threshold: float | None
    recall: float | None
    false_alarm: float | None
    num_names: int
    num_split: int
    num_copies: int

    @property
    def is_checked(self) -> bool:
        """Whether most people under several names would have been found."""
        return self.recall is not None and self.recall >= MIN_RECALL

    def describe(self) -> str:
        """Returns what was found, in plain English."""
        num = sum(len(group) for group in self.groups)
        found = f"{num} of {self.num_names} names belong to {len(self.groups)} people" if num else "No names are joined"
        found = f"{found}; {self.num_copies} pairs of names share a photo."
        if self.threshold is None or self.recall is None or self.false_alarm is None:
            few = f"{self.num_split} names have two photos or more, {MIN_PEOPLE} are needed"
            return f"One person under several names cannot be found: {few}. By copies of photos alone: {found}"
        share = bounds.exact_interval(round(self.recall * self.num_split), self.num_split)
        links = self.false_alarm * self.num_names * (self.num_names - 1) / 2
        return (
            f"{found} Names are joined from a cosine of {self.threshold:.3f}. Of {self.num_split} people, a share of "
            f"{share} reaches it with half of their photos under each of two names, and so may about {links:.1f} "
            "pairs of different people."
        )


class Several(NamedTuple):
    """Which names are of several people.

    Attributes:
        part: The part of each photo within its name, shape (n,), int: 0 of the largest, then 1, 2 ...
        cosine: Mean cosine of the photos of a name's two most different parts, by name; of names with two photos.
        threshold: Cosine below which a name is of several people; None where fewer than `MIN_PEOPLE` have two photos.
        recall: Share of pairs of names, taken for one, that lie below.
    """

    part: np.ndarray
    cosine: dict[str, float]
    threshold: float | None
    recall: float | None

    def called(self, people: np.ndarray) -> np.ndarray:
        """Returns the names on the photos, shape (n,), with the number of each further part behind."""
        pairs = zip(people.tolist(), self.part.tolist(), strict=True)
        return np.array([f"{who} (part {k + 1})" if k else who for who, k in pairs])

    def describe(self) -> str:
        """Returns what was found, in plain English."""
        if self.threshold is None or self.recall is None:
            return (
                f"Several people under one name cannot be found: {len(self.cosine)} names have two photos or more, "
                f"{MIN_PEOPLE} are needed."
            )
        num = sum(cosine < self.threshold for cosine in self.cosine.values())
        return (
            f"{num} of {len(self.cosine)} names look like several people: parts of their photos have a mean cosine "
            f"below {self.threshold:.3f}. Of pairs of names, taken for one, a share of {self.recall:.3f} has."
        )


def competence(embeddings: np.ndarray, people: np.ndarray, pictures: Pictures, seed: int = 1) -> Competence:
    """Returns how well a network tells people apart on the photos at hand.

    Args:
        embeddings: Embeddings of photos, shape (n, d), of any length.
        people: Who is on them, shape (n,).
        pictures: The photos as small pictures. Any network knows a copy of a photo again, so copies do not count.
        seed: Seeds the choice of pairs: of a person one fewer than photos.

    Raises:
        InputError: if embeddings are not finite, or not as many as names.
    """
    kept = pictures.is_distinct
    of_network, of_pictures = (_prepare(rows, people) for rows in (embeddings, pictures.details))
    by_pictures = _told_apart(of_pictures[0][kept], of_pictures[2][kept], seed)
    return _told_apart(of_network[0][kept], of_network[2][kept], seed)._replace(by_pictures=by_pictures.low)


def _told_apart(units: np.ndarray, name_of: np.ndarray, seed: int) -> Competence:
    rng = np.random.default_rng(seed)
    # Shuffled, because photos that follow each other in a folder are often of one occasion.
    order = rng.permutation(len(units))
    order = order[np.argsort(name_of[order], kind="stable")]
    is_same = name_of[order[1:]] == name_of[order[:-1]]
    first, second = order[1:][is_same], order[:-1][is_same]
    genuine = np.sum(units[first] * units[second], axis=1)
    # Any network knows a copy again.
    first, genuine = first[genuine < COPY], genuine[genuine < COPY]
    num_pairs = np.bincount(name_of[first])
    num_people = int(np.count_nonzero(num_pairs))
    if num_people < MIN_PEOPLE:
        return Competence(None, None, num_people, len(first))
    some, others = rng.integers(len(units), size=(2, _NUM_IMPOSTORS))
    is_other = name_of[some] != name_of[others]
    impostors = np.sort(vectors.cosines(units[some[is_other]], units[others[is_other]]))
    below = [np.searchsorted(impostors, genuine, side) / len(impostors) for side in ("left", "right")]
    by_person = np.bincount(name_of[first], np.mean(below, axis=0))[num_pairs.nonzero()] / num_pairs[num_pairs > 0]
    auc = float(by_person.mean())
    half = float(stats.t.ppf(0.975, num_people - 1) * by_person.std(ddof=1) / np.sqrt(num_people))
    return Competence(auc, max(0.0, auc - half), num_people, len(first))


def best_merged(embeddings: Mapping[str, np.ndarray], people: np.ndarray, pictures: Pictures) -> tuple[str, Merged]:
    """Returns what `same_people` finds by that network, of several by name, which finds most people again."""
    competent = {name: of for name, of in embeddings.items() if competence(of, people, pictures).is_competent}
    found = {name: same_people(of, people, pictures) for name, of in competent.items()}
    if not found:
        raise InputError(f"Expected a network that tells these people apart, received only {sorted(embeddings)}.")
    best = max(found, key=lambda name: found[name].recall or 0.0)
    return best, found[best]


def same_people(embeddings: np.ndarray, people: np.ndarray, pictures: Pictures) -> Merged:
    """Finds names that are one person: by average linkage of the names' mean embeddings, and by copies of photos.

    The photos at hand set the threshold, from people who are split into two names and from all pairs of names. Two
    people under one name are not looked for.

    Args:
        embeddings: Embeddings of photos, shape (n, d), of any length, by a competent network.
        people: The name of who is on them, shape (n,).
        pictures: The photos as small pictures: a person whose photos are copies would be known again too easily.

    Raises:
        InputError: if embeddings are not finite, or not as many as names.
    """
    units, names, name_of = _prepare(embeddings, people)
    links = copies = _pairs(units, COPY, name_of)
    once = units[pictures.is_distinct], name_of[pictures.is_distinct]
    halves = _halves(*once)
    threshold = recall = false_alarm = None
    if len(halves) >= MIN_PEOPLE:
        means = _means(*once)
        threshold, false_alarm = _threshold(means, halves)
        recall = float(np.mean(halves >= threshold))
        links = np.concatenate([copies, _average_linkage(means, threshold)])
    group_of = _groups(links, len(names))
    _, first, group_of = np.unique(group_of, return_index=True, return_inverse=True)
    large = np.flatnonzero(np.bincount(group_of) > 1)
    groups = tuple(sorted(tuple(names[group_of == group].tolist()) for group in large))
    merged = names[first[group_of]][name_of]
    return Merged(merged, groups, threshold, recall, false_alarm, len(names), len(halves), len(copies))


def several_people(embeddings: np.ndarray, people: np.ndarray, seed: int = 1) -> Several:
    """Finds names whose photos fall into parts that are as different as people are: by average linkage.

    The photos at hand set the threshold, from pairs of names that are taken for one. A part may be a single photo: of
    somebody else, or one that the network cannot make out.

    Args:
        embeddings: Embeddings of photos, shape (n, d), of any length, by a competent network.
        people: The name of who is on them, shape (n,).
        seed: Seeds the pairs.

    Raises:
        InputError: if embeddings are not finite, or not as many as names.
    """
    units, names, name_of = _prepare(embeddings, people)
    rows_of = np.split(np.argsort(name_of, kind="stable"), np.cumsum(np.bincount(name_of))[:-1])
    trees = {name: _tree(units[rows]) for name, rows in zip(names.tolist(), rows_of, strict=True) if len(rows) > 1}
    part, cosine = np.zeros(len(units), int), {name: float(1 - tree[-1, 2]) for name, tree in trees.items()}
    if len(trees) < MIN_PEOPLE:
        return Several(part, cosine, None, None)
    pairs = np.random.default_rng(seed).integers(len(names), size=(_NUM_JOINED, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    joined = [1 - _tree(units[np.concatenate([rows_of[one], rows_of[other]])])[-1, 2] for one, other in pairs]
    threshold = float(np.quantile(joined, _FOUND))
    for name, rows in zip(names.tolist(), rows_of, strict=True):
        if cosine.get(name, 1.0) < threshold:
            number = hierarchy.fcluster(trees[name], 1 - threshold, "distance") - 1
            part[rows] = np.argsort(np.argsort(-np.bincount(number), kind="stable"))[number]
    return Several(part, cosine, threshold, float(np.mean(np.array(joined) < threshold)))


def unnamed_people(embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """Proposes who is one person among photos of which nobody knows whose they are: by average linkage.

    The threshold is a tail of all cosines, as nearly all pairs of photos are of two people.

    Returns:
        The number of the person on each photo, shape (n,), from 0 as they come, and the cosine of the threshold.
    """
    units, *_ = _prepare(embeddings, np.zeros(len(embeddings)))
    threshold, _ = _threshold(units, None)
    links = np.concatenate([_average_linkage(units, threshold), _pairs(units, COPY, np.arange(len(units)))])
    _, first, group = np.unique(_groups(links, len(units)), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group], threshold


def _tree(units: np.ndarray) -> np.ndarray:
    """Returns the average linkage of unit rows by 1 less the cosine; rows of zeros have a cosine of 0 with all."""
    return hierarchy.linkage(distance.squareform(1 - np.clip(units @ units.T, -1, 1), checks=False), "average")


def _prepare(embeddings: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns directions seen from the middle of all, the names in order, and which of them each photo has."""
    rows, people = np.asarray(embeddings, np.float64), np.asarray(people)
    if rows.ndim != 2 or not 0 < len(rows) == len(people) or not np.isfinite(rows).all():
        raise InputError(
            f"Expected finite embeddings (n, d) of {len(people)} photos, received {rows.shape}. Leave the others out."
        )
    # Weak networks give all faces nearly one direction: without the middle, all would be copies of one another.
    units = vectors.unit_rows(rows)
    units -= units.mean(axis=0)
    units[np.linalg.norm(units, axis=1) < _ROUNDING] = 0  # it has no direction
    return vectors.unit_rows(units), *np.unique(people, return_inverse=True)


def _means(units: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Returns the direction of the mean of each owner's rows."""
    return vectors.unit_rows(sparse.csr_array((np.ones(len(owner)), (owner, np.arange(len(owner))))) @ units)


def _halves(units: np.ndarray, name_of: np.ndarray) -> np.ndarray:
    """Returns the cosine of two halves of each name's photos, of names with two or more."""
    count = np.bincount(name_of)
    # Halves no larger than names are: the mean of many photos would be known again too easily.
    num = np.where(count > 1, np.minimum(count, 2 * max(1, int(np.median(count)))), 0)
    # By content, so that the order of the photos does not matter; those that are taken are spread over all.
    order = np.lexsort((units[:, 0], name_of))
    owner = name_of[order]
    place = np.arange(len(order)) - (np.cumsum(count) - count)[owner]
    turn = place * num[owner] // count[owner]
    is_taken = (num[owner] > 0) & (turn != (place - 1) * num[owner] // count[owner])
    half = np.unique(2 * owner[is_taken] + turn[is_taken] % 2, return_inverse=True)[1]
    means = _means(units[order[is_taken]], half) if len(half) else units[:0]
    return np.sum(means[::2] * means[1::2], axis=1)


def _threshold(means: np.ndarray, halves: np.ndarray | None) -> tuple[float, float]:
    """Returns from which cosine two names are one person, and the share of different people that reach it.

    Without halves of known people there is no gap to leave to anybody.
    """
    some = np.arange(0, len(means), max(1, len(means) // 500))
    cosines = (means @ means[some].T)[np.arange(len(means))[:, None] != some]
    # Twins are each other's nearest, which is the far tail: it is continued from where they have little weight.
    middle, upper = np.quantile(cosines, [0.5, 1 - _TAIL])
    scale = _STRETCH * max(upper - middle, np.finfo(float).eps) / stats.norm.isf(_TAIL)
    limit = middle + scale * stats.norm.isf(min(0.5, 2 * _MAX_FALSE_LINKS / (len(means) - 1)))
    # Photos of one occasion are more alike than a person's are under two names: half of any gap is left to the latter.
    gap = 0.0 if halves is None else max(0.0, float(np.quantile(halves, _MAX_MISSED)) - limit)
    threshold = min(limit + gap / 2, COPY)
    return float(threshold), float(stats.norm.sf((threshold - middle) / scale))


def _average_linkage(means: np.ndarray, threshold: float) -> np.ndarray:
    """Returns every name that is joined with the first of its group, as pairs, (m, 2)."""
    part_of = _groups(_pairs(means, threshold, np.arange(len(means))), len(means))
    pairs = [np.empty((0, 2), int)]
    # Between these parts no pair reaches the threshold, nor does an average of pairs: each is clustered on its own.
    for part in np.flatnonzero(np.bincount(part_of) > 1):
        rows = np.flatnonzero(part_of == part)
        tree = hierarchy.linkage(means[rows], "average", "cosine")
        group_of = hierarchy.fcluster(tree, 1 - threshold, "distance")
        _, first, group_of = np.unique(group_of, return_index=True, return_inverse=True)
        pairs.append(np.stack([rows[first[group_of]], rows], axis=1))
    return np.concatenate(pairs)


def _pairs(units: np.ndarray, threshold: float, owner: np.ndarray) -> np.ndarray:
    """Returns the pairs of different owners, (m, 2), with rows whose cosine is a threshold or more."""
    units, pairs = units.astype(np.float32), [np.empty((0, 2), int)]
    for start in range(0, len(units), _BLOCK):
        rows, columns = np.nonzero(units[start : start + _BLOCK] @ units[start:].T >= threshold)
        found = np.sort(np.stack([owner[start + rows], owner[start + columns]], axis=1), axis=1)
        pairs.append(np.unique(found[found[:, 0] != found[:, 1]], axis=0))
    return np.unique(np.concatenate(pairs), axis=0)


def _groups(pairs: np.ndarray, num: int) -> np.ndarray:
    """Returns the number of the group of each of `num`, where pairs are in one group."""
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(num, num))
    return csgraph.connected_components(graph, directed=False)[1]
