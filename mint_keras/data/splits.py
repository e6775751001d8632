"""Seeded choices of samples: identity-disjoint, spread over databases, balanced. Indices only, never pixels."""

import numpy as np

from mint_keras.data.people import are_unknown, known_units
from mint_keras.records import InputError

KNOWN = "Give a folder for each person or a table with identities; inspect_database.py says how they are read."


def split_people(people: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Puts a fraction of the people on one side, at least one on each, all samples of a person on the same side.

    Those of a database of whom nobody knows who they are stay together, see `people.known_units`. `people` is the
    person of every sample, shape (n,), str; returns True for the samples of the first side, shape (n,).

    Raises:
        InputError: if there are fewer than two people, or the fraction is not between 0 and 1.
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"Expected a fraction between 0 and 1, received {fraction}.")
    names, name_of = np.unique(people, return_inverse=True)
    unique, person_of = np.unique(known_units(names), return_inverse=True)
    if len(unique) < 2:
        if num := int(are_unknown(people).sum()):
            raise InputError(
                f"Expected people who can be divided, received {num} photos of unknown identity: one person could "
                f"be on two sides. {KNOWN}"
            )
        raise InputError(
            f"Expected at least two identities, to train on some and test on others, received {len(unique)}. "
            "Give a folder with one subfolder per identity."
        )
    # People are numbered by their sorted names, so that the order of the rows does not matter.
    num_first = min(max(round(fraction * len(unique)), 1), len(unique) - 1)
    is_first = np.zeros(len(unique), bool)
    is_first[rng.permutation(len(unique))[:num_first]] = True
    return is_first[person_of][name_of]


def permute_membership(people: np.ndarray, is_member: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deals the sides out among the people anew: whole persons swap, and each side keeps its number of people.

    For finding leaks in our own code: divided into training and test after this, no score may tell the sides apart. It
    is no test of membership. Databases that differ in anything would give a small p-value, because their people are not
    exchangeable even if nobody is a member.

    Takes the person and the side of every sample, shape (n,), and returns the new sides, shape (n,), bool. They change
    in size where people have unequal numbers of samples.

    Raises:
        InputError: if a person is on both sides.
    """
    _, first, person_of = np.unique(people, return_index=True, return_inverse=True)
    side = is_member[first]
    if mixed := len(np.unique(people[side[person_of] != is_member])):
        raise InputError(
            f"Expected every person on one side, received {mixed} on both: where photos and not people are members, "
            "sides cannot be dealt out by person."
        )
    return rng.permutation(side)[person_of]


def choose_evenly(databases: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Chooses `num` samples, or all if there are fewer, spread over the databases as evenly as their sizes allow.

    `databases` is the database of every sample, shape (n,), str; returns sorted indices, shape (min(num, n),).
    """
    shuffled = rng.permutation(len(databases))
    # The turn of a sample is its place in its own database; taking turns spreads the choice.
    turn = np.empty(len(databases), np.int32)  # few bytes a row, which counts among millions
    names, database_of = np.unique(databases, return_inverse=True)
    database_of = database_of.astype(np.min_scalar_type(len(names)))
    for database in range(len(names)):
        rows = shuffled[(database_of == database)[shuffled]]
        turn[rows] = np.arange(len(rows), dtype=np.int32)
    # The first of one order: a smaller choice by the same seed lies inside a larger one.
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:num])


def folds_of_people(
    people: np.ndarray, is_member: np.ndarray, num: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the rows outside and inside each of `num` folds. A person is in one fold; every fold has both classes.

    Takes the person of every row, shape (n,), and which rows are members', shape (n,), bool. Whoever has a member's
    photo counts as a member, for image membership.

    Raises:
        InputError: if of some photos nobody knows whose they are.
    """
    refuse_unknown(people)
    has_member = np.isin(people, people[is_member])
    fold = np.empty(len(people), int)
    for side in (has_member, ~has_member):
        _, number = np.unique(people[side], return_inverse=True)
        count = number.max(initial=-1) + 1
        fold[side] = np.random.default_rng(seed).permutation(np.arange(count) % num)[number]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(num)]


def refuse_unknown(people: np.ndarray) -> None:
    """Raises InputError if of some of `SampleTable.people`, shape (n,), nobody knows who they are."""
    if num := int(are_unknown(people).sum()):
        raise InputError(
            f"Expected photos of known people, which can be kept apart, received {num} of {len(people)} of unknown "
            f"identity. {KNOWN}"
        )


def rows_by_person(people: np.ndarray) -> list[np.ndarray]:
    """Returns the rows of each person, in the order of their names."""
    order = np.argsort(people, kind="stable")
    return np.split(order, np.flatnonzero(people[order][1:] != people[order][:-1]) + 1)


def choose_photos(people: np.ndarray, sample_id: np.ndarray, num_photos: int, seed: int) -> np.ndarray:
    """Returns the sorted rows of `num_photos` random photos of each person who has as many, whatever their order."""
    shuffled = np.argsort(sample_id, kind="stable")[np.random.default_rng(seed).permutation(len(sample_id))]
    groups = (shuffled[rows] for rows in rows_by_person(people[shuffled]))
    kept = [rows[:num_photos] for rows in groups if len(rows) >= num_photos]
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, int)


def balance(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Makes two sets of indices equally large by leaving out random ones of the larger."""
    size = min(len(first), len(second))
    return np.sort(rng.permutation(first)[:size]), np.sort(rng.permutation(second)[:size])


def balance_within(
    groups: np.ndarray, first: np.ndarray, second: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Makes two sets of indices equally large within each group, of every sample, (n,)."""
    names = np.unique(groups)
    pairs = [balance(first[groups[first] == name], second[groups[second] == name], rng) for name in names]
    left, right = (np.sort(np.concatenate(side)) for side in zip((first[:0], second[:0]), *pairs, strict=True))
    return left, right


def make_pairs(people: np.ndarray, num: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws at most `num` genuine pairs (two samples of a person) and as many impostor pairs, without repetition.

    `people` is the person of every sample, shape (n,), str.

    Returns:
        Index pairs, shape (m, 2), and whether each is genuine, shape (m,), bool.

    Raises:
        InputError: if no person has two samples, or there is only one person.
    """
    _, person_of = np.unique(people, return_inverse=True)
    # Forty times as many as are wanted, because those of one person and those drawn twice go.
    candidates = rng.integers(0, len(people), (40 * num, 2))
    same = person_of[candidates[:, 0]] == person_of[candidates[:, 1]]
    impostor = np.unique(np.sort(candidates[~same], axis=1), axis=0)
    # Every sample with the next ones of the same person in a random order, up to three each.
    order = rng.permutation(len(person_of))
    order = order[np.argsort(person_of[order], kind="stable")]
    genuine = np.concatenate([np.stack([order[:-gap], order[gap:]], axis=1) for gap in (1, 2, 3)])
    genuine = genuine[person_of[genuine[:, 0]] == person_of[genuine[:, 1]]]
    size = min(num, len(genuine), len(impostor))
    if size == 0:
        raise InputError("Expected at least two people and one with two samples, to make verification pairs.")
    pairs = np.concatenate([rng.permutation(genuine)[:size], rng.permutation(impostor)[:size]])
    return pairs, np.arange(2 * size) < size
