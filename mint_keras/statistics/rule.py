"""From scores to verdicts: every reference with the controls that it has to beat, and the rule for several scorers.

All of it is pure: who has scores of an audit, from wherever, gets the audit's verdicts.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, REFERENCE, UNTRAINED, Scores
from mint_keras.statistics import division, findings, paired, selection, verdict
from mint_keras.statistics.findings import Finding

UNSEEN_PHOTOS = "unseen_photos"  # the evaluation of members' photos against unseen ones of the same people
# The evaluations that are references: name and question.
REFERENCES = {
    protocols.SAME_DATABASE: (
        "same database",
        "does the audited model tell its members from other people of their database whom it never saw",
    ),
    UNSEEN_PHOTOS: (
        "own unseen photos",
        "does the audited model tell photos that it was trained on from other photos of the same people",
    ),
    protocols.CROSS_MODEL: (
        "cross-model swap",
        "does it make a difference to the same photos which of two models was trained on them",
    ),
}
_QUESTIONS = {
    findings.BLIND: "can pixels alone tell the two sides apart",
    findings.LOOK: "does a face network that is not the audited one tell the two sides apart",
    findings.BESIDE: "does a network that was not trained on the claimed members tell the two sides apart",
    findings.DIRECTION: "do the claimed members have what networks do to people that they were trained on",
    findings.NULL: "does the scorer see a difference where neither side was used",
    findings.UNTRAINED: "does a network that was never trained tell the two sides apart",
    findings.OTHER: "does a model that was trained on other people tell the two sides apart",
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A scorer in a reference, with everything that it has to beat.

    Attributes:
        scorer: The name of the scorer.
        evaluation: A key of `REFERENCES`.
        truth: A key of `findings.TRUTHS`.
        parts: The scores of the reported people by the model's name: through the audited model (`AUDITED`), untrained
            copies (names that begin with `UNTRAINED`), the look network (`findings.LOOK`), references (names that begin
            with `REFERENCE`), each without references beside it, and foreign models.
        blind: Scores of what knows nothing of the audited model on these samples, and perhaps on more, by name: of the
            look network under `findings.LOOK`, and of pixels; means over a person's photos where it judges people.
        null: The scores of two sides neither of which was used; empty if there are none.
    """

    scorer: str
    evaluation: str
    truth: str
    parts: Mapping[str, Sequence[Scores]]
    blind: Mapping[str, Scores]
    null: Sequence[Scores]


def comparison(
    scorer: str,
    parts: Mapping[str, Sequence[Scores]],
    truth: str,
    blind: Mapping[str, Mapping[str, Scores]],
    seed: int,
    is_of_persons: bool = False,
) -> Comparison:
    """Returns what a scorer found in a reference beside what it has to beat, pixels by evaluation; see `Comparison`."""
    evaluation = parts[AUDITED][0].evaluation
    apart = blind[evaluation]
    # Nobody can judge whole people where all of them are members.
    if is_of_persons and truth == findings.PERSON:
        # Or it would be asked about a photo what the scorer is asked about all photos of a person, which it has seen.
        shared = {name: _shared([part], parts[AUDITED])[0][0] for name, part in apart.items()}
        apart = {name: division.mean_of_persons(part) for name, part in shared.items()}
    # Whatever else is measured in a reference is measured on the samples of these.
    parts = {**parts, AUDITED: [division.with_equal_databases(part, seed) for part in parts[AUDITED]]}
    null = division.without_membership(parts[AUDITED], seed)
    return Comparison(scorer, evaluation, truth, parts, apart, null)


