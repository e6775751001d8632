"""How the embedding of a face answers small changes of the face: for `scorers.mint_plus`, from the pass for the AAD."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import cv2
import keras
import numpy as np

from mint_keras.aad import extract, pooling, signals
from mint_keras.aad.extract import FaceFunction
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.data import images
from mint_keras.records import InputError, SampleTable

COSINES, NORM_RATIOS, OUTCOMES = "view_cosines", "view_norm_ratios", "view_outcomes"
POOLINGS = ("max", "mean", "std")
SHIFT = signals.SHIFT  # pixels
BRIGHTNESS = 24  # grey levels
NOISE = 8.0  # standard deviation, grey levels
BLUR = 2.0  # standard deviation, pixels

# From uint8 faces, (n, height, width, 3), to faces that show the same person. Nothing depends on the batch.
VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda faces: faces[:, :, ::-1],
    "noisy": lambda faces: _noisy(faces),
    "blurred": lambda faces: np.stack([cv2.GaussianBlur(face, (0, 0), BLUR) for face in faces]),
    "right": lambda faces: faces[:, :, np.maximum(np.arange(faces.shape[2]) - SHIFT, 0)],
    "up": lambda faces: faces[:, np.minimum(np.arange(faces.shape[1]) + SHIFT, faces.shape[1] - 1)],
    "brighter": lambda faces: _brighter(faces, BRIGHTNESS),
    "darker": lambda faces: _brighter(faces, -BRIGHTNESS),
}


def with_views(function: FaceFunction, embed: FaceFunction) -> FaceFunction:
    """Adds how the outcome of a face compares with those of its `VIEWS`, in their order. Takes a pass for each.

    Args:
        function: from faces to all outputs, the outcome among them.
        embed: from faces to the outcome.

    Returns:
        A function that also gives `view_cosines`, (n, views), the cosines with the outcome of the face itself;
        `view_norm_ratios`, (n, views), the natural logarithms of how much longer the view's outcome is; and
        `view_outcomes`, (n, views, d), float16, the views' outcomes at length 1.
    """

    def viewed(faces: np.ndarray) -> dict[str, np.ndarray]:
        outputs = function(faces)
        plain = outputs[taps.OUTCOME]
        seen = [embed(np.ascontiguousarray(view(faces)))[taps.OUTCOME] for view in VIEWS.values()]
        cosines = [signals.cosine(plain, outcome) for outcome in seen]
        ratios = [log_norm(outcome) - log_norm(plain) for outcome in seen]
        return {
            **outputs,
            COSINES: np.stack(cosines, axis=1).astype(np.float32),
            NORM_RATIOS: np.stack(ratios, axis=1).astype(np.float32),
            OUTCOMES: np.stack([_unit(outcome) for outcome in seen], axis=1).astype(np.float16),
        }

    return viewed


def face_function(model: keras.Model) -> FaceFunction:
    """Returns a function from faces to all that `scorers.mint_plus` asks of a face-recognition model.

    Args:
        model: the whole model, frozen: it is only run.

    Returns:
        A function whose outputs, (n, c) each, are the outcome; the maximum, mean and standard deviation of every
        channel of the convolutional taps (`pooling.array_name`); `signals.BN_DISTANCE`, where the model has
        batch normalisation over maps; and, as it says, those of `with_views`.

    Raises:
        InputError: if the model has no tap outcome.
    """
    chosen = [tap for tap in taps.tap_tensors(model) if tap in taps.CONV_TAPS] + [taps.OUTCOME]
    extractor = pooling.pooled(taps.extractor(model, chosen), POOLINGS)
    if signals.BN_DISTANCE in signals.available(model, chosen):
        extractor = signals.with_bn_distance(extractor, model)
    whole, short = runtime.forward(extractor), runtime.forward(taps.extractor(model, [taps.OUTCOME]))
    return with_views(lambda faces: whole(iresnet.normalise(faces)), lambda faces: short(iresnet.normalise(faces)))


def read(
    table: SampleTable,
    function: FaceFunction,
    batch_size: int = extract.BATCH_SIZE,
    framing: images.Framing = images.FACE,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Runs samples through a model, batch by batch; no more than a batch of images is held.

    Args:
        table: the samples, m rows.
        function: from `face_function`.
        batch_size: of every pass; the last batch is filled up.
        framing: what images become before the model sees them.

    Returns:
        The rows of the table that could be read, (n,), and what the function gave for them, (n, ...) each.

    Raises:
        InputError: if none could be read.
    """
    rows, parts = [], []
    for some_rows, faces in images.FaceReader(framing).batches(table, batch_size):
        rows.append(some_rows)
        parts.append(run(function, faces, batch_size))
    if not rows:
        raise InputError(f"Expected images that can be read, received {len(table)} samples without any.")
    return np.concatenate(rows), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def run(function: FaceFunction, faces: np.ndarray, batch_size: int = extract.BATCH_SIZE) -> dict[str, np.ndarray]:
    """Runs faces through a function of `face_function`, batch by batch; the last one is filled up."""
    starts = range(0, len(faces), batch_size)
    parts = [extract.run({"": function}, faces[start : start + batch_size], batch_size)[""] for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def log_norm(outcome: np.ndarray) -> np.ndarray:
    """Returns the natural logarithm of every row's length, (n,), float64; of the smallest number where it is 0."""
    return np.log(np.maximum(np.linalg.norm(np.asarray(outcome, np.float64), axis=1), np.finfo(np.float64).tiny))


def _unit(outcome: np.ndarray) -> np.ndarray:
    """Returns rows of length 1; 0 where a row is all zeros."""
    return outcome / np.maximum(np.linalg.norm(outcome, axis=1, keepdims=True), np.finfo(outcome.dtype).tiny)


def _noisy(faces: np.ndarray) -> np.ndarray:
    """Adds noise that the face's own pixels seed: the same face gets the same noise in every batch and run."""
    noisy = np.empty_like(faces)
    for k, face in enumerate(faces):
        digest = hashlib.sha256(np.ascontiguousarray(face).tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        noisy[k] = np.clip(np.rint(face + rng.normal(0.0, NOISE, face.shape)), 0, 255)
    return noisy


def _brighter(faces: np.ndarray, levels: int) -> np.ndarray:
    return np.clip(faces.astype(np.int16) + levels, 0, 255).astype(np.uint8)
