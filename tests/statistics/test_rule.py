"""Verdicts from scores alone: every control that there is counts, and several scorers pay for being several."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mint_keras.data import protocol
from mint_keras.records import AUDITED, Scores
from mint_keras.statistics import division, findings, paired, rule, verdict
from tests.statistics.worlds import draw

EFFECTS = {AUDITED: 1.5, "untrained_1": 0.0, "foreign_net": 0.1}


def compared(
    effects: dict[str, float], seed: int, name: str = "head on conv1", **changes: object
) -> tuple[rule.Comparison, dict[str, list[Scores]], Scores]:
    rng = np.random.default_rng(seed)
    parts = {model: [draw((60, 60), 3, effect, rng)] for model, effect in effects.items()}
    pixels = draw((60, 60), 3, 0.0, rng, scorer="pixels")
    blind = {protocol.SAME_DATABASE: {"pixel statistics": pixels}}
    return rule.comparison(name, parts, findings.PERSON, blind, 1, **changes), parts, pixels


def test_a_reference_and_its_controls_are_measured_and_decide() -> None:
    one, parts, _ = compared(EFFECTS, 3)
    claim = findings.across("members and externals", "as in the paper", findings.CLAIM, parts[AUDITED])
    claim = dataclasses.replace(claim, evaluation="unseen_database")
    found = rule.by_rule([one], {"head on conv1": [claim], "another": [claim]}, 1)
    assert list(found) == ["head on conv1", "another"]
    decided = found["head on conv1"]
    assert {one.name: one.role for one in decided.findings} == {
        "same database": findings.REFERENCE,
        "untrained 1": findings.UNTRAINED,
        "foreign net": findings.OTHER,
        "pixel statistics": findings.BLIND,
        "nobody a member": findings.NULL,
        "members and externals": findings.CLAIM,
    }
    assert decided.outcome == verdict.EVIDENCE
    assert "no false-positive rate below 4.9% can be certified (1% takes 299)" in decided.text()
    assert found["another"].outcome == verdict.CANNOT_DECIDE


def test_several_scorers_share_the_chance_of_a_wrong_verdict() -> None:
    weak = compared({**EFFECTS, AUDITED: 0.22}, 3)[0]
    alone = rule.by_rule([weak], {}, 1)[weak.scorer].findings[0]
    others = [compared({**EFFECTS, AUDITED: 0.0}, seed, f"scorer {seed}")[0] for seed in (4, 5)]
    among = rule.by_rule([weak, *others], {}, 1)[weak.scorer].findings[0]
    assert among.adjusted_p == pytest.approx(3 * alone.adjusted_p)


def test_pixels_are_asked_what_the_scorer_is_asked() -> None:
    one, parts, pixels = compared(EFFECTS, 6, is_of_persons=True)
    assert one.is_of_persons
    of_pixels = next(f for f in rule.by_rule([one], {}, 1)[one.scorer].findings if f.role == findings.BLIND)
    expected = paired.difference(parts[AUDITED], [division.mean_of_persons(pixels)], names=["auc"])["auc"]
    assert of_pixels.difference == expected
    image = {rule.UNSEEN_PHOTOS: {"pixel statistics": pixels}}
    of_photos = {AUDITED: [dataclasses.replace(parts[AUDITED][0], evaluation=rule.UNSEEN_PHOTOS)]}
    assert not rule.comparison("photo", of_photos, findings.IMAGE, image, 1, is_of_persons=True).is_of_persons


def test_controls_that_lack_samples_are_compared_on_those_that_both_have() -> None:
    one, parts, _ = compared(EFFECTS, 7)
    fewer = {**parts, "untrained_1": [paired.take(parts["untrained_1"][0], np.arange(30, 360))]}
    found = rule.by_rule([dataclasses.replace(one, parts=fewer)], {}, 1)[one.scorer].findings
    by_name = {one.name: one for one in found}
    assert (by_name["same database"].num_members, by_name["untrained 1"].num_members) == (60, 50)
