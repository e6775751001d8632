"""Trains audited models whose members are known, and verifies them on people whom they never saw."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mint_keras import formats, progress, vectors
from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.audited.margins import CosineClassifier, Margin, MarginLoss
from mint_keras.data import images, sample_tables, splits
from mint_keras.records import InputError, SampleTable
from mint_keras.statistics import metrics
from mint_keras.training import checkpoints, fine_tuning

LEARNING_RATE, WEIGHT_DECAY = 2e-3, 5e-4  # the defaults of the commands
_EVALUATION_BATCH = 256
_VERIFICATION_BATCH = 128


@dataclasses.dataclass(frozen=True)
class AuditedTraining:
    """How an audited model is trained."""

    epochs: int  # passes over the training set
    batch_size: int  # samples per step; the last partial batch of an epoch is dropped
    learning_rate: float  # peak rate of AdamW; it decays to zero along a cosine
    weight_decay: float  # weight decay of AdamW
    seed: int  # seeds initial weights, order and flips
    flips: bool  # whether half of the images are mirrored, at random
    # Penalty on the true identity of a face; None trains a classifier by the cross-entropy of its logits.
    margin: Margin | None = None
    scale: float = 1.0  # inverse temperature of the softmax over identities
    trainable: str = ""  # where what is trained begins, see `fine_tuning.split_at`; all of the model if empty


def batch_of_faces(pixels: np.ndarray, rows: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Returns some of the images as a model takes them, mirrored where `flip`, (batch,), says so."""
    batch = pixels[rows]
    batch[flip] = batch[flip, :, ::-1]
    return iresnet.normalise(batch)


