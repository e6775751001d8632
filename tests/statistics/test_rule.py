"""Verdicts from scores alone: every control that there is counts, and several scorers pay for being several."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mint_keras.data import protocol
from mint_keras.records import AUDITED, Scores
from mint_keras.statistics import division, findings, paired, rule, verdict
from tests.statistics import worlds
from tests.statistics.worlds import draw

EFFECTS = {AUDITED: 1.5, "untrained_1": 0.0, "foreign_net": 0.1, findings.LOOK: 0.0}
LACKING = {findings.LOOK: "None was given."}


def compared(
    effects: dict[str, float], seed: int, name: str = "head on conv1", look: float = 0.0, **changes: object
) -> tuple[rule.Comparison, dict[str, list[Scores]], Scores]:
    rng = np.random.default_rng(seed)
    parts = {model: [draw((60, 60), 3, effect, rng)] for model, effect in effects.items()}
    pixels = draw((60, 60), 3, 0.0, rng, scorer="pixels")
    looks = draw((60, 60), 3, look, rng, scorer="look")
    blind = {protocol.SAME_DATABASE: {"pixel statistics": pixels, findings.LOOK: looks}}
    return rule.comparison(name, parts, findings.PERSON, blind, 1, **changes), parts, pixels


def known_signs(effect: float = 0.8) -> dict[str, Scores]:
    return {protocol.SAME_DATABASE: draw((60, 60), 3, effect, np.random.default_rng(9), scorer="direction")}


def test_a_reference_and_its_controls_are_measured_and_decide() -> None:
    one, parts, _ = compared(EFFECTS, 3)
    claim = findings.across("members and externals", "as in the paper", findings.CLAIM, parts[AUDITED])
    claim = dataclasses.replace(claim, evaluation="unseen_database")
    found = rule.by_rule([one], {"head on conv1": [claim], "another": [claim]}, 1, known_signs())
    assert list(found) == ["head on conv1", "another"]
    decided = found["head on conv1"]
    assert {one.name: one.role for one in decided.findings} == {
        "same database": findings.REFERENCE,
        "untrained 1": findings.UNTRAINED,
        "foreign net": findings.OTHER,
        "pixel statistics": findings.BLIND,
        "look network": findings.LOOK,
        "the scorer through the look network": findings.LOOK,
        "known signs": findings.DIRECTION,
        "nobody a member": findings.NULL,
        "members and externals": findings.CLAIM,
    }
    assert decided.outcome == verdict.EVIDENCE
    assert "no false-positive rate below 4.9% can be certified (1% takes 299)" in decided.text()
    assert found["another"].outcome == verdict.CANNOT_DECIDE


def test_evidence_takes_a_look_network_and_a_direction() -> None:
    one, parts, pixels = compared(EFFECTS, 3)
    undirected = rule.by_rule([one], {}, 1)[one.scorer]
    assert undirected.outcome == verdict.CANNOT_DECIDE
    assert "direction control" in undirected.headline
    without = {name: of for name, of in parts.items() if name != findings.LOOK}
    unseen = dataclasses.replace(one, parts=without, blind={"pixel statistics": pixels})
    found = rule.by_rule([unseen], {}, 1, known_signs(), LACKING)[one.scorer]
    assert found.outcome == verdict.CANNOT_DECIDE
    assert "The look control was not run: None was given." in found.text()


def test_a_reference_is_a_control_and_no_look_network() -> None:
    """Nobody has seen that it knows faces: it can refute, and not stand for a network of which that was seen."""
    one, parts, pixels = compared({**EFFECTS, "reference_before": 0.0}, 3)
    assert rule.by_rule([one], {}, 1, known_signs())[one.scorer].outcome == verdict.EVIDENCE
    without = {name: of for name, of in parts.items() if name != findings.LOOK}
    alone = dataclasses.replace(one, parts=without, blind={"pixel statistics": pixels})
    found = rule.by_rule([alone], {}, 1, known_signs(), LACKING)[one.scorer]
    assert found.outcome == verdict.CANNOT_DECIDE
    assert "The look control was not run" in found.text()
    knows = compared({**EFFECTS, "reference_before": 0.9}, 3)[0]
    assert "a network beside the audited one" in rule.by_rule([knows], {}, 1, known_signs())[one.scorer].headline


def test_more_references_do_not_make_other_controls_harder_to_hear() -> None:
    few, many = (compared({**EFFECTS, **{f"reference_{k}": 0.0 for k in range(num)}}, 3)[0] for num in (0, 6))
    p_values = [
        {one.name: one.adjusted_p for one in rule.by_rule([given], {}, 1, known_signs())[few.scorer].findings}
        for given in (few, dataclasses.replace(few, parts={**many.parts, **few.parts}))
    ]
    for name in ("look network", "pixel statistics", "the scorer through the look network"):
        assert p_values[0][name] == p_values[1][name]


def test_who_looks_different_is_not_accused_however_it_is_seen() -> None:
    for one, name in (
        (compared(EFFECTS, 3, look=0.9)[0], "look network"),
        (compared({**EFFECTS, findings.LOOK: 0.9}, 3)[0], "the scorer through the look network"),
    ):
        found = rule.by_rule([one], {}, 1, known_signs())[one.scorer]
        assert found.headline.startswith("Cannot decide: the two groups look different"), found
        assert name in found.headline


def test_a_control_that_is_wrong_throughout_knows_as_much_unless_it_is_cross_fitted() -> None:
    one = compared(EFFECTS, 3, look=-0.9)[0]
    found = rule.by_rule([one], {}, 1, known_signs())[one.scorer]
    assert "the two groups look different" in found.headline
    of_folds = {**one.blind, findings.LOOK: dataclasses.replace(one.blind[findings.LOOK], num_folds=5)}
    found = rule.by_rule([dataclasses.replace(one, blind=of_folds)], {}, 1, known_signs())[one.scorer]
    assert found.outcome == verdict.EVIDENCE
    p_values = {control.name: control.adjusted_p for control in found.findings}
    assert p_values["look network"] == 1


def test_dirt_at_one_level_taints_every_level_of_the_same_people() -> None:
    clean, dirty = compared(EFFECTS, 3, "person")[0], compared(EFFECTS, 3, "photo", look=0.9)[0]
    image = {
        model: [dataclasses.replace(part, evaluation=rule.UNSEEN_PHOTOS)] for model, (part,) in clean.parts.items()
    }
    blind = {rule.UNSEEN_PHOTOS: clean.blind}
    others = rule.comparison("image", image, findings.IMAGE, blind, 1)
    directions = {**known_signs(), rule.UNSEEN_PHOTOS: known_signs()[protocol.SAME_DATABASE]}
    found = rule.by_rule([clean, dirty, others], {}, 1, directions)
    assert {name: one.outcome for name, one in found.items()} == {
        "person": verdict.CANNOT_DECIDE,
        "photo": verdict.CANNOT_DECIDE,
        "image": verdict.EVIDENCE,  # other sides, with controls of their own
    }
    assert "the two groups look different in same database (look network)" in found["person"].headline
    assert rule.by_rule([clean], {}, 1, directions)["person"].outcome == verdict.EVIDENCE


def test_a_direction_to_the_other_side_says_that_it_looks_used() -> None:
    for effects in (EFFECTS, {**EFFECTS, AUDITED: 0.0}):
        one = compared(effects, 3)[0]
        found = rule.by_rule([one], {}, 1, known_signs(-0.8))[one.scorer]
        assert found.headline == "Cannot decide: the other side looks used in same database (known signs)."
    one = compared(EFFECTS, 3)[0]
    assert "no label set" in rule.by_rule([one], {}, 1, known_signs(0.0))[one.scorer].headline


def test_several_scorers_share_the_chance_of_a_wrong_verdict() -> None:
    weak = compared({**EFFECTS, AUDITED: 0.22}, 3)[0]
    alone = rule.by_rule([weak], {}, 1)[weak.scorer].findings[0]
    others = [compared({**EFFECTS, AUDITED: 0.0}, seed, f"scorer {seed}")[0] for seed in (4, 5)]
    among = rule.by_rule([weak, *others], {}, 1)[weak.scorer].findings[0]
    assert among.adjusted_p == pytest.approx(3 * alone.adjusted_p)


def test_pixels_are_asked_what_the_scorer_is_asked() -> None:
    one, parts, pixels = compared(EFFECTS, 6, is_of_persons=True)
    np.testing.assert_array_equal(one.blind["pixel statistics"].logit, division.mean_of_persons(pixels).logit)
    by_name = {f.name: f for f in rule.by_rule([one], {}, 1)[one.scorer].findings}
    for name, part in (("pixel statistics", pixels), ("look network", one.blind[findings.LOOK])):
        expected = paired.difference(parts[AUDITED], [division.mean_of_persons(part)], names=["auc"])["auc"]
        assert by_name[name].difference == expected
    through = paired.difference(parts[AUDITED], parts[findings.LOOK], names=["auc"])["auc"]
    assert by_name["the scorer through the look network"].difference == through  # it judges people as it is
    image = {rule.UNSEEN_PHOTOS: {"pixel statistics": pixels}}
    of_photos = {AUDITED: [dataclasses.replace(parts[AUDITED][0], evaluation=rule.UNSEEN_PHOTOS)]}
    of_images = rule.comparison("photo", of_photos, findings.IMAGE, image, 1, is_of_persons=True)
    assert of_images.blind["pixel statistics"] is pixels


def test_controls_see_all_photos_of_a_person_also_where_databases_leave_some_out() -> None:
    """The scorer has: a control that averages fewer photos would be weaker than what it has to control."""
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(120), 6)
    is_member = person < 60
    database = np.where((person % 4 == 0) ^ is_member, "a", "b")
    of, pixels = (worlds.scores_of(is_member, person, rng.normal(size=len(person)), database) for _ in range(2))
    blind = {protocol.SAME_DATABASE: {"pixel statistics": pixels}}
    one = rule.comparison("person", {AUDITED: [of]}, findings.PERSON, blind, 1, is_of_persons=True)
    assert len(one.parts[AUDITED][0].logit) < len(person)
    np.testing.assert_array_equal(one.blind["pixel statistics"].logit, division.mean_of_persons(pixels).logit)


def test_controls_that_lack_samples_are_compared_on_those_that_both_have() -> None:
    one, parts, _ = compared(EFFECTS, 7)
    fewer = {**parts, "untrained_1": [paired.take(parts["untrained_1"][0], np.arange(30, 360))]}
    found = rule.by_rule([dataclasses.replace(one, parts=fewer)], {}, 1)[one.scorer].findings
    by_name = {one.name: one for one in found}
    assert (by_name["same database"].num_members, by_name["untrained 1"].num_members) == (60, 50)


def test_no_threshold_is_certified_of_several_fits() -> None:
    one, _, _ = compared(EFFECTS, 3)
    crossed = {name: [dataclasses.replace(part, num_folds=5) for part in of] for name, of in one.parts.items()}
    for parts, is_certified in ((one.parts, True), (crossed, False)):
        found = rule.by_rule([dataclasses.replace(one, parts=parts)], {}, 1)[one.scorer]
        reference = next(finding for finding in found.findings if finding.role == findings.REFERENCE)
        assert (reference.certified is not None) == is_certified


def test_databases_of_other_shares_on_the_sides_are_no_membership() -> None:
    """Members mostly of a database that the model is familiar with, the others mostly of another: nobody was used."""
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(240), 3)
    is_member = person < 120
    database = np.where(is_member ^ (person % 12 == 0), "a", "b")
    made = {name: 1.5 * (database == "a") if name == AUDITED else np.zeros(len(person)) for name in EFFECTS}
    parts = {
        name: [worlds.scores_of(is_member, person, mean + rng.normal(size=len(person)), database)]
        for name, mean in made.items()
    }
    signs = {protocol.SAME_DATABASE: dataclasses.replace(parts[AUDITED][0], scorer="direction")}
    nothing = dict.fromkeys(("pixel statistics", findings.LOOK), parts["untrained_1"][0])
    one = rule.comparison("head", parts, findings.PERSON, {protocol.SAME_DATABASE: nothing}, 1)
    (part,) = one.parts[AUDITED]
    for name in ("a", "b"):
        assert part.is_member[part.samples.database == name].mean() == 0.5
    found = rule.by_rule([one], {}, 1, signs)["head"]
    assert found.outcome != verdict.EVIDENCE
    assert all(finding.auc.low < 0.5 for finding in found.findings)
