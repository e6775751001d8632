"""One decision for each reference: no scorer has another than the rest, and what differs is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mint_keras.statistics import decisions, verdict
from mint_keras.statistics.findings import BLIND, DIRECTION, LOOK, NULL, PERSON, REFERENCE, UNTRAINED, Finding
from mint_keras.statistics.intervals import Estimate
from mint_keras.statistics.verdict import CANNOT_DECIDE, EVIDENCE, NO_EVIDENCE, Verdict

RUNS = Path(__file__).resolve().parents[2] / "docs" / "runs"
COMMITTED = sorted(RUNS.glob("audit-*.json"))


def estimate(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value, value - half, value + half, 1)


def of(auc: float, blind: float = 0.5, null: float = 0.5, evaluation: str = "same_database") -> list[Finding]:
    """A reference with every control that it needs."""
    name = evaluation.replace("_", " ")
    found = [Finding(name, "is it so", REFERENCE, PERSON, evaluation, estimate(auc), 60, 70, adjusted_p=0.001)]
    for control, role, value in (
        ("untrained 1", UNTRAINED, 0.5), ("pixels", BLIND, blind), ("look network", LOOK, 0.5),
        ("nobody", NULL, null), ("known signs", DIRECTION, 0.7),
    ):  # fmt: skip
        difference = None if role in (NULL, DIRECTION) else estimate(auc - value)
        found.append(Finding(control, "is it so", role, PERSON, evaluation, estimate(value), 60, 70, difference))
    return found


def test_scorers_that_agree_are_one_decision() -> None:
    (one,) = decisions.decide_once({"weak": verdict.decide(of(0.7)), "strong": verdict.decide(of(0.9))})
    assert (one.outcome, one.reference, one.scorer, one.others) == (EVIDENCE, "same database", "strong", "")
    assert one.scorers == ("weak", "strong")
    assert "90.0 times in 100" in one.plain[0]
    assert "comes nearest" in one.plain[1]


def test_a_weaker_scorer_takes_nothing_back_and_is_named() -> None:
    verdicts = {
        "weak": verdict.decide(of(0.5)),
        "strong": verdict.decide(of(0.9)),
        "odd": verdict.decide(of(0.9, null=0.7)),
    }
    (one,) = decisions.decide_once(verdicts)
    assert one.outcome == EVIDENCE
    assert "1 of 3 scorers" in one.others
    weak, odd = one.others.split("; ")
    assert "less is found by “weak” (" in weak
    assert odd.startswith("“odd” (the scorer sees what is not there")


def test_what_spoils_a_reference_for_one_scorer_spoils_it_for_all() -> None:
    """Also in audits that were made before the rule said so."""
    verdicts = {"blinded": verdict.decide(of(0.9, blind=0.7)), "strong": verdict.decide(of(0.9))}
    assert verdicts["strong"].outcome == EVIDENCE
    (one,) = decisions.decide_once(verdicts)
    assert one.outcome == decisions.outcome([one]) == CANNOT_DECIDE
    assert one.scorer == "blinded"
    assert one.others.startswith("By “strong” alone it would be otherwise")
    assert "Nothing follows from the number" in one.plain[1]


def test_no_evidence_and_nobody_who_can_say() -> None:
    verdicts = {"weak": verdict.decide(of(0.5)), "odd": verdict.decide(of(0.6, null=0.7))}
    (one,) = decisions.decide_once(verdicts)
    assert one.outcome == NO_EVIDENCE
    assert "contains 0.5" in one.plain[2]
    assert one.others.startswith("Nothing can be said by “odd” (")


def test_references_are_decided_by_themselves_and_the_strongest_comes_first() -> None:
    verdicts = {"a": verdict.decide(of(0.5)), "b": verdict.decide(of(0.9, evaluation="unseen_photos"))}
    assert [(one.reference, one.outcome) for one in decisions.decide_once(verdicts)] == [
        ("unseen photos", EVIDENCE), ("same database", NO_EVIDENCE),
    ]  # fmt: skip


def test_without_a_reference_there_is_one_decision_but_not_beside_others() -> None:
    nothing = verdict.decide([])
    (one,) = decisions.decide_once({"a": nothing})
    assert (one.outcome, one.reference, one.scorer) == (CANNOT_DECIDE, "", "")
    (one,) = decisions.decide_once({"a": nothing, "b": verdict.decide(of(0.9))})
    assert one.outcome == EVIDENCE


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_audits_have_one_decision_of_a_reference_and_the_outcome_that_they_say(path: Path) -> None:
    content = json.loads(path.read_text())
    verdicts = {name: Verdict.of(one) for name, one in content["verdicts"].items()}
    decided = decisions.decide_once(verdicts)
    assert decisions.outcome(decided) == content["outcome"]
    assert len({one.reference for one in decided}) == len(decided)
    for one in decided:
        alone = {name: a.outcome for name, v in verdicts.items() for a in v.assessments if a.reference == one.reference}
        assert bool(one.others) == (set(alone.values()) != {one.outcome})
        # Never stronger than what a scorer says by itself.
        assert verdict.OUTCOMES.index(one.outcome) >= min(map(verdict.OUTCOMES.index, alone.values()))


def test_a_verdict_is_read_back() -> None:
    made = verdict.decide(of(0.9))
    assert Verdict.of(json.loads(json.dumps(made.to_dict()))) == dataclasses.replace(made)
