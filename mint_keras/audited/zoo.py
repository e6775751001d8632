"""Audited models on disk: a folder with `model.keras` and its manifest."""

import re
from pathlib import Path
from typing import Any

import keras

from mint_keras import formats, shelf
from mint_keras.audited import taps
from mint_keras.borders import reading
from mint_keras.data import images
from mint_keras.records import InputError

KIND = "audited_model"
# A kind of its own, so that whatever is about faces refuses classifiers of pictures.
CLASSIFIER = "audited_classifier"
LAB = shelf.LAB
_MIN_NATIVE = 8  # pixels


def load_audited(path: Path, kind: str = KIND) -> keras.Model:
    """Loads an audited model, from its folder or by its name on the shelf, and checks that it is as its manifest says.

    Raises:
        InputError: There is no such model, or Keras cannot read it.
        RefusedError: The weights were changed after the manifest was written.
    """
    path = shelf.find(path)
    formats.read_checked_manifest(path, kind, formats.MODEL)
    file = path / formats.MODEL
    with reading(f"a Keras model of built-in layers in {file}"):
        return keras.saving.load_model(file, compile=False, safe_mode=True)


def kind_of(path: Path) -> str:
    """Returns the kind of an audited model, for whatever takes classifiers as well as face models."""
    file = shelf.find(path) / formats.MANIFEST
    manifest = formats.read_json(file) if file.is_file() else {}
    return CLASSIFIER if manifest.get("kind") == CLASSIFIER else KIND


def framing(path: Path, native: int = 0) -> images.Framing:
    """Returns what images become before an audited model sees them: faces, or pictures of the model's resolution.

    A native resolution above 0 is what all are reduced to first. A plan may be of a model that is not there.
    """
    # It applies to members too: a control that treated one side otherwise would be a difference of its own.
    if 0 < native < _MIN_NATIVE:
        raise InputError(f"Expected --native-resolution of at least {_MIN_NATIVE}, or 0, received {native}.")
    path, kind = shelf.find(path), kind_of(path)
    is_there = (path / formats.MANIFEST).is_file()
    settings = formats.read_manifest(path, kind)["config"] if is_there else {}
    with reading(f"a resolution in the manifest of {path}"):
        # Conversions of before there was one record kept the size apart.
        size = settings.get("preprocessing", {}).get("size", settings.get("image_size"))
        side = max(map(int, size)) if size else int(settings.get("resolution", images.IMAGE_SIZE))
    return images.Framing(side, kind == KIND, native)


def conv_taps(path: Path) -> tuple[str, ...]:
    """Returns the taps that heads look at by default: conv1 to conv4, or those of them that a conversion found.

    A network without any gives its stages instead, or nothing. A plan may be of a model that is not there.
    """
    file = shelf.find(path) / formats.MANIFEST
    found = formats.read_json(file).get("taps") if file.is_file() else None
    if found is None:  # trained here, an IResNet
        return taps.CONV_TAPS
    kinds = ([tap for tap in sorted(found) if re.fullmatch(rf"{kind}\d+", tap)] for kind in ("conv", "stage"))
    return tuple(next((taps_ for taps_ in kinds if taps_), ()))


def save_audited(path: Path, model: keras.Model, facts: dict[str, Any], kind: str = KIND) -> None:
    """Saves an audited model into a folder of `formats.output_folder`; its manifest gets its SHA-256 and the facts."""
    formats.save_model(path / formats.MODEL, model)
    manifest = formats.read_manifest(path, kind)
    sha256 = formats.sha256_file(path / formats.MODEL)
    formats.write_json(path / formats.MANIFEST, {**manifest, "model_sha256": sha256, **facts})


def untrained_copy(model: keras.Model, seed: int) -> keras.Model:
    """Returns the same architecture with fresh random weights: what a model that saw nobody gives."""
    # `clone_model` draws weights from Keras' global seed.
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)
