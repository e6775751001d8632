"""The emotion network of others: its photos, the door for its file, and what is looked at."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from mint_keras.aad.signals import BN_DISTANCE
from mint_keras.records import InputError
from mint_keras.scorers.attacks import LABEL
from mint_keras.scorers.contract import cross_fit
from mint_keras.statistics import metrics
from studies.worlds import emotions
from tests.scorers.seen import observed


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small network whose layers are called as mini-Xception's, in Keras' old format."""
    pixels = x = keras.Input((64, 64, 1))
    for name in ("conv1", "conv2", "conv3", "conv4"):
        x = layers.MaxPooling2D(4 if name == "conv1" else 2)(x)
        x = layers.BatchNormalization(name=emotions.LAYERS[name])(layers.Conv2D(4, 1)(x))
    logits = layers.GlobalAveragePooling2D(name=emotions.LAYERS["outcome"])(layers.Conv2D(7, 1)(x))
    network = keras.Model(pixels, layers.Softmax()(logits))
    network.save(tmp_path / "epoch_001.hdf5")
    return tmp_path / "epoch_001.hdf5"


def test_a_network_of_grey_faces_in_an_old_format(checkpoint: Path) -> None:
    faces = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 1), np.uint8).repeat(3, axis=3)
    seen = emotions.face_function(emotions.open_checkpoint(checkpoint))(faces)
    softmax = keras.saving.load_model(checkpoint, compile=False)
    for name, shown in (("outcome", faces), (emotions.MIRRORED, faces[:, :, ::-1])):
        p = np.exp(seen[name]) / np.exp(seen[name]).sum(axis=1, keepdims=True)
        expected = softmax.predict_on_batch((shown[..., :1] / 255.0 - 0.5) * 2.0)
        np.testing.assert_allclose(p, expected, atol=1e-5)
    assert {name: values.shape for name, values in seen.items()} == {
        "conv1_max": (3, 4), "conv2_max": (3, 4), "conv3_max": (3, 4), "conv4_max": (3, 4), "outcome": (3, 7),
        BN_DISTANCE: (3, 4), emotions.MIRRORED: (3, 7),
    }  # fmt: skip


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    pixels = keras.Input((64, 64, 1))
    keras.Model(pixels, layers.Lambda(lambda x: x * 2)(pixels)).save(tmp_path / "epoch_001.hdf5")
    with pytest.raises(InputError, match="of built-in layers only"):
        emotions.open_checkpoint(tmp_path / "epoch_001.hdf5")


def test_near_copies_are_on_no_two_sides(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    smooth = [cv2.resize(rng.integers(0, 256, (6, 6), np.uint8), (48, 48), interpolation=cv2.INTER_CUBIC)
              for _ in range(6)]  # fmt: skip
    brighter = np.clip(smooth[0].astype(int) + 3, 0, 255).astype(np.uint8)
    parts = {
        "training": [smooth[0], smooth[1], smooth[2], smooth[2]],  # twice on one side
        "public_test": [smooth[3], brighter],
        "private_test": [smooth[4], smooth[1]],
    }
    for part, faces in parts.items():
        (tmp_path / part / "happy").mkdir(parents=True)
        for number, face in enumerate(faces):
            cv2.imwrite(str(tmp_path / part / "happy" / f"{number}.png"), face)
    photos = emotions.read_photos(tmp_path, tmp_path)
    names = ["training/2", "training/3", "public_test/0", "private_test/0"]
    assert photos.table.sample_id.tolist() == [f"fer2013/{name}" for name in names]
    assert photos.is_member.tolist() == [True, True, False, False]
    assert photos.table.people().tolist() == [f"fer2013/{names[place]}" for place in (0, 0, 2, 3)]
    assert photos.copies == {"training": 2, "public_test": 1, "private_test": 1, "on one side": 1}
    assert photos.label.tolist() == [3] * 4
    assert photos.faces.shape == (4, 64, 64, 3)
    assert photos.draw(1, seed=1).is_member.tolist() == [True, False]


@pytest.mark.parametrize("where", ["outcome", "mirrored_before", "reference_before", "class", "nowhere"])
def test_what_is_seen_of_a_member(where: str) -> None:
    rng = np.random.default_rng(1)
    is_member = np.arange(400) % 2 == 0
    label = rng.integers(7, size=400)
    if where == "class":
        label[is_member] = rng.integers(4, size=200)
    names = ("outcome", "mirrored", "reference_before", "mirrored_before")
    arrays = {name: rng.normal(size=(400, 7)) for name in names}
    if where in arrays:
        arrays[where][np.arange(400), label] += 2 * is_member
    seen = observed(np.arange(400), {**arrays, LABEL: label})
    aucs = {}
    for recipe in (emotions.Joint(), emotions.ClassAlone()):
        part = cross_fit(recipe, seen, is_member, "same_database", 1)
        aucs[recipe.name] = metrics.auc(part.is_member, part.logit)
    assert (aucs["joint"] > 0.65) == (where != "nowhere")
    assert (aucs["class alone"] > 0.65) == (where == "class")
