"""The rule, reason by reason; its words; and its verdicts on worlds whose truth is known."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mint_keras.records import InputError, Scores
from mint_keras.statistics import bounds, findings, verdict
from mint_keras.statistics.findings import (
    BLIND,
    CLAIM,
    CONTEXT,
    DIRECTION,
    IMAGE,
    LOOK,
    NULL,
    OTHER,
    PERSON,
    REFERENCE,
    UNTRAINED,
    Finding,
)
from mint_keras.statistics.intervals import Estimate
from mint_keras.statistics.verdict import CANNOT_DECIDE, EVIDENCE, NO_EVIDENCE
from tests.statistics.worlds import draw, scores_of

ROOT = Path(__file__).resolve().parents[2]


def finding(
    role: str, value: float = 0.5, difference: float | None = None, name: str = "", **changes: object
) -> Finding:
    """A finding whose intervals are the value +- 0.04."""
    auc = Estimate(value, value - 0.04, value + 0.04, 3)
    margin = None if difference is None else Estimate(difference, difference - 0.04, difference + 0.04, 3)
    found = Finding(name or role, f"what {role} asks", role, PERSON, "same_database", auc, 80, 90, margin)
    return dataclasses.replace(found, **changes)


GOOD = (
    finding(REFERENCE, 0.7),
    finding(BLIND, 0.51, 0.19),
    finding(LOOK, 0.52, 0.18),
    finding(DIRECTION, 0.6),
    finding(UNTRAINED, 0.55, 0.15),
    finding(OTHER, 0.58, 0.12),
    finding(NULL, 0.49),
)


def replaced(role: str, *others: Finding) -> tuple[Finding, ...]:
    return (*(one for one in GOOD if one.role != role), *others)


def test_evidence_cites_every_control_and_number() -> None:
    found = verdict.decide(GOOD)
    assert found.outcome == EVIDENCE
    assert found.headline == "Evidence of training use, by reference (of the person)."
    text = found.text()
    for one in GOOD:
        assert f"{one.name} ({one.question}): AUC {one.auc.value:.3f}" in text
        if one.difference is not None:
            assert (
                f"exceeds it by {one.difference.value:.3f} [{one.difference.low:.3f}, {one.difference.high:.3f}]"
                in text
            )
    assert "0.600 [0.560, 0.640], 80 claimed members, 90 others. It points to the claimed members." in text
    assert "speaks of the person" in text
    assert "2409.19798" in text


def beside(*found: Finding) -> dict[str, list[Finding]]:
    """What other scorers of the same people met."""
    return {"same_database": list(found)}


REASONS = {
    "no reference": (replaced(REFERENCE)[:0], CANNOT_DECIDE, "there is no reference"),
    "chance": (replaced(REFERENCE, finding(REFERENCE, 0.53)), NO_EVIDENCE, "AUC up to 0.570"),
    "below chance": (replaced(REFERENCE, finding(REFERENCE, 0.3)), NO_EVIDENCE, "lies below 0.5"),
    "few people": (
        replaced(REFERENCE, finding(REFERENCE, 0.9, num_externals=49)),
        CANNOT_DECIDE,
        "too few identities in reference",
    ),
    "blind": (replaced(BLIND, finding(BLIND, 0.6, 0.1)), CANNOT_DECIDE, "can be told apart without the audited model"),
    "blind, reversed": (replaced(BLIND, finding(BLIND, 0.4, 0.3)), CANNOT_DECIDE, "is no clean reference"),
    "null": (replaced(NULL, finding(NULL, 0.6)), CANNOT_DECIDE, "tells sides apart that have the same membership"),
    "no untrained copy": (replaced(UNTRAINED), CANNOT_DECIDE, "untrained control"),
    "no blind control": (replaced(BLIND), CANNOT_DECIDE, "blind control"),
    "no look control": (replaced(LOOK), CANNOT_DECIDE, "is missing (look control)"),
    "no direction": (replaced(DIRECTION), CANNOT_DECIDE, "is missing (direction control)"),
    "look": (replaced(LOOK, finding(LOOK, 0.6, 0.1)), CANNOT_DECIDE, "the two groups look different"),
    "look, reversed": (replaced(LOOK, finding(LOOK, 0.4, 0.3)), CANNOT_DECIDE, "the two groups look different"),
    "look sees it less": (replaced(LOOK, finding(LOOK, 0.53, 0.03)), CANNOT_DECIDE, "look may explain reference"),
    "one of two looks": ((*GOOD, finding(LOOK, 0.6, 0.1, "MINT+")), CANNOT_DECIDE, "different in reference (MINT+)"),
    "direction at chance": (
        replaced(DIRECTION, finding(DIRECTION, 0.53)),
        CANNOT_DECIDE,
        "nothing whose sign no label set says which side of reference was used",
    ),
    "other side": (replaced(DIRECTION, finding(DIRECTION, 0.45)), CANNOT_DECIDE, "the other side looks used"),
    "other side, at chance": (
        (finding(REFERENCE, 0.5), finding(DIRECTION, 0.45)),
        CANNOT_DECIDE,
        "sides may have been exchanged",
    ),
    "tainted": (
        GOOD,
        CANNOT_DECIDE,
        "the sides differ in reference (pixels)",
        beside(finding(BLIND, 0.56, name="pixels")),
    ),
    "tainted by look": (
        GOOD,
        CANNOT_DECIDE,
        "the two groups look different",
        beside(finding(LOOK, 0.6, name="look 2")),
    ),
    "tainted, at chance": (
        replaced(REFERENCE, finding(REFERENCE, 0.5)),
        CANNOT_DECIDE,
        "pixels (what blind asks): AUC 0.560",
        beside(finding(BLIND, 0.56, name="pixels")),
    ),
    "no difference": (replaced(OTHER, finding(OTHER, 0.58)), CANNOT_DECIDE, "difference to other"),
    "not better": (replaced(OTHER, finding(OTHER, 0.67, 0.03)), CANNOT_DECIDE, "other may explain reference"),
    "one of two not better": (
        (*GOOD, finding(UNTRAINED, 0.68, 0.02, "another copy")),
        CANNOT_DECIDE,
        "another copy may explain reference",
    ),
    "one of many": (
        replaced(REFERENCE, finding(REFERENCE, 0.7, adjusted_p=0.2)),
        NO_EVIDENCE,
        "adjusted p = 0.2 > 0.05",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_every_reason_against(name: str) -> None:
    given, outcome, words, *tainted = REASONS[name]
    found = verdict.decide(given, *tainted)
    assert found.outcome == outcome
    assert words in found.text()
    if outcome == CANNOT_DECIDE:
        assert re.fullmatch(r"Cannot decide: .+\.", found.headline)


def test_what_was_found_beside_other_people_or_only_by_another_scorer_taints_nothing() -> None:
    assert verdict.decide(GOOD, {"unseen_photos": [finding(BLIND, 0.6, name="pixels")]}).outcome == EVIDENCE
    own = [finding(BLIND, 0.6, 0.1), finding(LOOK, 0.4, 0.3), finding(DIRECTION, 0.4), finding(UNTRAINED, 0.6, 0.1)]
    harmless = [finding(NULL, 0.6), finding(BLIND, 0.6, 0.1, "by luck", adjusted_p=0.3), *GOOD]
    assert verdict.taints([*own, *harmless]) == own[:3]


@pytest.mark.parametrize("role", [BLIND, LOOK])
def test_a_cross_fitted_control_that_is_wrong_throughout_knows_nothing(role: str) -> None:
    """It was fitted on people of the same sides: what it learned of them would be right of the others too."""
    wrong, right = finding(role, 0.4, 0.3, num_folds=5), finding(role, 0.6, 0.1, num_folds=5)
    assert verdict.decide(replaced(role, wrong)).outcome == EVIDENCE
    assert verdict.decide(replaced(role, right)).outcome == CANNOT_DECIDE
    assert verdict.taints([wrong, right]) == [right]
    assert verdict.taints([finding(DIRECTION, 0.4, num_folds=5)])  # its sign is known before


def test_a_control_that_was_not_run_says_why_and_what_it_takes() -> None:
    found = verdict.decide(replaced(LOOK), lacking={LOOK: "No network knows these faces."})
    assert "The look control was not run: No network knows these faces. It takes a face network" in found.text()
    bare = verdict.decide([finding(REFERENCE, 0.7)])
    for role, takes in verdict.REQUIRED.items():
        assert f"The {role} control was not run. It takes {takes}." in bare.text()


def test_the_rule_is_printed_as_it_is() -> None:
    """Who reads `docs/method.md` can say by hand what comes out."""
    lines = (ROOT / "docs" / "method.md").read_text().splitlines()
    rows = [line for line in lines if re.match(r"\| \d \|", line)]
    assert f"fewer than {verdict.MIN_PEOPLE} people" in rows[0]
    for row in (rows[1], rows[3]):
        assert "interval" in row
        assert re.search(f"adjusted p-value (is at most|exceeds) {verdict.ALPHA:.2g}", row)
    for role in (BLIND, LOOK, NULL, "beside"):
        assert role in rows[1]
        assert verdict.decide(replaced(role, finding(role, 0.6, 0.1, adjusted_p=0.04))).outcome == CANNOT_DECIDE
        assert verdict.decide(replaced(role, finding(role, 0.6, 0.1, adjusted_p=0.06))).outcome == EVIDENCE
    assert all(role in rows[4] for role in verdict.REQUIRED)


def test_adjusted_controls_that_may_be_chance_do_not_spoil_a_reference() -> None:
    assert verdict.decide(replaced(BLIND, finding(BLIND, 0.56, 0.14, adjusted_p=0.3))).outcome == EVIDENCE
    found = verdict.decide(replaced(REFERENCE, finding(REFERENCE, 0.7, adjusted_p=0.01)))
    assert found.outcome == EVIDENCE
    assert "p = 0.01" in found.text()


def test_several_references_each_with_its_controls() -> None:
    image = {"truth": IMAGE, "evaluation": "unseen_photos"}
    others = [finding(REFERENCE, 0.5, name="own unseen photos", **image), finding(BLIND, 0.5, 0.0, **image)]
    found = verdict.decide([*GOOD, *others])
    assert found.outcome == EVIDENCE
    assert [(one.outcome, one.truth) for one in found.assessments] == [(EVIDENCE, PERSON), (NO_EVIDENCE, IMAGE)]
    assert "own unseen photos" not in found.headline
    assert "speaks of the image" in found.text()
    both = verdict.decide([finding(REFERENCE, 0.5), finding(REFERENCE, 0.7, name="images", **image)])
    assert both.outcome == NO_EVIDENCE


def test_findings_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="two alike"):
        verdict.decide([GOOD[0], GOOD[0]])
    with pytest.raises(InputError, match="two alike"):
        verdict.decide([GOOD[0], finding(REFERENCE, name="another of the same evaluation")])
    with pytest.raises(InputError, match=r"\['blind'\] on others"):
        verdict.decide([GOOD[0], finding(BLIND, evaluation="elsewhere")])
    with pytest.raises(InputError, match="'hunch'"):
        finding("hunch")


LOW = bounds.Certified(0.06, 0.06, (1.5, 1.25), 0, Estimate(0.4, 0.3, 0.5, 2), 80, 48)


def test_every_reference_says_what_its_people_certify() -> None:
    for given, outcome in ((GOOD, EVIDENCE), (replaced(REFERENCE, finding(REFERENCE, 0.53)), NO_EVIDENCE)):
        with_rate = [dataclasses.replace(one, certified=LOW) if one.role == REFERENCE else one for one in given]
        found = verdict.decide(with_rate)
        assert found.outcome == outcome
        assert LOW.describe() in found.text()
        rates = {one["role"]: one["certified"] for one in found.to_dict()["findings"]}
        assert rates.pop(REFERENCE)["smallest_fpr"] == 0.06
        assert not any(rates.values())
        assert LOW.describe() not in verdict.decide(given).text()


def all_verdicts() -> list[verdict.Verdict]:
    record = [finding(CLAIM, 0.9, evaluation="raw"), finding(CONTEXT, 0.9, evaluation="raw")]
    low = replaced(REFERENCE, finding(REFERENCE, 0.7, certified=LOW))
    reasons = [(given, *tainted) for given, _, _, *tainted in REASONS.values()]
    return [verdict.decide([*given, *record], *tainted) for given, *tainted in (*reasons, (GOOD,), (low,))]


def test_words() -> None:
    for found in all_verdicts():
        words = json.dumps(found.to_dict()) + found.text() + json.dumps([findings.ROLES, findings.TRUTHS])
        assert not re.search(r"\bpro(of|ve|ves|ven|ved)\b", words, re.IGNORECASE)
        for assessment in found.assessments:
            assert any("This speaks of" in sentence for sentence in assessment.sentences)
            if assessment.reference:
                # What was not run has no number.
                said = [one for one in assessment.sentences[:-1] if "control was not run" not in one]
                assert all(re.search(r"\d", sentence) for sentence in said)


def certified(content: dict) -> bounds.Certified:
    return bounds.Certified(
        **{**content, "thresholds": tuple(content["thresholds"]), "tpr": Estimate(**content["tpr"])}
    )


def _object(**properties: Any) -> dict[str, Any]:
    # Nothing optional and nothing more: whoever reads a verdict may rely on every field.
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_RATE = {"type": "number", "minimum": 0, "maximum": 1}
_OUTCOME = {"enum": list(verdict.OUTCOMES)}
_ESTIMATE = _object(value=_NUMBER, low=_NUMBER, high=_NUMBER, num_seeds=_COUNT)
_CERTIFIED = _object(
    max_fpr=_RATE,
    smallest_fpr=_RATE,
    thresholds={"type": "array", "minItems": 1, "items": _NUMBER},
    num_allowed=_COUNT,
    tpr=_ESTIMATE,
    num_members=_COUNT,
    num_externals=_COUNT,
)
_ASSESSMENT = _object(
    outcome=_OUTCOME,
    reference=_STRING,
    truth={"enum": [*findings.TRUTHS, ""]},
    reason=_STRING,
    sentences={"type": "array", "minItems": 1, "items": _STRING},
)
_FINDING = _object(
    name=_STRING,
    question=_STRING,
    role={"enum": list(findings.ROLES)},
    truth={"enum": list(findings.TRUTHS)},
    evaluation=_STRING,
    auc=_ESTIMATE,
    num_members=_COUNT,
    num_externals=_COUNT,
    difference={"anyOf": [_ESTIMATE, {"type": "null"}]},
    adjusted_p={"anyOf": [_RATE, {"type": "null"}]},
    certified={"anyOf": [_CERTIFIED, {"type": "null"}]},
    num_folds=_COUNT,
)

# JSON Schema (draft 2020-12) of `Verdict.to_dict`: what readers of audit.json may rely on.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Verdict of an audit",
    **_object(
        schema_version={"const": verdict.SCHEMA_VERSION},
        outcome=_OUTCOME,
        headline=_STRING,
        assessments={"type": "array", "minItems": 1, "items": _ASSESSMENT},
        findings={"type": "array", "items": _FINDING},
        limits=_STRING,
    ),
}


def test_json_follows_its_schema_and_the_schema_refuses() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with ray")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for found in all_verdicts():
        content = json.loads(json.dumps(found.to_dict()))
        jsonschema.validate(content, SCHEMA)
        again = [
            Finding(**{
                **one,
                "auc": Estimate(**one["auc"]),
                "difference": one["difference"] and Estimate(**one["difference"]),
                "certified": one["certified"] and certified(one["certified"]),
            })
            for one in content["findings"]
        ]  # fmt: skip
        assert tuple(again) == found.findings
    for change in ({"outcome": "guilty"}, {"extra": 1}, {"assessments": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, **change}, SCHEMA)


# Five worlds of known truth: what the scorers see. "used" tells members from people of their own database, "database"
# tells databases, "familiar" the members' database through the trained model only.
WORLDS = {
    "neither": (0.0, 0.0, 0.0),
    "shift": (0.0, 1.5, 0.0),
    "familiar": (0.0, 0.0, 1.5),
    "membership": (1.2, 0.0, 0.0),
    "both": (1.2, 1.5, 0.0),
}


def world(name: str, rng: np.random.Generator, has_reference: bool = True) -> list[Finding]:
    """Findings in a world: claimed members, other people of their database, people of another database."""
    used, database, familiar = WORLDS[name]

    person = np.repeat(np.arange(180), 3)
    is_member = person < 80

    def parts(effect: float, scorer: str, evaluation: str) -> list[Scores]:
        """Three trainings of a scorer; half of a score's spread is the person's."""
        logits = rng.normal(size=(3, 180))[:, person] + rng.normal(size=(3, len(person))) + 1.4 * effect * is_member
        return [
            scores_of(is_member, person, logit, scorer=scorer, evaluation=evaluation, seed=seed)
            for seed, logit in enumerate(logits, start=1)
        ]

    raw = [
        findings.across("audited", "do members differ from another database", CLAIM,
                        parts(used + database + familiar, "vanilla", "unseen_database")),
        findings.across("blind pixels", "do pixels tell the databases apart", CONTEXT,
                        parts(database, "blind", "unseen_database")),
        findings.across("familiar", "do people whom the model never saw pass for members", CONTEXT,
                        parts(database + familiar, "vanilla", "unseen_database")),
    ]  # fmt: skip
    if not has_reference:
        return raw
    audited = parts(used, "vanilla", "same_database")
    reference = findings.reference("same database", "do members differ from people kept out", PERSON, audited)
    controls = {
        ("pixels", "do pixels differ", BLIND): "blind",
        ("another network", "do the two groups look different", LOOK): "look",
        ("untrained copy", "does a network that was never trained differ", UNTRAINED): "untrained",
    }
    known = parts(used, "direction", "same_database")
    return [
        reference,
        *(
            findings.control(what, parts(0.0, scorer, "same_database"), reference, audited)
            for what, scorer in controls.items()
        ),
        findings.control(("known signs", "which side was used", DIRECTION), known, reference, audited),
        *raw,
    ]


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_of_known_truth(name: str) -> None:
    found = verdict.decide(world(name, np.random.default_rng(3)))
    without = verdict.decide(world(name, np.random.default_rng(4), has_reference=False))
    assert without.outcome == CANNOT_DECIDE
    explained = "differ in ways that explain the result" in without.headline
    assert explained == (name in ("shift", "familiar", "both"))
    assert found.outcome == (EVIDENCE if name in ("membership", "both") else NO_EVIDENCE)
    claim = next(one for one in found.findings if one.role == CLAIM)
    assert (claim.auc.low > 0.5) == (name != "neither")  # what a naive reading would have accused


def test_a_reference_that_is_none_is_seen() -> None:
    """Externals of another database given out for people of the same one: pixels know."""
    rng = np.random.default_rng(5)
    part = draw((80, 100), 3, 1.5, rng)
    reference = findings.reference("same database", "do members differ from people kept out", PERSON, [part])
    pixels = draw((80, 100), 3, 1.0, rng, scorer="blind")
    untrained = draw((80, 100), 3, 0.5, rng, scorer="untrained")
    given = [
        reference,
        findings.control(("pixels", "do pixels differ", BLIND), [pixels], reference, [part]),
        findings.control(("copy", "does an untrained copy differ", UNTRAINED), [untrained], reference, [part]),
    ]
    assert given[1].difference is not None
    assert [one.certified for one in given] == [bounds.certify([part]), None, None]
    assert verdict.decide(given).outcome == CANNOT_DECIDE
    null = findings.control(
        ("two halves", "do two halves of the people kept out differ", NULL),
        [draw((60, 60), 3, 0.0, rng, evaluation="halves")], reference, [part],
    )  # fmt: skip
    assert (null.evaluation, null.difference) == ("same_database", None)
