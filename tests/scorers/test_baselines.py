"""Each baseline against a computation by hand, or a slow and obvious one."""

import numpy as np
import pytest
from scipy import optimize

from mint_keras import vectors
from mint_keras.aad import signals
from mint_keras.records import InputError, Observations, concatenate_tables
from mint_keras.scorers import baselines
from mint_keras.scorers.baselines import ALPHA, BASELINES, FIRST_MAXIMA, MAXIMA, OUTCOME
from tests.scorers.seen import observed, only


def draw(num: int, rng: np.random.Generator) -> Observations:
    arrays = {
        OUTCOME: rng.normal(size=(num, 8)),
        MAXIMA: rng.normal(size=(num, 5)),
        FIRST_MAXIMA: rng.normal(size=(num, 3)),
        signals.STABILITY: rng.uniform(0.8, 1.0, (num, 3)),
        signals.BN_DISTANCE: rng.gamma(2.0, size=(num, 4)),
    }
    return observed(np.arange(num) // 3, arrays)


def outcomes(outcome: np.ndarray, people: np.ndarray | None = None) -> Observations:
    return observed(np.arange(len(outcome)) if people is None else people, {OUTCOME: outcome})


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_takes_what_it_names_and_tells_members(name: str) -> None:
    rng = np.random.default_rng(1)
    train, is_member = draw(240, rng), np.arange(240) < 120
    test, claimed = draw(90, rng), np.arange(90) < 45
    for features, members in ((train, is_member), (test, claimed)):
        features[OUTCOME][members] = 3.0 + features[OUTCOME][members] / 4  # longer, and closer together
        for key in (MAXIMA, signals.STABILITY):
            features[key][members] += 1.0
        features[signals.BN_DISTANCE][members] *= 0.2
    inputs = BASELINES[name].inputs
    score = BASELINES[name].fit(only(train, inputs), is_member)
    logits = score(only(test, inputs))
    assert (logits.shape, logits.dtype) == ((90,), np.float32)
    assert np.mean((logits > 0) == claimed) > 0.8
    np.testing.assert_array_equal(logits, score(only(test, inputs)))


def test_embedding_norm_by_hand() -> None:
    train = np.array([[3.0, 4.0], [0.0, 7.0], [1.0, 0.0], [0.0, 3.0]])  # norms 5, 7, 1, 3: means 6 and 2
    score = BASELINES[baselines.EMBEDDING_NORM].fit(outcomes(train), np.array([True, True, False, False]))
    logits = score(outcomes(np.array([[4.0, 0.0], [6.0, 0.0]])))
    np.testing.assert_allclose(logits, [0.0, 2.0 / np.std([5, 7, 1, 3])], rtol=1e-6)


def test_direction_is_not_learned() -> None:
    train = outcomes(np.array([[1.0], [9.0]]))
    logits = BASELINES[baselines.EMBEDDING_NORM].fit(train, np.array([True, False]))(train)
    assert logits[0] < 0 < logits[1]


def test_compactness_by_hand() -> None:
    outcome = np.array([[2.0, 0.0], [3.0, 3.0], [0.0, 1.0], [5.0, 0.0]])  # at 0, 45 and 90 degrees, and somebody else
    found = baselines.compactness(outcome, np.array(["a", "a", "a", "b"]))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [half / 2, half, half / 2, np.nan])


def test_compactness_against_pairs() -> None:
    rng = np.random.default_rng(2)
    outcome, person = rng.normal(size=(30, 6)).astype(np.float32), rng.integers(0, 9, 30).astype(str)
    found = baselines.compactness(outcome, person)
    for k in range(30):
        others = [j for j in range(30) if j != k and person[j] == person[k]]
        cosines = [vectors.cosines(outcome[k : k + 1], outcome[j : j + 1])[0] for j in others]
        assert found[k] == pytest.approx(np.mean(cosines), abs=1e-6) if others else np.isnan(found[k])


def test_compactness_without_any_pair_has_no_score() -> None:
    train = outcomes(np.eye(4), np.array(["a", "a", "b", "c"]))  # no external has two faces
    score = BASELINES["compactness"].fit(train, np.array([True, True, False, False]))
    assert np.isnan(score(outcomes(np.eye(2), np.array(["d", "d"])))).all()


