"""Trains a classifier of pictures on the part train of a database, and tests it on the other parts."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras import formats, progress
from mint_keras.audited import classifiers, zoo
from mint_keras.data import images, samples, tables
from mint_keras.records import InputError, SampleTable
from mint_keras.training import checkpoints, fit_audited

_PICTURES = "pictures.npy"
_CARD = """# {name}

A classifier whose members are known, to be audited as in Appendix A of the paper.

{facts}

- Input: RGB pictures of {resolution}x{resolution}, (x - 127.5) / 127.5: the largest central square, shrunk by averaging
  or enlarged bilinearly. Outputs: `conv1`, the first convolution, and `outcome`, the logits.
- `members.parquet` lists what it was trained on: the whole part "train". `held_out.parquet` lists pictures of the same
  database that it never saw.
- `manifest.json` has the settings, the classes, the command and the SHA-256 of the weights and of the training pixels.
- `evaluation.json` has what `model.evaluate` gave, `training.csv` the losses.
"""


@dataclasses.dataclass(frozen=True)
class ClassifierSpec:
    """What decides a classifier; all of it is in its manifest.

    Attributes:
        data: A database whose pictures have classes and parts.
        arch: A key of `classifiers.ARCHITECTURES`.
        resolution: The side of the pictures in pixels.
        epochs: Passes over the training set.
        batch_size: Pictures per step.
        learning_rate: Peak rate of AdamW.
        weight_decay: Weight decay of AdamW.
        seed: Seeds the weights and the order.
    """

    data: str
    arch: str
    resolution: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int

    def manifest(self, table: SampleTable) -> dict[str, Any]:
        """Returns the manifest of the classifier that these samples make."""
        # Of another kind than a face model, so that whatever is about faces refuses it; train_mint.py and
        # extract_aad.py take both.
        inputs = {"data": samples.fingerprint(table)}
        return formats.make_manifest(zoo.CLASSIFIER, inputs, dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A classifier on disk.

    Attributes:
        figures: For members and for held_out, the number of pictures, the top-1 accuracy and the loss.
        facts: The same in words, with the model.
    """

    figures: dict[str, dict[str, float]]
    facts: str


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """What a classifier is trained on, what is held out, and the names of the classes."""

    members: SampleTable
    held_out: SampleTable
    classes: np.ndarray

    def labels(self, table: SampleTable) -> np.ndarray:
        """Returns class numbers, shape (n,)."""
        return np.searchsorted(self.classes, _attribute(table, "class"))


def train_classifier(spec: ClassifierSpec, out: Path, overwrite: bool = False) -> TrainedClassifier:
    """Trains a classifier, saves it with its members, and evaluates it on them and on what was held out.

    Args:
        spec: What to train.
        out: The output folder. A training that was interrupted there continues.
        overwrite: Whether to replace another classifier there.

    Raises:
        InputError: If the database has no parts and classes, or the architecture does not exist.
    """
    table = samples.list_samples(spec.data)
    pictures = _divide(table, spec.data)
    # Before the network is built: its first weights come from this seed.
    checkpoints.seed_everything(spec.seed)
    model = classifiers.build(spec.arch, spec.resolution, len(pictures.classes))
    with formats.output_folder(out, spec.manifest(table), overwrite):
        if not (out / formats.MODEL).is_file():
            _train(spec, out, model, pictures)
        model = zoo.load_audited(out, zoo.CLASSIFIER)
        figures = _evaluate(spec, out, model, pictures)
    shown = {side: f"{values['accuracy']:.4f} on {values['num_pictures']} pictures" for side, values in figures.items()}
    facts = (
        f"{spec.arch}, {model.count_params():,} parameters, {spec.resolution}x{spec.resolution}, trained on "
        f"{figures['members']['num_pictures']} pictures of {len(pictures.classes)} classes of {spec.data}.\n"
        f"Top-1 accuracy: {shown['held_out']} it never saw, {shown['members']} it was trained on."
    )
    formats.write_text(out / "card.md", _CARD.format(name=out.name, facts=facts, resolution=spec.resolution))
    return TrainedClassifier(figures, facts)


