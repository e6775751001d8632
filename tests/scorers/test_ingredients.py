"""Columns against slow and obvious computations."""

import numpy as np
import pytest
from scipy import optimize, special

from mint_keras import vectors
from mint_keras.aad import views
from mint_keras.auditing import look as looks
from mint_keras.records import Observations
from mint_keras.scorers import ingredients, log_odds, mint_plus
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.statistics import metrics
from tests.scorers.seen import observed

PEOPLE = np.array(["b", "a", "b", "a", "a", "c", "c"])


def draw() -> tuple[Observations, ingredients.Cohort]:
    rng = np.random.default_rng(1)
    outcome = rng.normal(size=(7, 5)).astype(np.float32)
    of_others = {OUTCOME: rng.normal(size=(40, 5)), "reference": rng.normal(size=(40, 3))}
    others = observed(np.repeat(np.arange(20), 2), of_others)
    features = observed(PEOPLE, {OUTCOME: outcome, "reference": rng.normal(size=(7, 3))})
    return features, ingredients.cohort_of(others, np.arange(40) < 24)


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64) / np.linalg.norm(np.asarray(x, np.float64))


def test_cohort_is_one_centroid_a_person() -> None:
    features, cohort = draw()
    assert (cohort.members.shape, cohort.externals.shape) == ((12, 5), (8, 5))
    assert [side.shape for side in cohort.references["reference"]] == [(12, 3), (8, 3)]
    made = ingredients.cohort_of(features, PEOPLE != "c")
    np.testing.assert_allclose(made.members[1], unit(unit(features[OUTCOME][0]) + unit(features[OUTCOME][2])))
    np.testing.assert_allclose(made.externals[0], unit(unit(features[OUTCOME][5]) + unit(features[OUTCOME][6])))


def test_others_are_the_person_s_other_photos_only() -> None:
    features, cohort = draw()
    found = ingredients.columns(features, cohort, ["others"])
    centroid = ingredients.other_centroids(features[OUTCOME], PEOPLE)
    vectors = [unit(row) for row in features[OUTCOME]]
    for k in range(7):
        others = [j for j in range(7) if j != k and PEOPLE[j] == PEOPLE[k]]
        mean = unit(sum(vectors[j] for j in others))
        np.testing.assert_allclose(centroid[k], mean)
        cosines = [vectors[k] @ vectors[j] for j in others]
        among = [vectors[i] @ vectors[j] for i in others for j in others if i != j]
        norm = np.mean([np.log(np.linalg.norm(features[OUTCOME][j])) for j in others])
        expected = (vectors[k] @ mean, np.mean(cosines), min(cosines), np.mean(among) if among else 1.0, norm)
        for name, value in zip(("centroid", "mean", "smallest", "among_others", "others_norm"), expected, strict=True):
            assert found[f"others/{name}"][k] == pytest.approx(value, abs=1e-6), name


def test_views_beside_the_person_s_other_photos() -> None:
    features, cohort = draw()
    rng = np.random.default_rng(5)
    seen = rng.normal(size=(7, len(views.VIEWS), features[OUTCOME].shape[1]))
    features = features.adding(**{views.OUTCOMES: seen / np.linalg.norm(seen, axis=2, keepdims=True)})
    found = ingredients.columns(features, cohort, ["others_views"])
    everything = np.concatenate([vectors.unit_rows(features[OUTCOME])[:, None], features[views.OUTCOMES]], axis=1)
    whole = [unit(vectors.sum(axis=0)) for vectors in everything]

    def nearness(k: int, view: int) -> float:
        return float(everything[k, view] @ unit(sum(whole[j] for j in others_of(k))))

    def others_of(k: int) -> list[int]:
        return [j for j in range(7) if j != k and PEOPLE[j] == PEOPLE[k]]

    for k in range(7):
        for view, name in enumerate(("itself", *views.VIEWS)):
            assert found[f"others_views/{name}"][k] == pytest.approx(nearness(k, view))
            beside = nearness(k, view) - np.mean([nearness(j, view) for j in others_of(k)])
            assert found[f"others_views/{name}_beside_others"][k] == pytest.approx(beside)
        assert found["others_views/whole_mean"][k] == pytest.approx(
            np.mean([whole[k] @ whole[j] for j in others_of(k)])
        )


