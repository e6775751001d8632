"""What a face crop looks like without asking who is on it: few numbers by which unusual pictures are told."""

import cv2
import numpy as np

from mint_keras.records import InputError

# The domain of a bundle looks at these and at nothing that the scorer looks at: what makes a score high must not decide
# whether it is judged.
FEATURES = (
    "brightness", "contrast", "colourfulness", "sharpness", "noise", "fine detail", "JPEG blocks", "black border",
)  # fmt: skip
_GRID = 8  # pixels a side of JPEG's blocks
_TINY = 1e-3  # keeps the logs of flat pictures finite


def features(faces: np.ndarray) -> np.ndarray:
    """Measures every face by itself.

    Mean and deviation of luma; mean distance between the largest and smallest channel; logs of the variance of the
    Laplacian, of what a median filter of 3x3 takes away, of the share of the spectrum above a quarter of the sampling
    frequency, and of the steps at the borders of JPEG's blocks over all steps, at the phase where they are largest;
    share of black pixels.

    From faces in RGB, shape (n, height, width, 3), uint8, to the columns of `FEATURES`, shape (n, 8), float64, finite.
    """
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] != 3:
        raise InputError(f"Expected RGB faces, uint8, received {faces.dtype} of shape {faces.shape}.")
    rows = []
    for face in faces:
        luma = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        power = np.abs(np.fft.rfft2(luma - luma.mean())) ** 2
        radius = np.hypot(np.fft.fftfreq(luma.shape[0])[:, None], np.fft.rfftfreq(luma.shape[1])[None])
        rows.append([
            luma.mean(),
            luma.std(),
            (face.max(axis=2).astype(np.float32) - face.min(axis=2)).mean(),
            np.log(cv2.Laplacian(luma, cv2.CV_32F).var() + _TINY),
            np.log((luma.astype(np.float32) - cv2.medianBlur(luma, 3)).std() + _TINY),
            np.log((power[radius > 0.25].sum() + _TINY) / (power.sum() + _TINY)),
            max(_blocks(luma), _blocks(luma.T)),
            (face.max(axis=2) == 0).mean(),
        ])  # fmt: skip
    return np.array(rows, np.float64).reshape(len(faces), len(FEATURES))


def _blocks(luma: np.ndarray) -> float:
    steps = np.abs(np.diff(luma.astype(np.float32), axis=1)).mean(axis=0)
    phases = [steps[phase::_GRID].mean() for phase in range(_GRID)]
    return float(np.log((max(phases) + _TINY) / (steps.mean() + _TINY)))
