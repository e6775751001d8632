"""How the embedding of a face answers small changes of the face: for `scorers.mint_plus`, from the pass for the AAD."""

import hashlib
from collections.abc import Callable, Sequence

import cv2
import keras
import numpy as np

from mint_keras import vectors
from mint_keras.aad import pooling, signals
from mint_keras.audited import engines, iresnet, taps
from mint_keras.audited.runtime import FaceFunction

COSINES, NORM_RATIOS, OUTCOMES = ADDED = ("view_cosines", "view_norm_ratios", "view_outcomes")  # by `with_views`
POOLINGS = ("max", "mean", "std")
SHIFT = signals.SHIFT  # pixels
BRIGHTNESS = 24  # grey levels
NOISE = 8.0  # standard deviation, grey levels
BLUR = 2.0  # standard deviation, pixels


def _noisy(faces: np.ndarray) -> np.ndarray:
    # Seeded by the face's own pixels: the noise depends on neither batch nor order, and a copy gets the same.
    noisy = np.empty_like(faces)
    for k, face in enumerate(faces):
        digest = hashlib.sha256(np.ascontiguousarray(face).tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        noisy[k] = np.clip(np.rint(face + rng.normal(0.0, NOISE, face.shape)), 0, 255)
    return noisy


def _brighter(faces: np.ndarray, levels: int) -> np.ndarray:
    return np.clip(faces.astype(np.int16) + levels, 0, 255).astype(np.uint8)


# From uint8 faces, (n, height, width, 3), to faces that show the same person. Nothing depends on the batch.
VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda faces: faces[:, :, ::-1],
    "noisy": _noisy,
    "blurred": lambda faces: np.stack([cv2.GaussianBlur(face, (0, 0), BLUR) for face in faces]),
    "right": lambda faces: faces[:, :, np.maximum(np.arange(faces.shape[2]) - SHIFT, 0)],
    "up": lambda faces: faces[:, np.minimum(np.arange(faces.shape[1]) + SHIFT, faces.shape[1] - 1)],
    "brighter": lambda faces: _brighter(faces, BRIGHTNESS),
    "darker": lambda faces: _brighter(faces, -BRIGHTNESS),
}
NUM_PASSES = 1 + len(VIEWS)


def with_views(function: FaceFunction, embed: FaceFunction) -> FaceFunction:
    """Adds how the outcome of a face compares with those of its `VIEWS`, in their order. `embed` runs for each.

    Returns:
        A function that also gives `view_cosines`, (n, views), the cosines with the outcome of the face itself;
        `view_norm_ratios`, (n, views), the natural logarithms of how much longer the view's outcome is; and
        `view_outcomes`, (n, views, d), float16, the views' outcomes at length 1.
    """

    def viewed(faces: np.ndarray) -> dict[str, np.ndarray]:
        outputs = function(faces)
        seen = [embed(np.ascontiguousarray(view(faces)))[taps.OUTCOME] for view in VIEWS.values()]
        return {**outputs, **compare(outputs[taps.OUTCOME], seen)}

    return viewed


def compare(plain: np.ndarray, seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what `with_views` adds, from outcomes of faces, (n, d), and of their `VIEWS` in order, (n, d) each."""
    cosines = [vectors.cosines(plain, outcome) for outcome in seen]
    ratios = [vectors.log_norms(outcome) - vectors.log_norms(plain) for outcome in seen]
    units = [vectors.unit_rows(outcome, outcome.dtype) for outcome in seen]
    return {
        COSINES: np.stack(cosines, axis=1).astype(np.float32),
        NORM_RATIOS: np.stack(ratios, axis=1).astype(np.float32),
        OUTCOMES: np.stack(units, axis=1).astype(np.float16),
    }


def face_function(
    model: keras.Model,
    chosen: Sequence[str] | None = None,
    with_maps: bool = False,
    normalise: Callable[[np.ndarray], np.ndarray] = iresnet.normalise,
    opener: engines.Opener = engines.opener([engines.KERAS]),  # noqa: B008 # opens nothing yet
) -> FaceFunction:
    """Returns a function from faces to all that `scorers.mint_plus` asks of a face-recognition model.

    Args:
        model: The whole model; it is only run.
        chosen: Taps to keep beside the outcome; by default the convolutional ones.
        with_maps: Whether maps are kept too, not only what is pooled of them.
        normalise: Makes of uint8 faces what the model takes.
        opener: Says who runs the model; Keras by default. Every face passes through it `NUM_PASSES` times.

    Returns:
        A function whose outputs, (n, c) each, are the outcome; the maximum, mean and standard deviation of every
        channel of the taps with maps (`pooling.array_name`); `signals.BN_DISTANCE`, where the model has batch
        normalisation over maps; and, as it says, those of `with_views`.

    Raises:
        InputError: If the model has no tap outcome.
    """
    names = [tap for tap in taps.tap_tensors(model) if tap in (taps.CONV_TAPS if chosen is None else chosen)]
    names = [*(tap for tap in names if tap != taps.OUTCOME), taps.OUTCOME]
    cut = taps.extractor(model, names)
    extractor = pooling.pooled(cut, POOLINGS)
    if with_maps:
        maps = {tap: x for tap, x in cut.output.items() if len(x.shape) == 4}
        extractor = keras.Model(cut.input, {**extractor.output, **maps}, name=cut.name)
    if signals.BN_DISTANCE in signals.available(model, names):
        extractor = signals.with_bn_distance(extractor, model)
    opened = opener({"": extractor, taps.OUTCOME: taps.extractor(model, [taps.OUTCOME])})
    return with_views(lambda faces: opened[""](normalise(faces)), lambda faces: opened[taps.OUTCOME](normalise(faces)))