def by_rule(
    comparisons: Sequence[Comparison],
    across: Mapping[str, Sequence[Finding]],
    seed: int,
    directions: Mapping[str, Scores] | None = None,
    lacking: Mapping[str, str] | None = None,
) -> dict[str, verdict.Verdict]:
    """Returns the verdict on every scorer of an audit, by its name, from all comparisons that were tried.

    Args:
        comparisons: Everything that was tried.
        across: What was measured across databases, by scorer, for the record. These scorers come first, also without
            reference.
        seed: Seeds the intervals.
        directions: By evaluation, scores whose sign no label set (`scorers.direction`), of people of both sides.
        lacking: By role, why a control was not run.
    """
    # Several scorers were tried: one of them may exceed chance by luck, or see what is not there.
    above = selection.holm({one.scorer: selection.p_above(one.parts[AUDITED], seed=seed) for one in comparisons})
    nulls = selection.holm({one.scorer: selection.p_differs(one.null, seed=seed) for one in comparisons if one.null})
    measured: dict[str, list[Finding]] = {name: [] for name in across}
    tainted: dict[str, dict[str, Finding]] = {}
    for one in comparisons:
        p_values = above[one.scorer], nulls.get(one.scorer)
        measured[one.scorer] = _measure(one, p_values, (directions or {}).get(one.evaluation), seed)
        # What tells people apart, or says that the others were used, does so at whatever level a scorer judges them.
        tainted.setdefault(one.evaluation, {}).update({c.name: c for c in verdict.taints(measured[one.scorer])})
    for name, found in across.items():
        measured[name] += found
    spoiled = {evaluation: list(found.values()) for evaluation, found in tainted.items()}
    return {name: verdict.decide(found, spoiled, lacking) for name, found in measured.items()}


def _measure(
    one: Comparison, p_values: tuple[float, float | None], direction: Scores | None, seed: int
) -> list[Finding]:
    """Measures the reference and every control on its samples."""
    audited = one.parts[AUDITED]
    name, question = REFERENCES[one.evaluation]
    reference = findings.reference(name, question, one.truth, audited, p_values[0], seed)
    found = [reference]

    def add(name: str, role: str, others: Sequence[Scores], of_parts: Sequence[Scores], p: float | None = None) -> None:
        found.append(findings.control((name, _QUESTIONS[role], role), others, reference, of_parts, p, seed))

    # What knows nothing of the audited model looked in several ways: each would spoil a clean reference once in twenty
    # times.
    apart = {name: _shared([part], audited) for name, part in one.blind.items()}
    # A reference that knows one side better makes the audited model differ from it by side.
    if findings.LOOK in one.parts:
        apart["the scorer through the look network"] = _shared(one.parts[findings.LOOK], audited)
    beside = {name for name in one.parts if name.startswith(REFERENCE)}
    others = {findings.LOOK, *beside}
    through = {
        f"the scorer through {name.replace('_', ' ', 1)}": _shared(one.parts[name], audited) for name in sorted(beside)
    }
    # A family of its own: who gives more references must not make it harder for the others to be heard.
    adjusted = {**_adjusted(apart, seed), **_adjusted(through, seed)}
    for model, parts in one.parts.items():
        if model not in (AUDITED, *others):
            role = findings.UNTRAINED if model.startswith(UNTRAINED) else findings.OTHER
            add(model.replace("_", " "), role, *_shared(parts, audited))
    for name, (parts, of_parts) in {**apart, **through}.items():
        role = findings.BLIND if name in one.blind and not name.startswith(findings.LOOK) else findings.LOOK
        role = findings.BESIDE if name in through else role
        add(f"{name} network" if name == findings.LOOK else name, role, parts, of_parts, adjusted[name])
    if one.null:
        add("nobody a member", findings.NULL, one.null, audited, p_values[1])
    if direction is not None:
        add("known signs", findings.DIRECTION, [division.with_equal_databases(direction, seed)], audited)
    return found


def _adjusted(apart: Mapping[str, tuple[list[Scores], list[Scores]]], seed: int) -> dict[str, float]:
    """Returns adjusted p-values of what must not tell the sides apart."""
    # What is fitted on the same people can be right in one direction only, see `Finding.tells_sides_apart`.
    tests = {
        name: selection.p_above if parts[0].num_folds else selection.p_differs for name, (parts, _) in apart.items()
    }
    return selection.holm({name: tests[name](parts, seed=seed) for name, (parts, _) in apart.items()})


def _shared(parts: Sequence[Scores], of_parts: Sequence[Scores]) -> tuple[list[Scores], list[Scores]]:
    """Returns both on the samples that both have: some baselines cannot score everybody."""
    kept = paired.shared([*of_parts, *parts])
    return kept[len(of_parts) :], kept[: len(of_parts)]
