"""Features of a face crop move the way their names say, and are finite for anything."""

import cv2
import numpy as np
import pytest

from mint_keras.data import images, synthetic
from mint_keras.faces import quality
from mint_keras.records import InputError

FACE = synthetic.render("synthetic:1/web/3/0")


def of(face: np.ndarray) -> dict[str, float]:
    return dict(zip(quality.FEATURES, quality.features(face[None])[0], strict=True))


def change(face: np.ndarray) -> dict[str, float]:
    before, after = of(FACE), of(face)
    return {name: after[name] - before[name] for name in before}


def test_directions() -> None:
    assert change(cv2.GaussianBlur(FACE, (0, 0), 2))["sharpness"] < -1
    assert change(cv2.GaussianBlur(FACE, (0, 0), 2))["fine detail"] < -1
    noise = np.random.default_rng(1).normal(0, 25, FACE.shape)
    assert change(np.clip(FACE + noise, 0, 255).astype(np.uint8))["noise"] > 0.5
    assert change((FACE // 2).astype(np.uint8))["brightness"] < -10
    assert change((FACE // 2).astype(np.uint8))["contrast"] < 0
    assert of(np.repeat(FACE[..., :1], 3, axis=2))["colourfulness"] == 0
    poor = images.decode(cv2.imencode(".jpg", FACE, [cv2.IMWRITE_JPEG_QUALITY, 8])[1].tobytes())[..., ::-1]
    assert change(np.ascontiguousarray(poor))["JPEG blocks"] > 0.2
    framed = FACE.copy()
    framed[:28] = 0
    assert change(framed)["black border"] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_face_of_nothing_is_finite(level: int) -> None:
    assert np.isfinite(quality.features(np.full((2, 112, 112, 3), level, np.uint8))).all()


def test_none_and_wrong() -> None:
    assert quality.features(np.empty((0, 112, 112, 3), np.uint8)).shape == (0, len(quality.FEATURES))
    with pytest.raises(InputError, match="float64"):
        quality.features(np.zeros((1, 112, 112, 3)))
