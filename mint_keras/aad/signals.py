"""What baselines ask of a model beside its taps, sample by sample: `scorers.baselines` makes scores of it."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from mint_keras import vectors
from mint_keras.audited import taps
from mint_keras.audited.runtime import FaceFunction
from mint_keras.records import InputError

STABILITY, BN_DISTANCE = "stability", "bn_distance"
SHIFT = 4  # pixels
NUM_PASSES = 4  # of a face whose stability is asked for: itself and its `views`
NO_NORMALISATION = (
    "bn_distance is left out: the audited model has no batch normalisation over maps (exporters fold it into the "
    "convolutions), so there are no running statistics to be distant from."
)


def available(model: keras.Model, chosen: Sequence[str]) -> tuple[str, ...]:
    """Returns the signals that a whole audited model can give beside chosen taps.

    Raises:
        InputError: If the outcome, whose stability is asked for, is not among the taps.
    """
    if taps.OUTCOME not in chosen:
        raise InputError(f"Expected the tap outcome for baselines, received only {list(chosen)}.")
    return (STABILITY, BN_DISTANCE) if _normalisations(model) else (STABILITY,)


def views(faces: np.ndarray) -> list[np.ndarray]:
    """Returns faces, (n, height, width, 3), mirrored, moved to the right by `SHIFT`, and moved down; edges repeat."""
    rows, columns = (np.maximum(np.arange(size) - SHIFT, 0) for size in faces.shape[1:3])
    return [faces[:, :, ::-1], faces[:, :, columns], faces[:, rows]]


def with_stability(function: FaceFunction) -> FaceFunction:
    """Adds `stability`, (n, 3): the cosines between a face's outcome and those of its `views`. Takes four passes."""

    # Three passes more than the taps take, so that baselines are a switch.
    def stable(faces: np.ndarray) -> dict[str, np.ndarray]:
        outputs = function(faces)
        seen = [function(view)[taps.OUTCOME] for view in views(faces)]
        cosines = [vectors.cosines(outputs[taps.OUTCOME], outcome) for outcome in seen]
        return {**outputs, STABILITY: np.stack(cosines, axis=1).astype(np.float32)}

    return stable


def with_bn_distance(extractor: keras.Model, model: keras.Model) -> keras.Model:
    """Adds `bn_distance`, (batch, layers), to an extractor: how far samples are from what the whole model has seen.

    For every batch normalisation over maps the mean of its input over the positions, less the running mean, squared,
    divided by the running variance, and averaged over the channels: d_i = ||mean(v_i) - mu_i||^2 / b_i of arXiv
    2401.13719, read by channel.
    """
    distances = []
    for norm in _normalisations(model):
        mean = layers.GlobalAveragePooling2D(dtype="float32", name=f"{norm.name}_mean")(norm.input)
        # Without gamma and beta a normalisation is the distance by channel.
        standardise = layers.BatchNormalization(
            center=False, scale=False, epsilon=norm.epsilon, dtype="float32", name=f"{norm.name}_statistics"
        )
        z = standardise(mean)
        standardise.set_weights([np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)])
        squared = layers.Dot(axes=1, dtype="float32", name=f"{norm.name}_squared")([z, z])
        distances.append(layers.Rescaling(1 / z.shape[-1], dtype="float32", name=f"{norm.name}_distance")(squared))
    join = layers.Concatenate if len(distances) > 1 else layers.Identity
    output = join(dtype="float32", name=BN_DISTANCE)(distances if len(distances) > 1 else distances[0])
    return keras.Model(extractor.input, {**extractor.output, BN_DISTANCE: output}, name=extractor.name)


def _normalisations(model: keras.Model) -> list[layers.BatchNormalization]:
    return [
        layer for layer in model.layers if isinstance(layer, layers.BatchNormalization) and len(layer.output.shape) == 4
    ]
