"""What an audit of this material could say at all, before anything long: which references, and how small an effect."""

import math
from typing import NamedTuple

import numpy as np

from mint_keras.data import protocol as protocols
from mint_keras.data.people import are_unknown
from mint_keras.records import SampleTable
from mint_keras.statistics import division, identities, verdict
from mint_keras.statistics.verdict import CANNOT_DECIDE, NO_EVIDENCE, OUTCOMES

POWER = 0.8
_Z = 1.96 + 0.84  # of an interval of 95%, and of a power of 80%
# MINT+ is cross-fitted in five folds, which widens its intervals (`intervals.widened`).
_WIDER = math.sqrt(1 + 5 / 4)
_SMALLEST = (0.55, 0.6, 0.7)  # AUCs for which it is said how many people they take


class Material(NamedTuple):
    """People whom an audit would have, before anything is computed.

    Attributes:
        claimed: Claimed members who would be reported on.
        kept_out: People of the members' own database who were kept out of the training.
        unseen: Members of whom there are also photos that were not used.
        other_model: How many claimed members another model has that was trained on other people of the database.
        with_two: People of the references with two photos or more, by whom a look network is tried.
        is_of_faces: Whether the audited model is one of faces, which look networks know.
        databases: The members' databases, by name.
    """

    claimed: int
    kept_out: int = 0
    unseen: int = 0
    other_model: int = 0
    with_two: int = 0
    is_of_faces: bool = True
    databases: str = ""


def of_protocol(protocol: protocols.Protocol, is_of_faces: bool = True) -> Material:
    """Returns what the samples that a run has chosen are for its audit."""
    rows, is_claimed = division.of_reference(protocol)
    return of_tables(protocol.table.take(rows[is_claimed]), protocol.table.take(rows[~is_claimed]), is_of_faces)


def of_tables(claimed: SampleTable, kept_out: SampleTable | None, is_of_faces: bool = True) -> Material:
    """Returns what claimed members and people who were kept out are for an audit. Only those of one database count."""
    databases = np.unique(claimed.database)
    tables = [claimed, *([kept_out.take(np.isin(kept_out.database, databases))] if kept_out is not None else [])]
    sides = [np.unique(table.people()[~are_unknown(table.people())], return_counts=True) for table in tables]
    with_two = sum(int((counts > 1).sum()) for _, counts in sides)
    num = [len(names) for names, _ in sides]
    return Material(
        num[0],
        num[1] if len(num) > 1 else 0,
        with_two=with_two,
        is_of_faces=is_of_faces,
        databases=", ".join(databases),
    )


def with_options(
    material: Material, members: SampleTable, unseen: SampleTable | None, other: SampleTable | None
) -> Material:
    """Returns the material of an audit that also has what its options name.

    Args:
        material: What there is without them.
        members: All members that are known.
        unseen: Photos that may show members, of which those count that are not among the members' own.
        other: The members of another model, of whom those count who are other people of the same databases.
    """
    if unseen is not None:
        left = unseen.take(~np.isin(unseen.sample_id, members.sample_id))
        material = material._replace(unseen=len(np.intersect1d(left.people(), members.people())))
    if other is not None:
        is_other = np.isin(other.database, members.database) & ~np.isin(other.people(), members.people())
        material = material._replace(other_model=len(np.unique(other.people()[is_other])))
    return material


def count(table: SampleTable) -> str:
    """Says how many photos of how many people a table has."""
    is_unknown = are_unknown(table.people())
    unknown = f", {is_unknown.sum():,} of unknown identity" if is_unknown.any() else ""
    return f"{len(table):,} photos of {len(np.unique(table.people()[~is_unknown])):,} people{unknown}"


def outcomes(material: Material) -> tuple[str, ...]:
    """Returns the verdicts that are possible, the strongest first."""
    if not any(num for _, num, _ in _references(material)):
        return (CANNOT_DECIDE,)
    return OUTCOMES if not _why_no_look(material) else (NO_EVIDENCE, CANNOT_DECIDE)


