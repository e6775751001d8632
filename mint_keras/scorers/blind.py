"""Scores from pixels alone, which never saw the audited model: what they find is not membership."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import layers

from mint_keras import paper
from mint_keras.data import images
from mint_keras.records import InputError, SampleTable
from mint_keras.scorers.baselines import Features, Scorer, fit_logistic_regression
from mint_keras.scorers.forensics import NAMES, statistics
from mint_keras.statistics import metrics
from mint_keras.training import batches, checkpoints
from mint_keras.training import fit_heads as heads

STATISTICS = "statistics"  # of `forensics`, (n, k)
THUMBNAILS = "thumbnails"  # (n, side, side, 3), uint8
THUMBNAIL_SIZE = 56
MIN_EPOCHS, MIN_STEPS = paper.VANILLA_EPOCHS, 300
_BATCH_SIZE = 256


def features(faces: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the scorers of this module take.

    Args:
        faces: RGB, shape (n, size, size, 3), uint8.

    Returns:
        `STATISTICS`, and `THUMBNAILS`: the faces shrunk to 56x56, or as they are if they are smaller.
    """
    side = min(THUMBNAIL_SIZE, faces.shape[1])
    thumbnails = np.empty((len(faces), side, side, 3), np.uint8)
    for thumbnail, face in zip(thumbnails, faces, strict=True):
        thumbnail[:] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return {STATISTICS: statistics(faces), THUMBNAILS: thumbnails}


def read(table: SampleTable, framing: images.Framing = images.FACE) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reads samples batch by batch and keeps no more than `features` of them.

    Returns:
        The usable rows of the table, shape (n,), and their features.

    Raises:
        InputError: if none is usable.
    """
    rows, parts = [], []
    for some_rows, faces in images.FaceReader(framing).batches(table, _BATCH_SIZE):
        rows.append(some_rows)
        parts.append(features(faces))
    if not parts:
        raise InputError(f"Expected images, received {len(table)} samples of which none is usable.")
    return np.concatenate(rows), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def fit_statistics(train: Features, is_member: np.ndarray) -> Scorer:
    """Logistic regression on the forensic statistics."""
    return fit_logistic_regression(STATISTICS, train, is_member)


def fit_pixels(train: Features, is_member: np.ndarray, seed: int, out: Path) -> Scorer:
    """Trains a small CNN on the thumbnails, as heads are trained: balanced batches, Adam, cross-entropy.

    It takes as many epochs as vanilla heads, and in small runs as many as make 300 steps: a blind scorer that has not
    learned what there is to see is too easily passed.

    Args:
        train: with `THUMBNAILS` of the heads' training samples.
        is_member: which of them are members, shape (n,), bool.
        seed: of initial weights and order.
        out: folder for the log, and for the checkpoint of a training that takes minutes, from which it continues.

    Raises:
        InputError: if a class has fewer than 64 samples.
    """
    batches.check_class_sizes(is_member)
    checkpoints.seed_everything(seed)
    model = _small_cnn(train[THUMBNAILS].shape[1])
    data = batches.LabelledAad({images.PIXELS: train[THUMBNAILS]}, np.arange(len(is_member)), is_member)
    steps = max(np.count_nonzero(is_member), np.count_nonzero(~is_member)) // batches.CLASS_BATCH
    epochs = max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps))
    heads.fit_head(model, data, heads.HeadTraining(epochs, seed), out)
    logits = heads.logit_model(model)

    def score(features: Features) -> np.ndarray:
        num = len(features[THUMBNAILS])
        unknown = np.zeros(num, bool)
        seen = batches.LabelledAad({images.PIXELS: features[THUMBNAILS]}, np.arange(num), unknown)
        return logits.predict(batches.evaluation_dataset(seen), verbose=0)[:, 0]

    return score


def telling(values: np.ndarray, is_member: np.ndarray, num: int = 5) -> list[tuple[str, float]]:
    """Names the statistics that tell two sides apart best, each by itself, to say in what they differ.

    A description, not a test: of so many statistics the best is off 0.5 by chance alone.

    Args:
        values: from `forensics.statistics`, shape (n, k).
        is_member: shape (n,), bool.
        num: how many to name.

    Returns:
        Names and AUCs, the one furthest from 0.5 first; below 0.5 members have less of it.
    """
    found = [(name, metrics.auc(is_member, column)) for name, column in zip(NAMES, values.T, strict=True)]
    return sorted(found, key=_distance_from_chance, reverse=True)[:num]


def _distance_from_chance(found: tuple[str, float]) -> float:
    return abs(found[1] - 0.5)


def _small_cnn(side: int) -> keras.Model:
    """No narrower than 16 channels, see docs/decisions.md; no normalisation, whose averages lag in small runs."""
    pixels = keras.Input((side, side, 3), dtype="uint8", name=images.PIXELS)
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    for k, width in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{k}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{k}")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dense(1, name="logit")(x)
    return keras.Model({images.PIXELS: pixels}, layers.Activation("sigmoid", name="score")(x), name="blind_cnn")
