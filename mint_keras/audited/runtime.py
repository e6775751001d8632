"""How an extractor runs: in which precision, on how many devices, with XLA or without."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from mint_keras import vectors
from mint_keras.audited import folding
from mint_keras.records import InputError

FLOAT32 = "float32"
AUTO = "auto"
POLICIES = (FLOAT32, "mixed_float16", "mixed_bfloat16")
# What `choose` asks of a precision before it takes it.
MIN_SPEEDUP = 1.1
MIN_COSINE = 0.999
_SECONDS = 5.0
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]
# From uint8 RGB faces, (batch, size, size, 3), to named outputs, (batch, ...).
FaceFunction = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a precision gives and takes, measured on this machine.

    Attributes:
        speedup: Images per second over those in float32.
        cosine: Smallest cosine of an image's output with the one in float32, by tap.
    """

    speedup: float
    cosine: dict[str, float]


def exact_float32() -> None:
    """Makes float32 mean float32 on GPUs too, which multiply in TF32 by default."""
    # TF32's errors of 1e-3 would drown the tolerance of parity, 1e-4.
    tf.config.experimental.enable_tensor_float_32_execution(False)


def strategy() -> tf.distribute.Strategy | None:
    """Returns what spreads a batch over all GPUs of this machine, if it has several."""
    return tf.distribute.MirroredStrategy() if len(tf.config.list_logical_devices("GPU")) > 1 else None


def place(model: keras.Model, policy: str, devices: tf.distribute.Strategy | None = None) -> keras.Model:
    """Returns a model that runs in another precision, or on other devices, with the same weights.

    As in arcface_torch, only maps are computed in the lower precision: vectors, and so the last layers, and all outputs
    stay float32. Normalisations are folded into convolutions there, see `folding.fold`.

    Args:
        model: A model from `taps.extractor`.
        policy: One of `POLICIES`.
        devices: A strategy to run under, for example from `strategy`.

    Raises:
        InputError: The policy is another.
    """
    if policy not in POLICIES:
        raise InputError(f"Expected a precision of {list(POLICIES)}, received {policy!r}.")
    if policy == FLOAT32 and devices is None:
        return model

    model = model if policy == FLOAT32 else folding.fold(model)
    # bfloat16 has eight bits: float32 for sums and the normalisations that are left costs 2% of the speed and saves a
    # fifth of the error (R100, random weights: smallest cosine of the outcome 0.9991 in place of 0.9988).
    exact = (keras.layers.Add, keras.layers.BatchNormalization) if policy == "mixed_bfloat16" else ()

    def copy(layer: keras.Operation) -> keras.Operation:
        config = layer.get_config()
        is_layer = isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.layers.InputLayer)
        is_map = is_layer and len(layer.output.shape) == 4
        if is_map and layer.name not in model.output and not isinstance(layer, exact):
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    with (devices or tf.distribute.get_strategy()).scope():
        placed = keras.models.clone_model(model, clone_function=copy)
        placed.set_weights(model.get_weights())
    return placed


def forward(model: keras.Model, xla: bool = False) -> Forward:
    """Returns a function from a batch to the named outputs of a model, run as one graph, on the devices it lives on.

    Args:
        model: A model with a dict of outputs; if it lives on several devices, they share every batch.
        xla: Whether to compile the graph.
    """
    # XLA is no default: on 2 CPU cores, batches of 64, the lab's IResNet gives 660 against 520 images/s with it, R18 61
    # against 60, MobileFaceNet with its depthwise convolutions 25 against 354.

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(images, training=False)

    devices = model.distribute_strategy
    if devices.num_replicas_in_sync > 1:
        compiled = tf.function(run, jit_compile=True) if xla else run
        spread = tf.function(lambda values: devices.run(compiled, args=(values,)))

        def distributed(images: np.ndarray) -> dict[str, np.ndarray]:
            lacking = -len(images) % devices.num_replicas_in_sync
            filled = np.concatenate([images, np.zeros((lacking, *images.shape[1:]), images.dtype)])
            parts = np.split(filled, devices.num_replicas_in_sync)
            values = devices.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group], tf.float32)
            )
            gathered = {name: devices.experimental_local_results(value) for name, value in spread(values).items()}
            return {name: np.concatenate([*map(np.asarray, ps)])[: len(images)] for name, ps in gathered.items()}

        return distributed
    signature = [tf.TensorSpec((None, *model.input.shape[1:]), tf.float32)]
    graph = tf.function(run, input_signature=signature, jit_compile=xla or None).get_concrete_function()

    def single(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = graph(tf.constant(images, tf.float32))
        # Naming the model keeps its weights alive, which the graph alone does not.
        return {name: np.asarray(outputs[name]) for name in model.output}

    return single


def measure(model: keras.Model, policy: str, images: np.ndarray, seconds: float = _SECONDS) -> Cost:
    """Measures what a precision gives and takes, see `compare`."""
    return compare(forward(model), forward(place(model, policy)), images, seconds)


def compare(reference: Forward, candidate: Forward, images: np.ndarray, seconds: float = _SECONDS) -> Cost:
    """Measures two functions in turns, in about `seconds` and as long again for their first runs.

    Args:
        reference: Runs the model in float32.
        candidate: Runs the same model in another way.
        images: A batch as extraction uses it.
        seconds: Time for both together.
    """
    functions = (reference, candidate)
    expected, received = (run(images) for run in functions)  # compiles, which is not to be timed
    durations: tuple[list[float], list[float]] = ([], [])
    start = time.perf_counter()
    # In turns, and the fastest run of each, because other work on the machine slows whichever runs meanwhile.
    while not durations[1] or time.perf_counter() - start < seconds:
        for run, taken in zip(functions, durations, strict=True):
            before = time.perf_counter()
            run(images)
            taken.append(time.perf_counter() - before)
    return Cost(min(durations[0]) / min(durations[1]), smallest_cosines(received, expected))


def smallest_cosines(received: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns by output the smallest cosine over images."""
    return {name: float(vectors.cosines(received[name], expected[name], of_zeros=1.0).min()) for name in expected}


def choose(model: keras.Model, images: np.ndarray) -> tuple[str, Cost]:
    """Measures the lower precision of this machine and takes it if it is faster and costs little.

    mixed_float16 on a GPU, mixed_bfloat16 on a CPU.
    """
    candidate = "mixed_float16" if tf.config.list_logical_devices("GPU") else "mixed_bfloat16"
    cost = measure(model, candidate, images)
    is_better = cost.speedup >= MIN_SPEEDUP and min(cost.cosine.values()) >= MIN_COSINE
    return (candidate if is_better else FLOAT32), cost


def predict(run: Forward, images: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
    """Runs a function from `forward` in batches of one size (the last may be smaller)."""
    parts = [run(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
