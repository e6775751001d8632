"""Trains audited models: classification of identities with a margin, or of pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mint_keras.audited import iresnet, taps
from mint_keras.audited.margins import CosineClassifier, Margin, MarginLoss
from mint_keras.records import InputError
from mint_keras.training import checkpoints

LEARNING_RATE, WEIGHT_DECAY = 2e-3, 5e-4  # the defaults of the commands
_EVALUATION_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How an audited model is fitted.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Samples per step; the last partial batch of an epoch is dropped.
        learning_rate: Peak rate of AdamW; it decays to zero along a cosine.
        weight_decay: Weight decay of AdamW.
        seed: Seeds initial weights, order and flips.
        flips: Whether half of the images are mirrored, at random.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    flips: bool


@dataclasses.dataclass(frozen=True)
class AuditedTraining(Fitting):
    """How a face-recognition model is trained.

    Attributes:
        margin: Penalty on the true class.
        scale: Inverse temperature of the softmax.
    """

    margin: Margin
    scale: float


def fit_audited(
    model: keras.Model,
    faces: np.ndarray,
    labels: np.ndarray,
    settings: AuditedTraining,
    out: Path,
    verbose: int = 0,
) -> None:
    """Trains an audited model in place on classification with a margin; continues from `out/checkpoint` if present.

    Args:
        model: A model from images to embeddings.
        faces: RGB faces, shape (n, size, size, 3), uint8; they may be memory-mapped.
        labels: Identity numbers from 0, shape (n,).
        settings: How to train.
        out: Folder for the checkpoint and the logs.
        verbose: Keras' verbosity.
    """
    _check_one_batch(faces, settings)
    cosines = CosineClassifier(int(labels.max()) + 1, name="classifier")(model.output)
    classifier = keras.Model(model.input, cosines, name="training")
    _fit(classifier, MarginLoss(settings.margin, settings.scale), faces, labels, settings, out, verbose)


def fit_classifier(
    model: keras.Model, pictures: np.ndarray, labels: np.ndarray, settings: Fitting, out: Path, verbose: int = 0
) -> None:
    """Trains a model of `classifiers.build` in place by the cross-entropy of its logits; else as `fit_audited`."""
    _check_one_batch(pictures, settings)
    _fit(_logits(model), _cross_entropy(), pictures, labels, settings, out, verbose)


def evaluate_classifier(model: keras.Model, pictures: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns the top-1 accuracy and the cross-entropy (loss) of a trained classifier, by `model.evaluate`."""
    starts = range(0, len(pictures), _EVALUATION_BATCH)

    # Batch by batch: normalised pictures take four times the memory of those that are mapped.
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in starts:
            rows = slice(start, start + _EVALUATION_BATCH)
            yield iresnet.normalise(pictures[rows]), labels[rows].astype(np.int32)

    signature = (tf.TensorSpec((None, *pictures.shape[1:]), tf.float32), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    logits = _logits(model)
    logits.compile(loss=_cross_entropy(), metrics=["accuracy"], jit_compile=False)
    counted = dataset.apply(tf.data.experimental.assert_cardinality(len(starts)))
    figures = logits.evaluate(counted, return_dict=True, verbose=0)
    return {name: float(figures[name]) for name in ("accuracy", "loss")}


def _logits(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, taps.tap_tensors(model)[taps.OUTCOME], name="logits")


def _cross_entropy() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _check_one_batch(images: np.ndarray, settings: Fitting) -> None:
    if len(images) < settings.batch_size:
        raise InputError(f"Expected at least one batch of {settings.batch_size} images, received {len(images)}.")


def _fit(
    classifier: keras.Model,
    loss: keras.losses.Loss,
    faces: np.ndarray,
    labels: np.ndarray,
    settings: Fitting,
    out: Path,
    verbose: int,
) -> None:
    steps = len(faces) // settings.batch_size
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps * settings.epochs)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay),
        loss=loss,
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU the small IResNet trained about a third slower with XLA
    )
    checkpoint = out / "checkpoint"
    start = checkpoints.completed_epochs(checkpoint)
    size = settings.batch_size

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in range(start, settings.epochs):
            # A stream for each epoch, so that a continued training sees what an uninterrupted one would.
            rng = np.random.default_rng([settings.seed, epoch])
            order = rng.permutation(len(faces))
            for first in range(0, len(faces) - size + 1, size):
                rows = order[first : first + size]
                batch = faces[rows]
                flip = rng.random(size) < (0.5 if settings.flips else 0.0)
                batch[flip] = batch[flip, :, ::-1]
                yield iresnet.normalise(batch), labels[rows].astype(np.int32)

    signature = (tf.TensorSpec((size, *faces.shape[1:]), tf.float32), tf.TensorSpec((size,), tf.int32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
    callbacks: Sequence[keras.callbacks.Callback] = [
        checkpoints.epoch_log(out / "training.csv", start),
        checkpoints.Checkpoint(checkpoint),
        keras.callbacks.TensorBoard(str(out / "logs")),
    ]
    span = {"initial_epoch": start, "epochs": settings.epochs, "steps_per_epoch": steps}
    classifier.fit(dataset, **span, callbacks=callbacks, verbose=verbose, shuffle=False)
