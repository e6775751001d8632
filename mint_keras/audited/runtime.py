"""How an extractor runs: in which precision, on how many devices, with XLA or without."""

import concurrent.futures
import dataclasses
import math
import os
import queue
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

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
_Name = TypeVar("_Name", bound=Hashable)
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]
# From uint8 RGB faces, (batch, size, size, 3), to named outputs, (batch, ...).
FaceFunction = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a precision gives and takes against float32, measured on this machine."""

    speedup: float  # images per second, over those in float32
    cosine: dict[str, float]  # the smallest of an image, by tap


def exact_float32() -> None:
    """Makes float32 mean float32 on GPUs too, which multiply in TF32 by default."""
    # TF32's errors of 1e-3 would drown the tolerance of parity, 1e-4.
    tf.config.experimental.enable_tensor_float_32_execution(False)


def strategy() -> tf.distribute.Strategy | None:
    """Returns what spreads a batch over all GPUs of this machine, if it has several."""
    return tf.distribute.MirroredStrategy() if len(tf.config.list_logical_devices("GPU")) > 1 else None


def place(model: keras.Model, policy: str, devices: tf.distribute.Strategy | None = None) -> keras.Model:
    """Returns a model of `taps.extractor` that runs in another of `POLICIES`, or on other devices, with its weights.

    As in arcface_torch, only maps are computed in the lower precision: vectors, and so the last layers, and all outputs
    stay float32. Normalisations are folded into convolutions there, see `folding.fold`.
    """
    if policy not in POLICIES:
        raise InputError(f"Expected a precision of {list(POLICIES)}, received {policy!r}.")
    if policy == FLOAT32 and devices is None:
        return model

    model = model if policy == FLOAT32 else folding.fold(model)
    with (devices or tf.distribute.get_strategy()).scope():
        return folding.recast(model, policy)


def forward(model: keras.Model, xla: bool = False) -> Forward:
    """Returns a function from a batch to a model's named outputs, run as one graph; its devices share every batch."""
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


def num_threads() -> int:
    """Returns how many threads a network may take; workers that share a machine are told so by TensorFlow's setting."""
    return int(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1)


def one_by_one(runs: Sequence[Forward]) -> Forward:
    """Returns a function that shows the images of a batch, each alone, to whichever of some functions is free."""
    # What an image gives depends on no other then. And threads that share an image wait for each other: the lab's model
    # in LiteRT on AVX2 gives 233 images/s by one, 337 by two.
    pool, free = concurrent.futures.ThreadPoolExecutor(len(runs)), queue.SimpleQueue[Forward]()
    for run in runs:
        free.put(run)

    def show(image: np.ndarray) -> dict[str, np.ndarray]:
        run = free.get()
        try:
            return run(image[None])
        finally:
            free.put(run)

    def spread(images: np.ndarray) -> dict[str, np.ndarray]:
        found = list(pool.map(show, images))
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    return spread


def measure(model: keras.Model, policy: str, images: np.ndarray, seconds: float = _SECONDS) -> Cost:
    """Measures what a precision gives and takes, see `compare`."""
    return compare(forward(model), forward(place(model, policy)), images, seconds)


def compare(reference: Forward, candidate: Forward, images: np.ndarray, seconds: float = _SECONDS) -> Cost:
    """Measures another way to run a model against float32, for about `seconds` and as long again for the first runs."""
    expected, received = reference(images), candidate(images)  # compiles, which is not to be timed
    times = fastest({0: reference, 1: candidate}, images, seconds)
    return Cost(times[0] / times[1], smallest_cosines(received, expected))


def fastest(functions: Mapping[_Name, Forward], images: np.ndarray, seconds: float = _SECONDS) -> dict[_Name, float]:
    """Returns the seconds of the fastest run of each of some functions, which have run before."""
    times = dict.fromkeys(functions, math.inf)
    start = time.perf_counter()
    # In turns, and the fastest run of each, because other work on the machine slows whichever runs meanwhile.
    while math.inf in times.values() or time.perf_counter() - start < seconds:
        for name, run in functions.items():
            before = time.perf_counter()
            run(images)
            times[name] = min(times[name], time.perf_counter() - before)
    return times


def smallest_cosines(received: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns by output the smallest cosine over images."""
    return {name: float(vectors.cosines(received[name], expected[name], of_zeros=1.0).min()) for name in expected}


def choose(model: keras.Model, images: np.ndarray) -> tuple[str, Cost]:
    """Measures mixed_float16 on a GPU, mixed_bfloat16 on a CPU, and takes it if it is faster and costs little."""
    candidate = "mixed_float16" if tf.config.list_logical_devices("GPU") else "mixed_bfloat16"
    cost = measure(model, candidate, images)
    is_better = cost.speedup >= MIN_SPEEDUP and min(cost.cosine.values()) >= MIN_COSINE
    return (candidate if is_better else FLOAT32), cost


def predict(run: Forward, images: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
    """Runs a function from `forward` in batches of one size; the last is filled up."""
    filled = np.concatenate([images, np.zeros((-len(images) % batch_size, *images.shape[1:]), images.dtype)])
    parts = [run(filled[start : start + batch_size]) for start in range(0, len(filled), batch_size)]
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in parts[0]}
