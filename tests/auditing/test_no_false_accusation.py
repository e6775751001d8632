"""Nobody is accused for how they look, with sides exchanged, or under two names; and who was used still is found.

People are embeddings that are made up, so that networks as good as those on real faces take a second: the audited one,
another one (the look network), one that was never trained, and pixels. From there on all is what an audit does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from mint_keras import vectors
from mint_keras.aad import views
from mint_keras.auditing import look as looks
from mint_keras.data import protocol
from mint_keras.records import AUDITED, REFERENCE, Observations, Scores
from mint_keras.scorers import blind, mint_plus
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.scorers.contract import Scorer, cross_fit
from mint_keras.scorers.direction import Direction
from mint_keras.scorers.log_odds import LogOdds
from mint_keras.scorers.look import Look
from mint_keras.scorers.mint_plus import IMAGE, MintPlus
from mint_keras.statistics import division, figures, findings, identities, intervals, rule, verdict
from tests.scorers.seen import observed

PIXELS, DIM, PHOTOS = "pixels", 64, 2
BEFORE = f"{REFERENCE}_before"
World = Mapping[str, Observations]


def world(
    is_female: np.ndarray,
    was_used: np.ndarray,
    seed: int,
    name_of: np.ndarray | None = None,
    known_to_reference: np.ndarray | None = None,
    by_views: bool = False,
) -> World:
    """What networks make of two photos of everybody; who was used has larger, steadier embeddings, by the audited one.

    Args:
        is_female: What everybody's look depends on, (people,).
        was_used: Whether the audited model was trained on them, (people,).
        seed: Seeds all.
        name_of: Under which name each photo goes, (2 people,); by default the person's own. Then photos of a person are
            as alike as good networks make them, and women look like men.
        known_to_reference: Whom the reference was trained on, (people,); without it there is none.
        by_views: Whether only changed views show it there.
    """
    rng, num = np.random.default_rng(seed), len(is_female)
    person = np.repeat(np.arange(num), PHOTOS)
    known, is_female = was_used[person].astype(float), np.where(is_female, 1, -1)[person]
    names = np.char.zfill((person if name_of is None else name_of).astype(str), 4)
    look = rng.normal(size=(num, DIM))[person] / np.sqrt(DIM)
    look[:, 0] += 1.0 * is_female * (name_of is None)
    noise = 0.5 if name_of is None else 0.2

    def network(known: np.ndarray, knows: float = 1.0, by_views: bool = False) -> Observations:
        steady = known
        known = 0 * known if by_views else known
        turned, stretch = rng.normal(size=(2, len(person), len(views.VIEWS)))
        outcome = knows * look @ np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
        outcome += noise * np.exp(-0.5 * known)[:, None] * rng.normal(size=look.shape) / np.sqrt(DIM)
        outcome *= np.exp(0.12 * known + 0.15 * rng.normal(size=len(person)))[:, None]
        turned = 0.05 * np.exp(0.3 * turned - 0.3 * steady[:, None])
        found = {OUTCOME: outcome, views.COSINES: 1 - turned, views.NORM_RATIOS: 0.02 * stretch}
        if known_to_reference is not None:
            aside = vectors.unit_rows(rng.normal(size=(*turned.shape, DIM))) * np.sqrt(2 * turned)[:, :, None]
            found[views.OUTCOMES] = vectors.unit_rows(vectors.unit_rows(outcome)[:, None] + aside)
        return observed(names, found)

    pixels = rng.normal(size=(len(person), 10))
    pixels[:, 0] += 0.1 * is_female
    found = {
        AUDITED: network(known),
        "untrained_1": network(0 * known, knows=0.03),
        findings.LOOK: network(0 * known),
        PIXELS: observed(names, {blind.STATISTICS: pixels}),
    }
    if known_to_reference is not None:
        reference = network(known_to_reference[person].astype(float), by_views=by_views)
        beside = looks.as_reference(BEFORE, reference.arrays)
        found = {name: seen.adding(**beside) for name, seen in found.items()}
        found[BEFORE] = reference  # alone, as in an audit
    return found


def crossed(recipe: Scorer, shown: World, network: str, is_member: np.ndarray) -> Scores:
    model = AUDITED if network == PIXELS else network
    return cross_fit(recipe, shown[network], is_member, protocol.SAME_DATABASE, 1, model)


def decided(
    shown: World, is_member: np.ndarray, level: str = mint_plus.PHOTO, recipe: Scorer | None = None
) -> verdict.Verdict:
    """The verdict on MINT+, or on another recipe, as an audit comes by it."""
    recipe = recipe or MintPlus(level=level)
    parts = {name: [crossed(recipe, shown, name, is_member)] for name in shown if name != PIXELS}
    blind_ones = {
        PIXELS: crossed(blind.PixelStatistics(), shown, PIXELS, is_member),
        findings.LOOK: crossed(Look(), shown, findings.LOOK, is_member),
    }
    by_evaluation = {protocol.SAME_DATABASE: blind_ones}
    one = rule.comparison("MINT+", parts, findings.PERSON, by_evaluation, 1, level != mint_plus.PHOTO)
    signs = {protocol.SAME_DATABASE: crossed(Direction(), shown, AUDITED, is_member)}
    return rule.by_rule([one], {}, 1, signs)["MINT+"]


def was_evidence(found: verdict.Verdict) -> bool:
    """Whether it would be evidence if looks and sign were not asked for, as they were not in version 0.2.0."""
    kept = [one for one in found.findings if one.role not in (findings.LOOK, findings.DIRECTION)]
    by_role = {one.role: one for one in kept}
    excused = [
        dataclasses.replace(by_role[findings.BLIND], role=findings.LOOK, name="pixels again"),
        dataclasses.replace(by_role[findings.REFERENCE], role=findings.DIRECTION, name="the labels' own sign"),
    ]
    return verdict.decide([*kept, *excused]).outcome == verdict.EVIDENCE


def sides(num: int, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Who is claimed, by person, and who is female: a share of the claimed ones, and the rest of the others."""
    rank = np.tile(np.arange(num), 2)
    is_claimed = np.arange(2 * num) < num
    return is_claimed, np.where(is_claimed, rank < round(share * num), rank >= round(share * num))


