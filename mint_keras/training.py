"""The only place that compiles and fits: audited models and heads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mint_keras.audited import iresnet
from mint_keras.audited.margins import CosineClassifier, Margin, MarginLoss
from mint_keras.records import InputError

CLASS_BATCH = 64  # a batch holds exactly 64 members and 64 externals (paper, Sec. IV-B3)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow and asks TensorFlow for deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


@dataclasses.dataclass(frozen=True)
class LabelledAad:
    """Some rows of an AAD store with their labels; batches are read as they are needed.

    Attributes:
        features: AAD per tap, each of shape (N, ...); may be memory-mapped.
        rows: the rows in question, shape (n,).
        is_member: their classes, shape (n,), bool.
    """

    features: Mapping[str, np.ndarray]
    rows: np.ndarray
    is_member: np.ndarray

    def batch(self, chosen: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns features {tap: (k, ...)} and labels (k, 1), float32, of k of the n rows."""
        features = {tap: np.asarray(values[self.rows[chosen]], np.float32) for tap, values in self.features.items()}
        return features, self.is_member[chosen, None].astype(np.float32)

    def dataset(self, batches: Callable[[], Iterator[np.ndarray]]) -> tf.data.Dataset:
        """Returns a dataset of the batches that an iterator of choices names."""
        features = {tap: tf.TensorSpec((None, *v.shape[1:]), tf.float32) for tap, v in self.features.items()}
        signature = (features, tf.TensorSpec((None, 1), tf.float32))
        return tf.data.Dataset.from_generator(
            lambda: (self.batch(chosen) for chosen in batches()), output_signature=signature
        ).prefetch(2)


# --- heads -----------------------------------------------------------------------------------------------------------


def balanced_batches(is_member: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields one epoch of batches as row indices: 64 members, then 64 externals.

    An epoch is one pass over the larger class; the smaller is repeated; the last partial batch is dropped.

    Args:
        is_member: class of every training sample, shape (n,), bool.
        rng: source of the order.
    """
    classes = [np.flatnonzero(is_member), np.flatnonzero(~is_member)]
    size = max(len(rows) for rows in classes)
    orders = [_repeat_shuffled(rows, size, rng) for rows in classes]
    for start in range(0, size - CLASS_BATCH + 1, CLASS_BATCH):
        yield np.concatenate([order[start : start + CLASS_BATCH] for order in orders])


def check_class_sizes(is_member: np.ndarray) -> None:
    """Raises InputError if a class has too few training samples to fill its half of one batch."""
    num_members, num_externals = np.count_nonzero(is_member), np.count_nonzero(~is_member)
    if min(num_members, num_externals) < CLASS_BATCH:
        raise InputError(
            f"Expected at least {CLASS_BATCH} training samples of each class, received {num_members} members and "
            f"{num_externals} externals."
        )


def train_dataset(data: LabelledAad, seed: int) -> tuple[tf.data.Dataset, int]:
    """Makes the endless stream of balanced training batches.

    Args:
        data: what to train on.
        seed: of the order.

    Returns:
        A dataset of ({tap: (128, ...)}, (128, 1)) and the number of batches per epoch.

    Raises:
        InputError: if a class has fewer than 64 samples.
    """
    check_class_sizes(data.is_member)

    def batches() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(seed)
        while True:
            yield from balanced_batches(data.is_member, rng)

    larger_class = max(np.count_nonzero(data.is_member), np.count_nonzero(~data.is_member))
    return data.dataset(batches), int(larger_class) // CLASS_BATCH


def evaluation_dataset(data: LabelledAad, batch_size: int = 256) -> tf.data.Dataset:
    """Makes one ordered pass over all samples, for `evaluate` and `predict`."""
    starts = range(0, len(data.rows), batch_size)

    def batches() -> Iterator[np.ndarray]:
        return (np.arange(start, min(start + batch_size, len(data.rows))) for start in starts)

    return data.dataset(batches).apply(tf.data.experimental.assert_cardinality(len(starts)))


def compile_head(head: keras.Model) -> None:
    """Compiles a head as in the paper: Adam, binary cross-entropy; `evaluate` also gives accuracy."""
    head.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy("accuracy"), keras.metrics.BinaryCrossentropy("cross_entropy")],
    )


def fit_head(
    head: keras.Model,
    data: LabelledAad,
    epochs: int,
    seed: int,
    logs: Path,
    on_epoch: Callable[[], object] = lambda: None,
) -> None:
    """Trains a head in place.

    Args:
        head: from `heads`; a layer named "standardise" is adapted on `data` first.
        data: what to train on.
        epochs: passes over the larger class.
        seed: of batch order and dropout.
        logs: folder for `training.csv` and the TensorBoard files.
        on_epoch: called after every epoch, for progress.
    """
    dataset, steps = train_dataset(data, seed)
    if any(layer.name == "standardise" for layer in head.layers):
        vectors, _ = data.batch(np.arange(len(data.rows)))
        head.get_layer("standardise").adapt(np.concatenate([vectors[tap] for tap in head.input], axis=1))
    compile_head(head)
    logs.mkdir(parents=True, exist_ok=True)
    callbacks = [
        keras.callbacks.CSVLogger(str(logs / "training.csv")),
        keras.callbacks.TensorBoard(str(logs)),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, values: on_epoch()),
    ]
    head.fit(dataset, epochs=epochs, steps_per_epoch=steps, callbacks=callbacks, verbose=0, shuffle=False)


def logit_model(head: keras.Model) -> keras.Model:
    """Returns the head without its sigmoid."""
    return keras.Model(head.input, head.get_layer("logit").output)


def evaluate_head(head: keras.Model, logits: keras.Model, data: LabelledAad) -> tuple[dict[str, float], np.ndarray]:
    """Evaluates a compiled head.

    Args:
        head: see `compile_head`.
        logits: `logit_model(head)`; an argument because building it costs more than running it.
        data: what to evaluate on.

    Returns:
        `model.evaluate`'s accuracy, loss (with the L1 penalty) and cross_entropy, and the logits, shape (n,), float32.
    """
    dataset = evaluation_dataset(data)
    figures = head.evaluate(dataset, return_dict=True, verbose=0)
    logit = logits.predict(dataset, verbose=0)[:, 0]
    return {name: float(figures[name]) for name in ("accuracy", "loss", "cross_entropy")}, logit


def _repeat_shuffled(rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    repeats = -(-size // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(repeats)])[:size]


# --- audited models --------------------------------------------------------------------------------------------------


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
    start = _completed_epochs(checkpoint)
    dataset = _face_dataset(faces, labels, settings, start)
    callbacks: Sequence[keras.callbacks.Callback] = [
        keras.callbacks.BackupAndRestore(str(checkpoint)),
        keras.callbacks.CSVLogger(str(out / "training.csv"), append=start > 0),
        keras.callbacks.TensorBoard(str(out / "logs")),
    ]
    classifier.fit(
        dataset, epochs=settings.epochs, steps_per_epoch=steps, callbacks=callbacks, verbose=verbose, shuffle=False
    )


def _completed_epochs(checkpoint: Path) -> int:
    """Where `BackupAndRestore` will continue; the stream of batches has to start at the same epoch."""
    metadata = checkpoint / "training_metadata.json"
    return int(json.loads(metadata.read_text())["epoch"]) if metadata.is_file() else 0


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
