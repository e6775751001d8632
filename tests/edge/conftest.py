"""One small bundle for all tests of the laptop's side, and what they share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats, shelf
from mint_keras.edge import bundle
from mint_keras.edge.bundle import FieldCalibration
from mint_keras.faces import detectors, scrfd
from tests.conftest import Once
from tests.edge.field import WORDING, reference


@pytest.fixture(scope="session")
def bundle_folder(once: Once) -> Path:
    """The shelf's bundle with two samples a side, for all faces: nothing is trained for what a laptop does."""

    def make(out: Path) -> None:
        shutil.copytree(shelf.path("bundles/lab"), out)
        for path in out.glob("samples/*_[23].png"):
            path.unlink()
        calibration = formats.read_json(out / bundle.CALIBRATION)
        formats.write_json(out / bundle.CALIBRATION, {**calibration, "domain": None})
        bundle.seal(out, formats.read_json(out / formats.MANIFEST))

    return once("bundle", make)


@pytest.fixture
def calibrated(bundle_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Returns a function to a copy of the bundle with a calibration, by default one in which everybody stands out."""

    def make(is_valid: bool = True, found: FieldCalibration | None = None) -> Path:
        people = {"news": np.linspace(-90, -80, 199).tolist()}
        persons = {2: reference(people, is_valid), 3: reference(people, is_valid)}
        content = found or FieldCalibration(reference(people, is_valid), persons, None, WORDING)
        copy = shutil.copytree(bundle_folder, tmp_path / f"calibrated_{is_valid}", dirs_exist_ok=True)
        formats.write_json(copy / bundle.CALIBRATION, content.to_dict())
        bundle.seal(copy, formats.read_json(copy / "manifest.json"))
        return copy

    return make


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stands for SCRFD: finds a face in every red square of a photo."""

    def find(image: np.ndarray) -> scrfd.Detections:
        red = ((image[..., 0] > 200) & (image[..., 1] < 60)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(red)
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:]], np.float32).reshape(-1, 4)
        size = boxes[:, 2:] - boxes[:, :2]
        points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
        landmarks = boxes[:, None, :2] + points[None] * size[:, None]
        return scrfd.Detections(boxes, np.linspace(0.9, 0.8, len(boxes)), landmarks)

    monkeypatch.setattr(detectors, "open_detector", lambda name, min_score=0.5: find)
    path = tmp_path / "scrfd.onnx"
    path.write_bytes(b"stands for a detector")
    return path
