"""How often the auditor accuses wrongly, and how often it finds, with exact limits; beside it the naive reading."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from mint_keras.data import worlds
from mint_keras.report import tables
from mint_keras.stages.validation.deciding import Decided
from mint_keras.stages.validation.options import World
from mint_keras.statistics import bounds, figures, verdict

NAIVE_FIGURES = (figures.ACCURACY, figures.AUC)
_OUTCOMES = (verdict.EVIDENCE, verdict.NO_EVIDENCE, verdict.CANNOT_DECIDE)
EXPECTED = {
    "neither": "no evidence",
    "shift": "no evidence or cannot decide",
    "familiar": "no evidence or cannot decide",
    "membership": "evidence",
    "both": "evidence",
}


@dataclasses.dataclass(frozen=True)
class Rate:
    """How many worlds are accused.

    Attributes:
        num: of them.
        worlds: in all.
        at_least: lower limit of the rate, one-sided 95%, if worlds are independent.
        at_most: upper limit, likewise.
        models_with_any: audited models of which at least one world is accused.
        models_with_all: audited models all of whose worlds are.
        models: in all.
        models_at_least: lower limit of the share of models all of whose worlds are accused.
        models_at_most: upper limit of the share of models with any: both hold if worlds of a model stand or fall
            together.
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


def rate(decided: Sequence[Decided], is_accused: Callable[[Decided], bool]) -> Rate:
    """Counts accusations.

    Args:
        decided: worlds, at least one.
        is_accused: who accuses.
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


def summarise(decided: Sequence[Decided]) -> dict[str, Any]:
    """Returns the content of validation.json.

    Args:
        decided: worlds, some of them null and some with members.
    """
    sides = {side: [one for one in decided if World.parse(one.world).is_member == side] for side in (False, True)}
    accusers: dict[str, Callable[[Decided], bool]] = {"audit": lambda one: one.is_accused}
    accusers |= {f"raw {name}": functools.partial(Decided.is_accused_naively, figure=name) for name in NAIVE_FIGURES}
    return {
        "false_accusations": {name: dataclasses.asdict(rate(sides[False], by)) for name, by in accusers.items()},
        "detections": {name: dataclasses.asdict(rate(sides[True], by)) for name, by in accusers.items()},
        "without_reference": collections.Counter(one.without_reference for one in decided),
        "by_model": _by_model(decided),
        "by_kind": {kind: _of_kind(of) for kind in worlds.KINDS if (of := of_kind(decided, kind))},
        "worlds": [dataclasses.asdict(one) for one in decided],
    }


def of_kind(decided: Sequence[Decided], kind: str) -> list[Decided]:
    """Returns the worlds of a kind."""
    return [one for one in decided if World.parse(one.world).kind == kind]


def _by_model(decided: Sequence[Decided]) -> dict[str, dict[str, int]]:
    """Counts accusations by audited model."""
    found: dict[str, dict[str, int]] = {}
    for one in decided:
        world = World.parse(one.world)
        counts = found.setdefault(str(world.model), dict.fromkeys(("null", "accused", "with_members", "found"), 0))
        total, hits = ("with_members", "found") if world.is_member else ("null", "accused")
        counts[total] += 1
        counts[hits] += one.is_accused
    return found


def _of_kind(decided: Sequence[Decided]) -> dict[str, Any]:
    counts: dict[str, Any] = {outcome: sum(one.outcome == outcome for one in decided) for outcome in _OUTCOMES}
    naive = {f"raw {name}": sum(one.is_accused_naively(name) for one in decided) for name in NAIVE_FIGURES}
    return {"worlds": len(decided), **counts, **naive}


def render(content: dict[str, Any]) -> str:
    """Returns validation.md."""
    accusations, detections = content["false_accusations"], content["detections"]
    wrong, right = accusations["audit"], detections["audit"]
    naive = [name for name in accusations if name != "audit"]
    lines = [
        "# Validation of the auditor",
        "",
        f"- **False accusations: {wrong['num']} of {wrong['worlds']}** null worlds; at most {wrong['at_most']:.1%} "
        f"(one-sided 95%) if worlds are independent. Models with any: {wrong['models_with_any']} of {wrong['models']}, "
        f"at most {wrong['models_at_most']:.1%} if the worlds of a model stand or fall together.",
        f"- **Found: {right['num']} of {right['worlds']}** worlds with members; at least {right['at_least']:.1%} if "
        f"independent. Models with all of their worlds found: {right['models_with_all']} of {right['models']}, at "
        f"least {right['models_at_least']:.1%}.",
        "- Whoever takes raw MINT between claimed members and externals for membership, where its interval lies above "
        "0.5, accuses "
        + "; ".join(
            f"by {name.removeprefix('raw ')} {accusations[name]['num']} of {wrong['worlds']} null worlds and "
            f"{detections[name]['num']} of {right['worlds']} with members"
            for name in naive
        )
        + ".",
        "- Without the people who were kept out, the same worlds give: "
        + ", ".join(f"{outcome} {num}" for outcome, num in content["without_reference"].items())
        + ".",
        "",
    ]
    table = [["world", "expected", "worlds", *_OUTCOMES, *(f"raw {name} accuses" for name in NAIVE_FIGURES)]]
    for kind, counts in ((kind, content["by_kind"][kind]) for kind in EXPECTED if kind in content["by_kind"]):
        cells = [counts["worlds"], *(counts[name] for name in _OUTCOMES), *(counts[f"raw {n}"] for n in NAIVE_FIGURES)]
        table.append([kind, EXPECTED[kind], *map(str, cells)])
    return "\n".join([*lines, tables.format_table(table), ""])
