"""From maps to one vector a tap, inside the extractor's graph, so that maps are never written."""

from collections.abc import Callable, Sequence

import keras
from keras import layers, ops

from mint_keras.records import InputError

MAX = "max"
TOP_K = 10


def _mean_of_ten_largest(x: keras.KerasTensor) -> keras.KerasTensor:
    height, width, channels = x.shape[1:]
    values = layers.Permute((2, 1))(layers.Reshape((height * width, channels))(x))
    return ops.mean(ops.top_k(values, min(TOP_K, height * width))[0], axis=-1)


# From maps (batch, height, width, channels) to vectors (batch, channels), in float32 also where maps are float16: the
# sum over the 3,136 positions of a conv1 map would lose its last bits.
POOLINGS: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    MAX: lambda x: layers.GlobalMaxPooling2D(dtype="float32")(x),  # the paper's
    "mean": lambda x: layers.GlobalAveragePooling2D(dtype="float32")(x),
    "std": lambda x: ops.std(ops.cast(x, "float32"), axis=(1, 2)),
    "topk": lambda x: _mean_of_ten_largest(ops.cast(x, "float32")),
}


def array_name(tap: str, pooling: str, is_map: bool = True) -> str:
    """Returns the name of a tap's vectors; taps that are vectors already keep theirs."""
    return f"{tap}_{pooling}" if pooling and is_map else tap


def pooled_by_tap(extractor: keras.Model, pooling: str) -> keras.Model:
    """Like `pooled`, by one pooling, with outputs that keep the names of their taps: what a vanilla head takes."""
    outputs = pooled(extractor, (pooling,)).output
    by_tap = {tap: outputs[array_name(tap, pooling, len(x.shape) == 4)] for tap, x in extractor.output.items()}
    return keras.Model(extractor.input, by_tap, name=extractor.name)


def pooled(extractor: keras.Model, poolings: Sequence[str]) -> keras.Model:
    """Replaces the maps of an extractor by vectors, (batch, channels), float32, that are named by `array_name`.

    The poolings, keys of `POOLINGS`, are taken over the positions of every channel. Without any, maps stay maps.

    Raises:
        InputError: If a pooling is unknown.
    """
    if unknown := sorted(set(poolings) - set(POOLINGS)):
        raise InputError(f"Expected poolings of {list(POOLINGS)}, received {unknown}.")
    if not poolings:
        return extractor
    outputs = {}
    for tap, x in extractor.output.items():
        if len(x.shape) != 4:
            outputs[tap] = x
            continue
        for pooling in poolings:
            name = array_name(tap, pooling)
            outputs[name] = layers.Identity(name=name, dtype="float32")(POOLINGS[pooling](x))
    return keras.Model(extractor.input, outputs, name=extractor.name)