def test_leaving_one_out_leaves_it_out() -> None:
    features, _ = draw()
    changed = features[OUTCOME].copy()
    changed[1] = -changed[1]
    before, after = (ingredients.other_centroids(outcome, PEOPLE) for outcome in (features[OUTCOME], changed))
    np.testing.assert_allclose(after[1], before[1])
    assert not np.allclose(after[3], before[3])
    np.testing.assert_allclose(after[[0, 2, 5, 6]], before[[0, 2, 5, 6]])


def test_cohort_columns() -> None:
    features, cohort = draw()
    found = ingredients.columns(features, cohort, ["cohort", "centroid"])
    cosines = sorted((unit(features[OUTCOME][5]) @ centre for centre in cohort.externals), reverse=True)
    assert found["cohort/externals_rank_1"][5] == pytest.approx(cosines[0])
    assert found["cohort/externals_rank_5"][5] == pytest.approx(cosines[4])
    assert found["cohort/externals_rank_10"][5] == found["cohort/externals_smallest"][5]  # of eight
    assert found["cohort/externals_smallest"][5] == pytest.approx(cosines[-1])
    assert found["cohort/externals_std"][5] == pytest.approx(np.std(cosines))
    soft = np.log(np.mean(np.exp(8 * np.array(cosines)))) / 8
    assert found["cohort/externals_soft_8"][5] == pytest.approx(soft)
    middle = unit(unit(features[OUTCOME][5]) + unit(features[OUTCOME][6]))
    for k in (5, 6):
        assert found["centroid/members_rank_1"][k] == pytest.approx((cohort.members @ middle).max())


def test_margin_is_the_gradient_of_the_loss() -> None:
    features, cohort = draw()
    found = ingredients.columns(features, cohort, ["margin"])
    for k in range(7):
        own = ingredients.other_centroids(features[OUTCOME], PEOPLE)[k]
        classes = np.concatenate([own[None], cohort.members])

        def loss(x: np.ndarray, classes: np.ndarray = classes) -> float:
            logits = 32 * classes @ unit(x)
            return float(special.logsumexp(logits) - logits[0])

        start = unit(features[OUTCOME][k])
        slope = np.linalg.norm(optimize.approx_fprime(start, loss, 1e-7)) / 32
        assert np.exp(found["margin/log_gradient"][k]) == pytest.approx(slope, rel=1e-3, abs=1e-6)
        assert found["margin/gap"][k] == pytest.approx(own @ start - (cohort.members @ start).max())


