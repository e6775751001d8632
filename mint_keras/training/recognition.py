"""Trains a face-recognition model whose members are known, and verifies it on people whom it never saw."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np

from mint_keras import formats, progress, vectors
from mint_keras.audited import iresnet, zoo
from mint_keras.data import images, splits, tables
from mint_keras.records import InputError, SampleTable
from mint_keras.statistics import metrics
from mint_keras.training import fit_audited

_BATCH = 128


@dataclasses.dataclass(frozen=True)
class Verification:
    """How well a model tells pairs of one person from pairs of two.

    Attributes:
        figures: The number of people and of pairs, the AUC, and the true-positive rate at 1% false positives.
        curve: False-positive and true-positive rates of the ROC.
    """

    figures: dict[str, float]
    curve: tuple[np.ndarray, np.ndarray]


def fit_members(
    model: keras.Model,
    members: SampleTable,
    framing: images.Framing,
    settings: fit_audited.AuditedTraining,
    out: Path,
) -> None:
    """Trains a model on its members, and saves it with the list of those that could be read.

    Args:
        model: A model from faces to embeddings, with random weights.
        members: The samples to train on; each of their people becomes a class.
        framing: What images become before the model sees them.
        settings: How the model is fitted.
        out: The output folder. A training that was interrupted there continues.

    Raises:
        InputError: If no image can be read.
    """
    reader = images.FaceReader(framing)
    # On the disk, because a database of faces need not fit the memory.
    cache = out / "faces.npy"
    rows, faces = reader.decode_to(cache, members)
    # Images that cannot be read do not fail a training: they are listed, and the model is one of the others.
    formats.write_rejected(out / formats.REJECTED, reader.rejected)
    if not len(rows):
        first = reader.rejected[0].location
        raise InputError(f"Expected face images, received {len(reader.rejected)} files that are none, such as {first}.")
    members = members.take(rows)
    _, labels = np.unique(members.people(), return_inverse=True)
    fit_audited.fit_audited(model, faces, labels, settings, out, progress.verbosity())
    tables.write_samples(out / formats.MEMBERS, members)
    zoo.save_audited(out, model, {"members_pixels_sha256": reader.digest, "num_members": len(members)})
    # The file is mapped until its last array is gone.
    del faces
    cache.unlink()
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


def verify_people(
    model: keras.Model, table: SampleTable, framing: images.Framing, num_pairs: int, seed: int
) -> Verification:
    """Compares pairs of faces by the cosine of their embeddings.

    Args:
        model: A trained model.
        table: Samples of people whom the model never saw.
        framing: What images become before the model sees them.
        num_pairs: The number of genuine pairs, and of impostors, at most.
        seed: Seeds the choice of pairs.

    Raises:
        InputError: If no image can be read.
    """
    used, embeddings = [], []
    for rows, faces in images.FaceReader(framing).batches(table, _BATCH):
        used.append(rows)
        embeddings.append(model.predict_on_batch(iresnet.normalise(faces)))
    if not used:
        raise InputError("Expected readable faces among the held-out identities, received none.")
    people = table.take(np.concatenate(used)).people()
    unit = vectors.unit_rows(np.concatenate(embeddings), np.float32)
    pairs, genuine = splits.make_pairs(people, num_pairs, np.random.default_rng(seed))
    cosines = np.einsum("ij,ij->i", unit[pairs[:, 0]], unit[pairs[:, 1]])
    figures = {
        "num_identities": len(np.unique(people)),
        "num_pairs": int(genuine.sum()),
        "auc": metrics.auc(genuine, cosines),
        "tpr_at_1_fpr": metrics.tpr_at_fpr(genuine, cosines, 0.01),
    }
    return Verification(figures, metrics.roc_curve(genuine, cosines))
