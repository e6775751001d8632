"""Trains and evaluates the MINT models, in any precision, on any number of devices, on stored or live AAD."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mint_keras import paper
from mint_keras.audited import runtime
from mint_keras.data import images
from mint_keras.records import InputError
from mint_keras.training import batches, checkpoints

_STEPS_AT_ONCE = 32  # at most; small heads train as fast as Python gives them steps
_MAPS_AT_ONCE, _VECTORS_AT_ONCE = 64, 4096  # less memory than a training step takes; a few megabytes


def compile_head(head: keras.Model, xla: bool = False, steps_at_once: int = 1, warmup: int = 0) -> None:
    """Compiles a head as in the paper: Adam, binary cross-entropy; `evaluate` also gives accuracy.

    Args:
        head: A model from `heads`, or from `live_head`.
        xla: Whether to compile the training step.
        steps_at_once: Training steps between two returns to Python, a divisor of an epoch's; the steps are the same.
        warmup: Over how many steps the learning rate rises in a straight line to the paper's; 0 begins with it.

    Raises:
        InputError: XLA is wanted and cannot be had, for example with deterministic kernels.
    """
    rate = paper.LEARNING_RATE
    if warmup:
        rate = keras.optimizers.schedules.PolynomialDecay(rate / warmup, warmup, rate)  # of power 1, upwards
    with head.distribute_strategy.scope():
        head.compile(
            # Named, or its name would count the heads of the process, and equal heads would not be equal files.
            optimizer=keras.optimizers.Adam(rate, name="adam"),
            loss="binary_crossentropy",
            metrics=[keras.metrics.BinaryAccuracy("accuracy"), keras.metrics.BinaryCrossentropy("cross_entropy")],
            jit_compile=xla,
            steps_per_execution=steps_at_once,
        )
    if head.distribute_strategy.num_replicas_in_sync == 1:  # a step that makes variables is traced twice
        head.optimizer.build(head.trainable_variables)
        head.compute_metrics(None, np.zeros((1, 1)), np.zeros((1, 1)))
    # Keras only warns, and goes on without.
    if head.jit_compile != xla:
        raise InputError("Expected heads and a machine that XLA can compile for, received others: leave it out.")


def place_head(head: keras.Model, policy: str, devices: tf.distribute.Strategy | None = None) -> keras.Model:
    """Returns a copy of a head that trains in another of `runtime.POLICIES`, or on the devices of `runtime.strategy`.

    Weights, inputs' standardisation and the score stay float32. In float32 on one device it is the head itself.
    """
    if policy == runtime.FLOAT32 and devices is None:
        return head
    exact = ("standardise", "logit", "score")

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, keras.layers.InputLayer) and layer.name not in exact:
            config["dtype"] = policy
        if isinstance(layer, keras.layers.BatchNormalization):
            # It has to see the whole batch: by their own shares the copies drift apart, and one may be members only.
            config["synchronized"] = devices is not None
        return layer.__class__.from_config(config)

    with (devices or tf.distribute.get_strategy()).scope():
        placed = keras.models.clone_model(head, clone_function=copy)
        placed.set_weights(head.get_weights())
    return placed


def live_head(head: keras.Model, extractor: keras.Model, dtype: str = "float16") -> keras.Model:
    """Puts the part of the audited model that a head needs in front of it, frozen: pixels to scores in one graph.

    AAD passes through the type it would be stored in, so that stored and live training see the same numbers; one that
    does not fit it ends training and evaluation with an error.

    Args:
        head: A model from `heads`; its weights are shared.
        extractor: A model from `audited.taps.extractor`, on the devices of the head.
        dtype: Type of stored maps.

    Returns:
        A model from {"pixels": uint8 RGB, (batch, size, size, 3)} to scores.

    Raises:
        InputError: The head standardises its inputs, which is adapted on stored vectors.
    """
    # A stored vector of all taps has 3.8 KB, the face from which it would be computed in every epoch 38 KB.
    if any(layer.name == "standardise" for layer in head.layers):
        raise InputError("Expected a head on maps, or --literal, for live AAD, received one of standardised inputs.")

    def through(values: keras.KerasTensor) -> keras.KerasTensor:
        kept = dtype if len(values.shape) == 4 else "float32"  # vectors are never stored in less

        def convert(x: tf.Tensor) -> tf.Tensor:
            stored = tf.debugging.check_numerics(tf.cast(x, kept), f"Expected activations that fit {kept}")
            return tf.cast(stored, tf.float32)

        return keras.layers.Lambda(convert, output_shape=values.shape[1:], name=f"{values.name}_as_{kept}")(values)

    with head.distribute_strategy.scope():
        extractor.trainable = False
        pixels = keras.Input(extractor.input.shape[1:], dtype="uint8", name=images.PIXELS)
        normalise = keras.layers.Lambda(lambda x: (tf.cast(x, tf.float32) - 127.5) / 127.5, name="normalise")
        outputs = extractor(normalise(pixels), training=False)
        aad = {tap: through(values) for tap, values in outputs.items()}
        return keras.Model({images.PIXELS: pixels}, head(aad), name=f"live_{head.name}")


@dataclasses.dataclass(frozen=True)
class HeadTraining:
    """How a head is trained."""

    epochs: int  # passes over the larger class
    seed: int  # seeds batch order and dropout
    xla: bool = False  # whether to compile the training step
    warmup: int = 0  # steps over which the learning rate rises to the paper's
    checkpoint_seconds: float = 60.0  # least time between two checkpoints; most heads are trained sooner and need none


def fit_head(
    model: keras.Model,
    data: batches.LabelledAad,
    settings: HeadTraining,
    folder: Path | None = None,
    on_epoch: Callable[[int], object] = lambda _: None,
) -> None:
    """Trains a head in place; continues from `folder/checkpoint` if present.

    Args:
        model: A model from `heads`, or from `live_head`; a layer "standardise" is adapted on `data` first.
        data: What to train on.
        settings: How to train.
        folder: Takes `training.csv`, TensorBoard's files, and the checkpoint of a long training; None takes nothing.
        on_epoch: Called with the number of epochs that are new since the last call, for progress.

    Raises:
        InputError: An activation of a live model does not fit the type in which it would be stored.
    """
    start = checkpoints.completed_epochs(folder / "checkpoint") if folder else 0
    model, data = behind_standardising(model, data)
    dataset, steps = batches.train_dataset(data, settings.seed, start)
    is_plain = not settings.xla and model.distribute_strategy.num_replicas_in_sync == 1
    on_epoch(start)
    callbacks: list[keras.callbacks.Callback] = []
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        callbacks = [
            checkpoints.epoch_log(folder / "training.csv", start),
            checkpoints.Checkpoint(folder / "checkpoint", settings.checkpoint_seconds),
            keras.callbacks.TensorBoard(str(folder), write_graph=False),
        ]
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, values: on_epoch(1)))
    span = {"initial_epoch": start, "epochs": settings.epochs, "steps_per_epoch": steps}
    compile_head(model, settings.xla, steps_at_once(steps) if is_plain else 1, settings.warmup)
    with _reported_overflow():
        model.fit(dataset, **span, callbacks=callbacks, verbose=0, shuffle=False)


def steps_at_once(steps: int) -> int:
    """Returns how many of an epoch's steps TensorFlow runs before it asks Python again, on one device without XLA."""
    # Keras would run over the end of an epoch with any number but a divisor.
    return max(num for num in range(1, _STEPS_AT_ONCE + 1) if steps % num == 0)


