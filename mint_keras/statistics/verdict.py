"""From findings to one of three verdicts, by a rule, in fixed words.

The rule: "evidence of training use" needs a reference, a comparison in which only membership differs, whose interval
lies above 0.5, and which beats every control on the same samples. Without a reference nothing can be decided, however
high a number is: databases can be told apart without any membership (arXiv 2406.16201, 2403.08632), and a trained
network is familiar with its database, also with people it never saw. Nor can it where the two groups look different to
another face network, or where statistics whose sign no label set point to nobody, or to the other side. What spoils a
reference for one scorer spoils it for all. To beat all controls is one claim that every one of them can refute, so
these comparisons need no correction for their number; references do (`Finding.adjusted_p`).
"""

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from mint_keras.records import InputError, Shown
from mint_keras.statistics.bounds import Certified
from mint_keras.statistics.findings import (
    BESIDE,
    BLIND,
    CLAIM,
    CONTEXT,
    DIRECTION,
    LOOK,
    NULL,
    REFERENCE,
    TRUTHS,
    UNTRAINED,
    Finding,
)
from mint_keras.statistics.intervals import CONFIDENCE, Estimate

SCHEMA_VERSION = 3  # 1 had no certified rates, 2 no folds
EVIDENCE, NO_EVIDENCE, CANNOT_DECIDE = "evidence of training use", "no evidence", "cannot decide"
OUTCOMES = (EVIDENCE, NO_EVIDENCE, CANNOT_DECIDE)  # the strongest first
MIN_PEOPLE = 50  # on each side: where the intervals' coverage was measured (`coverage`, docs/method.md)
ALPHA = 1 - CONFIDENCE
# What every reference needs for evidence, and what to give where it is missing.
REQUIRED = {
    BLIND: "photos that can be read",
    LOOK: "a face network other than the audited one that knows these faces (--look), and at least 20 people with two "
    "photos each, by which it can be seen that it does",
    UNTRAINED: "at least one untrained copy of the audited model (--num-untrained)",
    DIRECTION: "people of both sides whom nothing was fitted on",
}
LIMITS = (
    "No test of a finished model can rule out every other cause (arXiv 2409.19798): this is a statement about the "
    "comparison above, under the assumption that nothing but membership differs between its sides."
)


