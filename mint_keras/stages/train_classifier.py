"""Classifiers as the paper's tables ask for them; `training.classification` trains them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras

from mint_keras import progress
from mint_keras.training import classification


@dataclasses.dataclass(frozen=True)
class TrainClassifier(classification.ClassifierSpec):
    """A classifier and where it goes.

    Attributes:
        out: The output folder.
        overwrite: Whether to replace another classifier there.
        quiet: Whether to show no progress.
    """

    out: Path
    overwrite: bool
    quiet: bool

    def spec(self) -> classification.ClassifierSpec:
        """Returns what decides the classifier."""
        names = [field.name for field in dataclasses.fields(classification.ClassifierSpec)]
        return classification.ClassifierSpec(**{name: getattr(self, name) for name in names})


def train_classifier(config: TrainClassifier) -> classification.TrainedClassifier:
    """Trains the classifier; see `classification.train_classifier`."""
    with progress.hidden(config.quiet):
        return classification.train_classifier(config.spec(), config.out, config.overwrite)


def is_finished(config: TrainClassifier) -> bool:
    """Returns whether the classifier is there; see `classification.is_finished`."""
    return classification.is_finished(config.spec(), config.out)


def untrained(config: TrainClassifier) -> tuple[keras.Model, int]:
    """Returns the network with random weights; see `classification.untrained`."""
    return classification.untrained(config.spec())