@pytest.mark.parametrize(("name", "key"), [("max_pool_lr", MAXIMA), ("bn_distance", signals.BN_DISTANCE)])
def test_logistic_regression_minimises_its_loss(name: str, key: str) -> None:
    rng = np.random.default_rng(3)
    features, is_member = draw(120, rng)[key], np.arange(120) < 30
    features[is_member] += 0.7
    z = (features - features.mean(0)) / features.std(0)
    weight, sign = np.where(is_member, 120 / 60, 120 / 180), np.where(is_member, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> float:
        logits = z @ parameters[1:] + parameters[0]
        return float(weight @ np.logaddexp(0, -sign * logits) + parameters[1:] @ parameters[1:] / 2)

    best = optimize.minimize(loss, np.zeros(1 + z.shape[1]), tol=1e-10).x
    seen = observed(np.arange(120), {key: features})
    logits = BASELINES[name].fit(seen, is_member)(seen)
    np.testing.assert_allclose(logits, z @ best[1:] + best[0], atol=5e-3)


def looks(num: int, excess: float, rng: np.random.Generator) -> Observations:
    """Embeddings whose length depends on how a face looks: sharp ones are three times as long, and vary more."""
    is_sharp = rng.uniform(size=num) < 0.5
    norm = np.where(is_sharp, 30 + 3 * rng.normal(size=num), 10 + rng.normal(size=num)) + excess
    look = np.stack([is_sharp + 0.1 * rng.normal(size=num), rng.normal(size=num)], axis=1)
    return observed(rng.permutation(num), {OUTCOME: norm[:, None], FIRST_MAXIMA: look})


QMIA = baselines.BASELINES["qmia"].fit


def test_qmia_keeps_its_false_positive_rate_whatever_a_face_looks_like() -> None:
    rng = np.random.default_rng(4)
    external, member, fresh = looks(2000, 0.0, rng), looks(500, 6.0, rng), looks(4000, 0.0, rng)
    both = {name: np.concatenate([external[name], member[name]]) for name in external.arrays}
    train = Observations(concatenate_tables([external.table, member.table]), both)
    is_member = np.arange(2500) >= 2000
    score = QMIA(train, is_member)
    is_accused, is_sharp = score(fresh) > 0, fresh[FIRST_MAXIMA][:, 0] > 0.5
    assert np.mean(is_accused) == pytest.approx(ALPHA, abs=0.02)
    assert np.mean(is_accused[is_sharp]) == pytest.approx(ALPHA, abs=0.03)
    assert np.mean(is_accused[~is_sharp]) == pytest.approx(ALPHA, abs=0.03)
    assert np.mean(score(member) > 0) > 0.5  # most of them are shorter than a sharp external
    train[OUTCOME][is_member] = 0.0  # members teach it nothing
    np.testing.assert_array_equal(QMIA(train, is_member)(fresh), score(fresh))


def test_qmia_refuses_a_rate_that_so_few_externals_cannot_show() -> None:
    rng = np.random.default_rng(5)
    for num, can_score in ((38, True), (37, False)):  # 19 and 18 are left to set the threshold
        train = observed(np.array([f"{k:02d}" for k in range(num)]), looks(num, 0.0, rng).arrays)
        logits = QMIA(train, np.zeros(num, bool))(train)
        assert np.isfinite(logits).all() == can_score
        assert np.isnan(logits).any() != can_score


def test_a_scorer_says_what_it_needs_and_looks_at_that() -> None:
    """As beside the heads of a run: on several taps, on the first one, on no particular tap."""
    groups = {"conv1": ["conv1"], "conv4": ["conv4"], "both": ["conv1", "conv4"], "outcome": ["outcome"]}
    rng = np.random.default_rng(6)
    arrays = {"conv1_max": rng.normal(size=(90, 3)), "conv4_max": rng.normal(size=(90, 2)), OUTCOME: np.eye(90)}
    arrays |= {signals.STABILITY: rng.uniform(0.8, 1.0, (90, 3)), signals.BN_DISTANCE: rng.gamma(2.0, size=(90, 4))}
    seen, is_member = observed(np.arange(90) // 3, arrays), np.arange(90) < 45
    scorers = {(one.name, one.tap): one for one in baselines.scorers_of(list(BASELINES), groups)}
    assert {tap for name, tap in scorers if name == "max_pool_lr"} == {"conv1", "conv4", "both"}
    assert [tap for name, tap in scorers if name == "qmia"] == [OUTCOME]
    both = np.concatenate([arrays["conv1_max"], arrays["conv4_max"]], axis=1)
    looked_at = {
        ("max_pool_lr", "both"): ({MAXIMA: both}, ("conv1", "conv4"), ()),
        ("qmia", OUTCOME): ({OUTCOME: arrays[OUTCOME], FIRST_MAXIMA: arrays["conv1_max"]}, ("conv1", OUTCOME), ()),
        ("stability", OUTCOME): (
            {signals.STABILITY: arrays[signals.STABILITY]}, ("conv1", OUTCOME), (signals.STABILITY,),
        ),
        ("bn_distance", "normalisations"): (
            {signals.BN_DISTANCE: arrays[signals.BN_DISTANCE]}, ("conv1", OUTCOME), (signals.BN_DISTANCE,),
        ),
    }  # fmt: skip
    for (name, tap), (values, needed, of_model) in looked_at.items():
        scorer = scorers[name, tap]
        assert (scorer.needs.taps, scorer.needs.signals) == (needed, of_model)
        plain = observed(np.arange(90) // 3, values)
        expected = BASELINES[name].fit(plain, is_member)(plain)
        np.testing.assert_array_equal(scorer.fit(seen, is_member)(seen), expected, err_msg=name)
    with pytest.raises(InputError, match="'conv4_max' among what was observed"):
        scorers["max_pool_lr", "conv4"].fit(only(seen, ("conv1_max",)), is_member)
