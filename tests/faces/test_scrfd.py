"""Our SCRFD and alignment against insightface's own code: on invented networks always, on real ones where they lie."""

from __future__ import annotations

import types
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from insightface.model_zoo.scrfd import SCRFD
from insightface.utils.face_align import norm_crop

from mint_keras.data import synthetic
from mint_keras.faces import align, scrfd
from mint_keras.records import InputError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real photos beside the project (../shared/data)")


class InventedSession:
    """A network whose outputs are random but depend on the image, with faces here and there, and equal scores."""

    def __init__(self, num_outputs: int, size: int, seed: int) -> None:
        num_roles, strides, num_anchors = scrfd._LAYOUTS[num_outputs]
        rng = np.random.default_rng(seed)
        self.outputs: list[np.ndarray] = []
        for role in range(num_roles):
            for stride in strides:
                rows = (size // stride) ** 2 * num_anchors
                if role == 0:
                    scores = np.where(rng.random(rows) < 0.05, rng.integers(40, 60, rows) / 60, 0.1)
                    self.outputs.append(scores.astype(np.float32)[:, None])
                else:
                    self.outputs.append(rng.uniform(0.5, 6, (rows, (4, 10)[role - 1])).astype(np.float32))
        self.size = size

    def get_inputs(self) -> list:
        return [types.SimpleNamespace(name="input", shape=[1, 3, self.size, self.size])]

    def get_outputs(self) -> list:
        return [types.SimpleNamespace(name=str(i), shape=list(x.shape)) for i, x in enumerate(self.outputs)]

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        brightness = np.float32(1 + 0.1 * feeds["input"].mean())
        return [x if x.shape[1] == 1 else x * brightness for x in self.outputs]

    def network(self, canvas: np.ndarray) -> list[np.ndarray]:
        return self.run([], {"input": scrfd.to_blob(canvas)})


def compare(image: np.ndarray, theirs: SCRFD, network: scrfd.Network, size: int) -> int:
    boxes, points = theirs.detect(image[:, :, ::-1], input_size=(size, size))
    ours = scrfd.detect(image, network, size)
    assert len(ours) == len(boxes)
    np.testing.assert_allclose(ours.boxes, boxes[:, :4], atol=1e-3)
    np.testing.assert_allclose(ours.scores, boxes[:, 4], atol=1e-5)
    if points is None:
        assert ours.landmarks is None
    elif len(boxes):
        assert ours.landmarks is not None
        np.testing.assert_allclose(ours.landmarks, points, atol=1e-3)
    return len(ours)


@pytest.mark.parametrize("num_outputs", [6, 9, 10, 15])
@pytest.mark.parametrize("shape", [(250, 250), (90, 400), (333, 127), (1200, 1100)])
def test_decoding_is_insightfaces(num_outputs: int, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 255, (*shape, 3), np.uint8)
    session = InventedSession(num_outputs, 320, num_outputs + shape[0])
    assert compare(image, SCRFD(session=session), session.network, 320) > 20


def test_blob_is_opencvs() -> None:
    canvas = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = cv2.dnn.blobFromImage(canvas[..., ::-1], 1 / 128, (64, 64), (127.5, 127.5, 127.5), swapRB=True)
    np.testing.assert_array_equal(scrfd.to_blob(canvas), expected)


def test_no_face_and_wrong_outputs() -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    session = InventedSession(9, 320, 1)
    assert len(scrfd.detect(image, session.network, 320, min_score=1.1)) == 0
    with pytest.raises(InputError, match="outputs of SCRFD, received 3"):
        scrfd.detect(image, lambda _: [image] * 3)
    with pytest.raises(InputError, match="strip of 2000x1"):
        scrfd.detect(np.zeros((1, 2000, 3), np.uint8), session.network)


def test_suppression_by_hand() -> None:
    """Sides count + 1: boxes of 10x10 pixels are 0..9; an overlap of exactly 0.4 stays."""
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 9], [5, 0, 14, 9], [2, 0, 11, 9]])
    faces = scrfd.Detections(boxes, np.float32([0.9, 0.8, 0.7, 0.6]), None)
    kept = scrfd.suppress(faces)  # the third overlaps by 50 / 150, the fourth by 80 / 120
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(scrfd.suppress(faces.take(np.empty(0, int)))) == 0


@pytest.mark.parametrize("seed", range(20))
def test_crops_are_insightfaces_to_the_byte(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (300, 280, 3), np.uint8)
    angle, scale = rng.uniform(-3, 3), rng.uniform(0.3, 4)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (align.TEMPLATE @ rotation.T + rng.uniform(0, 150, 2) + rng.normal(0, 2, (5, 2))).astype(np.float32)
    if seed % 4 == 0:
        points[:, 0] = -points[:, 0]  # mirrored: no rotation fits, the best one is taken
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skimage renames the function that insightface calls
        expected = norm_crop(image, points)
    np.testing.assert_array_equal(align.align(image, points), expected)


def test_landmarks_of_an_aligned_face_change_nothing() -> None:
    face = synthetic.render("synthetic:1/web/0/0")
    np.testing.assert_array_equal(align.align(face, align.TEMPLATE), face)
    for points in (align.TEMPLATE[:4], np.full((5, 2), np.nan), np.outer(np.arange(5), [1.0, 2.0]), np.zeros((5, 2))):
        with pytest.raises(InputError, match="landmarks"):
            align.similarity(points)


@needs_data
@pytest.mark.parametrize(("name", "every"), [("scrfd_500m_bnkps", 8), ("scrfd_2.5g_bnkps", 24)])
def test_real_photos(name: str, every: int) -> None:
    path = DATA / "models" / f"{name}.onnx"
    theirs = SCRFD(str(path))
    theirs.prepare(-1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]

    def network(canvas: np.ndarray) -> list[np.ndarray]:
        return session.run(names, {session.get_inputs()[0].name: scrfd.to_blob(canvas)})

    photos = sorted(path for path in (DATA / "photos").iterdir() if path.is_file())[::every]
    total = sum(compare(cv2.imread(str(photo))[:, :, ::-1], theirs, network, 640) for photo in photos)
    assert total >= len(photos) - 3
