"""Statistics of how an image was captured, encoded and resized, and of nothing else: what databases differ in."""

import cv2
import numpy as np

from mint_keras.records import InputError

_GRID = 8  # of JPEG
_NUM_BANDS = 8
_MIN_SIZE = 2 * _GRID
_DARK, _BRIGHT = 8, 247  # grey levels: JPEG leaves neither 0 nor 255 as they are
_TINY = 1e-6

_CHANNELS, _LUMA_CHROMA = ("red", "green", "blue"), ("y", "cr", "cb")
_PAIRS = ((0, 1), (0, 2), (1, 2))
NAMES = (
    *(f"blockiness_{axis}_{phase}" for axis in ("x", "y") for phase in range(_GRID)),
    *(f"noise_{moment}_{channel}" for moment in ("mean", "log_std", "log_kurtosis") for channel in _CHANNELS),
    *(f"noise_correlation_{_CHANNELS[i]}_{_CHANNELS[j]}" for i, j in _PAIRS),
    *(f"log_power_{band}" for band in range(_NUM_BANDS)),
    *(f"colour_{moment}_{channel}" for moment in ("mean", "std", "skewness") for channel in _LUMA_CHROMA),
    *(f"colour_correlation_{_LUMA_CHROMA[i]}_{_LUMA_CHROMA[j]}" for i, j in _PAIRS),
    "log_sharpness",
    "share_dark",
    "share_bright",
    *(f"border_dark_{edge}" for edge in ("top", "bottom", "left", "right")),
)


def statistics(faces: np.ndarray) -> np.ndarray:
    """Computes the statistics of every image, each by itself, so that any batches give the same.

    - blockiness: log of the mean step of luma across every 8th border of columns (x) or rows (y), over the mean of all
      steps, at all 8 phases; phase 0 is where the borders of JPEG blocks are in an image that was not cut afterwards;
    - noise: what a median filter of 3x3 takes away, moments by channel, and correlations between channels;
    - power: log of the share of the spectrum of luma in 8 rings of equal width, from low to high frequencies;
    - colour: moments and correlations of YCrCb;
    - sharpness: log of the variance of the Laplacian of luma;
    - shares of dark and of bright pixels, and of dark ones along each edge, as left by turning and padding.

    Args:
        faces: RGB, shape (n, height, width, 3), uint8, at least 16 pixels a side.

    Returns:
        Shape (n, k), float32, finite; columns as in `NAMES`.

    """
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] != 3 or min(faces.shape[1:3]) < _MIN_SIZE:
        raise InputError(
            f"Expected RGB images, uint8, of at least {_MIN_SIZE} pixels a side, received {faces.dtype} of shape "
            f"{faces.shape}."
        )
    luma_chroma, residual = np.empty_like(faces), np.empty(faces.shape, np.int16)
    laplacian = np.empty(faces.shape[:3], np.float32)
    for k, face in enumerate(np.ascontiguousarray(faces)):
        luma_chroma[k] = cv2.cvtColor(face, cv2.COLOR_RGB2YCrCb)
        cv2.subtract(face, cv2.medianBlur(face, 3), dst=residual[k], dtype=cv2.CV_16S)
        laplacian[k] = cv2.Laplacian(np.ascontiguousarray(luma_chroma[k, :, :, 0]), cv2.CV_32F)
    luma = luma_chroma[..., 0].astype(np.float32)
    noise_mean, noise_std, _, noise_kurtosis, noise_correlation = _moments(residual)
    colour_mean, colour_std, colour_skewness, _, colour_correlation = _moments(luma_chroma)
    red, green, blue = (faces[..., channel] for channel in range(3))  # faster than reductions over three values
    is_dark = np.maximum(np.maximum(red, green), blue) <= _DARK
    is_bright = np.minimum(np.minimum(red, green), blue) >= _BRIGHT
    edges = (is_dark[:, 0], is_dark[:, -1], is_dark[:, :, 0], is_dark[:, :, -1])
    parts = [
        _blockiness(luma),
        _blockiness(luma.transpose(0, 2, 1)),
        noise_mean,
        _log(noise_std),
        _log(noise_kurtosis),
        noise_correlation,
        _log_power(luma),
        colour_mean,
        colour_std,
        colour_skewness,
        colour_correlation,
        _log(laplacian.var(axis=(1, 2)))[:, None],
        np.stack(
            [is_dark.mean(axis=(1, 2)), is_bright.mean(axis=(1, 2)), *(edge.mean(axis=1) for edge in edges)], axis=1
        ),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(values + _TINY)


def _blockiness(luma: np.ndarray) -> np.ndarray:
    """Returns the log of the mean step between columns at each phase of the grid, over the mean of all, (n, 8)."""
    steps = np.abs(np.diff(luma, axis=2)).mean(axis=1)
    phases = [steps[:, (phase - 1) % _GRID :: _GRID].mean(axis=1) for phase in range(_GRID)]
    return _log(np.stack(phases, axis=1)) - _log(steps.mean(axis=1, keepdims=True))


def _moments(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns mean, standard deviation, skewness, kurtosis and correlations of channels, (n, 3) each."""
    num, height, width, _ = values.shape
    by_channel = np.ascontiguousarray(values.reshape(num, height * width, 3).transpose(0, 2, 1), np.float32)
    mean = by_channel.mean(axis=2, keepdims=True)
    by_channel -= mean
    squares = by_channel * by_channel
    variance = squares.mean(axis=2)
    std = np.sqrt(variance)
    third = np.einsum("ncp,ncp->nc", squares, by_channel) / squares.shape[2]
    fourth = np.einsum("ncp,ncp->nc", squares, squares) / squares.shape[2]
    products = by_channel @ by_channel.transpose(0, 2, 1) / squares.shape[2]
    pairs = [_divide(products[:, i, j], std[:, i] * std[:, j]) for i, j in _PAIRS]
    return mean[..., 0], std, _divide(third, std**3), _divide(fourth, variance**2), np.stack(pairs, axis=1)


def _divide(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    # A constant channel has no spread: its moments are 0.
    return np.divide(values, by, out=np.zeros_like(values), where=by > _TINY)


def _log_power(luma: np.ndarray) -> np.ndarray:
    """Returns logs of the shares of the power in rings around frequency 0, (n, 8); the last has all beyond 0.5."""
    height, width = luma.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    spectrum = np.fft.rfft2((luma - luma.mean(axis=(1, 2), keepdims=True)) * window)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring = np.minimum((radius / 0.5 * _NUM_BANDS).astype(int), _NUM_BANDS - 1)
    # Of a real image half of the plane is left out: all but its first column, and its last if the width is even.
    counted = np.full(radius.shape, 2.0)
    counted[:, 0] = 1.0
    if width % 2 == 0:
        counted[:, -1] = 1.0
    rings = (np.arange(_NUM_BANDS) == ring.ravel()[:, None]) * counted.ravel()[:, None]
    bands = power.reshape(len(luma), radius.size) @ rings.astype(np.float32)
    return _log(bands / np.maximum(bands.sum(axis=1, keepdims=True), _TINY))
