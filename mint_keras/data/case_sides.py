"""Which of the databases given play which part in a case: the paper's three, and three stricter ones of ours."""

from __future__ import annotations

from collections.abc import Mapping

from mint_keras.data import cases
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, SampleTable

# The names of our cases; those of the paper are the keys of `cases.PAPER_CASES`.
SAME_DATABASE, MEMBER_DATABASE, CROSS_MODEL = "same-database", "member-database", "cross-model"


def make_sides(case: str, tables: Mapping[str, SampleTable | None], stand_ins: dict[str, str]) -> cases.Sides:
    """Says what a case chooses from.

    Args:
        case: A key of `cases.PAPER_CASES` or one of ours.
        tables: The samples called members, externals, test_members, test_externals and held_out; None where none
            were given.
        stand_ins: The paper's database that one of yours stands for.

    Raises:
        InputError: If the databases do not fit the case.
    """
    members, externals = tables["members"], tables["externals"]
    if members is None or externals is None or not len(members) or not len(externals):
        raise InputError("Expected members and externals, received none of one that may be used.")
    test_members, test_externals = tables["test_members"], tables["test_externals"]
    evaluation = protocols.UNSEEN_DATABASE
    of_members = set(members.database.tolist())
    if case in cases.PAPER_CASES:
        externals, test_externals = cases.divide_externals(externals, cases.PAPER_CASES[case], stand_ins)
    elif case == SAME_DATABASE:
        evaluation = protocols.SAME_DATABASE
        # People of another database would be told apart by their photos' looks.
        if strangers := sorted(set(externals.database.tolist()) - of_members):
            raise InputError(f"Expected externals of the members' own database, received {strangers}.")
    elif case == CROSS_MODEL:
        evaluation = protocols.CROSS_MODEL
    else:
        evaluation = protocols.UNSEEN_MEMBERS
        if test_members is not None and (both := sorted(of_members & set(test_members.database.tolist()))):
            raise InputError(f"Expected members to evaluate on from another database, received {both} in both.")
    return cases.Sides(
        cases.Pool(members, test_members), cases.Pool(externals, test_externals), tables["held_out"], evaluation
    )
