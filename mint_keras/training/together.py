"""Trains small heads together: one compiled step moves all of them, each as if it were alone.

Alone, a step of such a head takes less time than TensorFlow takes to begin it.
"""

import dataclasses
import hashlib
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
_KINDS = ("trainable_variables", "non_trainable_variables")  # of a head, in the order that it takes them
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

    What a head becomes depends on none of the others, on one machine to the last bit.

    Args:
        trainings: Heads, whose data name the same rows and classes.
        epochs: Passes over the larger class.
        folder: Takes the checkpoint of a long training, which the same heads continue; who has kept them removes it.
        on_epoch: Called with the number of epochs of heads that are new since the last call.
        checkpoint_seconds: Least time between two checkpoints.
    """
    is_member, seeds = trainings[0].data.is_member, list(dict.fromkeys(one.seed for one in trainings))
    trainings, groups = _grouped(trainings, seeds)
    labels, weights = tf.constant(is_member[:, None], tf.float32), [v for group in groups for v in group.weights]
    adam = keras.optimizers.Adam(paper.LEARNING_RATE)
    adam.build(weights)

    def move(steps: tf.Tensor) -> tf.Tensor:
        total = tf.zeros((len(trainings), len(_FIGURES)))
        for chosen in steps:
            gradients, figures = [], []
            for group in groups:
                of_weights, of_heads = group.step(chosen, labels)
                gradients += of_weights
                figures.append(of_heads)
            adam.apply(gradients, weights)
            total += tf.concat(figures, 0)
        return total

    # Made once, since TensorFlow warns of functions that are made again and again.
    steps = tf.TensorSpec((None, len(seeds), 2 * batches.CLASS_BATCH), tf.int64)
    run = tf.function(move, input_signature=[steps]).get_concrete_function()
    path = folder / CHECKPOINT if folder else None
    whom = _whom(trainings, epochs) if path else ""
    state = [*weights, *(v for group in groups for v in group.states), *adam.variables]
    history = _restored(path, state, whom) if path and path.is_file() else []
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
    for group in groups:
        group.give_back()
    for training, figures in zip(trainings, np.swapaxes(history, 0, 1).tolist(), strict=True):
        _log(training.folder, figures)


def _whom(trainings: Sequence[Training], epochs: int) -> str:
    """Returns a hash of what is trained on what: nothing else may continue a checkpoint."""
    seen = {}
    for data in {id(one.data): one.data for one in trainings}.values():
        arrays = (*data.features.values(), data.rows, data.is_member)
        seen[id(data)] = [hashlib.sha256(np.asarray(of[:]).tobytes()).hexdigest() for of in arrays]
    return formats.sha256_json([epochs, *([one.model.to_json(), one.seed, seen[id(one.data)]] for one in trainings)])


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


def _grouped(trainings: Sequence[Training], seeds: Sequence[int]) -> tuple[list[Training], list["_Group"]]:
    """Returns trainings in the order of their groups, and the groups."""
    fed: dict[tuple[int, bool], dict[str, tf.Tensor]] = {}
    parts: dict[str, list[tuple[Training, keras.Model, dict[str, tf.Tensor], int]]] = {}
    for one in trainings:
        head, data = fit_heads.behind_standardising(one.model, one.data)
        key = id(one.data), data is one.data  # standardised or as it is
        if key not in fed:
            fed[key] = batches.widened(data.batch(np.arange(len(data.rows)))[0])
        parts.setdefault(head.to_json(), []).append((one, head, fed[key], seeds.index(one.seed)))
    # TensorFlow adds up in another order for one head than for several: who is alone has itself beside it.
    groups = [_Group(*list(zip(*(of * 2)[: max(2, len(of))], strict=True))[1:]) for of in parts.values()]
    return [one for of in parts.values() for one, *_ in of], groups


class _Group:
    """Heads of the same layers, the variables of all of them one upon another."""

    def __init__(self, heads: Sequence[keras.Model], features: Sequence[dict[str, tf.Tensor]], rows: Sequence[int]):
        self._head, self._features, self._rows = heads[0], features, list(rows)
        self._num = len({id(head) for head in heads})
        self._own = [list(zip(*(getattr(head, kind) for head in heads), strict=True)) for kind in _KINDS]
        self.weights, self.states = (
            [keras.Variable(np.stack([one.numpy() for one in same]), dtype=same[0].dtype) for same in of]
            for of in self._own
        )

    def step(self, chosen: tf.Tensor, labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns gradients of the weights, and figures of each head, for rows of the data, (seeds, batch)."""
        chosen = tf.gather(chosen, self._rows)
        fed = [{tap: tf.gather(v, chosen[k]) for tap, v in of.items()} for k, of in enumerate(self._features)]

        def alone(held: tuple) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
            weights, states, features, right = held
            with tf.GradientTape() as tape:
                tape.watch(weights)
                found = self._head.stateless_call(weights, states, features, training=True, return_losses=True)
                score, states, penalties = found
                cross_entropy = tf.reduce_mean(keras.losses.binary_crossentropy(right, score))
                loss = tf.add_n([cross_entropy, *penalties])
            accuracy = tf.reduce_mean(keras.metrics.binary_accuracy(right, score))
            return tape.gradient(loss, weights), states, tf.stack([accuracy, cross_entropy, loss])

        held = [[variable.value for variable in of] for of in (self.weights, self.states)]
        stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *fed)
        gradients, states, figures = tf.vectorized_map(alone, (*held, stacked, tf.gather(labels, chosen)), warn=False)
        for variable, value in zip(self.states, states, strict=True):
            variable.assign(value)
        return gradients, figures[: self._num]

    def give_back(self) -> None:
        """Gives every head what it has become."""
        for of, stacks in zip(self._own, (self.weights, self.states), strict=True):
            for same, stack in zip(of, stacks, strict=True):
                for variable, value in zip(same, stack.numpy(), strict=True):
                    variable.assign(value)
