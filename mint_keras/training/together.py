"""Trains small heads together: one compiled step moves all of them, each as if it were alone.

Alone, a step of such a head takes less time than TensorFlow takes to begin it.
"""

import dataclasses
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.summary import Writer

from mint_keras import borders, formats, paper
from mint_keras.training import batches, fit_heads

_FIGURES = ("accuracy", "cross_entropy", "loss")  # of every head, after every epoch
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
    """Trains heads in float32 on one device, as `fit_heads.fit_head` does but for the order of some additions.

    They begin with a dense layer of an L1 penalty, behind their standardising, and differ in nothing but its inputs.

    What a head becomes depends on none of the others, on one machine to the last bit.

    Args:
        trainings: Heads, whose data name the same rows and classes; with none, nothing is done.
        epochs: Passes over the larger class.
        folder: Takes the checkpoint of a long training, which the same heads continue; who has kept them removes it.
        on_epoch: Called with the number of epochs of heads that are new since the last call.
        checkpoint_seconds: Least time between two checkpoints.
    """
    if not trainings:
        return
    is_member, seeds = trainings[0].data.is_member, list(dict.fromkeys(one.seed for one in trainings))
    heads = _SideBySide(trainings, seeds)
    trainings, labels = heads.trainings, tf.constant(is_member[:, None], tf.float32)
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
        ["one vector", epochs, *([one.model.to_json(), one.seed, seen[id(one.data)]] for one in trainings)]
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
    """Heads of the same layers but for the number of their inputs, the variables of all of them one upon another.

    Those of as many inputs share the product with the first kernel; all share what is behind it, made once for all.
    """

    def __init__(self, trainings: Sequence[Training], seeds: Sequence[int]) -> None:
        fed = _vectors(trainings)
        ways = [of.shape[1] for of in fed]
        groups = [[k for k, other in enumerate(ways) if other == way] for way in sorted(set(ways))]
        self.trainings = [trainings[k] for of in groups for k in of]
        # TensorFlow adds up in another order for one head than for several: who is alone has itself beside it.
        self._groups = [(of * 2)[: max(2, len(of))] for of in groups]
        every = [k for of in self._groups for k in of]
        self._shown = [every.index(k) for of in groups for k in of]
        self._fed, self._rows = fed, [seeds.index(one.seed) for one in trainings]
        dense = [next(la for la in one.model.layers if isinstance(la, keras.layers.Dense)) for one in trainings]
        layers = [trainings[k].model.layers[trainings[k].model.layers.index(dense[k]) :] for k in every]
        self._dense, *behind = layers[0]
        score = entry = keras.Input((self._dense.units,))
        for layer in behind:
            score = layer(score)
        self._rest = keras.Model(entry, score)
        own = [sorted((v for la in of for v in la.variables), key=lambda v: not v.trainable) for of in layers]
        kernels, *others = zip(*own, strict=True)
        starts = itertools.accumulate(map(len, self._groups), initial=0)
        self._own = [*(kernels[a:b] for a, b in itertools.pairwise(starts)), *others]
        values, num = (
            [np.stack([v.numpy() for v in same]) for same in self._own],
            sum(of[0].trainable for of in self._own),
        )
        self._shapes = [of.shape for of in values[:num]]
        # Adam moves every number by itself: one long vector takes a tenth of the operations that variables take.
        self.weights = keras.Variable(np.concatenate([of.ravel() for of in values[:num]]))
        self.states = [keras.Variable(of, dtype=of.dtype.name) for of in values[num:]]

    def _parts(self) -> list[tf.Tensor]:
        parts = tf.split(self.weights.value, [math.prod(shape) for shape in self._shapes])
        return list(map(tf.reshape, parts, self._shapes))

    def step(self, chosen: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradient of the weights, and figures of each head, for rows of the data, (seeds, batch)."""

        def alone(held: tuple) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
            weights, states, right = held
            with tf.GradientTape() as tape:
                tape.watch(weights)
                found = self._dense.activation(weights[0] + weights[1])
                score, states = self._rest.stateless_call(weights[2:], states, found, training=True)
                cross_entropy = tf.reduce_mean(keras.losses.binary_crossentropy(right, score))
            accuracy = tf.reduce_mean(keras.metrics.binary_accuracy(right, score))
            return tape.gradient(cross_entropy, weights), states, tf.stack([accuracy, cross_entropy])

        num, l1, parts = len(self._groups), self._dense.kernel_regularizer.l1, self._parts()
        kernels, others = parts[:num], parts[num:]
        fed = [tf.stack([tf.gather(self._fed[k], chosen[self._rows[k]]) for k in of]) for of in self._groups]
        sums = tf.concat(list(map(tf.matmul, fed, kernels)), 0)
        right = tf.gather(tf.gather(labels, chosen), [self._rows[k] for of in self._groups for k in of])
        held = ([sums, *others], [variable.value for variable in self.states], right)
        (of_sums, *gradients), states, figures = tf.vectorized_map(alone, held, warn=False)
        for variable, value in zip(self.states, states, strict=True):
            variable.assign(value)
        triples = zip(fed, tf.split(of_sums, [len(of) for of in self._groups]), kernels, strict=True)
        of_kernels = [tf.matmul(x, of, transpose_a=True) + l1 * tf.sign(kernel) for x, of, kernel in triples]
        penalty = tf.concat([l1 * tf.reduce_sum(tf.abs(kernel), (1, 2)) for kernel in kernels], 0)
        figures = tf.concat([figures, (figures[:, 1] + penalty)[:, None]], 1)
        gradient = tf.concat([tf.reshape(of, [-1]) for of in (*of_kernels, *gradients)], 0)
        return gradient, tf.gather(figures, self._shown)

    def give_back(self) -> None:
        """Gives every head what it has become."""
        for same, stack in zip(self._own, [*self._parts(), *self.states], strict=True):
            for variable, value in zip(same, stack.numpy(), strict=True):
                variable.assign(value)