def is_finished(spec: ClassifierSpec, out: Path) -> bool:
    """Returns whether a folder holds exactly this classifier, trained and evaluated."""
    if not (out / formats.EVALUATION).is_file():
        return False
    made = spec.manifest(samples.list_samples(spec.data))
    return bool(formats.read_manifest(out, zoo.CLASSIFIER)["fingerprint"] == made["fingerprint"])


def untrained(spec: ClassifierSpec) -> tuple[keras.Model, int]:
    """Returns the network with random weights, and how many pictures would train it."""
    pictures = _divide(samples.list_samples(spec.data), spec.data)
    model = classifiers.build(spec.arch, spec.resolution, len(pictures.classes))
    return model, len(pictures.members)


def _attribute(table: SampleTable, name: str) -> np.ndarray:
    """Returns an attribute of every sample as text, "" where there is none."""
    texts = ["{}"] * len(table) if table.attributes is None else table.attributes.tolist()
    return np.array([str(json.loads(text).get(name, "")) for text in texts])


def _divide(table: SampleTable, data: str) -> _Pictures:
    labels, parts = _attribute(table, "class"), _attribute(table, "part")
    is_member = (parts == "train") & (labels != "")
    is_held_out = (parts != "") & (parts != "train") & (labels != "")
    if not is_member.any() or not is_held_out.any():
        raise InputError(
            "Expected pictures with their classes in a part train and in another part (CIFAR-100, Tiny-ImageNet, "
            f"tensorflow_datasets), received {is_member.sum()} of train and {is_held_out.sum()} of others in {data}."
        )
    # Of the members only: what is held out decides nothing about the network.
    classes = np.unique(labels[is_member])
    if unknown := sorted(set(labels[is_held_out]) - set(classes)):
        raise InputError(f"Expected held-out pictures of the classes trained on, received some of {unknown} in {data}.")
    return _Pictures(table.take(is_member), table.take(is_held_out), classes)


def _train(spec: ClassifierSpec, out: Path, model: keras.Model, pictures: _Pictures) -> None:
    reader = images.FaceReader(images.Framing(spec.resolution, is_face=False))
    cache = out / _PICTURES
    rows, pixels = reader.decode_to(cache, pictures.members)
    members = pictures.members.take(rows)
    fitting = fit_audited.Fitting(
        spec.epochs, spec.batch_size, spec.learning_rate, spec.weight_decay, spec.seed, flips=True
    )
    labels = pictures.labels(members)
    fit_audited.fit_classifier(model, pixels, labels, fitting, out, progress.verbosity())
    tables.write_samples(out / formats.MEMBERS, members)
    tables.write_samples(out / formats.HELD_OUT, pictures.held_out)
    facts = {
        "members_pixels_sha256": reader.digest,
        "num_members": len(members),
        "classes": pictures.classes.tolist(),
    }
    zoo.save_audited(out, model, facts, zoo.CLASSIFIER)
    # The file is mapped until its last array is gone.
    del pixels
    cache.unlink()
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


def _evaluate(spec: ClassifierSpec, out: Path, model: keras.Model, pictures: _Pictures) -> dict[str, dict[str, float]]:
    """Writes and returns what `model.evaluate` gives for members and for held-out pictures."""
    figures, rejected = {}, []
    # Decoded again, one side after the other: both need not fit the disk at once.
    for side, table in (("members", pictures.members), ("held_out", pictures.held_out)):
        reader = images.FaceReader(images.Framing(spec.resolution, is_face=False))
        cache = out / _PICTURES
        rows, pixels = reader.decode_to(cache, table)
        if not len(rows):
            raise InputError(f"Expected readable pictures ({side}) in {spec.data}, received none.")
        found = fit_audited.evaluate_classifier(model, pixels, pictures.labels(table.take(rows)))
        figures[side] = {"num_pictures": len(rows), **found}
        rejected += reader.rejected
        del pixels
        cache.unlink()
    formats.write_rejected(out / formats.REJECTED, rejected)
    formats.write_json(out / formats.EVALUATION, figures)
    return figures
