"""Who is compared with whom: training samples for the heads, and the evaluations that give a number its meaning."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from mint_keras import streams
from mint_keras.data import splits
from mint_keras.data.people import by_key
from mint_keras.records import InputError, Labelled, SampleTable, concatenate_tables

UNSEEN_DATABASE = "unseen_database"
SEEN_DATABASES = "seen_databases"
SAME_DATABASE = "same_database"
FAMILIAR = "familiar"
CROSS_MODEL = "cross_model"
UNSEEN_MEMBERS = "unseen_members_database"

# Positions in `PARTS`, by whose names protocols are kept in files.
TRAIN_MEMBERS, TRAIN_EXTERNALS, TEST_MEMBERS, TEST_EXTERNALS, HELD_OUT = range(5)
NOT_USED = -1  # of samples that a protocol leaves out
PARTS = ("train_members", "train_externals", "test_members", "test_externals", "held_out")
_TRAIN_FRACTION = 0.6


class Sources(NamedTuple):
    """The samples a run may use: those that the audited model was trained on, and three kinds of others.

    Heads train on databases of `externals` and never see those of `evaluate`; None takes held-out people of `externals`
    instead. `held_out` are others of the members' database; None if there are no such people.
    """

    members: SampleTable
    externals: SampleTable
    evaluate: SampleTable | None
    held_out: SampleTable | None


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The chosen samples and the part each of them plays.

    Attributes:
        table: All chosen samples, n rows.
        part: The part of every sample, `TRAIN_MEMBERS` to `HELD_OUT`, shape (n,).
        main_evaluation: What comparing test members with test externals is called, for example `UNSEEN_DATABASE`.
        seed: Seeds every choice.
    """

    table: SampleTable
    part: np.ndarray
    main_evaluation: str
    seed: int

    def take(self, rows: np.ndarray) -> Self:
        """Returns the protocol for the given rows, for example those that could be decoded."""
        return dataclasses.replace(self, table=self.table.take(rows), part=self.part[rows])

    def training_rows(self) -> Labelled:
        """Returns the rows that train a head and whether each is a member."""
        rows = np.flatnonzero((self.part == TRAIN_MEMBERS) | (self.part == TRAIN_EXTERNALS))
        return Labelled(rows, self.part[rows] == TRAIN_MEMBERS)

    def evaluations(self) -> dict[str, Labelled]:
        """Returns rows and membership of every evaluation, by name: balanced before anybody was `left_out`.

        The main one compares held-out members with externals. `same_database` compares them with people of their
        own database whom the model never saw, of several databases as many photos of each: only membership differs.
        `familiar` claims that those people are members and compares them with the externals: what it finds is not
        membership.
        """
        pairs = {self.main_evaluation: (TEST_MEMBERS, TEST_EXTERNALS)}
        if (self.part == HELD_OUT).any():
            pairs[SAME_DATABASE] = (TEST_MEMBERS, HELD_OUT)
            pairs[FAMILIAR] = (HELD_OUT, TEST_EXTERNALS)
        # A further evaluation goes to the end: one stream draws all, in this order.
        rng = streams.stream(self.seed, streams.EVALUATIONS)
        chosen = {}
        for name, of in pairs.items():
            first, second = (np.flatnonzero(np.isin(self.part, (one, left_out(one)))) for one in of)
            groups = self.table.database if name == SAME_DATABASE else np.zeros(len(self.part), int)
            drawn = splits.balance_within(groups, first, second, rng)
            sides = [side[self.part[side] >= 0] for side in drawn]
            if not min(map(len, drawn)) and name == SAME_DATABASE != self.main_evaluation:
                continue  # the held-out people are of a database of which no member is left to compare
            if not min(map(len, sides)):
                raise InputError(f"Expected test samples of both classes for {name!r}, received none of one.")
            chosen[name] = Labelled(np.concatenate(sides), np.arange(sum(map(len, sides))) < len(sides[0]))
        return chosen


def left_out(part: Any) -> Any:
    """Returns the part, a number or (n,), of samples left out later: others are drawn as if these were still there."""
    return NOT_USED - 1 - part


