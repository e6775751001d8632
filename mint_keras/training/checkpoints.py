"""How a training continues where it was interrupted, and what makes two trainings equal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import keras
import tensorflow as tf


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow and asks TensorFlow for deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class Checkpoint(keras.callbacks.BackupAndRestore):
    """Keeps the state of a training at the ends of epochs until it is complete, and restores it.

    Args:
        folder: where it is kept.
        seconds: the time between two savings at least, where saving would cost more than an epoch.
    """

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        super().__init__(str(folder))
        self._seconds = seconds
        self._last_saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves if it is time."""
        if time.monotonic() - self._last_saved >= self._seconds:
            super().on_epoch_end(epoch, logs)
            self._last_saved = time.monotonic()


def completed_epochs(checkpoint: Path) -> int:
    """Returns where `Checkpoint` will continue; the stream of batches has to start at the same epoch."""
    metadata = checkpoint / "training_metadata.json"
    return int(json.loads(metadata.read_text())["epoch"]) if metadata.is_file() else 0