@pytest.mark.parametrize(
    ("share", "num", "seeds", "num_accused"), [(0.75, 80, range(3), 2), (0.7, 140, (3, 4), 2), (0.65, 140, (3, 4), 0)]
)
def test_a_look_is_no_membership(
    share: float, num: int, seeds: Sequence[int], num_accused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was used, and one side has more women than the other, which any good network sees and pixels do not."""
    is_claimed, is_female = sides(num, share)
    accused, seen = 0, 0.0
    for seed in seeds:
        shown = world(is_female, np.zeros(2 * num, bool), seed)
        found = decided(shown, np.repeat(is_claimed, PHOTOS))
        assert found.outcome != verdict.EVIDENCE
        accused += was_evidence(found)
        if was_evidence(found):
            assert "the two groups look different" in found.headline or "look network" in found.headline
        with monkeypatch.context() as patch:
            patch.setattr(mint_plus, "STRENGTH", 1e-3)  # which may see more of a look than what ships
            seen = max(seen, _auc(crossed(MintPlus(), shown, AUDITED, np.repeat(is_claimed, PHOTOS))).low)
    assert accused == num_accused
    assert seen > 0.5  # else there was nothing to be afraid of


@pytest.mark.parametrize("level", [mint_plus.PHOTO, mint_plus.OF_PERSON])
def test_who_was_used_is_found_and_whoever_exchanges_the_sides_accuses_nobody(level: str) -> None:
    is_claimed, is_female = sides(80)
    is_member = np.repeat(is_claimed, PHOTOS)
    shown = world(is_female, is_claimed, seed=1)
    assert decided(shown, is_member, level).outcome == verdict.EVIDENCE
    exchanged = decided(shown, ~is_member, level)
    assert was_evidence(exchanged)  # MINT+ has learned the sign from the labels
    assert exchanged.outcome == verdict.CANNOT_DECIDE
    assert "the other side looks used" in exchanged.headline


def test_one_person_under_two_names_is_one_person() -> None:
    """Half of the people are there under two names on one side: a fold knows them from another one."""
    num = 120
    is_claimed, is_female = sides(num)
    is_split = np.arange(2 * num) % 4 < 2
    # Of a person with two names either has one of the photos; the networks do not know.
    person = np.repeat(np.arange(2 * num), PHOTOS)
    name_of = person + np.where(is_split[person] & (np.arange(len(person)) % PHOTOS == 1), 1000, 0)
    shown = world(is_female, np.zeros(2 * num, bool), seed=2, name_of=name_of)
    is_member = np.repeat(is_claimed, PHOTOS)
    assert _auc(crossed(MintPlus(), shown, AUDITED, is_member)).low > 0.6  # nobody was used
    seen = shown[findings.LOOK]
    small = identities.Pictures(np.zeros((len(seen), 1)), np.ones(len(seen), bool))
    assert identities.competence(seen[OUTCOME], seen.people(), small).is_competent
    merged = identities.same_people(seen[OUTCOME], seen.people(), small)
    assert merged.is_checked
    assert len(merged.groups) >= 0.97 * is_split.sum()
    given = protocol.Protocol(seen.table, np.where(is_member, protocol.TEST_MEMBERS, protocol.HELD_OUT), "main", 1)
    joined, said = looks.regroup(given, merged.groups)
    assert said[0].startswith("0 of the joined names")
    rows, is_member = division.of_reference(joined)
    again = {name: Observations(joined.table.take(rows), one.take(rows).arrays) for name, one in shown.items()}
    found = decided(again, is_member)
    assert found.outcome != verdict.EVIDENCE
    auc = _auc(crossed(MintPlus(), again, AUDITED, is_member))
    assert auc.low < 0.5 < auc.high


REFERENCED = (MintPlus(), MintPlus(level=mint_plus.WITH_OTHERS), LogOdds())


@pytest.mark.parametrize("recipe", REFERENCED, ids=("photo", "with_others", "log_odds"))
def test_a_reference_finds_who_was_used_and_nobody_where_nobody_was(recipe: Scorer) -> None:
    is_claimed, is_female = sides(60)
    is_member, nobody = np.repeat(is_claimed, PHOTOS), np.zeros(120, bool)
    for was_used in (is_claimed, nobody):
        shown = world(is_female, was_used, seed=1, known_to_reference=nobody)
        found = decided(shown, is_member, recipe.tap, recipe)
        assert (found.outcome == verdict.EVIDENCE) == was_used.any(), found.headline
        assert "the scorer through reference before" in {one.name for one in found.findings}


@pytest.mark.parametrize("by_views", [False, True])
@pytest.mark.parametrize("recipe", REFERENCED, ids=("photo", "with_others", "log_odds"))
def test_a_reference_that_knows_the_other_side_accuses_nobody(recipe: Scorer, by_views: bool) -> None:
    """Nobody was used, and the reference was trained on those kept out: the claimed members stand out beside it."""
    if by_views and recipe == LogOdds():
        pytest.skip("log-odds do not look at views")
    is_claimed, is_female = sides(60)
    is_member = np.repeat(is_claimed, PHOTOS)
    shown = world(is_female, np.zeros(120, bool), seed=1, known_to_reference=~is_claimed, by_views=by_views)
    assert _auc(crossed(recipe, shown, AUDITED, is_member)).low > 0.5
    found = decided(shown, is_member, recipe.tap, recipe)
    assert found.outcome == verdict.CANNOT_DECIDE
    assert "through reference before" in found.headline


def test_photos_that_only_the_reference_draws_together_were_not_used() -> None:
    """Those said to be used are the others: they stand out beside it, which it shows alone, and no sign does."""
    rng = np.random.default_rng(1)
    people, is_used = np.repeat(np.arange(60), 6), np.arange(360) % 6 < 3
    look = rng.normal(size=(60, 24)).repeat(6, axis=0) + 0.7 * rng.normal(size=(360, 24))
    together = 0.6 * rng.normal(size=(60, 24)).repeat(6, axis=0) * is_used[:, None]
    recipe = MintPlus(IMAGE, mint_plus.WITH_OTHERS)

    def found(is_member: np.ndarray, audited: np.ndarray, **references: np.ndarray) -> intervals.Estimate:
        seen = observed(people, {OUTCOME: audited, **references})
        return _auc(cross_fit(recipe, seen, is_member, rule.UNSEEN_PHOTOS, 1))

    assert found(is_used, look + together, **{BEFORE: look}).low > 0.6
    beside, alone = found(~is_used, look, **{BEFORE: look + together}), found(~is_used, look + together)
    assert beside.low > 0.5
    assert alone.low > 0.5
    sign = _auc(cross_fit(Direction(), observed(people, {OUTCOME: look}), ~is_used, rule.UNSEEN_PHOTOS, 1))
    assert sign.low < 0.5  # so that there is no evidence even where the reference says too little alone
    nobody = found(rng.permuted(is_used.reshape(60, 6), axis=1).ravel(), look + together, **{BEFORE: look})
    assert nobody.low < 0.5 < nobody.high


def _auc(part: Scores) -> intervals.Estimate:
    return intervals.estimate([part], names=[figures.AUC], method="student")[figures.AUC]
