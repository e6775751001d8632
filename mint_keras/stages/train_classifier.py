"""Stage: train a classifier of pictures on the training part of a database, and test it on the other parts."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras import formats
from mint_keras.audited import classifiers, zoo
from mint_keras.data import images, samples, tables
from mint_keras.records import InputError, SampleTable
from mint_keras.training import checkpoints
from mint_keras.training import fit_audited as audited_training

_PICTURES = "pictures.npy"
_NOT_CONTENT = ("out", "overwrite", "quiet")
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
class TrainClassifier:
    """Options of train_audited.py --task classification; see `train_audited.TrainAudited`."""

    data: str
    out: Path
    arch: str
    resolution: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    overwrite: bool
    quiet: bool


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """What a classifier is trained on, what is held out, and the names of the classes."""

    members: SampleTable
    held_out: SampleTable
    classes: np.ndarray

    def labels(self, table: SampleTable) -> np.ndarray:
        """Returns class numbers, shape (n,)."""
        return np.searchsorted(self.classes, _attribute(table, "class"))


def train_classifier(config: TrainClassifier) -> str:
    """Trains the classifier, saves it with its members, and evaluates it on them and on what was held out."""
    if min(config.epochs, config.batch_size) < 1:
        raise InputError(
            f"Expected epochs and batch size of at least 1, received {config.epochs}, {config.batch_size}."
        )
    table = samples.list_samples(config.data)
    pictures = _divide(table, config.data)
    checkpoints.seed_everything(config.seed)
    model = classifiers.build(config.arch, config.resolution, len(pictures.classes))
    with formats.output_folder(config.out, _manifest(config, table), config.overwrite):
        if not (config.out / formats.MODEL).is_file():
            _train(config, model, pictures)
        model = zoo.load_audited(config.out, zoo.CLASSIFIER)
        result = _evaluate(config, model, pictures)
    shown = {side: f"{values['accuracy']:.4f} on {values['num_pictures']} pictures" for side, values in result.items()}
    text = (
        f"{config.arch}, {model.count_params():,} parameters, {config.resolution}x{config.resolution}, trained on "
        f"{result['members']['num_pictures']} pictures of {len(pictures.classes)} classes of {config.data}.\n"
        f"Top-1 accuracy: {shown['held_out']} it never saw, {shown['members']} it was trained on."
    )
    card = _CARD.format(name=config.out.name, facts=text, resolution=config.resolution)
    formats.write_text(config.out / "card.md", card)
    return f"{config.out / formats.MODEL}: {text}"


def is_finished(config: TrainClassifier) -> bool:
    """Returns whether the output folder holds exactly this classifier, trained and evaluated."""
    if not (config.out / formats.EVALUATION).is_file():
        return False
    made = _manifest(config, samples.list_samples(config.data))
    return bool(formats.read_manifest(config.out, zoo.CLASSIFIER)["fingerprint"] == made["fingerprint"])


def untrained(config: TrainClassifier) -> tuple[keras.Model, int]:
    """Returns the network with random weights, and how many pictures would train it."""
    pictures = _divide(samples.list_samples(config.data), config.data)
    model = classifiers.build(config.arch, config.resolution, len(pictures.classes))
    return model, len(pictures.members)


def _manifest(config: TrainClassifier, table: SampleTable) -> dict[str, Any]:
    settings = {name: v for name, v in dataclasses.asdict(config).items() if name not in _NOT_CONTENT}
    return formats.make_manifest(zoo.CLASSIFIER, {"data": samples.fingerprint(table)}, settings)


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
    classes = np.unique(labels[is_member])
    if unknown := sorted(set(labels[is_held_out]) - set(classes)):
        raise InputError(f"Expected held-out pictures of the classes trained on, received some of {unknown} in {data}.")
    return _Pictures(table.take(is_member), table.take(is_held_out), classes)


def _train(config: TrainClassifier, model: keras.Model, pictures: _Pictures) -> None:
    reader = images.FaceReader(images.Framing(config.resolution, is_face=False))
    cache = config.out / _PICTURES
    rows, pixels = reader.decode_to(cache, pictures.members)
    members = pictures.members.take(rows)
    fitting = audited_training.Fitting(
        config.epochs, config.batch_size, config.learning_rate, config.weight_decay, config.seed, flips=True
    )
    a_bar_or_lines = 1 if sys.stderr.isatty() else 2
    verbose = 0 if config.quiet else a_bar_or_lines
    audited_training.fit_classifier(model, pixels, pictures.labels(members), fitting, config.out, verbose)
    tables.write_samples(config.out / formats.MEMBERS, members)
    tables.write_samples(config.out / formats.HELD_OUT, pictures.held_out)
    facts = {
        "members_pixels_sha256": reader.digest,
        "num_members": len(members),
        "classes": pictures.classes.tolist(),
    }
    zoo.save_audited(config.out, model, facts, zoo.CLASSIFIER)
    del pixels
    cache.unlink()
    shutil.rmtree(config.out / "checkpoint", ignore_errors=True)


def _evaluate(config: TrainClassifier, model: keras.Model, pictures: _Pictures) -> dict[str, dict[str, float]]:
    """Writes and returns what `model.evaluate` gives for members and for held-out pictures."""
    result, rejected = {}, []
    for side, table in (("members", pictures.members), ("held_out", pictures.held_out)):
        reader = images.FaceReader(images.Framing(config.resolution, is_face=False))
        cache = config.out / _PICTURES
        rows, pixels = reader.decode_to(cache, table)
        if not len(rows):
            raise InputError(f"Expected readable pictures ({side}) in {config.data}, received none.")
        figures = audited_training.evaluate_classifier(model, pixels, pictures.labels(table.take(rows)))
        result[side] = {"num_pictures": len(rows), **figures}
        rejected += reader.rejected
        del pixels
        cache.unlink()
    formats.write_rejected(config.out / formats.REJECTED, rejected)
    formats.write_json(config.out / formats.EVALUATION, result)
    return result
