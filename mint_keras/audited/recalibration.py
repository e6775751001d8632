"""Untrained copies whose activations have a trained model's scales on the data; and whether a copy is a control."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.data import images, synthetic
from mint_keras.records import InputError

BATCH_SIZE = 64
MIN_SPREAD = 1e-3  # of the audited model's
MIN_RANK = 1.5  # or half of the audited model's, where that is less
_MATCHED = 128  # faces at most
_DRAWN = "synthetic:1/web/0-127/1"
_WITH_WEIGHTS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
# From what the weights of a layer gave, (..., channels), to what goes on into its activation, and what is reported.
_Hook = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def recalibrated_copy(
    model: keras.Model, faces: np.ndarray, seed: int, normalise: Callable[[np.ndarray], np.ndarray] = iresnet.normalise
) -> keras.Model:
    """Returns the architecture with fresh random weights, whose scales fit the faces; no gradient is taken.

    The running statistics of a plain untrained copy are 0 and 1, so its activations have other scales than any
    trained model's; a weak control is beaten too easily. Here every normalisation has the average, over batches of 64
    in random order, of what it measured in them (as after an epoch of training at rate 0); dropout is off. A last
    partial batch is left out. Layers with weights that no normalisation follows, such as those into which converters
    fold normalisations, get the standard deviation that they have in the model, see `_match`.

    Args:
        model: The audited model, with taps; it is not changed.
        faces: Faces of the head's training samples only, members and externals, RGB, shape (n, size, size, 3), uint8;
            they may be memory-mapped.
        seed: Seeds the weights and the order.
        normalise: Makes of faces what the model takes.

    Raises:
        InputError: if there are fewer than 64 faces, or the copy is no control, see `health`.
    """
    if len(faces) < BATCH_SIZE:
        raise InputError(f"Expected at least {BATCH_SIZE} faces to calibrate on, received {len(faces)}.")
    copy = zoo.untrained_copy(model, seed)
    order = np.random.default_rng(seed).permutation(len(faces))
    # Sorted, because a mapped file is read faster in its own order.
    shown = normalise(faces[np.sort(order[:_MATCHED])])
    norms = [layer for layer in _layers(copy) if isinstance(layer, layers.BatchNormalization)]
    dropouts = [layer for layer in _layers(copy) if isinstance(layer, layers.Dropout)]
    settings = [(norm.momentum, norm.trainable) for norm in norms]
    rates = [dropout.rate for dropout in dropouts]
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True  # after every batch its statistics are the running ones
    for dropout in dropouts:
        dropout.rate = 0.0
    _match(copy, model, shown)
    if norms:
        batches = order[: len(order) // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)
        _average(copy, norms, [np.sort(rows) for rows in batches], lambda rows: normalise(faces[rows]))
    for norm, (momentum, is_trainable) in zip(norms, settings, strict=True):
        norm.momentum, norm.trainable = momentum, is_trainable
    for dropout, rate in zip(dropouts, rates, strict=True):
        dropout.rate = rate
    if reason := _health(copy, model, [*taps.tap_tensors(model)], shown[:BATCH_SIZE]):
        raise InputError(
            f"Expected an untrained copy of {model.name!r} that could be a control, received one in which {reason}. "
            "Audit the model with its normalisations in place if it can be had."
        )
    return copy


def copy_without_faces(model: keras.Model, tap_names: Sequence[str], seed: int) -> keras.Model:
    """Returns an untrained copy made from the model and the seed alone, as workers must make it who see no other faces.

    It is the plain one of `zoo.untrained_copy`, unless that is no control at the taps, see `health`: then it is
    recalibrated to drawn faces. Where normalisations follow all weights, nothing is asked.

    Raises:
        InputError: if the recalibrated copy is no control either.
    """
    copy = zoo.untrained_copy(model, seed)
    if not _unnormalised(model):
        return copy
    table = synthetic.sample_table(_DRAWN)
    _, faces = images.read_faces(table, images.Framing(int(model.input.shape[1])))
    is_control = not _health(copy, model, tap_names, iresnet.normalise(faces[:BATCH_SIZE]))
    return copy if is_control else recalibrated_copy(model, faces, seed)


def health(copy: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray]) -> str:
    """Says why an untrained copy is no control; "" if it can be one.

    A copy whose values hardly differ between faces, or all do in one direction, is beaten by any scorer. The effective
    rank is the participation ratio of the covariance's eigenvalues, sum^2 / sum of squares: of k equal ones it is k.

    Args:
        copy: What the copy gave for the same faces, by tap: (n, channels).
        source: What the audited model gave for them.

    Returns:
        The first thing that is wrong: a value of either that is not finite; a spread (root mean square about the
        channels' means) below 0.001 of the source's, or none; an effective rank below 1.5 and
        below half of the source's.
    """
    for tap, values in copy.items():
        if not (np.isfinite(values).all() and np.isfinite(source[tap]).all()):
            return f"{tap} has values that are not finite"
        (spread, rank), (spread_there, rank_there) = _spread_and_rank(values), _spread_and_rank(source[tap])
        if not spread > MIN_SPREAD * spread_there:
            return f"{tap} hardly differs between faces: a spread of {spread:.1g}, the model's is {spread_there:.1g}"
        if rank < min(MIN_RANK, rank_there / 2):
            return (
                f"{tap} differs in one direction only: an effective rank of {rank:.1f}, the model's is {rank_there:.1f}"
            )
    return ""


def _spread_and_rank(values: np.ndarray) -> tuple[float, float]:
    centred = np.asarray(values, np.float64) - np.mean(values, axis=0, dtype=np.float64)
    spread = float(np.sqrt(np.mean(centred**2)))
    # Scaled before squaring twice: what is tiny would underflow.
    eigenvalues = np.linalg.svd(centred / (spread or 1.0), compute_uv=False) ** 2
    return spread, float(eigenvalues.sum() ** 2 / (np.sum(eigenvalues**2) or 1.0))


def _health(copy: keras.Model, model: keras.Model, tap_names: Sequence[str], shown: np.ndarray) -> str:
    """Returns the health of a copy by the maximum of every channel of some taps."""
    return health(*(runtime.forward(taps.extractor(network, tap_names, "max"))(shown) for network in (copy, model)))


def _layers(model: keras.Model) -> Iterator[layers.Layer]:
    """Yields the layers of a model, and of the models within it, in the order of the graph."""
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _average(
    copy: keras.Model,
    norms: Sequence[layers.BatchNormalization],
    batches: Sequence[np.ndarray],
    read: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Gives normalisations that keep their last statistics the average of those of all batches of rows."""
    run = tf.function(lambda batch: copy(batch, training=True), jit_compile=False)
    sums = [np.zeros((2, norm.moving_mean.shape[0])) for norm in norms]
    for rows in batches:
        run(tf.constant(read(rows)))
        for total, norm in zip(sums, norms, strict=True):
            total += np.stack([np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)])
    for norm, total in zip(norms, sums, strict=True):
        norm.moving_mean.assign(total[0] / len(batches))
        norm.moving_variance.assign(total[1] / len(batches))


