"""Which engine runs a network fastest on this machine and gives Keras' numbers: measured, because no rule says it."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mint_keras.audited import backends, parity, runtime
from mint_keras.records import RefusedError

_NUM_IMAGES = 8  # a few seconds for the slowest network
_SECONDS = 5.0


class Engine(NamedTuple):
    """Who runs a network, and whether Keras compiles it; see `backends.open_forward`."""

    backend: str
    xla: bool = False

    @property
    def name(self) -> str:
        """How people are told of it."""
        return f"{self.backend} with XLA" if self.xla else self.backend


KERAS = Engine(backends.KERAS)
ENGINES = (KERAS, Engine(backends.KERAS, xla=True), Engine(backends.ONNXRUNTIME), Engine(backends.LITERT))


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an engine gives here.

    Attributes:
        engine: Which one.
        speedup: Images per second over those of Keras.
        cosine: The smallest cosine of an image with Keras' numbers, by output.
        refused: Why it is not taken however fast it is; "" for no reason.
    """

    engine: Engine
    speedup: float = 0.0
    cosine: dict[str, float] = dataclasses.field(default_factory=dict)
    refused: str = ""


def choose(extractor: keras.Model, images: np.ndarray, seconds: float = _SECONDS) -> tuple[Engine, list[Measured]]:
    """Measures all engines on CPUs, in turns, and takes the fastest that gives Keras' numbers; on GPUs takes Keras.

    Args:
        extractor: A model from `taps.extractor`, in float32.
        images: Its input, shape (n, size, size, 3), float32; a few are taken.
        seconds: Time of the measurement, without what engines take to start.

    Returns:
        The engine, and what was measured of each.
    """
    if tf.config.list_logical_devices("GPU"):
        return KERAS, []
    images = images[:_NUM_IMAGES]
    runs: dict[Engine, runtime.Forward] = {}
    cosines: dict[Engine, dict[str, float]] = {}
    found: list[Measured] = []
    for engine in ENGINES:
        try:
            run = backends.open_forward(extractor, backend=engine.backend, xla=engine.xla)
            given = run(images)
            if engine == KERAS:
                expected = given
            cosines[engine] = check(given, expected)
            runs[engine] = run
        # Converters and compilers raise whatever they like of a network that they do not know; Keras' own errors count.
        except Exception as error:
            if engine == KERAS:
                raise
            found.append(Measured(engine, refused=str(error).partition("\n")[0] or type(error).__name__))
    fastest = runtime.fastest(runs, images, seconds)
    found += [Measured(e, fastest[KERAS] / fastest[e], cosines[e]) for e in runs]
    best = max(found, key=lambda one: one.speedup)
    return (best.engine if best.speedup >= runtime.MIN_SPEEDUP else KERAS), found


def check(given: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns by output the smallest cosine of an image with Keras' numbers.

    Raises:
        RefusedError: If an output is further from Keras' than a conversion may be from its source.
    """
    cosine = runtime.smallest_cosines(given, expected)
    for name, values in expected.items():
        error = float(np.abs(given[name] - values).max() / max(np.abs(values).max(), np.finfo(np.float32).tiny))
        # Not above, so that a NaN is no excuse.
        if not (error <= parity.EXACT.relative and cosine[name] >= parity.EXACT.cosine):
            raise RefusedError(f"Expected Keras' {name}, received a relative error of {error:.1e}.")
    return cosine


def describe(engine: Engine, measured: Sequence[Measured]) -> str:
    """Says in a line which engine runs a network, and what the others would give."""
    told = (f"{one.engine.name} {one.refused or f'{one.speedup:.2f}'}" for one in measured)
    return f"Run by {engine.name}. Images per second here, over Keras': {'; '.join(told) or 'not measured on a GPU'}."
