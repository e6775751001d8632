"""How often the auditor accuses wrongly, and how often it finds, with exact limits; beside it the naive reading."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from mint_keras.report import tables
from mint_keras.statistics import bounds, figures, verdict
from studies.worlds import drawing
from studies.worlds.spec import USABLE, World
from studies.worlds.verdicts import WorldVerdict

NAIVE_FIGURES = (figures.ACCURACY, figures.AUC)
EXPECTED = {
    "neither": "no evidence",
    "shift": "no evidence or cannot decide",
    "familiar": "no evidence or cannot decide",
    "membership": "evidence",
    "both": "evidence",
    **{
        name: "evidence"
        if kind.is_member
        else "cannot decide"
        if kind.is_swapped
        else "nothing to find"
        if kind.is_member is None
        else "no evidence or cannot decide"
        for name, kind in drawing.REFERENCES.items()
    },
}
# What the worlds of networks that are any good are called in the results, and all worlds.
_GROUPS: dict[str, Callable[[int], bool]] = {
    "audit": lambda model: True,
    "audit, drawn models": lambda model: model < USABLE,
    "audit, usable networks": lambda model: model >= USABLE,
}


@dataclasses.dataclass(frozen=True)
class Rate:
    """How many worlds are accused.

    Limits are one-sided, at 95%. Those of worlds hold if worlds are independent, those of models even if the worlds of
    a model stand or fall together.

    Attributes:
        num: The number of worlds that are accused.
        worlds: The number of all worlds.
        at_least: The lower limit of the share that is accused.
        at_most: The upper limit of the share that is accused.
        models_with_any: The number of audited models of which at least one world is accused.
        models_with_all: The number of audited models all of whose worlds are accused.
        models: The number of all audited models.
        models_at_least: The lower limit of the share of models all of whose worlds are accused.
        models_at_most: The upper limit of the share of models of which any world is accused.
    """

    num: int
    worlds: int
    at_least: float
    at_most: float
    models_with_any: int
    models_with_all: int
    models: int
    models_at_least: float
    models_at_most: float


def rate(decided: Sequence[WorldVerdict], is_accused: Callable[[WorldVerdict], bool]) -> Rate:
    """Counts accusations.

    Args:
        decided: At least one verdict.
        is_accused: Whether somebody accuses, by the verdict on a world.
    """
    by_model: dict[int, list[bool]] = {}
    for one in decided:
        by_model.setdefault(World.parse(one.world).model, []).append(is_accused(one))
    num, models = sum(map(sum, by_model.values())), len(by_model)
    any_of, all_of = (sum(map(how, by_model.values())) for how in (any, all))
    return Rate(
        num=num,
        worlds=len(decided),
        at_least=bounds.lower_limit(num, len(decided)),
        at_most=bounds.upper_limit(num, len(decided)),
        models_with_any=any_of,
        models_with_all=all_of,
        models=models,
        models_at_least=bounds.lower_limit(all_of, models),
        models_at_most=bounds.upper_limit(any_of, models),
    )


def summarise(decided: Sequence[WorldVerdict]) -> dict[str, Any]:
    """Returns the content of validation.json.

    Args:
        decided: The verdicts on worlds some of which are null and some have members.
    """

    def rates(is_member: bool) -> dict[str, Any]:
        of_side = [one for one in decided if World.parse(one.world).is_member == is_member]
        found = {}
        for name, is_of_group in _GROUPS.items():
            if some := [one for one in of_side if is_of_group(World.parse(one.world).model)]:
                found[name] = dataclasses.asdict(rate(some, lambda one: one.is_accused))
        # Only worlds with externals can be read naively.
        for figure in NAIVE_FIGURES:
            by = functools.partial(WorldVerdict.is_accused_naively, figure=figure)
            found[f"raw {figure}"] = dataclasses.asdict(rate([one for one in of_side if one.raw], by))
        return found

    return {
        "false_accusations": rates(False),
        "detections": rates(True),
        "without_reference": collections.Counter(one.without_reference for one in decided if one.raw),
        "by_model": _by_model(decided),
        "by_kind": {
            kind: {
                "worlds": len(of),
                **{outcome: sum(one.outcome == outcome for one in of) for outcome in verdict.OUTCOMES},
                "at_most": bounds.upper_limit(sum(one.is_accused for one in of), len(of)),
                **{f"raw {name}": sum(one.is_accused_naively(name) for one in of) for name in NAIVE_FIGURES},
            }
            for kind in drawing.ALL
            if (of := of_kind(decided, kind))
        },
        "worlds": [dataclasses.asdict(one) for one in decided],
    }


def of_kind(decided: Sequence[WorldVerdict], kind: str) -> list[WorldVerdict]:
    """Returns the verdicts on the worlds of a kind."""
    return [one for one in decided if World.parse(one.world).kind == kind]


def _by_model(decided: Sequence[WorldVerdict]) -> dict[str, dict[str, int]]:
    """Counts accusations by audited model."""
    found: dict[str, dict[str, int]] = {}
    for one in decided:
        world = World.parse(one.world)
        counts = found.setdefault(str(world.model), dict.fromkeys(("null", "accused", "with_members", "found"), 0))
        if world.is_member is None:
            continue
        total, hits = ("with_members", "found") if world.is_member else ("null", "accused")
        counts[total] += 1
        counts[hits] += one.is_accused
    return found


def _recognition(verification: dict[str, Any]) -> list[str]:
    """Says how well usable networks recognise people whom they were not trained on; nothing if there are none."""
    if not verification:
        return []
    after, before = (
        f"{min(rates):.3f} to {max(rates):.3f}"
        for rates in (
            [one["tpr_at_1_fpr"] for one in verification.values()],
            [one["before"]["tpr_at_1_fpr"] for one in verification.values()],
        )
    )
    return [
        f"- {len(verification)} fine-tuned networks still tell other people apart: true accepts at 1% false ones "
        f"{after}, before {before}."
    ]


def render(content: dict[str, Any]) -> str:
    """Returns validation.md."""
    accusations, detections = content["false_accusations"], content["detections"]
    wrong, right = accusations["audit"], detections["audit"]
    naive = [f"raw {name}" for name in NAIVE_FIGURES]
    groups = [name for name in _GROUPS if name in accusations and name in detections and len(accusations) > 4]
    lines = [
        "# Validation of the auditor",
        "",
        f"- **False accusations: {wrong['num']} of {wrong['worlds']}** null worlds; at most {wrong['at_most']:.1%} "
        f"(one-sided 95%) if worlds are independent. Models with any: {wrong['models_with_any']} of {wrong['models']}, "
        f"at most {wrong['models_at_most']:.1%} if the worlds of a model stand or fall together.",
        f"- **Found: {right['num']} of {right['worlds']}** worlds with members; at least {right['at_least']:.1%} if "
        f"independent. Models with all of their worlds found: {right['models_with_all']} of {right['models']}, at "
        f"least {right['models_at_least']:.1%}.",
        *(
            f"- {name.removeprefix('audit, ').capitalize()}: {accusations[name]['num']} of "
            f"{accusations[name]['worlds']} null worlds accused, {detections[name]['num']} of "
            f"{detections[name]['worlds']} with members found."
            for name in groups[1:]
        ),
        *_recognition(content.get("verification", {})),
        "- Whoever takes raw MINT between claimed members and externals for membership, where its interval lies above "
        "0.5, accuses "
        + "; ".join(
            f"by {name.removeprefix('raw ')} {accusations[name]['num']} of {accusations[name]['worlds']} null worlds "
            f"and {detections[name]['num']} of {detections[name]['worlds']} with members"
            for name in naive
        )
        + ".",
        "- Without the people who were kept out, the same worlds give: "
        + ", ".join(f"{outcome} {num}" for outcome, num in content["without_reference"].items())
        + ".",
        "",
    ]
    naive_columns = (f"raw {name} accuses" for name in NAIVE_FIGURES)
    table = [["world", "expected", "worlds", *verdict.OUTCOMES, "accused at most", *naive_columns]]
    for kind, counts in ((kind, content["by_kind"][kind]) for kind in EXPECTED if kind in content["by_kind"]):
        cells = [
            counts["worlds"],
            *(counts[name] for name in verdict.OUTCOMES),
            "" if drawing.ALL[kind].is_member is not False else f"{counts['at_most']:.1%}",
            *(counts[f"raw {n}"] for n in NAIVE_FIGURES),
        ]
        table.append([kind, EXPECTED[kind], *map(str, cells)])
    return "\n".join([*lines, tables.format_table(table), ""])
