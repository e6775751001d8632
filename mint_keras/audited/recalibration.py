"""Untrained copies whose batch normalisation fits the data, as a trained model's does."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mint_keras.audited import iresnet, zoo
from mint_keras.records import InputError

BATCH_SIZE = 64


def recalibrated_copy(
    model: keras.Model,
    faces: np.ndarray,
    seed: int,
    normalise: Callable[[np.ndarray], np.ndarray] = iresnet.normalise,
) -> keras.Model:
    """Returns the architecture with fresh random weights and running statistics of the faces; no gradient is taken.

    The running statistics of a plain untrained copy are 0 and 1, so its activations have other scales than any
    trained model's; a weak control is beaten too easily. Here every normalisation has the average, over batches of 64
    in random order, of what it measured in them (as after an epoch of training at rate 0); dropout is off. A last
    partial batch is left out. A model without batch normalisation is copied as by `zoo.untrained_copy`.

    Args:
        model: The audited model; it is not changed.
        faces: Faces of the head's training samples only, members and externals, RGB, shape (n, size, size, 3), uint8;
            they may be memory-mapped.
        seed: Seeds the weights and the order.
        normalise: Makes of faces what the model takes.
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
    order, num_batches = np.random.default_rng(seed).permutation(len(faces)), len(faces) // BATCH_SIZE
    for start in range(0, num_batches * BATCH_SIZE, BATCH_SIZE):
        # Sorted, because a mapped file is read faster in its own order.
        run(tf.constant(normalise(faces[np.sort(order[start : start + BATCH_SIZE])])))
        for total, norm in zip(sums, norms, strict=True):
            total += np.stack([np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)])
    for norm, total, (momentum, is_trainable) in zip(norms, sums, settings, strict=True):
        norm.moving_mean.assign(total[0] / num_batches)
        norm.moving_variance.assign(total[1] / num_batches)
        norm.momentum, norm.trainable = momentum, is_trainable
    for dropout, rate in dropouts:
        dropout.rate = rate
    return copy
