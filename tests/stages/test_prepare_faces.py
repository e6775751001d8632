"""From photos to crops: the right face, every photo accounted for, and the same bytes after a kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mint_keras import formats
from mint_keras.data import images, synthetic, tables
from mint_keras.faces import align, detectors, policies, scrfd
from mint_keras.records import InputError, RefusedError
from mint_keras.stages.prepare_faces import PART_SIZE, PrepareFaces, prepare_faces

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64  # of the invented detector's input


def write_detector(path: Path) -> None:
    """An SCRFD of one rule: a face of fixed size wherever a place of stride 32 is bright, certain as it is bright.

    It has SCRFD's nine outputs; those of strides 8 and 16 never find anything.
    """
    nodes, constants = [], {}
    outputs = []
    for stride in (8, 16, 32):
        anchors = 2 * (SIDE // stride) ** 2
        constants[f"pair{stride}"] = np.int64([-1, 1])
        nodes += [
            helper.make_node("AveragePool", ["x"], [f"a{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("ReduceMean", [f"a{stride}"], [f"m{stride}"], axes=[1], keepdims=1),
            helper.make_node("Concat", [f"m{stride}", f"m{stride}"], [f"c{stride}"], axis=1),
            helper.make_node("Transpose", [f"c{stride}"], [f"t{stride}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"t{stride}", f"pair{stride}"], [f"r{stride}"]),
            helper.make_node("Mul", [f"r{stride}", f"weight{stride}"], [f"score{stride}"]),
        ]
        weight = np.zeros((anchors, 1), np.float32)
        if stride == 32:
            weight[::2] = 1  # the second anchor of each place finds nothing
        constants[f"weight{stride}"] = weight
    for role, width in (("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            anchors = 2 * (SIDE // stride) ** 2
            value = np.full((anchors, width), 0.9, np.float32)
            if role == "points":
                value[:] = ((align.TEMPLATE - 56) / 112 + 0.5).reshape(-1)
            constants[f"{role}_value{stride}"] = value
            nodes.append(helper.make_node("Identity", [f"{role}_value{stride}"], [f"{role}{stride}"]))
    outputs = [f"{role}{stride}" for role in ("score", "box", "points") for stride in (8, 16, 32)]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "invented",
        [info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def photo(bright: dict[int, int], size: int = 128) -> np.ndarray:
    """A dark photo whose quarters 0 to 3 have the brightness given."""
    half, image = size // 2, np.zeros((size, size, 3), np.uint8)
    for quarter, brightness in bright.items():
        row, column = divmod(quarter, 2)
        noise = np.random.default_rng(quarter).integers(-10, 10, (half, half, 3))
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] = np.clip(brightness + noise, 0, 255)
    return image


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "scrfd.onnx"
    write_detector(path)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "holiday"
    for person in ("Ann", "Bo"):
        (folder / person).mkdir(parents=True)
    for i in range(4):
        cv2.imwrite(str(folder / "Ann" / f"{i}.png"), photo({i: 250}))
    cv2.imwrite(str(folder / "Bo" / "two faces.png"), photo({0: 250, 3: 220}))
    cv2.imwrite(str(folder / "Bo" / "dark.png"), photo({0: 20}))
    cv2.imwrite(str(folder / "Bo" / "Zoë\n1.png"), photo({2: 240}))
    (folder / "Bo" / "broken.jpg").write_bytes(b"\xff\xd8half a picture")
    (folder / "Bo" / "empty.jpg").write_bytes(b"")
    return folder


def run(database: Path, out: Path, detector: Path, **options: object) -> str:
    return prepare_faces(PrepareFaces((str(database),), out, str(detector), workers=1, quiet=True, **options))  # type: ignore[arg-type]


def test_every_photo_is_accounted_for(database: Path, detector: Path, tmp_path: Path) -> None:
    text = run(database, tmp_path / "out", detector)
    assert "holiday: 9 photos, 6 faces, 3 rejected (33.3%), 1 with several faces" in text
    counts = formats.read_manifest(tmp_path / "out", "prepared_faces")["counts"]["holiday"]
    assert counts == {"seen": 9, "kept": 6, "rejected": 3, "with several faces": 1}
    table = tables.read_samples(tmp_path / "out" / "samples.parquet")
    assert table.identity.tolist() == ["Ann"] * 4 + ["Bo"] * 2
    assert "holiday/Bo/Zoë\n1.png" in table.sample_id.tolist()
    rejected = list(csv.DictReader((tmp_path / "out" / "rejected.csv").open(newline="")))
    assert [Path(row["location"]).name for row in rejected] == ["broken.jpg", "dark.png", "empty.jpg"]
    assert "none was found" in rejected[1]["reason"]
    reader = images.FaceReader()
    (rows, faces), *_ = reader.batches(table, 16)
    assert len(rows) == 6
    assert faces.shape == (6, 112, 112, 3)
    assert not reader.resized


def test_crops_are_those_of_the_detections(database: Path, detector: Path, tmp_path: Path) -> None:
    run(database, tmp_path / "out", detector)
    table = tables.read_samples(tmp_path / "out" / "samples.parquet")
    find = detectors.open_detector(str(detector))
    for sample_id, location in zip(table.sample_id.tolist(), table.location.tolist(), strict=True):
        image = images.FaceReader().image(str(database.parent / sample_id))
        faces = find(image)
        expected = align.align(image, faces.landmarks[0])  # type: ignore[index]
        np.testing.assert_array_equal(images.FaceReader().image(location), expected)
        assert expected.max() > 200


def test_policies(database: Path, detector: Path, tmp_path: Path) -> None:
    text = run(database, tmp_path / "only", detector, policy="only")
    assert "9 photos, 5 faces, 4 rejected" in text
    assert "Expected one face, received 2" in (tmp_path / "only" / "rejected.csv").read_text()
    boxes = np.float32([[0, 0, 30, 30], [40, 40, 60, 60], [80, 80, 112, 112]])
    faces = scrfd.Detections(boxes, np.float32([0.9, 0.8, 0.7]), None)
    chosen = {policy: policies.choose(faces, (100, 100, 3), policy) for policy in ("largest", "central")}
    assert chosen == {"largest": 2, "central": 1}


def test_a_border_moves_nothing(detector: Path) -> None:
    plain = detectors.open_detector(str(detector))
    image = photo({0: 250, 1: 250, 2: 250, 3: 250})
    framed = detectors.with_border(lambda img: plain(img[64:-64, 64:-64]), 0.5)(image)
    expected = plain(image)
    np.testing.assert_allclose(framed.boxes, expected.boxes - 64)
    np.testing.assert_allclose(framed.landmarks, expected.landmarks - 64)
    assert detectors.with_border(plain, 0.0) is plain


def test_stored_faces_are_taken_as_they_are(tmp_path: Path) -> None:
    faces = [synthetic.render(f"synthetic:1/web/{i}/0") for i in range(2)]
    for i, face in enumerate(faces):
        (tmp_path / "aligned" / str(i)).mkdir(parents=True)
        images.write_png(tmp_path / "aligned" / str(i) / "a.png", face)
    options = {"treatment": "stored", "workers": 1, "quiet": True}
    prepare_faces(PrepareFaces((str(tmp_path / "aligned"),), tmp_path / "png", **options))  # type: ignore[arg-type]
    table = tables.read_samples(tmp_path / "png" / "samples.parquet")
    np.testing.assert_array_equal(images.FaceReader().image(str(table.location[1])), faces[1])
    prepare_faces(PrepareFaces((str(tmp_path / "aligned"),), tmp_path / "jpg", encoding="jpg", **options))  # type: ignore[arg-type]
    table = tables.read_samples(tmp_path / "jpg" / "samples.parquet")
    difference = images.FaceReader().image(str(table.location[1])).astype(int) - faces[1]
    assert 0 < np.abs(difference).mean() < 4


def test_wrong_options(database: Path, detector: Path, tmp_path: Path) -> None:
    for options, reason in (
        ({"detector": ""}, "Expected --detector, or else"),
        ({"treatment": "stored"}, "Expected --detector, or else"),
        ({"min_score": 0.0}, "--min-score"),
        ({"detector": str(tmp_path / "none.onnx")}, "not found"),
        ({"detector": "insightface:nopack"}, "received none; get it by hand"),
        ({"detector": str(database / "Ann" / "0.png")}, "Expected a detector that ONNX Runtime runs"),
    ):
        with pytest.raises(InputError, match=reason):
            run(database, tmp_path / "out", **{"detector": detector, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    dark = tmp_path / "dark"
    dark.mkdir()
    cv2.imwrite(str(dark / "a.png"), photo({}))
    with pytest.raises(InputError, match=r"received none: .*none was found"):
        run(dark, tmp_path / "out", detector)
    run(database, tmp_path / "out", detector)
    with pytest.raises(RefusedError, match="fingerprint"):
        run(database, tmp_path / "out", detector, policy="central")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != formats.MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_killed_run_ends_with_the_same_bytes(detector: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in range(8 * PART_SIZE):
        cv2.imwrite(str(folder / f"{i}.png"), photo({int(rng.integers(4)): int(rng.integers(100, 255))}, 256))
    command = [sys.executable, "scripts/prepare_faces.py", "--input", str(folder), "--detector", str(detector)]
    out = tmp_path / "killed"
    process = subprocess.Popen([*command, "--out", str(out), "--quiet", "--workers", "2"], cwd=ROOT)
    started = time.monotonic()
    while not list((out / "parts").glob("*.json")) and time.monotonic() - started < 60:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (out / "crops" / "000000" / ".000000001.rest.png").write_bytes(b"what a kill may leave")
    assert 0 < len(list((out / "parts").glob("*.json"))) < 8
    assert not (out / "samples.parquet").exists()
    for target, workers in ((out, "2"), (tmp_path / "whole", "1")):
        done = subprocess.run(
            [*command, "--out", str(target), "--quiet", "--workers", workers], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    killed, whole = contents(out), contents(tmp_path / "whole")
    assert killed == whole
    assert len(whole) > 150
