"""Untrained copies whose batch normalisation fits the data, as a trained model's does."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mint_keras.audited import iresnet, zoo
from mint_keras.records import InputError

BATCH_SIZE = 64


def recalibrated_copy(model: keras.Model, faces: np.ndarray, seed: int) -> keras.Model:
    """Returns the architecture with fresh random weights and running statistics of the faces; no gradient is taken.

    The running statistics of a plain untrained copy are 0 and 1, so its activations have other scales than any
    trained model's; a weak control is beaten too easily. Here every normalisation has the average, over batches of 64
    in random order, of what it measured in them (as after an epoch of training at rate 0); dropout is off. A last
    partial batch is left out. A model without batch normalisation is copied as by `zoo.untrained_copy`.

    Args:
        model: the audited model; it is not changed.
        faces: of the head's training samples only, members and externals, RGB, shape (n, size, size, 3), uint8; may be
            memory-mapped.
        seed: of the weights and of the order.

    Raises:
        InputError: if there are fewer than 64 faces.
    """
    if len(faces) < BATCH_SIZE:
        raise InputError(f"Expected at least {BATCH_SIZE} faces to calibrate on, received {len(faces)}.")
    copy = zoo.untrained_copy(model, seed)
    norms = [layer for layer in copy.layers if isinstance(layer, layers.BatchNormalization)]
    if not norms:
        return copy
    settings = [(norm.momentum, norm.trainable) for norm in norms]
    dropouts = [(layer, layer.rate) for layer in copy.layers if isinstance(layer, layers.Dropout)]
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True  # after every batch its statistics are the running ones
    for dropout, _ in dropouts:
        dropout.rate = 0.0
    run = tf.function(lambda batch: copy(batch, training=True), jit_compile=False)
    sums = [np.zeros((2, norm.moving_mean.shape[0])) for norm in norms]
    num_batches = 0
    for batch in _batches(faces, np.random.default_rng(seed)):
        run(tf.constant(batch))
        num_batches += 1
        for total, norm in zip(sums, norms, strict=True):
            total += np.stack([np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)])
    for norm, total, (momentum, is_trainable) in zip(norms, sums, settings, strict=True):
        norm.moving_mean.assign(total[0] / num_batches)
        norm.moving_variance.assign(total[1] / num_batches)
        norm.momentum, norm.trainable = momentum, is_trainable
    for dropout, rate in dropouts:
        dropout.rate = rate
    return copy


def _batches(faces: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(len(faces))
    for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
        yield iresnet.normalise(faces[np.sort(order[start : start + BATCH_SIZE])])
