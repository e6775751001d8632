"""Detectors in bundles: what TFLite finds is what ONNX Runtime finds, or there is no detector."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mint_keras.edge import bundle, detector
from mint_keras.faces import scrfd
from mint_keras.records import InputError, RefusedError

SCRFD = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "scrfd_500m_bnkps.onnx"
needs_scrfd = pytest.mark.skipif(not SCRFD.is_file(), reason=f"{SCRFD} is not here")


def outputs(score: float, distance: float) -> scrfd.Network:
    """A network that sees the same everywhere."""
    sides = (8, 4, 2)  # strides of 8, 16 and 32 in 64 pixels

    def forward(canvas: np.ndarray) -> list[np.ndarray]:
        assert canvas.shape == (64, 64, 3)
        sizes = ((1, score), (4, distance), (10, 0.0))
        return [np.full((2 * side * side, num), value, np.float32) for num, value in sizes for side in sides]

    return forward


PICTURE = np.zeros((48, 64, 3), np.uint8)


def test_equal_networks_pass() -> None:
    same = outputs(0.9, 1.0)
    for compare in (detector.compare_outputs, detector.compare_detections):
        found = compare([PICTURE], 64, same, same)
        assert (found["max_box_shift"], found["max_score_difference"]) == (0.0, 0.0)
    assert found["faces"] > 0


@pytest.mark.parametrize(
    ("score", "distance", "reason"),
    [(0.902, 1.0, r"0\.002"), (0.9, 1.02, r"0\.64"), (float("nan"), 1.0, "nan")],
)
def test_differences_are_refused(score: float, distance: float, reason: str) -> None:
    """A fiftieth of the largest stride is 0.64 pixels."""
    with pytest.raises(RefusedError, match=reason):
        detector.compare_outputs([PICTURE], 64, outputs(score, distance), outputs(0.9, 1.0))


def test_another_number_of_faces_is_refused() -> None:
    with pytest.raises(RefusedError, match="received 0"):
        detector.compare_detections([PICTURE], 64, outputs(0.499, 1.0), outputs(0.501, 1.0))


def test_what_is_no_detector(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", 1, [1, 3, 640, 640])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 3, 640, 640])],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(InputError, match="SCRFD with landmarks"):
        detector.export(str(tmp_path / "x.onnx"), "", tmp_path)
    assert not list(tmp_path.glob("*.tflite"))


@needs_scrfd
@pytest.mark.long
def test_scrfd(tmp_path: Path) -> None:
    found = detector.export(str(SCRFD), "", tmp_path)
    assert set(found["files"]) == set(bundle.DETECTORS.values())
    for name, record in found["files"].items():
        assert (tmp_path / name).stat().st_size == record["bytes"] < 3 * 2**20
        assert record["raw"]["max_box_shift"] < 0.1
