"""Fine-tuning: the end of a trained network goes on learning, on maps that the frozen part before it makes once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from mint_keras import progress
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.records import InputError

# Of faces, (n, height, width, 3), before they are shown, in the order in which `batch_of_maps` expects their maps.
FLIPS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (lambda faces: faces, lambda faces: faces[:, :, ::-1])
CLASSIFIER = "centroids"  # what it begins as, for manifests; of those that do not say so it was drawn at random
_BATCH_SIZE = 64
_KIND = np.float16


class Parts(NamedTuple):
    """A network in two parts that share its layers.

    The trunk makes {`taps.OUTCOME`: maps} of images, (batch, height, width, channels). The tail makes the embedding of
    these maps, (batch, embedding_size); what it learns, the whole network has learned.
    """

    trunk: keras.Model
    tail: keras.Model


def split_at(model: keras.Model, trainable: str) -> Parts:
    """Cuts a network in front of a layer.

    Args:
        model: An audited model; its outputs stay as they are.
        trainable: A layer, or how the names of a stage's layers begin, such as stage4: its first layer is meant.

    Raises:
        InputError: If there is no such layer, or the embedding also depends on what goes round it.
    """
    parts = _parts(model, trainable)
    if parts is None:
        possible = [
            f"{layer.name} ({found.tail.count_params():,})"
            for layer in model.layers
            if layer.weights and (found := _parts(model, layer.name))
        ]
        raise InputError(
            "Expected a layer through whose input everything goes on its way from the image to the embedding, received "
            f"{trainable!r}. Take one of these (parameters from there on): {', '.join(possible)}."
        )
    return parts


def _parts(model: keras.Model, trainable: str) -> Parts | None:
    # A tap that is an output has a layer of its name behind the stage, without weights: nothing of that would move.
    named = [layer for layer in model.layers if layer.name == trainable and layer.weights]
    begun = [layer for layer in model.layers if trainable and layer.name.startswith(f"{trainable}_")]
    if not (chosen := named or begun) or not isinstance(chosen[0].input, keras.KerasTensor):
        return None
    cut = chosen[0].input
    try:
        tail = keras.Model(cut, taps.tap_tensors(model)[taps.OUTCOME], name=f"{model.name}_tail")
    except ValueError:  # a way from the image to the embedding leads past the layer
        return None
    return Parts(keras.Model(model.input, {taps.OUTCOME: cut}, name=f"{model.name}_trunk"), tail)


def maps_of(
    trunk: keras.Model, faces: np.ndarray, changes: Sequence[Callable[[np.ndarray], np.ndarray]], path: Path
) -> np.ndarray:
    """Writes what the trunk makes of faces and of changed faces into a `.npy` file, and returns it, memory-mapped.

    Args:
        trunk: The frozen part of a network.
        faces: RGB faces, (n, size, size, 3), uint8; they may be memory-mapped.
        changes: What is done to faces before they are shown, such as `FLIPS`.
        path: The file.

    Returns:
        The maps, (n, changes, height, width, channels), float16.

    Raises:
        InputError: If a value does not fit float16.
    """
    forward = runtime.forward(trunk)
    shape = (len(faces), len(changes), *trunk.output[taps.OUTCOME].shape[1:])
    maps = np.lib.format.open_memmap(path, "w+", _KIND, shape)
    for start in progress.bar(range(0, len(faces), _BATCH_SIZE), desc="maps", unit="batch"):
        for k, change in enumerate(changes):
            shown = np.ascontiguousarray(change(faces[start : start + _BATCH_SIZE]))
            found = forward(iresnet.normalise(shown))[taps.OUTCOME]
            if not (largest := np.abs(found).max()) <= np.finfo(_KIND).max:
                raise InputError(f"Expected maps that fit float16 in front of the layer, received {largest:g}.")
            maps[start : start + _BATCH_SIZE, k] = found
    maps.flush()
    return maps


@contextlib.contextmanager
def in_training(model: keras.Model, trainable: str) -> Iterator[Parts]:
    """Yields the parts of a network, see `split_at`; meanwhile batch normalisations of the tail stay as they are."""
    parts = split_at(model, trainable)
    norms = [layer for layer in parts.tail.layers if isinstance(layer, layers.BatchNormalization) and layer.trainable]
    for norm in norms:
        norm.trainable = False  # or the running statistics would move to those of a few hundred faces
    try:
        yield parts
    finally:
        for norm in norms:
            norm.trainable = True


def batch_of_maps(maps: np.ndarray, rows: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Returns some rows of `maps_of` with `FLIPS`, float32, of mirrored faces where `flip`, (batch,), says so."""
    return maps[rows, flip.astype(int)].astype(np.float32)
