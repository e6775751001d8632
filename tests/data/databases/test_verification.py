"""Verification sets as databases."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.data import identities, images, samples
from mint_keras.records import InputError


def test_faces_of_pairs_are_listed_once_and_joined_by_genuine_pairs(tmp_path: Path) -> None:
    faces = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    encoded = [cv2.imencode(".png", face[..., ::-1])[1].tobytes() for face in faces]
    order = [0, 1, 1, 2, 3, 4, 0, 3]  # 0-1 and 1-2 the same person, 3-4 not, 0-3 not
    content = ([encoded[i] for i in order], [True, True, False, False])
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content))
    table = samples.list_samples(str(tmp_path / "lfw.bin"))
    assert table.sample_id.tolist() == ["lfw/000000", "lfw/000001", "lfw/000003", "lfw/000004", "lfw/000005"]
    people = table.identity
    assert people[0] == people[1] == people[2]
    assert len({people[0], people[3], people[4]}) == 3
    reader = images.FaceReader()
    for location, face in zip(table.location, faces, strict=True):
        np.testing.assert_array_equal(reader.image(str(location)), face)
    with pytest.raises(InputError, match="Expected one of 8 images"):
        reader.image(f"{tmp_path / 'lfw.bin'}#8")
    with pytest.raises(InputError, match="Expected a file"):
        reader.image(f"{tmp_path / 'gone.bin'}#0")


def test_join() -> None:
    joined = identities.join_people([("c", "b"), ("x", "y"), ("b", "a"), ("z", "z")])
    assert joined == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x", "z": "z"}
    assert identities.join_people([]) == {}
