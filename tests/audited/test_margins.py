import math

import keras
import numpy as np
import pytest

from mint_keras.audited import margins


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_loss_equals_the_formula(name: str) -> None:
    cosines = np.array([[0.8, 0.1, -0.3], [-0.2, 0.5, 0.4]])
    labels, scale = np.array([0, 2]), 16.0
    expected = []
    for row, label in zip(cosines, labels, strict=True):
        logits = scale * row
        theta = math.acos(row[label])
        logits[label] = scale * (math.cos(theta + 0.5) if name == "arcface" else row[label] - 0.4)
        expected.append(np.logaddexp.reduce(logits) - logits[label])
    loss = margins.MarginLoss(margins.MARGINS[name], scale).call(labels, cosines.astype(np.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_no_margin_is_plain_softmax() -> None:
    cosines = np.array([[0.3, -0.1]], np.float32)
    loss = margins.MarginLoss(margins.Margin(), 8.0).call(np.array([1]), cosines)
    np.testing.assert_allclose(loss, np.logaddexp(2.4, -0.8) + 0.8, rtol=1e-5)


def test_gradient_is_finite_at_the_ends() -> None:
    import tensorflow as tf

    cosines = tf.Variable([[1.0, -1.0]])
    with tf.GradientTape() as tape:
        loss = margins.MarginLoss(margins.MARGINS["arcface"]).call(tf.constant([0]), cosines)
    assert np.isfinite(tape.gradient(loss, cosines)).all()


def test_classifier_gives_cosines() -> None:
    classifier = margins.CosineClassifier(3)
    embeddings = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    cosines = keras.ops.convert_to_numpy(classifier(embeddings))
    centres = keras.ops.convert_to_numpy(classifier.centres)
    expected = embeddings @ centres / np.linalg.norm(embeddings, axis=1)[:, None] / np.linalg.norm(centres, axis=0)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
