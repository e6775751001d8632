"""Audited models on disk: a folder with `model.keras` and its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mint_keras import formats
from mint_keras.data import images
from mint_keras.records import InputError

KIND = "audited_model"
CLASSIFIER = "audited_classifier"  # of pictures; what is about faces refuses it
LAB = Path("models/lab")  # the committed one
_MIN_NATIVE = 8  # pixels


def load_audited(path: Path, kind: str = KIND) -> keras.Model:
    """Loads an audited model and checks that it is the one its manifest describes.

    Args:
        path: the folder that `train_audited.py` or `convert_fr.py` wrote, for example `models/lab`.
        kind: what the manifest must say it is.

    Raises:
        InputError: if there is no such model or Keras cannot read it.
        RefusedError: if the weights were changed after the manifest was written.
    """
    formats.read_checked_manifest(path, kind, formats.MODEL)
    file = path / formats.MODEL
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise InputError(f"Expected a Keras model of built-in layers in {file}, received: {error}") from error


def kind_of(path: Path) -> str:
    """Returns the kind of an audited model, for whatever takes classifiers as well as face models."""
    manifest = formats.read_json(path / formats.MANIFEST) if (path / formats.MANIFEST).is_file() else {}
    return CLASSIFIER if manifest.get("kind") == CLASSIFIER else KIND


def framing(path: Path, native: int = 0) -> images.Framing:
    """Returns what images become before an audited model sees them: faces or pictures of the model's resolution.

    Args:
        path: the folder of the model.
        native: see `images.Framing`.

    Raises:
        InputError: if the native resolution is too small to show anything.
    """
    if 0 < native < _MIN_NATIVE:
        raise InputError(f"Expected --native-resolution of at least {_MIN_NATIVE}, or 0, received {native}.")
    kind = kind_of(path)
    is_there = (path / formats.MANIFEST).is_file()  # a plan may be of a model that one does not have
    settings = formats.read_manifest(path, kind)["config"] if is_there else {}
    return images.Framing(int(settings.get("resolution", images.IMAGE_SIZE)), kind == KIND, native)


def save_audited(path: Path, model: keras.Model, facts: dict[str, Any], kind: str = KIND) -> None:
    """Saves an audited model into its output folder and completes the manifest there.

    Args:
        path: the folder, opened by `formats.output_folder`.
        model: the model.
        facts: what else the manifest should say, for example the SHA-256 of the training pixels.
        kind: what the manifest says it is.
    """
    formats.save_model(path / formats.MODEL, model)
    manifest = formats.read_manifest(path, kind)
    sha256 = formats.sha256_file(path / formats.MODEL)
    formats.write_json(path / formats.MANIFEST, {**manifest, "model_sha256": sha256, **facts})


def untrained_copy(model: keras.Model, seed: int) -> keras.Model:
    """Returns the same architecture with fresh random weights: what a model that saw nobody gives."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)
