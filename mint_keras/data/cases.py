"""The paper's protocols (Sec. IV-B) and ours: which databases train the heads, which evaluate, and how many samples."""

from __future__ import annotations

import dataclasses

import numpy as np

from mint_keras import streams
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.records import InputError, SampleTable, concatenate_tables

# The paper's training sizes: samples of each class.
SIZES = {"100k": 50_000, "50k": 25_000, "1k": 500}
# The paper's test samples of each class in its Baseline Case: as many as Adience has.
PAPER_TEST = 26_580
# Samples of each class in one batch of the paper's: with fewer a head could not train.
MIN_TRAIN = 64


@dataclasses.dataclass(frozen=True)
class Case:
    """Which external databases train the heads, and which one evaluates them."""

    train: tuple[str, ...]
    evaluate: str


# IJB-C always trains: the paper fears that heads learn to tell drawn faces, were GANDiffFace the only large set.
PAPER_CASES = {
    "baseline": Case(("ijbc", "fddb", "gandiffface"), "adience"),
    "a": Case(("ijbc", "fddb", "adience"), "gandiffface"),
    "b": Case(("ijbc", "gandiffface", "adience"), "fddb"),
}


@dataclasses.dataclass(frozen=True)
class Pool:
    """Samples of one class: `train`, and `test`, or None if people of `train` are to be held out for testing."""

    train: SampleTable
    test: SampleTable | None


@dataclasses.dataclass(frozen=True)
class Sides:
    """The samples that a case chooses from.

    Attributes:
        members: Samples that the audited model was trained on.
        externals: Samples that it was not trained on.
        held_out: People of the members' database whom the model never saw, for the control; None without.
        evaluation: What comparing test members with test externals is called.
    """

    members: Pool
    externals: Pool
    held_out: SampleTable | None
    evaluation: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many samples of each class train, train in the largest size, and evaluate; `scale` is of the largest size."""

    num_train: int
    num_train_full: int
    num_test: int
    scale: float


def divide_externals(externals: SampleTable, case: Case, stand_ins: dict[str, str]) -> tuple[SampleTable, SampleTable]:
    """Returns the externals that train and those that evaluate.

    Args:
        externals: Samples of four databases.
        case: Which of the paper's databases plays what part.
        stand_ins: The paper's database that one of yours stands for; the paper's stand for themselves.

    Raises:
        InputError: if a database is missing, or one is none of the paper's and stands for none.
    """
    parts = np.array([stand_ins.get(str(name), str(name).lower()) for name in externals.database])
    needed = {*case.train, case.evaluate}
    received = set(parts.tolist())
    if received != needed:
        mine = sorted(set(externals.database.tolist()))
        raise InputError(
            f"Expected externals of {sorted(needed)}, received {mine}. Name a folder (ijbc=PATH), or say which of "
            "yours stands for which (--stand-in utkface=ijbc): the protocol keeps both names."
        )
    is_test = parts == case.evaluate
    return externals.take(~is_test), externals.take(is_test)


def plan(sides: Sides, size: str, num_train: int = 0, num_test: int = 0) -> Plan:
    """Chooses the numbers of samples: the paper's where there are enough, else all sizes smaller by one factor.

    Evaluation takes all test externals, as the paper does, and as many members. Where one pool has to give both
    training and test samples, and is too small for both, it is divided in the ratio that the paper's numbers have.

    Args:
        sides: The samples that there are.
        size: A key of `SIZES`.
        num_train: Training samples of each class in place of a size; 0 takes the size.
        num_test: Test samples of each class at most; 0 takes all.
    """
    full = SIZES["100k"]
    pools = (sides.members, sides.externals)
    wanted = min((len(pool.test) for pool in pools if pool.test is not None), default=PAPER_TEST)
    wanted = min(wanted, num_test or wanted)
    # A pool without a test set has to hold both.
    limits = [len(pool.train) / (full if pool.test is not None else full + wanted) for pool in pools]
    scale = min(1.0, *limits)
    num_full = num_train or _scaled(full, scale)
    room = [len(pool.train) - num_full if pool.test is None else len(pool.test) for pool in pools]
    wanted = max(min(wanted, *room), 0)
    return Plan(num_train or _scaled(SIZES[size], scale), num_full, wanted, min(num_full / full, 1.0))


def compose(sides: Sides, numbers: Plan, seed: int) -> protocols.Protocol:
    """Chooses the samples: people on one side only, databases taking turns, smaller sizes inside larger ones.

    Raises:
        InputError: if there are too few samples or people, or a person is on two sides.
    """
    if not numbers.num_train or not numbers.num_test:
        raise InputError(f"Expected samples to train and to evaluate, received too few: {numbers}.")
    share = numbers.num_train_full / (numbers.num_train_full + numbers.num_test)
    train, test = [], []
    for number, pool in enumerate((sides.members, sides.externals)):
        first, second = pool.train, pool.test
        if second is None:
            is_train = splits.split_people(first.people(), share, np.random.default_rng([seed, 3, number]))
            first, second = first.take(is_train), first.take(~is_train)
        train.append(first)
        test.append(second)
    num_train = min(numbers.num_train, *map(len, train))
    num_test = min(numbers.num_test, *map(len, test))
    wanted = [*((table, num_train) for table in train), *((table, num_test) for table in test)]
    if sides.held_out is not None:
        wanted.append((sides.held_out, num_test))
    chosen = [
        table.take(splits.choose_evenly(table.database, num, streams.stream(seed, streams.CASES, part)))
        for part, (table, num) in enumerate(wanted)
    ]
    parts = np.repeat(np.arange(len(chosen)), [len(table) for table in chosen])
    protocol = protocols.Protocol(concatenate_tables(chosen), parts, sides.evaluation, seed)
    protocols.check_people(protocol)
    return protocol


def _scaled(num: int, scale: float) -> int:
    # In floats 50,000 * (7 / 50,000) is 6.999...: what is whole must not lose one.
    return int(num * scale + 1e-9)
