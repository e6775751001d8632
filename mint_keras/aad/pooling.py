"""From maps to one vector a tap, inside the extractor's graph, so that maps are never written."""

from collections.abc import Sequence

import keras
from keras import layers, ops

from mint_keras.records import InputError

MAX = "max"
TOP_K = 10


class _Std(layers.Layer):
    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.std(x, axis=(1, 2))


class _MeanOfTenLargest(layers.Layer):
    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        _, height, width, channels = x.shape
        values = ops.transpose(ops.reshape(x, (-1, height * width, channels)), (0, 2, 1))
        return ops.mean(ops.top_k(values, min(TOP_K, height * width))[0], axis=-1)


# What makes vectors (batch, channels) of maps (batch, height, width, channels), in float32 also where maps are float16:
# the sum over the 3,136 positions of a conv1 map would lose its last bits. The maximum is the paper's.
POOLINGS: dict[str, type[layers.Layer]] = {
    MAX: layers.GlobalMaxPooling2D, "mean": layers.GlobalAveragePooling2D, "std": _Std, "topk": _MeanOfTenLargest,
}  # fmt: skip


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
            # Named, because a name that Keras makes up may be that of a layer of a model from a file.
            outputs[name] = POOLINGS[pooling](name=name, dtype="float32")(x)
    return keras.Model(extractor.input, outputs, name=extractor.name)
