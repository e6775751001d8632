"""Verification against a slow twin written from arcface_torch's description, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from mint_keras.records import InputError
from mint_keras.statistics import verification


def embeddings(num: int = 400, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    people = rng.normal(size=(num, 16))
    genuine = np.arange(num) % 2 == 0
    first = people + noise * rng.normal(size=people.shape)
    second = np.where(genuine[:, None], people, rng.normal(size=people.shape)) + noise * rng.normal(size=people.shape)
    return 7 * first, second, genuine, np.repeat(np.arange(10), num // 10)


def slow_accuracy(first: np.ndarray, second: np.ndarray, genuine: np.ndarray) -> list[float]:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    distance = ((a - b) ** 2).sum(axis=1)
    accuracies = []
    for train, test in KFold(10, shuffle=False).split(distance):
        right = [np.mean((distance[train] < t) == genuine[train]) for t in np.arange(0, 4, 0.01)]
        accuracies.append(np.mean((distance[test] < np.arange(0, 4, 0.01)[np.argmax(right)]) == genuine[test]))
    return accuracies


def test_accuracy_is_the_published_scheme() -> None:
    first, second, genuine, folds = embeddings()
    result = verification.verify(first, second, genuine, folds)
    slow = slow_accuracy(first, second, genuine)
    assert result["accuracy"] == pytest.approx(np.mean(slow))
    assert result["accuracy_std"] == pytest.approx(np.std(slow))
    assert 0.6 < result["accuracy"] < 0.99
    cosine = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert result["auc"] == pytest.approx(roc_auc_score(genuine, cosine))
    limit = np.sort(cosine[~genuine])[-3]  # two of 200 impostors, 1%, are above it
    assert result["tar_at_far_1e-02"] == pytest.approx(np.mean(cosine[genuine] > limit))
    assert result["tar_at_far_1e-03"] is None  # 200 impostors cannot tell
    assert (result["num_pairs"], result["num_genuine"]) == (400, 200)


def test_limit_cases() -> None:
    first, second, genuine, folds = embeddings(noise=0.0)
    perfect = verification.verify(first, second, genuine, folds)
    assert (perfect["accuracy"], perfect["auc"], perfect["tar_at_far_1e-02"]) == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="genuine and impostor"):
        verification.verify(first, second, np.ones(400, bool), folds)
    with pytest.raises(InputError, match="two folds"):
        verification.verify(first, second, genuine, np.zeros(400))
    with pytest.raises(InputError, match="other than zero"):
        verification.verify(0 * first, second, genuine, folds)
    first[3, 2] = np.nan
    with pytest.raises(InputError, match="finite"):
        verification.verify(first, second, genuine, folds)
