import numpy as np

from mint_keras.scorers import baselines


def test_embedding_norm_by_hand() -> None:
    train = np.array([[3.0, 4.0], [0.0, 7.0], [1.0, 0.0], [0.0, 3.0]])  # norms 5, 7, 1, 3: means 6 and 2
    logits = baselines.embedding_norm(np.array([[4.0, 0.0], [6.0, 0.0]]), train, np.array([True, True, False, False]))
    np.testing.assert_allclose(logits, [0.0, 2.0 / np.std([5, 7, 1, 3])], rtol=1e-6)


def test_direction_is_not_learned() -> None:
    train = np.array([[1.0], [9.0]])
    logits = baselines.embedding_norm(np.array([[1.0], [9.0]]), train, np.array([True, False]))
    assert logits[0] < 0 < logits[1]