def standardised(model: keras.Model, data: batches.LabelledAad) -> np.ndarray:
    """Returns a head's inputs beside one another, (n, d), as its layer "standardise" gives them, adapted on them."""
    features, _ = data.batch(np.arange(len(data.rows)))
    vectors = np.concatenate([features[tap] for tap in model.input], axis=1)
    for layer in (layer for layer in model.layers if layer.name == "standardise"):
        layer.adapt(vectors)
        vectors = np.asarray(layer(vectors))
    return vectors


def behind_standardising(model: keras.Model, data: batches.LabelledAad) -> tuple[keras.Model, batches.LabelledAad]:
    """Adapts the layer "standardise", if there is one, and returns the layers behind it, with what they are fed."""
    names = [layer.name for layer in model.layers]
    if "standardise" not in names:
        return model, data
    behind, vectors = model.layers[names.index("standardise") + 1 :], standardised(model, data)
    with model.distribute_strategy.scope():
        score = entry = keras.Input(vectors.shape[1:], name="standardised")
        for layer in behind:
            score = layer(score)
        rest = keras.Model({"standardised": entry}, score, name=model.name)
    fed = {"standardised": vectors}
    return rest, batches.LabelledAad(fed, np.arange(len(vectors)), data.is_member, held_bytes=vectors.nbytes)


