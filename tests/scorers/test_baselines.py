"""Each baseline against a computation by hand, or a slow and obvious one."""

import numpy as np
import pytest
from scipy import optimize

from mint_keras.aad import signals
from mint_keras.scorers import baselines
from mint_keras.scorers.baselines import ALPHA, BASELINES, FIRST_MAXIMA, MAXIMA, OUTCOME, PERSON


def draw(num: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        OUTCOME: rng.normal(size=(num, 8)),
        MAXIMA: rng.normal(size=(num, 5)),
        FIRST_MAXIMA: rng.normal(size=(num, 3)),
        PERSON: np.array([f"web/{k // 3}" for k in range(num)]),
        signals.STABILITY: rng.uniform(0.8, 1.0, (num, 3)),
        signals.BN_DISTANCE: rng.gamma(2.0, size=(num, 4)),
    }


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
    score = BASELINES[name].fit({key: train[key] for key in inputs}, is_member)
    logits = score({key: test[key] for key in inputs})
    assert (logits.shape, logits.dtype) == ((90,), np.float32)
    assert np.mean((logits > 0) == claimed) > 0.8
    np.testing.assert_array_equal(logits, score({key: test[key] for key in inputs}))


def test_embedding_norm_by_hand() -> None:
    train = np.array([[3.0, 4.0], [0.0, 7.0], [1.0, 0.0], [0.0, 3.0]])  # norms 5, 7, 1, 3: means 6 and 2
    score = baselines.fit_embedding_norm({OUTCOME: train}, np.array([True, True, False, False]))
    logits = score({OUTCOME: np.array([[4.0, 0.0], [6.0, 0.0]])})
    np.testing.assert_allclose(logits, [0.0, 2.0 / np.std([5, 7, 1, 3])], rtol=1e-6)


def test_direction_is_not_learned() -> None:
    train = {OUTCOME: np.array([[1.0], [9.0]])}
    logits = baselines.fit_embedding_norm(train, np.array([True, False]))(train)
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
        cosines = [signals.cosine(outcome[k : k + 1], outcome[j : j + 1])[0] for j in others]
        assert found[k] == pytest.approx(np.mean(cosines), abs=1e-6) if others else np.isnan(found[k])


def test_compactness_without_any_pair_has_no_score() -> None:
    train = {OUTCOME: np.eye(4), PERSON: np.array(["a", "a", "b", "c"])}  # no external has two faces
    score = baselines.fit_compactness(train, np.array([True, True, False, False]))
    assert np.isnan(score({OUTCOME: np.eye(2), PERSON: np.array(["d", "d"])})).all()


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
    logits = BASELINES[name].fit({key: features}, is_member)({key: features})
    np.testing.assert_allclose(logits, z @ best[1:] + best[0], atol=5e-3)


def looks(num: int, excess: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Embeddings whose length depends on how a face looks: sharp ones are three times as long, and vary more."""
    is_sharp = rng.uniform(size=num) < 0.5
    norm = np.where(is_sharp, 30 + 3 * rng.normal(size=num), 10 + rng.normal(size=num)) + excess
    look = np.stack([is_sharp + 0.1 * rng.normal(size=num), rng.normal(size=num)], axis=1)
    return {OUTCOME: norm[:, None], FIRST_MAXIMA: look, PERSON: rng.permutation(num).astype(str)}


def test_qmia_keeps_its_false_positive_rate_whatever_a_face_looks_like() -> None:
    rng = np.random.default_rng(4)
    external, member, fresh = looks(2000, 0.0, rng), looks(500, 6.0, rng), looks(4000, 0.0, rng)
    train = {key: np.concatenate([external[key], member[key]]) for key in external}
    is_member = np.arange(2500) >= 2000
    score = baselines.fit_qmia(train, is_member)
    is_accused, is_sharp = score(fresh) > 0, fresh[FIRST_MAXIMA][:, 0] > 0.5
    assert np.mean(is_accused) == pytest.approx(ALPHA, abs=0.02)
    assert np.mean(is_accused[is_sharp]) == pytest.approx(ALPHA, abs=0.03)
    assert np.mean(is_accused[~is_sharp]) == pytest.approx(ALPHA, abs=0.03)
    assert np.mean(score(member) > 0) > 0.5  # most of them are shorter than a sharp external
    train[OUTCOME][is_member] = 0.0  # members teach it nothing
    np.testing.assert_array_equal(baselines.fit_qmia(train, is_member)(fresh), score(fresh))


def test_qmia_refuses_a_rate_that_so_few_externals_cannot_show() -> None:
    rng = np.random.default_rng(5)
    for num, can_score in ((38, True), (37, False)):  # 19 and 18 are left to set the threshold
        train = looks(num, 0.0, rng)
        train[PERSON] = np.array([f"{k:02d}" for k in range(num)])
        logits = baselines.fit_qmia(train, np.zeros(num, bool))(train)
        assert np.isfinite(logits).all() == can_score
        assert np.isnan(logits).any() != can_score
