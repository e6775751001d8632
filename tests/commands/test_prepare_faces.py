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
from mint_keras.commands.prepare_faces import PrepareFaces, prepare_faces
from mint_keras.data import images, sample_tables, synthetic
from mint_keras.faces import align, crops, detectors, policies, scrfd
from mint_keras.faces.parts import PART_SIZE
from mint_keras.records import InputError, RefusedError

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


def run(database: Path, out: Path, detector: Path | str, **options: object) -> str:
    return prepare_faces(PrepareFaces((str(database),), out, str(detector), workers=1, quiet=True, **options)).text  # type: ignore[arg-type]


def test_every_photo_is_accounted_for(database: Path, detector: Path, tmp_path: Path) -> None:
    text = run(database, tmp_path / "out", detector)
    assert "holiday: 9 photos, 6 faces, 3 rejected (33.3%), 1 with several faces" in text
    counts = formats.read_manifest(tmp_path / "out", "prepared_faces")["counts"]["holiday"]
    odd = {"small": 0, "turned": 0, "from the side, or wrong landmarks": 0}
    assert counts == {"seen": 9, "kept": 6, "rejected": 3, "with several faces": 1, **odd}
    table = sample_tables.read_samples(tmp_path / "out" / "samples.parquet")
    assert table.identity.tolist() == ["Ann"] * 4 + ["Bo"] * 2
    assert "holiday/Bo/Zoë\\x0a1.png" in table.sample_id.tolist()
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
    table = sample_tables.read_samples(tmp_path / "out" / "samples.parquet")
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


def write_table(path: Path, rows: list[str], extra: str) -> Path:
    header = f"sample_id,database,identity,location,{extra}"
    path.write_text("\n".join([header, *(f"{i},ijbc,{row}" for i, row in enumerate(rows))]))
    return path


def test_the_face_that_the_database_means(database: Path, detector: Path, tmp_path: Path) -> None:
    """Two subjects in one photo, each with a box; a box where no face is; a photo without a box."""
    rows = [
        f"20,{database}/Bo/two faces.png,-50 -50 60 60",
        f"31,{database}/Bo/two faces.png,10 10 124 126",
        f"20,{database}/Bo/two faces.png,122 0 180 60",
        f"20,{database}/Ann/3.png,",
    ]
    table = write_table(tmp_path / "ijbc.csv", rows, "box")
    text = run(table, tmp_path / "out", detector)
    assert "ijbc: 4 photos, 3 faces, 1 rejected" in text
    (rejected,) = csv.DictReader((tmp_path / "out" / "rejected.csv").open(newline=""))
    assert "Expected a face where the database says one is, received 0.00" in rejected["reason"]
    kept = sample_tables.read_samples(tmp_path / "out" / "samples.parquet")
    assert kept.identity.tolist() == ["20", "31", "20"]
    assert kept.box is None
    brightness = [images.FaceReader().image(str(location)).max() for location in kept.location]
    assert brightness[0] > 250 > brightness[1]
    strict = run(table, tmp_path / "strict", detector, min_overlap=0.99)
    assert "4 photos, 1 faces" in strict


def test_landmarks_that_the_database_gives(database: Path, tmp_path: Path) -> None:
    template = align.TEMPLATE * 0.5 + 8
    points = " ".join(str(x) for x in template.reshape(-1).tolist())
    rows = [f"1,{database}/Ann/0.png,{points}", f"2,{database}/Ann/1.png,", f"3,{database}/Ann/2.png,{'5 ' * 10}"]
    table = write_table(tmp_path / "ijbc.csv", rows, "landmarks")
    text = run(table, tmp_path / "out", "", treatment="annotated")
    assert "3 photos, 1 faces, 2 rejected" in text
    reasons = (tmp_path / "out" / "rejected.csv").read_text()
    assert "received a sample without" in reasons
    assert "points in one line" in reasons
    kept = sample_tables.read_samples(tmp_path / "out" / "samples.parquet")
    image = images.FaceReader().image(str(database / "Ann" / "0.png"))
    expected = align.align(image, template.astype(np.float32))
    np.testing.assert_array_equal(images.FaceReader().image(str(kept.location[0])), expected)


def test_a_photo_of_many_faces_is_decoded_once(
    database: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda encoded: decoded.append(1) or decode(encoded))
    rows = [f"p{i},{database}/Bo/two faces.png,-50 -50 60 60" for i in range(5)]
    table = sample_tables.read_samples(write_table(tmp_path / "t.csv", rows, "box"))
    settings = crops.CropSettings("detect", str(detector), "largest", 0.3, 0.5, 0.0, "png")
    made = crops.write_part(table, 0, settings, tmp_path)
    assert all(crop.file for crop in made)
    assert len(decoded) == 1