@contextlib.contextmanager
def _reported_overflow() -> Iterator[None]:
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if "Expected activations" not in str(error):
            raise
        raise InputError("Expected activations that fit float16, received larger ones.") from error


def logit_model(head: keras.Model) -> keras.Model:
    """Returns the head without its sigmoid."""
    return keras.Model(head.input, head.get_layer("logit").output)


def predict_logits(logits: keras.Model, data: batches.LabelledAad) -> np.ndarray:
    """Runs a `logit_model`, or a `live_head` of one, over all samples; returns the logits, shape (n,), float32."""
    with _reported_overflow():
        if logits.distribute_strategy.num_replicas_in_sync > 1:
            predicted: np.ndarray = logits.predict(batches.evaluation_dataset(data), verbose=0)
            return predicted[:, 0]
        # `predict` would trace every head anew, and a dataset be made: ten times as long as to run a small one.
        num = _MAPS_AT_ONCE if any(len(of.shape) > 2 for of in data.features.values()) else _VECTORS_AT_ONCE
        parts = (data.batch(chosen)[0] for chosen in batches.in_order(data, num))
        return np.concatenate([logits(batches.widened(part), training=False).numpy()[:, 0] for part in parts])


def evaluate_logits(
    head: keras.Model, logit: np.ndarray, evaluations: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Evaluates what is left of a head behind its logits, by `model.evaluate`: the costly part has run already.

    Args:
        head: A model from `heads`.
        logit: Logits from `predict_logits`, shape (n,).
        evaluations: Rows of the logits, shape (k,), and whether they are of members, shape (k,), bool; by name.

    Returns:
        By evaluation `accuracy` at threshold 0.5, `cross_entropy`, and `loss`, which adds the head's L1 penalty.
    """
    # `evaluate` of the whole head gives the same to 1e-6 for four times the work, since evaluations share samples and
    # scores would want a pass of their own. It was a quarter of the time of cnn heads.
    rest = _behind_logits(head.get_layer("score").activation.__name__)
    penalty = sum(float(loss) for loss in head.losses)
    figures = {}
    for name, (rows, is_member) in evaluations.items():
        labels = is_member[:, None].astype(np.float32)
        everything = tf.data.Dataset.from_tensors((logit[rows, None], labels))  # of arrays it takes seven times as long
        found = rest.evaluate(everything, return_dict=True, verbose=0)
        figures[name] = {key: float(found[key]) for key in ("accuracy", "loss", "cross_entropy")}
        figures[name]["loss"] += penalty
    return figures


@functools.lru_cache(maxsize=1)  # Keras traces it once, and not for every head of a run
def _behind_logits(activation: str) -> keras.Model:
    entry = keras.Input((1,), name="logit")
    rest = keras.Model(entry, keras.layers.Activation(activation, name="score")(entry))
    compile_head(rest)
    return rest
