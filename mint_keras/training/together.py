"""Trains small heads together: one compiled step moves all of them, each as if it were alone.

Alone, a step of such a head takes less time than TensorFlow takes to begin it.
"""

import dataclasses
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.summary import Writer

from mint_keras import borders, formats, paper
from mint_keras.training import batches, fit_heads

_FIGURES = ("accuracy", "cross_entropy", "loss")  # of every head, after every epoch
# What training moves of a vanilla head (see `heads.vanilla`), the first kernel first, and what it keeps count of.
_MOVED = [("hidden", "kernel"), ("hidden", "bias"), ("hidden_bn", "gamma"), ("hidden_bn", "beta")]
_MOVED += [("logit", "kernel"), ("logit", "bias")]
_KEPT = [("hidden_bn", "moving_mean"), ("hidden_bn", "moving_variance")]
CHECKPOINT = "checkpoint.npz"
_STEPS_AT_ONCE = 64  # between two returns to Python, which may have been interrupted


@dataclasses.dataclass(frozen=True)
class Training:
    """A head on vectors, to be trained in place from a seed; heads of the same data share the object.

    In the end the folder takes `training.csv` and TensorBoard's file.
    """

    model: keras.Model
    data: batches.LabelledAad
    seed: int
    folder: Path | None = None