@dataclasses.dataclass(frozen=True)
class Assessment:
    """What one reference says: an outcome about a truth (a key of `TRUTHS`), its reason, and what it rests on.

    Reference and truth are "" if there is no reference, and the reason is "" for evidence.
    """

    outcome: str
    reference: str
    truth: str
    reason: str
    sentences: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Verdict(Shown):
    """The verdict with all that it rests on.

    Attributes:
        outcome: `EVIDENCE` if some reference gives it; else `NO_EVIDENCE` if some reference was clean and gave none;
            else `CANNOT_DECIDE`.
        assessments: What every reference says; one without a reference if there is none.
        findings: All that was measured.
    """

    outcome: str
    assessments: tuple[Assessment, ...]
    findings: tuple[Finding, ...]

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        return headline(self.outcome, self.assessments)

    def __str__(self) -> str:
        return self.text()

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row for each finding, see `records.Shown`."""
        return [
            {"finding": one.name, "role": one.role, "auc": one.auc.value, "low": one.auc.low, "high": one.auc.high}
            for one in self.findings
        ]

    def _repr_html_(self) -> str:
        return f"<p><b>{html.escape(self.headline)}</b></p>{super()._repr_html_()}"

    def text(self) -> str:
        """Returns the verdict as text: headline, what every reference says, what was measured besides, limits."""
        lines = [self.headline]
        for one in self.assessments:
            lines += ["", *one.sentences]
        context = [_measured(finding) for finding in self.findings if finding.role in (CLAIM, CONTEXT)]
        if context:
            lines += ["", "For the record, and deciding nothing:", *context]
        return "\n".join([*lines, "", LIMITS])

    def to_dict(self) -> dict[str, Any]:
        """Returns the verdict as JSON has it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "outcome": self.outcome,
            "headline": self.headline,
            "assessments": [{**dataclasses.asdict(one), "sentences": list(one.sentences)} for one in self.assessments],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "limits": LIMITS,
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Reads back what `to_dict` wrote, of this version or an older one."""
        findings = []
        for one in content["findings"]:
            made: dict[str, Any] = {name: Estimate(**one[name]) for name in ("auc", "difference") if one[name]}
            if certified := one.get("certified"):
                inner = {"thresholds": tuple(certified["thresholds"]), "tpr": Estimate(**certified["tpr"])}
                made["certified"] = Certified(**{**certified, **inner})
            findings.append(Finding(**{**one, **made}))
        assessments = [Assessment(**{**one, "sentences": tuple(one["sentences"])}) for one in content["assessments"]]
        return cls(content["outcome"], tuple(assessments), tuple(findings))


def headline(outcome: str, said: Iterable[Assessment]) -> str:
    """Returns an outcome in one sentence, with the references that it rests on or the reasons against them."""
    deciding = [one for one in said if one.outcome == outcome]
    if outcome == CANNOT_DECIDE:
        return f"Cannot decide: {'; '.join(dict.fromkeys(one.reason for one in deciding))}."
    references = " and ".join(f"{one.reference} (of the {one.truth})" for one in deciding)
    return f"{outcome.capitalize()}, by {references}."


def decide(
    findings: Sequence[Finding],
    tainted: Mapping[str, Sequence[Finding]] | None = None,
    lacking: Mapping[str, str] | None = None,
) -> Verdict:
    """Decides by the rule at the head of this module.

    Args:
        findings: Findings of one tap and scorer, chosen on other people. If several were tried here, each is decided on
            its own, with an `adjusted_p` over all of them in its references.
        tainted: By evaluation, what `taints` found beside other scorers of the same people.
        lacking: By role, why a control was not run, in sentences.

    Raises:
        InputError: if two findings have one name and evaluation, or a control belongs to no reference.
    """
    references = [finding for finding in findings if finding.role == REFERENCE]
    by_evaluation = {finding.evaluation: finding for finding in references}
    keys = {(finding.name, finding.evaluation) for finding in findings}
    if len(keys) < len(findings) or len(by_evaluation) < len(references):
        raise InputError(
            "Expected findings of different names and references of different evaluations, received two alike."
        )
    controls = [finding for finding in findings if finding.role not in (REFERENCE, CLAIM, CONTEXT)]
    if lost := [finding.name for finding in controls if finding.evaluation not in by_evaluation]:
        raise InputError(
            f"Expected controls on the samples of a reference, received {lost} on others: make them context."
        )
    assessments = [
        _assess(
            one,
            [control for control in controls if control.evaluation == one.evaluation],
            (tainted or {}).get(one.evaluation, ()),
            lacking or {},
        )
        for one in references
    ]
    if not assessments:
        assessments = [_without_reference(findings)]
    return Verdict(strongest(one.outcome for one in assessments), tuple(assessments), tuple(findings))


def taints(findings: Iterable[Finding]) -> list[Finding]:
    """Returns those findings that speak against every scorer of the same people, at whatever level it judges.

    These are controls that see a difference without membership, and a direction that points to the other side. What a
    scorer sees where nobody is a member speaks of that scorer only.
    """
    return [
        one
        for one in findings
        if (one.role in (BLIND, LOOK, BESIDE) and one.tells_sides_apart(ALPHA))
        or (one.role == DIRECTION and one.is_below_chance)
    ]


def strongest(outcomes: Iterable[str]) -> str:
    """Returns the strongest outcome: who finds nothing does not take back what another reference or scorer found."""
    return min(outcomes, key=OUTCOMES.index)


def _assess(
    one: Finding, controls: Sequence[Finding], tainted: Sequence[Finding], lacking: Mapping[str, str]
) -> Assessment:
    """Returns what a reference says: the first of the reasons against it that applies, or evidence."""
    certified = [one.certified.describe()] if one.certified else []

    def answer(outcome: str, reason: str, *sentences: str) -> Assessment:
        said = (_measured(one), *sentences, *certified, f"This speaks of {TRUTHS[one.truth]}.")
        return Assessment(outcome, one.name, one.truth, reason, said)

    if one.num_people < MIN_PEOPLE:
        return answer(
            CANNOT_DECIDE,
            f"too few identities in {one.name}",
            f"{one.name} has {one.num_people} people on one side; intervals are trusted from {MIN_PEOPLE} on.",
        )
    # Before the AUC is looked at: that something sees a difference without membership spoils a low AUC as well as a
    # high one, at every level of the same people. It costs power, and prefers silence to a wrong accusation.
    against = [control for control in controls if control.role == NULL and control.tells_sides_apart(ALPHA)]
    against += taints(controls)
    against += [other for other in tainted if other.name not in {control.name for control in against}]
    if against:
        seen = " and ".join(dict.fromkeys(_SEES[control.role][0] for control in against))
        return answer(
            CANNOT_DECIDE,
            f"{seen} in {one.name} ({_names(against)})",
            *(f"{_measured(c)} So {_SEES[c.role][1]}, and {one.name} is no clean reference." for c in against),
        )
    if not one.is_above_chance(ALPHA):
        return answer(NO_EVIDENCE, f"{one.name} does not exceed chance", _not_above(one))
    if reason := _not_enough(one, controls, lacking):
        return answer(CANNOT_DECIDE, *reason)
    low = f"{one.auc.low:.3f}"
    if one.adjusted_p is not None:
        low = f"{low} (adjusted for all that was tried: p = {one.adjusted_p:.3g})"
    return answer(
        EVIDENCE,
        "",
        f"Chance is 0.5, and the interval of {one.name} begins above it, at {low}.",
        *(_exceeded(c, f"{one.name} exceeds it by {c.difference}.") for c in controls if c.difference is not None),
        *(f"{_measured(c)} It points to the claimed members." for c in controls if c.role == DIRECTION),
        *(f"{_measured(c)} No difference is seen where there is none." for c in controls if c.role == NULL),
    )


def _not_enough(one: Finding, controls: Sequence[Finding], lacking: Mapping[str, str]) -> list[str]:
    """Returns why a reference above chance is no evidence, a reason and its sentences; nothing if it is."""
    # Without the controls "no evidence" can be said; evidence needs all of them.
    missing = {role: lacking.get(role, "") for role in REQUIRED if not any(c.role == role for c in controls)}
    unpaired = [c.name for c in controls if c.role not in (NULL, DIRECTION) and c.difference is None]
    if missing or unpaired:
        what = ", ".join([*(f"{role} control" for role in missing), *(f"difference to {name}" for name in unpaired)])
        return [
            f"a required control of {one.name} is missing ({what})",
            f"An AUC of {one.auc} in {one.name} says nothing as long as this was not measured: {what}.",
            *(f"The {role} control was not run: {why} It takes {REQUIRED[role]}."
              if why else f"The {role} control was not run. It takes {REQUIRED[role]}."
              for role, why in missing.items()),
        ]  # fmt: skip
    compared = [(c, c.difference) for c in controls if c.difference is not None]
    equal = [(c, difference) for c, difference in compared if difference.low <= 0]
    if equal:
        return [
            f"{_names([c for c, _ in equal])} may explain {one.name}",
            *(_exceeded(c, f"{one.name} exceeds it by {d}, which may be nothing.") for c, d in equal),
        ]
    undirected = [c for c in controls if c.role == DIRECTION and not c.is_above_chance(ALPHA)]
    if undirected:
        return [
            f"nothing whose sign no label set says which side of {one.name} was used",
            *(f"{_measured(c)} A scorer that learned its sign from the labels finds either side." for c in undirected),
        ]
    return []


# What a finding that speaks against a reference sees: in the headline, and as a sentence.
_SEES = {
    BLIND: ("the sides differ", "the sides can be told apart without the audited model"),
    LOOK: ("the two groups look different", "the sides can be told apart by how they look to another face network"),
    BESIDE: (
        "a network beside the audited one tells them apart",
        "the sides can be told apart through a network that was not trained on the claimed members",
    ),
    NULL: ("the scorer sees what is not there", "the scorer tells sides apart that have the same membership"),
    DIRECTION: (
        "the other side looks used",
        "the other side looks used rather than the claimed members (sides may have been exchanged)",
    ),
}


def _without_reference(findings: Sequence[Finding]) -> Assessment:
    apart = [finding for finding in findings if finding.role == CONTEXT and finding.tells_sides_apart(ALPHA)]
    reason = "there is no reference, a comparison in which only membership differs"
    sentences = [
        "No reference was measured: neither people of the members' own database who were kept out of the training, nor "
        "unseen photos of the members, nor a model that was trained without them. This speaks of nobody."
    ]
    if apart:
        reason = f"{reason}, and the databases differ in ways that explain the result ({_names(apart)})"
        sentences += [
            f"{_measured(finding)} No membership is behind this number, so databases can be told apart without."
            for finding in apart
        ]
    return Assessment(CANNOT_DECIDE, "", "", reason, tuple(sentences))


def _not_above(one: Finding) -> str:
    if one.auc.high < 0.5:
        return f"The interval of {one.name} lies below 0.5: claimed members score lower than the others."
    if one.auc.low <= 0.5:
        return (
            f"The interval of {one.name} contains 0.5, chance. Nor does it exclude an AUC up to {one.auc.high:.3f}: no "
            "evidence is not evidence of no use."
        )
    return f"With everything that was tried, {one.name} may be chance: adjusted p = {one.adjusted_p:.3g} > {ALPHA:.2g}."


def _exceeded(control: Finding, by: str) -> str:
    return f"{_measured(control)} {by}"


def _measured(finding: Finding) -> str:
    people = f"{finding.num_members} claimed members, {finding.num_externals} others"
    return f"{finding.name} ({finding.question}): AUC {finding.auc}, {people}."


def _names(findings: Sequence[Finding]) -> str:
    return ", ".join(finding.name for finding in findings)
