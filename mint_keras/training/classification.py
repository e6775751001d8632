"""Trains a classifier of pictures on the part train of a database, and tests it on the other parts."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from mint_keras import formats, languages
from mint_keras.audited import classifiers, zoo
from mint_keras.borders import named
from mint_keras.data import images, sample_tables, samples
from mint_keras.records import InputError, SampleTable
from mint_keras.training import checkpoints, fit_audited


@dataclasses.dataclass(frozen=True)
class ClassifierSpec:
    """What decides a classifier; all of it is in its manifest. It is trained as `fit_audited.AuditedTraining` says."""

    data: str  # a database whose pictures have classes and parts
    arch: str  # a key of `classifiers.ARCHITECTURES`
    resolution: int  # the side of the pictures in pixels
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int

    def manifest(self, table: SampleTable) -> dict[str, Any]:
        """Returns the manifest of the classifier that these samples make."""
        inputs = {"data": samples.fingerprint(table)}
        return formats.make_manifest(zoo.CLASSIFIER, inputs, dataclasses.asdict(self))


class TrainedClassifier(NamedTuple):
    """What `model.evaluate` gives of a classifier for members and for held_out; the same in words, with the model."""

    figures: dict[str, dict[str, float]]
    facts: str


def train_classifier(spec: ClassifierSpec, out: Path, overwrite: bool = False) -> TrainedClassifier:
    """Trains a classifier, saves it with its members, and evaluates it on them and on what was held out.

    A training that was interrupted in the output folder continues; another classifier there is replaced on request.

    Raises:
        InputError: If the database has no parts and classes, or the architecture does not exist.
    """
    table = samples.list_samples(spec.data)
    members, held_out, classes = _divide(table, spec.data)
    framing = images.Framing(spec.resolution, is_face=False)
    checkpoints.seed_everything(spec.seed)
    model = classifiers.build(spec.arch, spec.resolution, len(classes))

    def number(pictures: SampleTable) -> np.ndarray:
        return np.searchsorted(classes, samples.attribute(pictures, "class"))

    figures, rejected = {}, []
    with formats.output_folder(out, spec.manifest(table), overwrite):
        if not (out / formats.MODEL).is_file():
            sample_tables.write_samples(out / formats.HELD_OUT, held_out)
            rates = spec.learning_rate, spec.weight_decay
            settings = fit_audited.AuditedTraining(spec.epochs, spec.batch_size, *rates, spec.seed, flips=True)
            fit_audited.fit_members(model, members, framing, settings, out, number, {"classes": classes.tolist()})
        model = zoo.load_audited(out, zoo.CLASSIFIER)
        for side, listed in (("members", members), ("held_out", held_out)):
            with fit_audited.decoded(listed, framing, out) as (used, pixels, reader):
                if not len(used):
                    raise InputError(f"Expected readable pictures ({side}) in {spec.data}, received none.")
                found = fit_audited.evaluate_classifier(model, pixels, number(used))
            figures[side] = {"num_pictures": len(used), **found}
            rejected += reader.rejected
        formats.write_rejected(out / formats.REJECTED, rejected)
        formats.write_json(out / formats.EVALUATION, figures)
    shown = {side: f"{values['accuracy']:.4f} on {values['num_pictures']} pictures" for side, values in figures.items()}
    facts = (
        f"{spec.arch}, {model.count_params():,} parameters, {spec.resolution}x{spec.resolution}, trained on "
        f"{figures['members']['num_pictures']} pictures of {len(classes)} classes of {named(spec.data)}.\n"
        f"Top-1 accuracy: {shown['held_out']} it never saw, {shown['members']} it was trained on."
    )
    card = languages.of(languages.ENGLISH).templates("mint_keras.report", is_page=False).get_template("classifier.md")
    formats.write_text(out / "card.md", card.render(name=out.name, facts=facts, resolution=spec.resolution))
    return TrainedClassifier(figures, facts)


def is_finished(spec: ClassifierSpec, out: Path) -> bool:
    """Returns whether a folder holds exactly this classifier, trained and evaluated."""
    if not (out / formats.EVALUATION).is_file():
        return False
    made = spec.manifest(samples.list_samples(spec.data))
    return bool(formats.read_manifest(out, zoo.CLASSIFIER)["fingerprint"] == made["fingerprint"])


def untrained(spec: ClassifierSpec) -> tuple[keras.Model, int]:
    """Returns the network with random weights, and how many pictures would train it."""
    members, _, classes = _divide(samples.list_samples(spec.data), spec.data)
    return classifiers.build(spec.arch, spec.resolution, len(classes)), len(members)


def _divide(table: SampleTable, data: str) -> tuple[SampleTable, SampleTable, np.ndarray]:
    """Returns what a classifier is trained on, what is held out, and the names of the classes."""
    labels, parts = samples.attribute(table, "class"), samples.attribute(table, "part")
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
    return table.take(is_member), table.take(is_held_out), classes
