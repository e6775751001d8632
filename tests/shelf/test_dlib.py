"""The face network that anybody may pass on: it is what its card says, and computes what dlib's computes."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

import mint_keras as mint
from mint_keras import formats, shelf
from mint_keras.audited import iresnet, zoo
from mint_keras.commands import verify_fr

FOLDER = shelf.path("dlib")
PAIRS = Path(__file__).resolve().parents[3] / "shared" / "data" / "lfw" / "lfw_1200pairs.bin"
needs_pairs = pytest.mark.skipif(not PAIRS.is_file(), reason="no LFW pairs beside the project (../shared/data/lfw)")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return zoo.load_audited(Path("dlib"))


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), np.uint8)


def layer_output(model: keras.Model, name: str, faces: np.ndarray) -> np.ndarray:
    part = keras.Model(model.input, model.get_layer(name).output)
    return np.asarray(part(iresnet.normalise(faces)))


def convolved(x: np.ndarray, model: keras.Model, name: str, stride: int) -> np.ndarray:
    """A convolution of 3x3 and its factors, written out."""
    kernel, bias = (np.asarray(weight) for weight in model.get_layer(name).get_weights())
    if stride == 1:
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    side = (x.shape[1] - 3) // stride + 1
    y = np.zeros((len(x), side, side, kernel.shape[3])) + bias
    for row in range(3):
        for column in range(3):
            rows, columns = (slice(k, k + stride * (side - 1) + 1, stride) for k in (row, column))
            y += x[:, rows, columns] @ kernel[row, column]
    return y * model.get_layer(f"{name}_scale").get_weights()[0].reshape(-1)


class TestFolder:
    def test_it_is_small_and_says_where_it_is_from(self) -> None:
        manifest = formats.read_checked_manifest(FOLDER, zoo.KIND, formats.MODEL)
        record, card = formats.read_json(FOLDER / formats.VERIFICATION), (FOLDER / "card.md").read_text()
        assert (FOLDER / formats.MODEL).stat().st_size < 6 * 2**20
        assert record["model_sha256"] == manifest["model_sha256"]
        assert manifest["inputs"]["face_recognition_model.bin"] in card
        assert f"accuracy {record['accuracy']:.4f}, AUC {record['auc']:.4f}" in card
        assert "Permission is hereby granted" in (FOLDER / "LICENSE").read_text()

    @pytest.mark.slow
    def test_it_is_observed_as_the_lab_model_is(self) -> None:
        network, samples = mint.load_model("dlib"), mint.samples("synthetic:1/web/0-2/2")
        seen = mint.observe(network, samples)
        assert network.taps == ("conv1", "conv2", "conv3", "conv4", "outcome")
        assert seen["outcome"].shape == (6, 128)
        assert set(seen.arrays) >= {"view_cosines", "conv1_max", "conv4_std"}
        units = seen["outcome"] / np.linalg.norm(seen["outcome"], axis=1, keepdims=True)
        is_same = seen.people()[:, None] == seen.people()
        assert (units @ units.T)[is_same].min() > (units @ units.T)[~is_same].max()


class TestNetwork:
    def test_the_chip_is_what_dlib_takes(self, model: keras.Model, faces: np.ndarray) -> None:
        crop = (faces[:, 23:, 6:106].astype(np.float32) - [122.782, 117.001, 104.298]) / 256
        crop = np.pad(crop, ((0, 0), (0, 11), (0, 0), (0, 0)))
        expected = [cv2.resize(one, (150, 150), interpolation=cv2.INTER_LINEAR) for one in crop]
        np.testing.assert_allclose(layer_output(model, "chip", faces), expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("before", "block"),
        [("conv128_2", "conv256_down"), ("conv256_down", "conv256_1"), ("conv256_2", "conv256_down_out")],
    )
    def test_a_block_is_what_dlib_computes(
        self, before: str, block: str, model: keras.Model, faces: np.ndarray
    ) -> None:
        x, received = (layer_output(model, f"{name}_out", faces) for name in (before, block))
        is_down = "down" in block
        y = convolved(x, model, f"{block}_conv1", 2 if is_down else 1)
        y = convolved(np.maximum(y, 0), model, f"{block}_conv2", 1)
        if is_down:
            side = x.shape[1] // 2
            x = x[:, : 2 * side, : 2 * side].reshape(len(x), side, 2, side, 2, -1).mean(axis=(2, 4))
        expected = np.zeros_like(received, np.float64)
        for part in (x, y):  # the smaller one lies in the corner
            expected[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        expected = np.maximum(expected, 0)
        assert expected.std() > 0.01
        np.testing.assert_allclose(received, expected, atol=1e-4 * expected.max())


@needs_pairs
@pytest.mark.long
def test_it_recognises_faces_as_well_as_its_folder_says(tmp_path: Path) -> None:
    said = formats.read_json(FOLDER / formats.VERIFICATION)
    done = verify_fr.verify_fr(verify_fr.VerifyFr(PAIRS, model=Path("dlib"), out=tmp_path / "out"))
    assert said["accuracy"] > 0.985
    assert done.record["accuracy"] >= said["accuracy"] - 0.01
    assert done.record["auc"] >= said["auc"] - 0.01
