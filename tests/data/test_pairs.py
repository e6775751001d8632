"""Verification pairs in the layouts they are published in."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.data import images, pairs, samples
from mint_keras.records import InputError


def encoded(seed: int) -> bytes:
    face = np.random.default_rng(seed).integers(0, 255, (112, 112, 3), np.uint8)
    return cv2.imencode(".png", face)[1].tobytes()


IMAGES = [encoded(i) for i in range(24)]
SAME = [i % 2 == 0 for i in range(12)]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", ["bytes", "arrays", "numpy labels", "bytearrays"])
def test_insightface_bin(kind: str, protocol: int, tmp_path: Path) -> None:
    content: tuple[list, list] = (list(IMAGES), list(SAME))
    if kind == "arrays":
        content = ([np.frombuffer(image, np.uint8) for image in IMAGES], SAME)
    elif kind == "numpy labels":
        content = (IMAGES, [np.bool_(same) for same in SAME])
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content, protocol=protocol))
    read = pairs.read_pairs(tmp_path / "lfw.bin")
    assert read.images == IMAGES
    assert read.genuine.tolist() == SAME
    assert (read.first.tolist(), read.second.tolist()) == (list(range(0, 24, 2)), list(range(1, 24, 2)))
    assert np.bincount(read.folds).tolist() == [2, 2] + [1] * 8  # as scikit-learn's KFold


def test_a_bin_of_python_2(tmp_path: Path) -> None:
    """Strings of bytes, as Python 2 pickled them in protocol 2."""
    strings = b"".join(b"T" + len(image).to_bytes(4, "little") + image for image in IMAGES[:2])
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02]q\x00(" + strings + b"e]q\x01\x88a\x86q\x02.")
    read = pairs.read_pairs(tmp_path / "lfw.bin")
    assert read.images == IMAGES[:2]
    assert read.genuine.tolist() == [True]


class _Runs:
    def __reduce__(self) -> tuple:
        return os.system, ("touch witness",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (([b"a"], [True]), "two images for each label"),
        (([b"a", b"b"], [2]), "true or false"),
        (([], []), "two images for each label"),
        (([1, 2], [True]), "two images for each label"),
        (([np.zeros(3)] * 2, [True]), "arrays of bytes"),
        ("text", "two lists"),
        (([_Runs(), b""], [True]), "asks for posix.system"),
    ],
)
def test_a_bin_of_something_else(content: object, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=reason):
        pairs.read_pairs(tmp_path / "a.bin")
    assert not Path("witness").exists()


def write_lfw(folder: Path, num_folds: int = 2, num_per_class: int = 3) -> Path:
    lines = [f"{num_folds}\t{num_per_class}"]
    for _ in range(num_folds):
        lines += [f"Ann_Lee\t{i + 1}\t{i + 2}" for i in range(num_per_class)]
        lines += [f"Ann_Lee\t{i + 1}\tBo\t1" for i in range(num_per_class)]
    for name, count in (("Ann_Lee", num_per_class + 1), ("Bo", 1)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{name}_{i + 1:04d}.png").write_bytes(IMAGES[i])
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    return folder / "pairs.txt"


def test_lfw_pairs(tmp_path: Path) -> None:
    read = pairs.read_pairs(write_lfw(tmp_path))
    assert len(read.images) == 5  # each file once
    assert read.genuine.tolist() == ([True] * 3 + [False] * 3) * 2
    assert read.folds.tolist() == [0] * 6 + [1] * 6
    names = [(read.images[a].name, read.images[b].name) for a, b in zip(read.first, read.second, strict=True)]  # type: ignore[union-attr]
    assert names[1] == ("Ann_Lee_0002.png", "Ann_Lee_0003.png")
    assert names[3] == ("Ann_Lee_0001.png", "Bo_0001.png")
    assert images.decode(images.read_bytes(read.images[0])).shape == (112, 112, 3)  # type: ignore[arg-type]


def test_lfw_pairs_that_are_wrong(tmp_path: Path) -> None:
    path = write_lfw(tmp_path)
    text = path.read_text()
    for changed, reason in (
        (text.replace("2\t3\n", "2\t4\n", 1), "Expected 16 pairs"),
        (text.replace("Ann_Lee\t1\t2\n", "Ann_Lee\t1\n", 1), "3 or 4 columns in line 2"),
        (text.replace("Ann_Lee\t1\t2\n", "../Ann_Lee\t1\t2\n", 1), "name and a number"),
        (text.replace("Bo\t1", "Bo\t7"), "1 that do not exist"),
        ("hello\n", "first line"),
        ("", "first line"),
    ):
        path.write_text(changed)
        with pytest.raises(InputError, match=reason):
            pairs.read_pairs(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="Expected text"):
        pairs.read_pairs(path)


def test_csv(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(IMAGES[i])
    path = tmp_path / "pairs.csv"
    path.write_text("first,second,is_same,fold\n0.png,1.png,1,0\n0.png,2.png,0,1\n")
    read = pairs.read_pairs(path)
    assert (read.folds.tolist(), read.genuine.tolist(), len(read.images)) == ([0, 1], [True, False], 3)
    path.write_text("first,second,is_same\n0.png,1.png,yes\n")
    with pytest.raises(InputError, match="is_same"):
        pairs.read_pairs(path)
    path.write_text("first,second,is_same,fold\n0.png,1.png,1,x\n")
    with pytest.raises(InputError, match="number as fold"):
        pairs.read_pairs(path)
    path.write_text("first,second,is_same\n")
    with pytest.raises(InputError, match="received none"):
        pairs.read_pairs(path)
    for absent in (tmp_path / "none.bin", tmp_path):
        with pytest.raises(InputError, match="not found"):
            pairs.read_pairs(absent)
    (tmp_path / "pairs.json").write_text("{}")
    with pytest.raises(InputError, match="file of pairs"):
        pairs.read_pairs(tmp_path / "pairs.json")


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
    joined = pairs.join_people([("c", "b"), ("x", "y"), ("b", "a"), ("z", "z")])
    assert joined == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x", "z": "z"}
    assert pairs.join_people([]) == {}
