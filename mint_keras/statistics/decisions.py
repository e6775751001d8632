"""One decision for each reference, whoever looked at it, and so one for the audit.

Every scorer has a verdict of its own (`statistics.verdict`). Whether a reference is clean is no question of a scorer:
what tells its sides apart without the audited model spoils it for all. Where it is clean, the strongest outcome counts,
and one sentence says what the other scorers make of it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from mint_keras.statistics import names, verdict
from mint_keras.statistics.findings import REFERENCE, Finding
from mint_keras.statistics.intervals import Estimate
from mint_keras.statistics.verdict import CANNOT_DECIDE, EVIDENCE, NO_EVIDENCE, Assessment, Verdict


@dataclasses.dataclass(frozen=True)
class Decision(Assessment):
    """What a reference says in all.

    Attributes:
        scorers: Who looked at it.
        scorer: The one whose number and sentences stand for the decision; "" without a reference.
        plain: The number that it rests on and the control that comes nearest, in words for everybody.
        others: What reconciles it with those scorers that say otherwise by themselves; "" if none does.
    """

    scorers: tuple[str, ...]
    scorer: str
    plain: tuple[str, ...]
    others: str


def decide_once(verdicts: Mapping[str, Verdict]) -> tuple[Decision, ...]:
    """Returns the decision on every reference of an audit, the strongest first, from the verdicts by scorer.

    Without any reference there is one decision, that nothing can be decided.
    """
    looked: dict[str, dict[str, Assessment]] = {}
    for scorer, decided in verdicts.items():
        for one in decided.assessments:
            looked.setdefault(one.reference, {})[scorer] = one
    if len(looked) > 1:  # what one scorer lacks another may have
        looked.pop("", None)
    findings = [finding for decided in verdicts.values() for finding in decided.findings]
    name_of = {one.evaluation: one.name for one in findings if one.role == REFERENCE}
    spoiled = {name_of[one.evaluation] for one in verdict.taints(findings)}
    found = [_decide(name, of, verdicts, name in spoiled) for name, of in looked.items()]
    return tuple(sorted(found, key=lambda one: verdict.OUTCOMES.index(one.outcome)))


def outcome(decisions: Sequence[Decision]) -> str:
    """Returns what an audit says: the strongest of its decisions."""
    return verdict.strongest(one.outcome for one in decisions)


def _decide(name: str, of: Mapping[str, Assessment], verdicts: Mapping[str, Verdict], is_spoiled: bool) -> Decision:
    """Decides on a reference from what every scorer says of it by itself."""
    said = CANNOT_DECIDE if is_spoiled else verdict.strongest(one.outcome for one in of.values())
    agreeing = [scorer for scorer, one in of.items() if one.outcome == said]
    measured = {
        scorer: next(
            finding for finding in verdicts[scorer].findings if (finding.role, finding.name) == (REFERENCE, name)
        )
        for scorer in (agreeing if name else ())
    }
    # The clearest of those who agree, adjusted p-values count that there were several; or who saw what spoils it.
    saw = {
        one: is_spoiled
        and bool(verdict.taints(c for c in verdicts[one].findings if c.evaluation == measured[one].evaluation))
        for one in measured
    }
    scorer = max(measured, key=lambda one: (saw[one], measured[one].auc.low), default="")
    stands = of[scorer or agreeing[0]]
    plain = _plain(said, stands, measured[scorer], verdicts[scorer], scorer) if scorer else list(stands.sentences)
    others = _reconcile(said, of, agreeing, is_spoiled)
    return Decision(said, name, stands.truth, stands.reason, stands.sentences, tuple(of), scorer, tuple(plain), others)


def _plain(said: str, stands: Assessment, reference: Finding, decided: Verdict, scorer: str) -> list[str]:
    chance = "chance is 50"
    if reference.adjusted_p is not None:
        chance = f"{chance}; p = {reference.adjusted_p:.2g}, adjusted for all that was tried"
    number = (
        f"by {names.plain(scorer).name}, a claimed member scores higher than one of the others "
        f"{_times(reference.auc, chance)}, among {reference.num_members:,} claimed members and "
        f"{reference.num_externals:,} others."
    )
    of_it = [one for one in decided.findings if one.evaluation == reference.evaluation]
    controls = [(one, one.difference) for one in of_it if one.difference is not None]
    found = [_sentence(number)]
    if said != EVIDENCE:
        found.insert(0, _sentence(f"{stands.reason}."))
    if said == CANNOT_DECIDE:
        found[1] = f"Nothing follows from the number itself: {number}"
    elif said == NO_EVIDENCE:
        found.append(stands.sentences[1])
    # Elsewhere there is nothing that a control has to explain, or to be beaten by.
    may_explain = said == CANNOT_DECIDE and reference.num_people >= verdict.MIN_PEOPLE
    if controls and (said == EVIDENCE or (may_explain and min(of.low for _, of in controls) <= 0)):
        nearest, difference = min(controls, key=lambda one: one[1].low)
        found.append(
            f"The control that comes nearest, {nearest.name} ({nearest.question}), reaches {_times(nearest.auc)}. The "
            f"difference is {100 * difference.value:.1f} ({100 * difference.low:.1f} to {100 * difference.high:.1f})."
        )
    return found


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _times(auc: Estimate, more: str = "") -> str:
    interval = f"{100 * auc.low:.1f} to {100 * auc.high:.1f}"
    if more:
        interval = f"{interval}; {more}"
    return f"{100 * auc.value:.1f} times in 100 (95% interval {interval})"


def _reconcile(said: str, of: Mapping[str, Assessment], agreeing: Sequence[str], is_spoiled: bool) -> str:
    """Returns one sentence on the scorers that say otherwise by themselves, "" if there are none."""
    others = {scorer: one for scorer, one in of.items() if scorer not in agreeing}
    if not others:
        return ""
    called = {scorer: f"“{names.plain(scorer).name}”" for scorer in others}
    if is_spoiled:
        whose = ", ".join(dict.fromkeys(called.values()))
        return f"By {whose} alone it would be otherwise, but what spoils a reference for one scorer spoils it for all."
    each = "; ".join(dict.fromkeys(f"{called[scorer]} ({one.reason})" for scorer, one in others.items()))
    if said == EVIDENCE:
        return (
            f"{len(agreeing)} of {len(of)} scorers find it. That less is found by {each}, takes nothing back: all that "
            "were tried share the chance of a wrong accusation, and p-values are adjusted for them."
        )
    return f"Nothing can be said by {each}. That takes nothing back of what the others say."
