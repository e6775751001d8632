"""How photos are changed on the net, and by other detectors: copies to plant, and to measure a search by."""

from collections.abc import Callable

import cv2
import numpy as np

from mint_keras.data.registration import moved


def _cropped(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = face.shape[:2]
    new_height, new_width = round(0.95 * height), round(0.95 * width)
    top, left = rng.integers(0, [height - new_height + 1, width - new_width + 1])
    return cv2.resize(face[top : top + new_height, left : left + new_width], (width, height))


def _mirrored(face: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(face[:, ::-1])


def _shifted(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return moved(face, 1.0, 2 * np.cos(angle), 2 * np.sin(angle))


def _redetected(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # SCRFD-500M and 2.5G differ by half of it: in 86 photos by 2.2%, 0.6 pixels each way and 1 degree (deviations).
    right, down = rng.normal(0, 1.2, 2)
    return moved(face, np.exp(rng.normal(0, 0.03)), right, down, rng.normal(0, 1.5))


# From a face, RGB, uint8, to a near copy of it; what is drawn at random is where and which way. What a looser or a
# shifted crop shows of the photo around is not in a crop: its border is mirrored.
ALTERATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    # OpenCV takes the channels for BGR both ways, so they come back in their order.
    "encoded again": lambda face, _: cv2.imdecode(
        cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR
    ),
    "cropped 5%": _cropped,
    "mirrored": lambda face, _: _mirrored(face),
    "brighter 10%": lambda face, _: np.clip(np.rint(face * 1.1), 0, 255).astype(np.uint8),
    "darker 10%": lambda face, _: np.clip(np.rint(face * 0.9), 0, 255).astype(np.uint8),
    "shifted 2 px": _shifted,
    "turned 2 degrees": lambda face, rng: moved(face, turn=2 * rng.choice([-1, 1])),
    "looser 5%": lambda face, _: moved(face, 1 / 1.05),
    "looser 10%": lambda face, _: moved(face, 1 / 1.1),
    "tighter 5%": lambda face, _: moved(face, 1.05),
    "tighter 10%": lambda face, _: moved(face, 1.1),
    "another detector": _redetected,
    "mirrored, cropped": lambda face, rng: _cropped(_mirrored(face), rng),
}
