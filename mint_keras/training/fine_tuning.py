"""Fine-tuning: the end of a trained network goes on learning, from the maps that the frozen part before it gives once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from mint_keras import progress
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.records import InputError

MAPS = "maps.npy"
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
    named = [layer for layer in model.layers if layer.name == trainable]
    begun = [layer for layer in model.layers if trainable and layer.name.startswith(f"{trainable}_")]
    if not (chosen := named or begun) or not isinstance(chosen[0].input, keras.KerasTensor):
        return None
    cut = chosen[0].input
    try:
        tail = keras.Model(cut, taps.tap_tensors(model)[taps.OUTCOME], name=f"{model.name}_tail")
    except ValueError:  # a way from the image to the embedding leads past the layer
        return None
    return Parts(keras.Model(model.input, {taps.OUTCOME: cut}, name=f"{model.name}_trunk"), tail)


def maps_of(trunk: keras.Model, faces: np.ndarray, with_mirrored: bool, path: Path) -> np.ndarray:
    """Writes what the trunk makes of faces into a `.npy` file, and returns it, memory-mapped.

    Args:
        trunk: The frozen part of a network.
        faces: RGB faces, (n, size, size, 3), uint8; they may be memory-mapped.
        with_mirrored: Whether mirrored faces are wanted too.
        path: The file.

    Returns:
        The maps, (n, 1, height, width, channels), float16; (n, 2, ...) with the mirrored faces' behind the faces' own.

    Raises:
        InputError: If a value does not fit float16.
    """
    forward = runtime.forward(trunk)
    shape = (len(faces), 1 + with_mirrored, *trunk.output[taps.OUTCOME].shape[1:])
    maps = np.lib.format.open_memmap(path, "w+", _KIND, shape)
    for start in progress.bar(range(0, len(faces), _BATCH_SIZE), desc="maps", unit="batch"):
        some = faces[start : start + _BATCH_SIZE]
        for side, shown in enumerate((some, some[:, :, ::-1])[: maps.shape[1]]):
            found = forward(iresnet.normalise(shown))[taps.OUTCOME]
            if np.abs(found).max() > np.finfo(_KIND).max:
                raise InputError(
                    f"Expected maps within float16 in front of the layer, received {np.abs(found).max():g}."
                )
            maps[start : start + _BATCH_SIZE, side] = found
    return maps


@contextlib.contextmanager
def trainable_tail(
    model: keras.Model, trainable: str, faces: np.ndarray, with_mirrored: bool, folder: Path
) -> Iterator[tuple[keras.Model, np.ndarray]]:
    """Yields the tail of a network and the maps to train it on; its batch normalisations stay as they are.

    The maps lie in the folder until the training is over. The arguments are those of `split_at` and `maps_of`.
    """
    trunk, tail = split_at(model, trainable)
    norms = [layer for layer in tail.layers if isinstance(layer, layers.BatchNormalization) and layer.trainable]
    for norm in norms:
        norm.trainable = False  # or the running statistics would move to those of a few hundred faces
    try:
        yield tail, maps_of(trunk, faces, with_mirrored, folder / MAPS)
    finally:
        for norm in norms:
            norm.trainable = True
    (folder / MAPS).unlink()


def batch_of_maps(maps: np.ndarray, rows: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Returns some rows of `maps_of`, float32, of the mirrored faces where `flip`, (batch,), says so."""
    return maps[rows, flip.astype(int)].astype(np.float32)
