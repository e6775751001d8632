"""Trains small heads together: one compiled step moves all of them, each as if it were alone.

Alone, a step of such a head takes less time than TensorFlow takes to begin it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.summary import Writer

from mint_keras import formats, paper
from mint_keras.training import batches, checkpoints, fit_heads

_FIGURES = ("accuracy", "cross_entropy", "loss")  # of every head, after every epoch


@dataclasses.dataclass(frozen=True)
class Training:
    """A head on vectors, to be trained in place from a seed; heads of the same data share the object.

    The folder takes `training.csv` and TensorBoard's file; None takes nothing.
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
        folder: Takes the checkpoint of a long training, which the same heads continue.
        on_epoch: Called with the number of epochs of heads that are new since the last call.
        checkpoint_seconds: Least time between two checkpoints.
    """
    is_member, seeds = trainings[0].data.is_member, list(dict.fromkeys(one.seed for one in trainings))
    stack = _Stack(trainings, seeds)
    whom = formats.sha256_json([f"{one.folder} {one.seed}" for one in trainings])
    place = folder / f"checkpoint_{whom[:8]}" if folder else None
    start = checkpoints.completed_epochs(place) if place else 0
    steps = batches.steps_per_epoch(is_member)
    at_once = fit_heads.steps_at_once(steps)
    stack.compile(keras.optimizers.Adam(paper.LEARNING_RATE), jit_compile=False)
    stack.optimizer.build(stack.moved)  # or the first step would do it, and be traced again

    def chosen() -> Iterator[np.ndarray]:
        return map(np.stack, zip(*(batches.endless(is_member, seed, start) for seed in seeds), strict=True))

    signature = tf.TensorSpec((len(seeds), 2 * batches.CLASS_BATCH), tf.int64)
    # In a loop of our own: Keras' steps_per_execution would trace a step twice.
    dataset = tf.data.Dataset.from_generator(chosen, output_signature=signature).batch(at_once).prefetch(2)
    on_epoch(start * len(trainings))
    callbacks: list[keras.callbacks.Callback] = [_Logs([one.folder for one in stack.trainings], start)]
    if place:
        callbacks.append(checkpoints.Checkpoint(place, checkpoint_seconds))
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: on_epoch(len(trainings))))
    span = {"initial_epoch": start, "epochs": epochs, "steps_per_epoch": steps // at_once}
    stack.fit(dataset, **span, callbacks=callbacks, verbose=0, shuffle=False)
    for group in stack.groups:
        group.give_back()


class _Group:
    """Heads of the same layers, the variables of all of them one upon another."""

    def __init__(self, heads: Sequence[keras.Model], features: Sequence[dict[str, tf.Tensor]], rows: Sequence[int]):
        self._heads, self._features, self._rows = heads, features, list(rows)
        self.weights, self.states = (
            [
                keras.Variable(np.stack([one.numpy() for one in same]), trainable=is_trained, dtype=same[0].dtype)
                for same in zip(*map(of, heads), strict=True)
            ]
            for is_trained, of in ((True, _weights), (False, _states))
        )

    def step(self, chosen: tf.Tensor, labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns gradients of the weights, and figures of each head, for rows of the data, (seeds, batch)."""
        head, chosen = self._heads[0], tf.gather(chosen, self._rows)
        fed = [{tap: tf.gather(v, chosen[k]) for tap, v in of.items()} for k, of in enumerate(self._features)]

        def alone(held: tuple) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
            weights, states, features, right = held
            with tf.GradientTape() as tape:
                tape.watch(weights)
                score, states, penalties = head.stateless_call(
                    weights, states, features, training=True, return_losses=True
                )
                cross_entropy = tf.reduce_mean(keras.losses.binary_crossentropy(right, score))
                loss = tf.add_n([cross_entropy, *penalties])
            accuracy = tf.reduce_mean(keras.metrics.binary_accuracy(right, score))
            return tape.gradient(loss, weights), states, tf.stack([accuracy, cross_entropy, loss])

        held = [[variable.value for variable in of] for of in (self.weights, self.states)]
        stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *fed)
        gradients, states, figures = tf.vectorized_map(alone, (*held, stacked, tf.gather(labels, chosen)))
        for variable, value in zip(self.states, states, strict=True):
            variable.assign(value)
        return gradients, figures

    def give_back(self) -> None:
        """Gives every head what it has become."""
        for of, stacks in ((_weights, self.weights), (_states, self.states)):
            for same, stack in zip(zip(*map(of, self._heads), strict=True), stacks, strict=True):
                for variable, value in zip(same, stack.numpy(), strict=True):
                    variable.assign(value)