def fit_audited(
    model: keras.Model,
    pixels: np.ndarray,
    labels: np.ndarray,
    settings: AuditedTraining,
    out: Path,
    batch_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = batch_of_faces,
) -> None:
    """Trains an audited model in place; continues from `out/checkpoint` if present.

    Args:
        model: A model from faces to embeddings, or of `classifiers.build`.
        pixels: RGB images, shape (n, size, size, 3), uint8; they may be memory-mapped.
        labels: Numbers of identities or classes from 0, shape (n,).
        settings: How to train; whatever begins later than the model is the caller's affair, see `fit_members`.
        out: Folder for the checkpoint and the logs.
        batch_of: Makes a batch, float32, of the pixels, of rows and of whether each is to be mirrored.
    """
    size = settings.batch_size
    if len(pixels) < size:
        raise InputError(f"Expected at least one batch of {size} images, received {len(pixels)}.")
    classifier, loss = with_classes(model, labels, settings, lambda rows: batch_of(pixels, rows, rows < 0))
    steps = len(pixels) // size
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps * settings.epochs)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay, name="adamw"),
        loss=loss,
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU the small IResNet trained about a third slower with XLA
    )
    # Here, because Keras traces a step that makes variables twice.
    classifier.optimizer.build(classifier.trainable_variables)
    classifier.compute_metrics(None, labels[:1], np.zeros((1, *classifier.output.shape[1:])))
    start = checkpoints.completed_epochs(out / "checkpoint")

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in range(start, settings.epochs):
            # A stream for each epoch, so that a continued training sees what an uninterrupted one would.
            rng = np.random.default_rng([settings.seed, epoch])
            order = rng.permutation(len(pixels))
            for first in range(0, steps * size, size):
                rows = order[first : first + size]
                flip = rng.random(size) < (0.5 if settings.flips else 0.0)
                yield batch_of(pixels, rows, flip), labels[rows].astype(np.int32)

    signature = (tf.TensorSpec((size, *model.input.shape[1:]), tf.float32), tf.TensorSpec((size,), tf.int32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
    callbacks = [
        checkpoints.epoch_log(out / "training.csv", start),
        checkpoints.Checkpoint(out / "checkpoint"),
        keras.callbacks.TensorBoard(str(out / "logs")),
    ]
    span = {"initial_epoch": start, "epochs": settings.epochs, "steps_per_epoch": steps}
    classifier.fit(dataset, **span, callbacks=callbacks, verbose=progress.verbosity(), shuffle=False)


def with_classes(
    model: keras.Model, labels: np.ndarray, settings: AuditedTraining, shown: Callable[[np.ndarray], np.ndarray]
) -> tuple[keras.Model, keras.losses.Loss]:
    """Returns what is trained and its loss: a model from faces to logits or to cosines with a centre per class.

    Where only the end of a network is trained, which knows faces, centres begin as the classes' centroids in it.

    Args:
        model: See `fit_audited`.
        labels: See `fit_audited`.
        settings: How it is trained.
        shown: Gives the model's input of some rows of the training set.
    """
    if settings.margin is None:
        return _logits(model), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    cosines = CosineClassifier(int(labels.max()) + 1, name="classifier")
    classifier = keras.Model(model.input, cosines(model.output), name="training")
    if settings.trainable:
        # Imprinted weights (Qi et al., arXiv 1712.07136): random ones would first move all faces alike.
        sums = np.zeros(cosines.centres.shape[::-1], np.float32)
        for rows in np.array_split(np.arange(len(labels)), 1 + len(labels) // _EVALUATION_BATCH):
            np.add.at(sums, labels[rows], vectors.unit_rows(model.predict_on_batch(shown(rows)), np.float32))
        cosines.centres.assign(vectors.unit_rows(sums).T)
    return classifier, MarginLoss(settings.margin, settings.scale)


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
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    logits.compile(loss=loss, metrics=["accuracy"], jit_compile=False)
    counted = dataset.apply(tf.data.experimental.assert_cardinality(len(starts)))
    figures = logits.evaluate(counted, return_dict=True, verbose=0)
    return {name: float(figures[name]) for name in ("accuracy", "loss")}


def _logits(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, taps.tap_tensors(model)[taps.OUTCOME], name="logits")


@contextlib.contextmanager
def decoded(
    table: SampleTable, framing: images.Framing, folder: Path
) -> Iterator[tuple[SampleTable, np.ndarray, images.FaceReader]]:
    """Yields the samples that can be read, their pixels, mapped from a file of the folder, and who read them."""
    # On the disk, because a database of images need not fit the memory.
    reader, cache = images.FaceReader(framing), folder / "pixels.npy"
    rows, pixels = reader.decode_to(cache, table)
    yield table.take(rows), pixels, reader
    cache.unlink()


def fit_members(
    model: keras.Model,
    members: SampleTable,
    framing: images.Framing,
    settings: AuditedTraining,
    out: Path,
    number: Callable[[SampleTable], np.ndarray] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Trains a model on its members, and saves it with the list of those that could be read.

    Args:
        model: What `fit_audited` trains, with random weights or, where only its end is trained, with its own.
        members: The samples to train on.
        framing: What images become before the model sees them.
        settings: How the model is trained.
        out: The output folder. A training that was interrupted there continues.
        number: Gives the class number of every sample, shape (n,); by default, people are the classes.
        facts: What the manifest says besides the number of members and the SHA-256 of their pixels.
    """
    with decoded(members, framing, out) as (used, pixels, reader):
        formats.write_rejected(out / formats.REJECTED, reader.rejected)
        if reader.rejected and not len(used):
            example = reader.rejected[0].location
            raise InputError(f"Expected images, received {len(members)} files that are none, such as {example}.")
        labels = number(used) if number else np.unique(used.people(), return_inverse=True)[1]
        if settings.trainable:
            with fine_tuning.in_training(model, settings.trainable) as (trunk, tail):
                maps = fine_tuning.maps_of(trunk, pixels, fine_tuning.FLIPS[: 1 + settings.flips], out / "maps.npy")
                fit_audited(tail, maps, labels, settings, out, fine_tuning.batch_of_maps)
            (out / "maps.npy").unlink()
        else:
            fit_audited(model, pixels, labels, settings, out)
        sample_tables.write_samples(out / formats.MEMBERS, used)
        found = {"members_pixels_sha256": reader.digest, "num_members": len(used), **(facts or {})}
        zoo.save_audited(out, model, found, zoo.CLASSIFIER if settings.margin is None else zoo.KIND)
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


def verify_people(
    model: keras.Model, table: SampleTable, framing: images.Framing, num_pairs: int, seed: int
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """Tells pairs of one person from pairs of two by the cosine of their embeddings.

    Args:
        model: A trained model.
        table: Samples of people whom the model never saw.
        framing: What images become before the model sees them.
        num_pairs: The number of genuine pairs, and of impostors, at most.
        seed: Seeds the choice of pairs.

    Returns:
        The number of people and of pairs, the AUC, and the true-positive rate at 1% false positives; and the false- and
        true-positive rates of the ROC.
    """
    used, embeddings, forward = [], [], runtime.forward(taps.extractor(model, [taps.OUTCOME]))
    # Batch by batch: a database of people who were held out need not fit the memory.
    for rows, faces in images.FaceReader(framing).batches(table, _VERIFICATION_BATCH):
        used.append(rows)
        embeddings.append(forward(iresnet.normalise(faces))[taps.OUTCOME])
    if not used:
        raise InputError("Expected readable faces among the held-out identities, received none.")
    return verify_embeddings(np.concatenate(embeddings), table.take(np.concatenate(used)).people(), num_pairs, seed)


def verify_embeddings(
    embeddings: np.ndarray, people: np.ndarray, num_pairs: int, seed: int
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """Does what `verify_people` does with embeddings, (n, d), of people, (n,), that are there already."""
    # In float32, as they come: float64 would move the last digits of every verification.json.
    unit = vectors.unit_rows(embeddings, np.float32)
    pairs, genuine = splits.make_pairs(people, num_pairs, np.random.default_rng(seed))
    cosines = np.einsum("ij,ij->i", unit[pairs[:, 0]], unit[pairs[:, 1]])
    figures = {
        "num_identities": len(np.unique(people)),
        "num_pairs": int(genuine.sum()),
        "auc": metrics.auc(genuine, cosines),
        "tpr_at_1_fpr": metrics.tpr_at_fpr(genuine, cosines, 0.01),
    }
    return figures, metrics.roc_curve(genuine, cosines)
