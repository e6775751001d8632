"""Trains audited models: classification of identities with a margin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mint_keras.audited import iresnet
from mint_keras.audited.margins import CosineClassifier, Margin, MarginLoss
from mint_keras.records import InputError
from mint_keras.training import checkpoints


@dataclasses.dataclass(frozen=True)
class AuditedTraining:
    """How an audited model is trained.

    Attributes:
        margin: the penalty on the true class.
        scale: the inverse temperature of the softmax.
        epochs: passes over the training set.
        batch_size: samples per step; the last partial batch of an epoch is dropped.
        learning_rate: peak rate of AdamW; it decays to zero along a cosine.
        weight_decay: of AdamW.
        seed: of initial weights, order and flips.
    """

    margin: Margin
    scale: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


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
        model: from images to embeddings.
        faces: shape (n, size, size, 3), uint8 RGB; may be memory-mapped.
        labels: identity numbers from 0, shape (n,).
        settings: see `AuditedTraining`.
        out: folder for the checkpoint and the logs.
        verbose: Keras' verbosity.
    """
    steps = len(faces) // settings.batch_size
    if steps == 0:
        raise InputError(f"Expected at least one batch of {settings.batch_size} faces, received {len(faces)}.")
    cosines = CosineClassifier(int(labels.max()) + 1, name="classifier")(model.output)
    classifier = keras.Model(model.input, cosines, name="training")
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps * settings.epochs)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay),
        loss=MarginLoss(settings.margin, settings.scale),
        metrics=["accuracy"],
        jit_compile=False,  # XLA on a CPU is slower here, see docs/decisions.md
    )
    checkpoint = out / "checkpoint"
    start = checkpoints.completed_epochs(checkpoint)
    dataset = _face_dataset(faces, labels, settings, start)
    callbacks: Sequence[keras.callbacks.Callback] = [
        checkpoints.epoch_log(out / "training.csv", start),
        checkpoints.Checkpoint(checkpoint),
        keras.callbacks.TensorBoard(str(out / "logs")),
    ]
    span = {"initial_epoch": start, "epochs": settings.epochs, "steps_per_epoch": steps}
    classifier.fit(dataset, **span, callbacks=callbacks, verbose=verbose, shuffle=False)


def _face_dataset(faces: np.ndarray, labels: np.ndarray, settings: AuditedTraining, start: int) -> tf.data.Dataset:
    size = settings.batch_size

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in range(start, settings.epochs):
            rng = np.random.default_rng([settings.seed, epoch])
            order = rng.permutation(len(faces))
            for first in range(0, len(faces) - size + 1, size):
                rows = order[first : first + size]
                batch = faces[rows]
                flip = rng.random(size) < 0.5
                batch[flip] = batch[flip, :, ::-1]
                yield iresnet.normalise(batch), labels[rows].astype(np.int32)

    signature = (tf.TensorSpec((size, *faces.shape[1:]), tf.float32), tf.TensorSpec((size,), tf.int32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
