"""Scores from pixels alone, which never saw the audited model: what they find is not membership."""

import dataclasses
import math
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import layers

from mint_keras import paper
from mint_keras.data import images
from mint_keras.records import Observations
from mint_keras.scorers.baselines import fit_logistic_regression
from mint_keras.scorers.contract import Fitted, Needs
from mint_keras.scorers.forensics import statistics
from mint_keras.training import batches, checkpoints, fit_heads

STATISTICS = "statistics"  # of `forensics`, (n, k)
THUMBNAILS = "thumbnails"  # (n, side, side, 3), uint8
THUMBNAIL_SIZE = 56
MIN_EPOCHS, MIN_STEPS = paper.VANILLA_EPOCHS, 300
BATCH_SIZE = 256  # of `aad.observe.observe` with `features`
TAP = "pixels"  # how scores name what it looks at
PIXELS_ONLY = Needs(has_pixels=True)


def features(faces: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the scorers of this module take of faces, RGB, (n, size, size, 3), uint8.

    `THUMBNAILS` are the faces shrunk to 56x56, or as they are if they are smaller.
    """
    side = min(THUMBNAIL_SIZE, faces.shape[1])
    thumbnails = np.empty((len(faces), side, side, 3), np.uint8)
    for thumbnail, face in zip(thumbnails, faces, strict=True):
        thumbnail[:] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return {STATISTICS: statistics(faces), THUMBNAILS: thumbnails}


@dataclasses.dataclass(frozen=True)
class PixelStatistics:
    """Logistic regression on the forensic statistics; see `scorers.contract.Scorer`."""

    name: str = "pixel statistics"
    tap: str = TAP
    needs: Needs = PIXELS_ONLY

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns from what `features` gave; nothing about it is random."""
        del seed
        return fit_logistic_regression(STATISTICS, seen, is_member)


@dataclasses.dataclass(frozen=True)
class PixelNetwork:
    """A small CNN on the thumbnails, trained as heads are: balanced batches, Adam, cross-entropy.

    The log goes into the folder, and the checkpoint of a training that takes minutes, from which it continues; None
    keeps neither.
    """

    folder: Path | None = None
    name: str = "pixel network"
    tap: str = TAP
    needs: Needs = PIXELS_ONLY

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Trains the network on what `features` gave.

        Raises:
            InputError: if a class has fewer than 64 samples.
        """
        batches.check_class_sizes(is_member)
        checkpoints.seed_everything(seed)
        thumbnails = seen[THUMBNAILS]
        model = _small_cnn(thumbnails.shape[1])
        data = batches.LabelledAad({images.PIXELS: thumbnails}, np.arange(len(is_member)), is_member)
        steps = max(np.count_nonzero(is_member), np.count_nonzero(~is_member)) // batches.CLASS_BATCH
        # Small runs too take as many epochs as make 300 steps: a blind scorer that has not learned what there is to see
        # is too easily passed.
        epochs = max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps))
        fit_heads.fit_head(model, data, fit_heads.HeadTraining(epochs, seed), self.folder)
        logits = fit_heads.logit_model(model)

        def score(others: Observations) -> np.ndarray:
            num = len(others)
            shown = batches.LabelledAad({images.PIXELS: others[THUMBNAILS]}, np.arange(num), np.zeros(num, bool))
            return logits.predict(batches.evaluation_dataset(shown), verbose=0)[:, 0]

        return score


def _small_cnn(side: int) -> keras.Model:
    # Without normalisation, whose averages lag in small runs.
    pixels = keras.Input((side, side, 3), dtype="uint8", name=images.PIXELS)
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    for k, width in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{k}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{k}")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dense(1, name="logit")(x)
    return keras.Model({images.PIXELS: pixels}, layers.Activation("sigmoid", name="score")(x), name="blind_cnn")