def test_references_are_looked_at_as_the_audited_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column of the other ingredients, less its mean through two references, one after the other."""
    features, _ = draw()
    rng = np.random.default_rng(2)
    others = {name: rng.normal(size=(40, 5)) for name in (OUTCOME, "reference_a", "reference_b")}
    seen = {name: rng.normal(size=(7, 5)) for name in others}
    shown = {name: rng.normal(size=(7, 3, 5)) for name in others}  # of views, which have names of their own
    named = {f"{views.OUTCOMES}_{name}" if name != OUTCOME else views.OUTCOMES: x for name, x in shown.items()}
    features = observed(PEOPLE, seen | named)
    people, is_member = np.repeat(np.arange(20), 2), np.arange(40) < 24
    cohort = ingredients.cohort_of(observed(people, others), is_member)
    monkeypatch.setattr(views, "VIEWS", dict.fromkeys("abc"))
    found = ingredients.columns(features, cohort, ["reference", "reference_others", "reference_others_views"])
    names = ["norm", "cohort", "others", "centroid", "margin", "log_odds", "others_views"]
    alone = {
        name: ingredients.columns(
            observed(PEOPLE, {OUTCOME: seen[name], views.OUTCOMES: shown[name]}),
            ingredients.cohort_of(observed(people, {OUTCOME: others[name]}), is_member),
            names,
        )
        for name in others
    }
    assert {name.partition("/")[2] for name in found} == set(alone[OUTCOME])
    for name, values in found.items():
        column = name.partition("/")[2]
        theirs = (alone["reference_a"][column] + alone["reference_b"][column]) / 2
        np.testing.assert_allclose(values, alone[OUTCOME][column] - theirs, err_msg=name)


@pytest.mark.parametrize("truth", [ingredients.IDENTITY, ingredients.IMAGE])
@pytest.mark.parametrize("level", [mint_plus.PHOTO, mint_plus.WITH_OTHERS])
def test_a_reference_alone_sees_all_that_is_taken_off(truth: str, level: str) -> None:
    # Else what only the reference says would pass for what only the audited model says, and no control would show it.
    shown = np.ones((7, len(views.VIEWS)))
    one = {OUTCOME: np.ones((7, 3)), views.COSINES: shown, views.NORM_RATIOS: shown, views.OUTCOMES: shown[..., None]}
    seen = observed(PEOPLE, one | looks.as_reference("reference_a", one))
    alone = log_odds.through(seen, "reference_a")
    assert set(alone.arrays) == set(one)
    beside, own = (mint_plus.defaults(of, level, truth) for of in (seen, alone))
    taken = {name for name in beside if name.startswith("reference")}
    assert taken
    paired = {
        "reference": {"norm", "cohort"}, "reference_views": {"views"},
        "reference_others": {"others", "centroid", "margin", "log_odds"}, "reference_others_views": {"others_views"},
    }  # fmt: skip
    assert set().union(*(paired[name] for name in taken)) <= set(own)
    assert ("grouped" in beside) <= ("grouped" in own)


def test_views_of_references_are_looked_at_where_every_reference_has_them() -> None:
    shown = np.ones((7, len(views.VIEWS)))
    one = {OUTCOME: np.ones((7, 3)), views.COSINES: shown, views.NORM_RATIOS: shown, views.OUTCOMES: shown[..., None]}
    seen = observed(PEOPLE, one | looks.as_reference("reference_a", one) | {"reference_b": one[OUTCOME]})
    names = mint_plus.available(seen, mint_plus.WITH_OTHERS)
    assert [name for name in names if name.startswith("reference")] == ["reference", "reference_others"]
    seen = seen.adding(**looks.as_reference("reference_b", one))
    assert {"reference_views", "reference_others_views"} < set(mint_plus.available(seen, mint_plus.WITH_OTHERS))


def test_photos_that_moved_together_are_nearest_to_one_another() -> None:
    """Four of eight photos of a person share something in the audited network that the reference does not see."""
    rng = np.random.default_rng(1)
    people, is_used = np.repeat(np.arange(20), 8), np.arange(160) % 8 < 4
    look = rng.normal(size=(20, 24)).repeat(8, axis=0) + 0.7 * rng.normal(size=(160, 24))
    together = 0.6 * rng.normal(size=(20, 24)).repeat(8, axis=0) * is_used[:, None]
    _, cohort = draw()

    def told(audited: np.ndarray, *reference: np.ndarray) -> float:
        seen = observed(people, {OUTCOME: audited} | {f"reference_{k}": one for k, one in enumerate(reference)})
        found = ingredients.columns(seen, cohort, ["grouped"])["grouped/nearness"].reshape(20, 8)
        return abs(metrics.auc(is_used, (found - found.mean(axis=1, keepdims=True)).ravel()) - 0.5)

    assert told(look + together, look) > 0.4
    assert told(look + together, look + together) == 0
    assert told(look, look) == 0
    # A reference that alone has it shows more of it, alone, than is seen beside it.
    assert told(look + together) > told(look, look + together)