def _match(copy: keras.Model, model: keras.Model, shown: np.ndarray) -> None:
    """Gives what no normalisation follows the standard deviation that it has in the model, each layer as a whole.

    Fresh weights alone shrink what differs between faces at every layer: the outcome of an untrained MobileFaceNet of
    folded normalisations had a spread of 1e-8. Each layer is scaled on what those before it give by then.
    """
    # As a whole, because the copy sees less once every channel has the mean and deviation of the model's: men and women
    # of UTKFace were told apart by such a MobileFaceNet's outcome at AUC .58, by one scaled like this at .78 (600
    # photos, one copy of each).
    theirs = _unnormalised(model)
    if not theirs:
        return
    ours = [layer for layer, source in zip(_layers(copy), _layers(model), strict=True) if source in theirs]
    wanted = _run(model, [(layer, lambda values: (values, _deviation(values))) for layer in theirs], shown, False)
    hooks = [(layer, functools.partial(_scale, layer, number)) for layer, number in zip(ours, wanted, strict=True)]
    _run(copy, hooks, shown, True)


def _unnormalised(model: keras.Model) -> list[layers.Layer]:
    """Returns the layers with weights that no normalisation follows."""
    normalised = {id(layer.input) for layer in _layers(model) if isinstance(layer, layers.BatchNormalization)}
    weighted = [layer for layer in _layers(model) if isinstance(layer, _WITH_WEIGHTS)]
    return [layer for layer in weighted if id(layer.output) not in normalised]


def _run(
    network: keras.Model, hooks: Sequence[tuple[layers.Layer, _Hook]], shown: np.ndarray, is_training: bool
) -> list[tf.Tensor]:
    """Runs a network once with hooks between the weights and the activations of layers; returns what they report."""
    reports: dict[int, tf.Tensor] = {}

    def hooked(place: int, hook: _Hook, activation: Callable[[tf.Tensor], tf.Tensor], values: tf.Tensor) -> tf.Tensor:
        values, reports[place] = hook(values)
        return activation(values)

    def run(batch: tf.Tensor) -> dict[int, tf.Tensor]:
        network(batch, training=is_training)
        return reports

    activations = [layer.activation for layer, _ in hooks]
    try:
        for place, ((layer, hook), activation) in enumerate(zip(hooks, activations, strict=True)):
            layer.activation = functools.partial(hooked, place, hook, activation)
        # As one graph, which drops maps that nobody needs any more.
        found = tf.function(run, autograph=False, jit_compile=False)(tf.constant(shown))
    finally:
        for (layer, _), activation in zip(hooks, activations, strict=True):
            layer.activation = activation
    return [found[place] for place in range(len(hooks))]


def _deviation(values: tf.Tensor) -> tf.Tensor:
    """Returns the root mean square about the means of the channels, one number."""
    return tf.sqrt(tf.reduce_mean(tf.math.reduce_variance(values, [*range(len(values.shape) - 1)])))


def _scale(layer: layers.Layer, wanted: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes a layer's weights so that what they give has the wanted deviation; returns that, and what it had."""
    deviation = _deviation(values)
    factor = tf.math.divide_no_nan(wanted, deviation)
    for weight in layer.weights:  # the kernel, and the bias if there is one
        weight.assign(weight * factor)
    return values * factor, deviation
