"""The paper's protocols (Sec. IV-B) and ours: which databases train the heads, which evaluate, and how many samples."""

from collections.abc import Mapping
from typing import NamedTuple

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


# Whose externals train the heads, and whose evaluate them.
# IJB-C always trains: the paper fears that heads learn to tell drawn faces, were GANDiffFace the only large set.
PAPER_CASES = {
    "baseline": (("ijbc", "fddb", "gandiffface"), "adience"),
    "a": (("ijbc", "fddb", "adience"), "gandiffface"),
    "b": (("ijbc", "gandiffface", "adience"), "fddb"),
}
# The names of our cases, which are stricter.
SAME_DATABASE, MEMBER_DATABASE, CROSS_MODEL = "same-database", "member-database", "cross-model"


class Pool(NamedTuple):
    """Samples of one class: `train`, and `test`, or None if people of `train` are to be held out for testing."""

    train: SampleTable
    test: SampleTable | None


class Sides(NamedTuple):
    """The samples that a case chooses from, and what comparing test members with test externals is called.

    `held_out` are people of the members' database whom the model never saw, for the control; None without.
    """

    members: Pool
    externals: Pool
    held_out: SampleTable | None
    evaluation: str


class Plan(NamedTuple):
    """How many samples of each class train, train in the largest size, and evaluate; `scale` is of the largest size."""

    num_train: int
    num_train_full: int
    num_test: int
    scale: float


def make_sides(case: str, tables: Mapping[str, SampleTable | None], stand_ins: dict[str, str]) -> Sides:
    """Says what a case, of the paper's or ours, chooses from.

    The tables are called members, externals, test_members, test_externals and held_out; they are None where none were
    given. `stand_ins` says which of the paper's databases one of yours stands for.

    Raises:
        InputError: If the databases do not fit the case.
    """
    members, externals = tables["members"], tables["externals"]
    if members is None or externals is None or not len(members) or not len(externals):
        raise InputError("Expected members and externals, received none of one that may be used.")
    test_members, test_externals = tables["test_members"], tables["test_externals"]
    evaluation = protocols.UNSEEN_DATABASE
    of_members = set(np.unique(members.database).tolist())
    if case in PAPER_CASES:
        externals, test_externals = divide_externals(externals, case, stand_ins)
    elif case == SAME_DATABASE:
        evaluation = protocols.SAME_DATABASE
        # People of another database would be told apart by their photos' looks.
        if strangers := sorted(set(np.unique(externals.database).tolist()) - of_members):
            raise InputError(f"Expected externals of the members' own database, received {strangers}.")
    elif case == CROSS_MODEL:
        evaluation = protocols.CROSS_MODEL
    else:
        evaluation = protocols.UNSEEN_MEMBERS
        if test_members is not None and (both := sorted(of_members & set(np.unique(test_members.database).tolist()))):
            raise InputError(f"Expected members to evaluate on from another database, received {both} in both.")
    return Sides(Pool(members, test_members), Pool(externals, test_externals), tables["held_out"], evaluation)


def divide_externals(externals: SampleTable, case: str, stand_ins: dict[str, str]) -> tuple[SampleTable, SampleTable]:
    """Returns the externals that train and those that evaluate in a case of the paper's.

    Raises:
        InputError: if a database is missing, or one is none of the paper's and stands for none.
    """
    mine, database_of = np.unique(externals.database, return_inverse=True)
    parts = np.array([stand_ins.get(name, name.lower()) for name in mine.tolist()])
    train, evaluate = PAPER_CASES[case]
    if set(parts.tolist()) != {*train, evaluate}:
        raise InputError(
            f"Expected externals of {sorted([*train, evaluate])}, received {mine.tolist()}. Name a "
            "folder (ijbc=PATH), or say which of yours stands for which (--stand-in utkface=ijbc): the protocol keeps "
            "both names."
        )
    is_test = (parts == evaluate)[database_of]
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
    # In floats 50,000 * (7 / 50,000) is 6.999...: what is whole must not lose one.
    num_full = num_train or int(full * scale + 1e-9)
    room = [len(pool.train) - num_full if pool.test is None else len(pool.test) for pool in pools]
    wanted = max(min(wanted, *room), 0)
    return Plan(num_train or int(SIZES[size] * scale + 1e-9), num_full, wanted, min(num_full / full, 1.0))


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
    num_train, num_test = min(numbers.num_train, *map(len, train)), min(numbers.num_test, *map(len, test))
    tables = [*train, *test, *([] if sides.held_out is None else [sides.held_out])]
    chosen = []
    for part, table in enumerate(tables):
        num = num_train if part < len(train) else num_test
        rng = streams.stream(seed, streams.CASES, part)
        chosen.append(table.take(splits.choose_evenly(table.database, num, rng)))
    parts = np.repeat(np.arange(len(chosen)), [len(table) for table in chosen])
    protocol = protocols.Protocol(concatenate_tables(chosen), parts, sides.evaluation, seed)
    protocols.check_people(protocol)
    return protocol
