"""The values that cross module borders, and the two errors a script turns into an exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


class InputError(ValueError):
    """Input that cannot be used. The message says what was expected, what was received and what to do.

    Attributes:
        done: the report on the rest of the work, where the rest could be done.
    """

    def __init__(self, message: str, done: str = "") -> None:
        super().__init__(message)
        self.done = done


class RefusedError(ValueError):
    """A check failed, so the work was not done (for example: an artefact made from other inputs)."""


@dataclasses.dataclass(frozen=True)
class SampleTable:
    """Where each sample is and whose face it shows; no pixels.

    Attributes:
        sample_id: unique names, shape (n,), str. They travel with every array made from the samples.
        database: the database each sample comes from, shape (n,), str.
        identity: the person, unique within a database, shape (n,), str.
        location: where `data.images.read_image` finds the pixels, shape (n,), str.
    """

    sample_id: np.ndarray
    database: np.ndarray
    identity: np.ndarray
    location: np.ndarray

    def __post_init__(self) -> None:
        sizes = {name: len(column) for name, column in self.columns().items()}
        if len(set(sizes.values())) != 1:
            raise InputError(f"Expected columns of one length, received {sizes}.")

    def __len__(self) -> int:
        return len(self.sample_id)

    def columns(self) -> dict[str, np.ndarray]:
        """Returns the columns by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def take(self, rows: np.ndarray) -> SampleTable:
        """Returns the given rows (indices or a boolean mask)."""
        return SampleTable(**{name: column[rows] for name, column in self.columns().items()})

    def people(self) -> np.ndarray:
        """Returns `database/identity` of every sample, shape (n,): the unit that splits respect."""
        return np.char.add(np.char.add(self.database.astype(str), "/"), self.identity.astype(str))


def concatenate_tables(tables: Sequence[SampleTable]) -> SampleTable:
    """Returns one table with the rows of all, in order."""
    names = [field.name for field in dataclasses.fields(SampleTable)]
    return SampleTable(**{n: np.concatenate([getattr(table, n) for table in tables]) for n in names})


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A file that could not be used, and why."""

    location: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one scorer gave for the samples of one evaluation; a higher score means more likely a member.

    Attributes:
        scorer: who scored, for example "vanilla" or "vanilla_untrained".
        tap: what it looked at, for example "conv1" or "combination".
        evaluation: which comparison this is, for example "unseen_database".
        seed: the seed of the run.
        samples: the scored samples, n rows.
        is_member: what each sample is (claimed to be), shape (n,), bool; None where nobody knows.
        logit: the score before the sigmoid, shape (n,), float32.
    """

    scorer: str
    tap: str
    evaluation: str
    seed: int
    samples: SampleTable
    is_member: np.ndarray | None
    logit: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """The membership score in [0, 1], shape (n,), float64 so that confident scores do not tie."""
        return sigmoid(self.logit)


@dataclasses.dataclass(frozen=True)
class ResultRow:
    """One line of results.jsonl: one scorer, tap and evaluation.

    Attributes:
        scorer: see `Scores`.
        tap: see `Scores`.
        evaluation: see `Scores`.
        seed: see `Scores`.
        num_members: samples on the members' side.
        num_externals: samples on the externals' side.
        accuracy: of `model.evaluate`, at threshold 0.5, as a fraction. Baselines, which have no Keras model, take
            this and the next two from their scores.
        loss: of `model.evaluate`: cross-entropy plus the head's L1 penalty.
        cross_entropy: of `model.evaluate`, without the penalty.
        auc: area under the ROC curve, from the scores.
        tpr_at_1_fpr: true-positive rate at a false-positive rate of at most 1%, from the scores.
    """

    scorer: str
    tap: str
    evaluation: str
    seed: int
    num_members: int
    num_externals: int
    accuracy: float
    loss: float
    cross_entropy: float
    auc: float
    tpr_at_1_fpr: float


@dataclasses.dataclass(frozen=True)
class ParityRecord:
    """How far one tap of a converted model is from its source.

    Attributes:
        tap: what was compared.
        oracle: what ran the source, for example "onnxruntime".
        input: what was shown: "faces" or "noise".
        batch: images that Keras got at once.
        max_abs: largest absolute difference.
        relative: ||ours - theirs|| / ||theirs||, over all samples.
        cosine: smallest cosine between ours and theirs of a sample.
    """

    tap: str
    oracle: str
    input: str
    batch: int
    max_abs: float
    relative: float
    cosine: float


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-logit)) in float64, without overflow."""
    logit = np.asarray(logit, np.float64)
    return np.exp(-np.logaddexp(0.0, -logit))
