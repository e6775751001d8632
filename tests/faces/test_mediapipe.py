"""The detector on the shelf: what lies in a face is no face, and real faces lie where SCRFD sees them."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import shelf
from mint_keras.data import images
from mint_keras.faces import align, detectors, mediapipe
from mint_keras.faces.scrfd import Detections
from mint_keras.records import RefusedError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_nothing_in_noise_and_in_one_colour() -> None:
    detect = detectors.open_detector("mediapipe")
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    for picture in (noise, np.zeros((64, 64, 3), np.uint8)):
        found = detect(picture)
        assert len(found) == 0
        assert found.landmarks is not None
        assert found.landmarks.shape == (0, 5, 2)


def test_what_lies_in_the_middle_of_a_better_one_is_left_out() -> None:
    boxes = np.array([[0, 0, 100, 100], [10, 10, 60, 60], [200, 0, 300, 100]], np.float32)
    points = boxes.reshape(3, 2, 2).mean(axis=1)[:, None].repeat(5, axis=1)
    found = mediapipe._without_parts(Detections(boxes, np.array([0.9, 0.8, 0.7]), points))
    assert found.scores.tolist() == [0.9, 0.7]


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(shelf.path("mediapipe"), tmp_path / "mediapipe")
    (copy / "face_landmark.tflite").write_bytes(b"another")
    monkeypatch.setattr(shelf, "path", lambda name: copy)
    with pytest.raises(RefusedError, match="its manifest says"):
        detectors.open_detector("mediapipe")


@pytest.mark.skipif(not DATA.is_dir(), reason="no real photos beside the project (../shared/data)")
def test_real_faces_lie_where_scrfd_sees_them() -> None:
    ours = detectors.open_detector("mediapipe")
    theirs = detectors.open_detector(str(DATA / "models" / "scrfd_500m_bnkps.onnx"))
    photo = images.FaceReader().image(str(DATA / "photos" / "group_t1.jpg"))
    # Turned, too: the mesh is laid along the eyes.
    for picture in (photo, cv2.warpAffine(photo, cv2.getRotationMatrix2D((640, 443), 20, 0.8), (1280, 886))):
        found, expected = ours(picture), theirs(picture)
        assert len(found) == len(expected) == 6
        assert found.landmarks is not None
        assert expected.landmarks is not None
        for points in expected.landmarks:
            nearest = found.landmarks[np.abs(found.landmarks - points).sum(axis=(1, 2)).argmin()]
            matrix = align.similarity(points)
            shifts = (nearest - points) @ matrix[:, :2].T  # in pixels of the crop
            # Two are seen from the side, where the small SCRFD itself errs most.
            assert np.sqrt(np.square(shifts).sum(axis=1).mean()) < 8