def write_keras_detector(folder: Path) -> Path:
    """The rule of `write_detector` as convert_fr.py would save it."""
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    scaled = keras.layers.Rescaling(127.5 / 128)(image)
    outputs = {}
    points = ((align.TEMPLATE - 56) / 112 + 0.5).reshape(-1)
    for stride in (8, 16, 32):
        pooled = keras.layers.AveragePooling2D(stride)(scaled)
        kernel = np.zeros((3, 2), np.float32)
        kernel[:, 0] = stride == 32 and 1 / 3
        values = {"score": (kernel, np.zeros(2)), "bbox": (np.zeros((3, 8)), np.full(8, 0.9)),
                  "kps": (np.zeros((3, 20)), np.tile(points, 2))}  # fmt: skip
        for role, (weights, bias) in values.items():
            layer = keras.layers.Dense(len(bias))
            mapped = layer(pooled)
            layer.set_weights([weights, bias])
            outputs[f"{role}_{stride}"] = keras.layers.Reshape((-1, len(bias) // 2))(mapped)
    formats.save_model(folder / formats.MODEL, keras.Model(image, outputs))
    manifest = formats.make_manifest(formats.FACE_DETECTOR, {}, {})
    manifest["model_sha256"] = formats.sha256_file(folder / formats.MODEL)
    formats.write_json(folder / formats.MANIFEST, manifest)
    return folder


def test_a_converted_detector_finds_what_its_source_finds(database: Path, detector: Path, tmp_path: Path) -> None:
    folder = write_keras_detector(tmp_path / "scrfd")
    ours, source = detectors.open_detector(str(folder)), detectors.open_detector(str(detector))
    for path in sorted(database.glob("*/*.png")):
        image = images.FaceReader().image(str(path))
        found, expected = ours(image), source(image)
        assert len(found) == len(expected)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    with open(folder / formats.MODEL, "ab") as file:
        file.write(b"x")
    with pytest.raises(RefusedError, match="SHA-256"):
        detectors.open_detector(str(folder))
    with pytest.raises(InputError, match="which has none"):
        detectors.open_detector(str(tmp_path))


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
    table = sample_tables.read_samples(tmp_path / "png" / "samples.parquet")
    np.testing.assert_array_equal(images.FaceReader().image(str(table.location[1])), faces[1])
    prepare_faces(PrepareFaces((str(tmp_path / "aligned"),), tmp_path / "jpg", encoding="jpg", **options))  # type: ignore[arg-type]
    table = sample_tables.read_samples(tmp_path / "jpg" / "samples.parquet")
    difference = images.FaceReader().image(str(table.location[1])).astype(int) - faces[1]
    assert 0 < np.abs(difference).mean() < 4


def test_wrong_options(database: Path, detector: Path, tmp_path: Path) -> None:
    for options, reason in (
        ({"detector": ""}, "Expected --detector, or else"),
        ({"treatment": "stored"}, "Expected --detector, or else"),
        ({"min_score": 0.0}, "--min-score"),
        ({"min_overlap": 0.0}, "--min-overlap"),
        ({"detector": str(tmp_path / "none.onnx")}, "not found"),
        ({"detector": "insightface:nopack"}, "received none; get it by hand"),
        ({"detector": str(database / "Ann" / "0.png")}, "Expected a detector in"),
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
    with pytest.raises(RefusedError, match='policy was "largest", and is "central"'):
        run(database, tmp_path / "out", detector, policy="central")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
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
    for left in ("crops/000000/.000000001.a1b2c3d4.png", ".samples.o1b2c3_d.parquet", ".manifest.a_345678.json"):
        (out / left).write_bytes(b"what a kill may leave")
    assert 0 < len(list((out / "parts").glob("*.json"))) < 8
    assert not (out / "samples.parquet").exists()
    for target in (out, tmp_path / "whole"):
        done = subprocess.run(
            [*command, "--out", str(target), "--quiet", "--workers", "2"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    killed, whole = contents(out), contents(tmp_path / "whole")
    assert killed == whole
    assert formats.MANIFEST in whole
    assert len(whole) > 150


@pytest.mark.slow
def test_a_killed_worker_is_one_line(detector: Path, tmp_path: Path) -> None:
    """As when memory runs out; what is done stays, and the same command does the rest."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(8 * PART_SIZE):
        cv2.imwrite(str(folder / f"{i}.png"), photo({i % 4: 200}, 256))
    out = tmp_path / "out"
    command = [sys.executable, "scripts/prepare_faces.py", "--input", str(folder), "--detector", str(detector)]
    command += ["--out", str(out), "--quiet", "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = time.monotonic()
    while not list((out / "parts").glob("*.json")) and time.monotonic() - started < 60:
        time.sleep(0.02)
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith("error: A worker process was killed")
    assert error.count("\n") == 1
    assert f"of {8 * PART_SIZE} photos are done" in printed
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    assert len(sample_tables.read_samples(out / "samples.parquet")) == 8 * PART_SIZE


def test_an_image_beyond_opencvs_limits_is_rejected(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((20, 40_000, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((112, 112, 3), np.uint8))
    points = " ".join(str(x) for x in align.TEMPLATE.reshape(-1).tolist())
    table = write_table(tmp_path / "t.csv", [f"1,wide.png,{points}", f"2,good.png,{points}"], "landmarks")
    assert "2 photos, 1 faces, 1 rejected" in run(table, tmp_path / "out", "", treatment="annotated")
    (rejected,) = csv.DictReader((tmp_path / "out" / "rejected.csv").open(newline=""))
    assert rejected["location"] == "0"  # as the table calls it
    assert "OpenCV" in rejected["reason"]