def _weights(head: keras.Model) -> list[keras.Variable]:
    return list(head.trainable_variables)


def _states(head: keras.Model) -> list[keras.Variable]:
    return list(head.non_trainable_variables)


class _Stack(keras.Model):
    """All heads of a training, by groups, as something that `fit` trains."""

    def __init__(self, trainings: Sequence[Training], seeds: Sequence[int]) -> None:
        super().__init__()
        self.built = True
        self._labels = tf.constant(trainings[0].data.is_member[:, None].astype(np.float32))
        fed: dict[int, dict[str, tf.Tensor]] = {}
        parts: dict[str, list[tuple[Training, keras.Model, dict[str, tf.Tensor], int]]] = {}
        for one in trainings:
            head, data = fit_heads.behind_standardising(one.model, one.data)
            if id(one.data) not in fed:
                fed[id(one.data)] = batches.widened(data.batch(np.arange(len(data.rows)))[0])
            parts.setdefault(head.to_json(), []).append((one, head, fed[id(one.data)], seeds.index(one.seed)))
        self.trainings = [one for of in parts.values() for one, *_ in of]  # in the order of the figures
        self.groups = [_Group(*list(zip(*of, strict=True))[1:]) for of in parts.values()]
        self.moved = [variable for group in self.groups for variable in group.weights]
        self.kept = [variable for group in self.groups for variable in group.states]
        self.means = _Means((len(trainings), len(_FIGURES)))

    @tf.function
    def train_step(self, chosen: tf.Tensor) -> dict[str, tf.Tensor]:
        """Moves every head by batches of its own, (steps, seeds, batch)."""
        for one in chosen:
            gradients, figures = [], []
            for group in self.groups:
                of_weights, of_heads = group.step(one, self._labels)
                gradients += of_weights
                figures.append(of_heads)
            self.optimizer.apply(gradients, self.moved)
            self.means.update_state(tf.concat(figures, 0))
        return {"figures": self.means.result()}


class _Means(keras.metrics.Metric):
    """The mean of arrays of one shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._total = self.add_variable(shape, "zeros", name="total")
        self._count = self.add_variable((), "zeros", name="count")

    def update_state(self, values: tf.Tensor) -> None:
        self._total.assign_add(values)
        self._count.assign_add(1.0)

    def result(self) -> tf.Tensor:
        return self._total / self._count


class _Logs(keras.callbacks.Callback):
    """Writes the figures of every head into its folder, as it trains."""

    def __init__(self, folders: Sequence[Path | None], start: int) -> None:
        super().__init__()
        self._places = [(k, folder) for k, folder in enumerate(folders) if folder]
        for _, folder in self._places:
            folder.mkdir(parents=True, exist_ok=True)
        self._lines = [checkpoints.epoch_log(folder / "training.csv", start) for _, folder in self._places]
        self._events = [Writer(str(folder / "train")) for _, folder in self._places]

    def on_train_begin(self, logs: dict | None = None) -> None:
        for log in self._lines:
            log.on_train_begin()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for (k, _), log, events in zip(self._places, self._lines, self._events, strict=True):
            figures = dict(zip(_FIGURES, np.asarray(logs["figures"])[k].tolist(), strict=True))
            log.on_epoch_end(epoch, figures)
            for name, value in figures.items():
                events.add_scalar(f"epoch_{name}", value, epoch)

    def on_train_end(self, logs: dict | None = None) -> None:
        for log in self._lines:
            log.on_train_end()
        for events in self._events:
            events.close()
