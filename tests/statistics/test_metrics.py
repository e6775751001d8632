import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mint_keras.records import InputError
from mint_keras.statistics import metrics


@pytest.fixture(params=["continuous", "ties"])
def sample(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    is_member = rng.random(500) < 0.4
    scores = rng.normal(size=500) + is_member
    return is_member, np.round(scores) if request.param == "ties" else scores


def test_auc_equals_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.auc(*sample) == pytest.approx(sklearn_metrics.roc_auc_score(*sample), abs=1e-12)


def test_roc_equals_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    expected = sklearn_metrics.roc_curve(*sample, drop_intermediate=False)[:2]
    np.testing.assert_allclose(metrics.roc_curve(*sample), expected)


@pytest.mark.parametrize("max_fpr", [0.0, 0.01, 0.1, 1.0])
def test_tpr_equals_counting(sample: tuple[np.ndarray, np.ndarray], max_fpr: float) -> None:
    is_member, scores = sample
    best = 0.0
    for threshold in [np.inf, *scores]:
        if (scores[~is_member] >= threshold).mean() <= max_fpr:
            best = max(best, (scores[is_member] >= threshold).mean())
    assert metrics.tpr_at_fpr(is_member, scores, max_fpr) == pytest.approx(best)


def test_tpr_by_hand() -> None:
    is_member = np.array([1, 1, 0, 1, 0, 0], bool)
    scores = np.array([9, 8, 7, 6, 5, 4])
    assert metrics.tpr_at_fpr(is_member, scores, 0.0) == pytest.approx(2 / 3)
    assert metrics.tpr_at_fpr(is_member, scores, 0.34) == 1.0
    # No interpolation: between 0 and 1 of 3 externals there is nothing.
    assert metrics.tpr_at_fpr(is_member, scores, 0.33) == pytest.approx(2 / 3)


def test_constant_scores_are_chance() -> None:
    is_member = np.array([True, False, True, False])
    assert metrics.auc(is_member, np.zeros(4)) == 0.5
    assert metrics.tpr_at_fpr(is_member, np.zeros(4)) == 0.0


def test_accuracy_and_cross_entropy_by_hand() -> None:
    is_member = np.array([True, False, False])
    assert metrics.accuracy(is_member, np.array([0.1, 0.0, 0.2])) == pytest.approx(2 / 3)
    logits = np.array([2.0, -1.0, 500.0])
    expected = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), 500.0])
    assert metrics.cross_entropy(is_member, logits) == pytest.approx(expected)


def test_one_class_or_broken_scores() -> None:
    with pytest.raises(InputError, match="both classes"):
        metrics.auc(np.ones(3, bool), np.arange(3))
    with pytest.raises(InputError, match="finite"):
        metrics.auc(np.array([True, False]), np.array([np.nan, 0.0]))