def make_protocol(sources: Sources, num_train: int, num_test: int, seed: int) -> Protocol:
    """Chooses the samples: people on one side only, databases taking turns.

    People are divided 60 to 40 between training and test; where that leaves one of them too small although there are
    enough samples for both, as `num_train` to `num_test` (40,000 and 10,000 of CIFAR-100's 50,000, as in Appendix A).
    There are at most `num_train` training samples of each class, and `num_test` test samples of each kind.

    Raises:
        InputError: if a person is on both sides of membership, or there are too few people.
    """
    evaluated = [] if sources.evaluate is None else np.unique(sources.evaluate.database).tolist()
    if seen := sorted(set(evaluated) & set(np.unique(sources.externals.database).tolist())):
        raise InputError(
            f"Expected databases to evaluate on that the heads do not train on, received {seen} in both. "
            "Leave --evaluate out to hold out people of the externals instead."
        )
    _refuse_shared(
        {name: table.people() for name, table in sources._asdict().items() if table is not None},
        " Databases are told apart by their folder names: rename one if they are different. One who was merged across "
        "sides can be dropped in --identities.",
    )
    if sources.held_out is not None:
        _refuse_strangers(sources.members.database, sources.held_out.database)
    rng = streams.stream(seed, streams.PROTOCOL)
    # One stream draws all of them: in another order, old seeds would give other samples.
    members = _split(sources.members, num_train, num_test, rng)
    externals, main = (sources.externals, sources.evaluate), UNSEEN_DATABASE
    if sources.evaluate is None:
        externals, main = _split(sources.externals, num_train, num_test, rng), SEEN_DATABASES
    parts = (members[0], externals[0], members[1], externals[1], sources.held_out)
    nums = (num_train, num_train, num_test, num_test, num_test)
    wanted = [(table, num) for table, num in zip(parts, nums, strict=True) if table is not None]
    tables = [table.take(splits.choose_evenly(table.database, num, rng)) for table, num in wanted]
    part = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return Protocol(concatenate_tables(tables), part, main, seed)


def check_people(protocol: Protocol) -> None:
    """Raises InputError if a person plays two parts, such as member and external, or held-out people are strangers."""
    people, database = protocol.table.people(), protocol.table.database
    _refuse_shared({name: people[protocol.part == part] for part, name in enumerate(PARTS)})
    # Where the members to evaluate on are of another database than those who train, these are who is compared.
    parts = (TEST_MEMBERS,) if protocol.main_evaluation == UNSEEN_MEMBERS else (TRAIN_MEMBERS, TEST_MEMBERS)
    _refuse_strangers(database[np.isin(protocol.part, parts)], database[protocol.part == HELD_OUT])


def _refuse_strangers(of_members: np.ndarray, of_held_out: np.ndarray) -> None:
    """Raises InputError for held-out people of a database without members, given the databases of all samples."""
    if strangers := sorted(set(np.unique(of_held_out).tolist()) - set(names := np.unique(of_members).tolist())):
        raise InputError(
            f"Expected held-out people of the members' own database, {', '.join(names)}, received {strangers}: people "
            "of a database that the model is not familiar with look unused. If they are of the members' and their "
            f"folder has another name, {names[0]}=PATH says so; if not, they are externals."
        )


def _split(
    table: SampleTable, num_train: int, num_test: int, rng: np.random.Generator
) -> tuple[SampleTable, SampleTable]:
    fraction, both = _TRAIN_FRACTION, num_train + num_test
    if len(table) >= both and (num_train > fraction * len(table) or num_test > (1 - fraction) * len(table)):
        fraction = num_train / both
    is_train = splits.split_people(table.people(), fraction, rng)
    return table.take(is_train), table.take(~is_train)


def _refuse_shared(people: Mapping[str, np.ndarray], remedy: str = "") -> None:
    different = {name: by_key(of) for name, of in people.items()}
    for (first, ones), (second, others) in itertools.combinations(different.items(), 2):
        if shared := sorted(ones.keys() & others.keys()):
            message = f"Expected different people in {first} and {second}, received {len(shared)} in both, such as"
            names = list(dict.fromkeys([ones[shared[0]], others[shared[0]]]))
            spelt = " If these are two people, give one another name." if len(names) > 1 else ""
            raise InputError(f"{message} {' and '.join(map(repr, names))}.{spelt}{remedy}")