def fit_together(
    trainings: Sequence[Training],
    epochs: int,
    folder: Path | None = None,
    on_epoch: Callable[[int], object] = lambda _: None,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Trains vanilla heads in float32 on one device, as `fit_heads.fit_head` does but for the order of some additions.

    What a head becomes depends on none of the others, on one machine to the last bit.

    Args:
        trainings: Heads of `heads.vanilla`, whose data name the same rows and classes; with none, nothing is done.
        epochs: Passes over the larger class.
        folder: Takes the checkpoint of a long training, which the same heads continue; who has kept them removes it.
        on_epoch: Called with the number of epochs of heads that are new since the last call.
        checkpoint_seconds: Least time between two checkpoints.
    """
    if not trainings:
        return
    is_member, seeds = trainings[0].data.is_member, list(dict.fromkeys(one.seed for one in trainings))
    heads, labels = _SideBySide(trainings, seeds), tf.constant(is_member, tf.float32)
    adam = keras.optimizers.Adam(paper.LEARNING_RATE)
    adam.build([heads.weights])

    def move(steps: tf.Tensor) -> tf.Tensor:
        total = tf.zeros((len(trainings), len(_FIGURES)))
        for chosen in steps:
            gradient, figures = heads.step(chosen, labels)
            adam.apply([gradient], [heads.weights])
            total += figures
        return total

    path = folder / CHECKPOINT if folder else None
    whom = _whom(trainings, epochs) if path else ""
    state = [heads.weights, *heads.states, *adam.variables]
    history = _restored(path, state, whom) if path and path.is_file() else []
    # Made once, since TensorFlow warns of functions that are made again and again.
    steps = tf.TensorSpec((None, len(seeds), 2 * batches.CLASS_BATCH), tf.int64)
    run = tf.function(move, input_signature=[steps]).get_concrete_function()
    on_epoch(len(history) * len(trainings))
    orders, saved = [batches.endless(is_member, seed, len(history)) for seed in seeds], time.monotonic()
    num = batches.steps_per_epoch(is_member)
    while len(history) < epochs:
        chosen = np.stack([[next(order) for order in orders] for _ in range(num)])
        parts = [run(tf.constant(chosen[at : at + _STEPS_AT_ONCE])).numpy() for at in range(0, num, _STEPS_AT_ONCE)]
        history.append(np.sum(parts, axis=0) / num)
        on_epoch(len(trainings))
        if path and time.monotonic() - saved >= checkpoint_seconds:
            path.parent.mkdir(parents=True, exist_ok=True)
            with formats.atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, whom=whom, history=history, **{str(k): of.numpy() for k, of in enumerate(state)})
            saved = time.monotonic()
    heads.give_back()
    for training, figures in zip(trainings, np.swapaxes(history, 0, 1).tolist(), strict=True):
        _log(training.folder, figures)


def _whom(trainings: Sequence[Training], epochs: int) -> str:
    """Returns a hash of what is trained on what: nothing else may continue a checkpoint."""
    seen = {}
    for data in {id(one.data): one.data for one in trainings}.values():
        arrays = (*data.features.values(), data.rows, data.is_member)
        seen[id(data)] = [hashlib.sha256(np.asarray(of[:]).tobytes()).hexdigest() for of in arrays]
    return formats.sha256_json(
        ["side by side", epochs, *([one.model.to_json(), one.seed, seen[id(one.data)]] for one in trainings)]
    )


def _restored(path: Path, state: Sequence[keras.Variable], whom: str) -> list[np.ndarray]:
    """Puts a checkpoint's values in their places and returns its history, empty if it is of other heads."""
    with borders.reading(f"a checkpoint of heads, or none, in {path}"), np.load(path, allow_pickle=False) as kept:
        if str(kept["whom"]) != whom:
            return []
        values = [np.broadcast_to(kept[str(k)], variable.shape) for k, variable in enumerate(state)]
        history = list(kept["history"])
    for variable, value in zip(state, values, strict=True):
        variable.assign(value)
    return history


def _log(folder: Path | None, figures: Sequence[Sequence[float]]) -> None:
    if folder is None:
        return
    lines = [",".join(map(str, (epoch, *of))) for epoch, of in enumerate(figures)]
    formats.write_text(folder / "training.csv", "\n".join([",".join(("epoch", *_FIGURES)), *lines, ""]))
    events = Writer(str(folder / "train"))
    for epoch, of in enumerate(figures):
        for name, value in zip(_FIGURES, of, strict=True):
            events.add_scalar(f"epoch_{name}", value, epoch)
    events.close()


def _vectors(trainings: Sequence[Training]) -> list[tf.Tensor]:
    """Adapts the layers "standardise" and returns what is fed to each head behind them; heads of the same share it."""
    found: dict[tuple, tuple[tf.Tensor, list[np.ndarray]]] = {}
    for one in trainings:
        standardise = [layer for layer in one.model.layers if layer.name == "standardise"]
        if (key := _key(one)) not in found:
            vectors = fit_heads.standardised(one.model, one.data)
            found[key] = batches.widened({"": vectors})[""], [v for layer in standardise for v in layer.get_weights()]
        for layer in standardise:
            layer.set_weights(found[key][1])
            layer.finalize_state()
    return [found[_key(one)][0] for one in trainings]


def _key(one: Training) -> tuple:
    return (id(one.data), *one.model.input, any(layer.name == "standardise" for layer in one.model.layers))


class _SideBySide:
    """Vanilla heads that differ in their inputs: what is behind these is one wide head, the units of all in a row.

    Heads of one seed also drop the same units, which are drawn once.
    """

    def __init__(self, trainings: Sequence[Training], seeds: Sequence[int]) -> None:
        self._num = len(trainings)
        if self._num == 1:  # TensorFlow adds up in another order than for several: who is alone has itself beside it
            trainings = [*trainings] * 2
        self._fed, self._seed_of = _vectors(trainings), [seeds.index(one.seed) for one in trainings]
        models = [one.model for one in trainings]
        wanted = ("hidden", "hidden_bn", "dropout", "score")
        self._hidden, norm, self._dropout, self._score = map(models[0].get_layer, wanted)
        self._norm = keras.layers.BatchNormalization.from_config(norm.get_config())
        self._norm.build((None, len(models) * self._hidden.units))
        self._moved, self._kept = (
            [[getattr(model.get_layer(layer), name) for model in models] for layer, name in of]
            for of in (_MOVED, _KEPT)
        )
        # Adam moves every number by itself: one long vector takes a tenth of the operations that variables take.
        self.weights, *moments = (keras.Variable(_row(of)) for of in (itertools.chain(*self._moved), *self._kept))
        self._draws = [model.get_layer("dropout").seed_generator.state for model in models]
        drawn = [tuple(state.numpy().tolist()) for state in self._draws]
        streams = list(dict.fromkeys(drawn))
        self._stream_of = [streams.index(of) for of in drawn]
        self.states = [*moments, *(keras.Variable(of, dtype="uint32") for of in streams)]

    def _parts(self) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the first kernels, (inputs, units), and of all else the values of all heads in a row."""
        shapes = [kernel.shape for kernel in self._moved[0]]
        sizes = [*map(math.prod, shapes), *(sum(math.prod(one.shape) for one in of) for of in self._moved[1:])]
        parts = tf.split(self.weights.value, sizes)
        return list(map(tf.reshape, parts, shapes)), parts[len(shapes) :]

    def step(self, chosen: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradient of the weights, and figures of each head, for rows of the data, (seeds, batch)."""
        num, units, batch = len(self._fed), self._hidden.units, 2 * batches.CLASS_BATCH
        moments, streams = self.states[:2], self.states[2:]
        rows = [tf.gather(fed, chosen[k]) for fed, k in zip(self._fed, self._seed_of, strict=True)]
        right = tf.gather(tf.gather(labels, chosen), self._seed_of)
        ones = tf.ones((batch, units))
        masks, drawn = zip(
            *(self._dropout.stateless_call([], [of.value], ones, training=True) for of in streams), strict=True
        )
        dropped = tf.concat([masks[k] for k in self._stream_of], 1)
        kernels, others = self._parts()
        with tf.GradientTape() as tape:
            tape.watch([kernels, others])
            bias, scale, offset, last, shift = others
            found = self._hidden.activation(tf.concat(list(map(tf.matmul, rows, kernels)), 1) + bias)
            found, moved = self._norm.stateless_call(
                [scale, offset], [of.value for of in moments], found, training=True
            )
            # Turned first: TensorFlow adds up the first of many narrow columns in another order than the last.
            logit = tf.transpose(tf.reduce_sum(tf.reshape(found * dropped * last, (batch, num, units)), 2))
            score = self._score(logit + shift[:, None])
            cross_entropy = keras.losses.binary_crossentropy(right, score)
        of_kernels, of_others = tape.gradient(cross_entropy, (kernels, others))
        # By hand: TensorFlow would fill a kernel with the gradient of its sum first.
        l1 = self._hidden.kernel_regularizer.l1
        of_kernels = [of + l1 * tf.sign(kernel) for of, kernel in zip(of_kernels, kernels, strict=True)]
        penalty = tf.stack([l1 * tf.reduce_sum(tf.abs(kernel)) for kernel in kernels])
        for state, value in zip(self.states, [*moved, *(one for (one,) in drawn)], strict=True):
            state.assign(value)
        accuracy = tf.reduce_mean(keras.metrics.binary_accuracy(right, score), 1)
        figures = tf.stack([accuracy, cross_entropy, cross_entropy + penalty], 1)
        gradient = tf.concat([tf.reshape(of, [-1]) for of in (*of_kernels, *of_others)], 0)
        return gradient, figures[: self._num]

    def give_back(self) -> None:
        """Gives every head what it has become."""
        kernels, others = self._parts()
        rows = (np.split(row.numpy(), len(kernels)) for row in (*others, *(state.value for state in self.states[:2])))
        for variables, values in zip([*self._moved, *self._kept], [kernels, *rows], strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(tf.reshape(value, variable.shape))
        for variable, k in zip(self._draws, self._stream_of, strict=True):
            variable.assign(self.states[2 + k].value)


def _row(variables: Iterable[keras.Variable]) -> np.ndarray:
    return np.concatenate([variable.numpy().ravel() for variable in variables])