def describe(material: Material) -> str:
    """Says which verdicts are possible, what speaks against the others, and what would change it."""
    possible, references = outcomes(material), _references(material)
    if len(possible) == 1:
        lines = [f"The answer will be {CANNOT_DECIDE!r}, whatever the numbers are: there is no reference."]
    else:
        lines = [f"The answer can be {' or '.join(map(repr, possible))}."]
    for name, num, why in references:
        found = f"an AUC from {smallest_auc(*num):.2f} on is found {POWER:.0%} of the time" if num else "not possible"
        lines.append(f"  {name}: {why} {found[0].upper()}{found[1:]}.")
    if why := _why_no_look(material):
        lines.append(f"  another face network (look): {why} Without it there is no evidence.")
    if len(possible) < len(OUTCOMES):
        least = verdict.MIN_PEOPLE
        whose = f" of {material.databases}" if material.databases else ""
        lines += [
            f"What would change this: {least} people or more{whose} whom the developer kept out of the training, drawn "
            f"by lot (--held-out of mint train), beside {least} of the members.",
            f"  Beside them other photos, not used, of {least} or more of the members (--unseen-photos of mint audit), "
            f"or a second model, trained on {least} or more other people{whose} (--swap), say more.",
        ]
    needed = ", ".join(f"{people_needed(auc):,} for an AUC of {auc:g}" for auc in _SMALLEST)
    lines.append(
        f"People a side that are needed to find an effect {POWER:.0%} of the time, by one photo each: {needed}."
    )
    return "\n".join(lines)


def _references(material: Material) -> list[tuple[str, tuple[int, int] | None, str]]:
    """Returns every reference by name, the people of its sides if there are enough, and what is there."""
    claimed = material.claimed
    asked = (
        ("same database", claimed, material.kept_out, "You have no people who were kept out of the training.",
         "{:,} claimed members and {:,} people who were kept out."),
        ("own unseen photos", material.unseen, material.unseen, "You have no photos of the members that were not used.",
         "{:,} claimed members with photos that were not used."),
        ("cross-model swap", claimed, material.other_model, "You have no second model of the members' database.",
         "{:,} claimed members and {:,} people of the other model."),
    )  # fmt: skip
    found = []
    for name, first, second, without, sentence in asked:
        why = sentence.format(first, second) if second else without
        is_enough = min(first, second) >= verdict.MIN_PEOPLE
        if second and not is_enough:
            why += f" {verdict.MIN_PEOPLE} a side are the least."
        found.append((name, (first, second) if is_enough else None, why))
    return found


def _why_no_look(material: Material) -> str:
    if not material.is_of_faces:
        return "The model is about pictures, and those of the shelf know faces."
    if not material.kept_out:
        return "It is tried on people who were kept out, beside the claimed members."
    if material.with_two < identities.MIN_PEOPLE:
        return f"{material.with_two} people have two photos, and it takes {identities.MIN_PEOPLE} to try it on."
    return ""


def standard_error(auc: float, num_members: int, num_externals: int) -> float:
    """Returns the standard error of an AUC of one score a person (Hanley and McNeil, Radiology 143, 1982)."""
    one, other = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (num_members - 1) * (one - auc**2) + (num_externals - 1) * (other - auc**2)
    return math.sqrt(spread / (num_members * num_externals))


def is_found(auc: float, num_members: int, num_externals: int) -> bool:
    """Says whether an effect of that size is found with a probability of `POWER`, by what is cross-fitted."""
    return auc - 0.5 >= _Z * _WIDER * standard_error(auc, num_members, num_externals)


def smallest_auc(num_members: int, num_externals: int) -> float:
    """Returns the smallest AUC that is found with a probability of `POWER`, to two digits."""
    return next((auc / 100 for auc in range(51, 100) if is_found(auc / 100, num_members, num_externals)), 1.0)


def people_needed(auc: float) -> int:
    """Returns how many people a side find an AUC with a probability of `POWER`; never fewer than a verdict takes."""
    # The standard error falls with the square root of people, up to terms of their inverse.
    num = verdict.MIN_PEOPLE
    while not is_found(auc, num, num):
        num = math.ceil(1.02 * num)
    return num
