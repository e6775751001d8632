"""Which engine runs a network fastest on this machine and gives Keras' numbers: measured, because no rule says it.

Whoever compares samples shows all of them to one engine: a channel that is constant but for its last bits would tell
what one engine has seen from what another has. So the choice is made once and kept.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mint_keras import progress
from mint_keras.audited import backends, iresnet, runtime
from mint_keras.data import images, synthetic
from mint_keras.records import RefusedError

_SECONDS = 5.0  # of measuring at most, without what engines take to start
_PAYS = 0.1  # of what is left of a job: no engine is tried when those that were took longer to start
_RELATIVE = 1e-5  # the largest error, over an output's largest value
_AGAIN = 2e-5  # of a kept engine, so that last bits turn none away
_CHUNK = 4  # XLA compiles for one size: that which was compared with Keras
_DRAWN = "synthetic:1/web/0-3/1"  # as many faces as XLA takes at once


class Engine(NamedTuple):
    """Who runs a network, and whether Keras compiles it; see `backends.open_forward`."""

    backend: str
    xla: bool = False

    @property
    def name(self) -> str:
        """How people are told of it."""
        return f"{self.backend} with XLA" if self.xla else self.backend


KERAS = Engine(backends.KERAS)
# In the order in which they are tried: who starts fast comes first.
ENGINES = (
    Engine(backends.LITERT), Engine(backends.ONNXRUNTIME), Engine(backends.OPENVINO), Engine(backends.KERAS, xla=True),
)  # fmt: skip
Networks = Mapping[str, keras.Model]  # from `taps.extractor`, in float32, by name
Forwards = dict[str, runtime.Forward]
Opener = Callable[[Networks], Forwards]


class Choice(NamedTuple):
    """An engine, networks as it runs them, and of each engine that was tried its images per second, or what is wrong.

    These are in units of Keras'.
    """

    engine: Engine
    forwards: Forwards
    measured: Mapping[Engine, float | str] = {}

    def facts(self) -> dict[str, Any]:
        """Returns what a manifest keeps: the engine, and a line for people."""
        told = [f"{one.name} {rate if isinstance(rate, str) else f'{rate:.2f}'}" for one, rate in self.measured.items()]
        said = f". Images per second here, over Keras': {'; '.join(told)}." if told else ": measuring would not pay."
        return {"engine": self.engine._asdict(), "engine_said": f"Run by {self.engine.name}{said}"}


def choose(networks: Networks, shown: np.ndarray, num_passes: float) -> Choice:
    """Measures engines on CPUs and takes the one that ends a job first and gives Keras' numbers; on GPUs takes Keras.

    Every output of every network must be Keras', to 1e-5 of its largest value. A further engine is tried only while a
    tenth of what the job takes, at the best rate so far, is more than what all before it took to start. So a small job
    stays with Keras, where nothing has to be converted.

    Args:
        networks: What is run; the first of them is measured.
        shown: Its input, shape (n, size, size, 3), float32; a few are taken.
        num_passes: How many images go through networks in all.
    """
    if tf.config.list_logical_devices("GPU"):
        return Choice(KERAS, open_all(networks, KERAS))
    (first, network), *others = networks.items()
    # With the drawn faces by which `exact` asks again: who is taken here must not be turned away there.
    some = np.resize(shown, (-(-2 * (os.cpu_count() or 1) // _CHUNK) * _CHUNK, *shown.shape[1:]))
    some = np.concatenate([some, _drawn(shown.shape[1])])
    start = time.perf_counter()
    runs = {KERAS: open_all({first: network}, KERAS)[first]}
    expected = runs[KERAS](some)
    starts = {KERAS: time.perf_counter() - start}
    refused: dict[Engine, str] = {}
    times = runtime.fastest(runs, some, 0.0)

    def left(engine: Engine) -> float:
        return times[engine] * num_passes / len(some) + starts[engine] * len(others)

    for engine in filter(lambda one: backends.is_installed(one.backend), ENGINES):
        if _PAYS * min(map(left, runs)) < sum(starts.values()):
            break
        start = time.perf_counter()
        try:
            run = open_all({first: network}, engine)[first]
            check(run(some), expected)
            runs[engine] = run
            times |= runtime.fastest({engine: run}, some, 0.0)
        # Converters and compilers raise whatever they like of a network that they do not know.
        except Exception as error:
            refused[engine] = str(error).partition("\n")[0] or type(error).__name__
        starts[engine] = time.perf_counter() - start
    if len(runs) > 1:
        times = runtime.fastest(runs, some, min(_SECONDS, _PAYS / 2 * min(map(left, runs))))
    for engine in sorted(runs, key=lambda one: left(one) * (1.0 if one == KERAS else runtime.MIN_SPEEDUP)):
        try:
            forwards = {first: runs[engine], **exact(dict(others), engine, some)}
            break
        except RefusedError as error:
            if engine == KERAS:
                raise
            refused[engine] = str(error)
    tried = {one: refused.get(one) or times[KERAS] / times[one] for one in starts} if len(starts) > 1 else {}
    return Choice(engine, forwards, tried)


def opener(kept: list[Engine], shown: np.ndarray | None = None, num_passes: float = 0.0) -> Opener:
    """Returns a function that opens networks in the engine in `kept`, or chooses one, says so, and puts it there.

    Keras runs all of the networks where the engine does not give its numbers for one: whatever an audit compares has
    gone through one engine.
    """

    def opened(networks: Networks) -> Forwards:
        if not kept:
            assert shown is not None  # noqa: S101 # or there is nothing to choose by
            choice = choose(networks, shown, num_passes)
            kept.append(choice.engine)
            if choice.engine != KERAS:
                progress.say(choice.facts()["engine_said"])
            return choice.forwards
        try:
            return exact(networks, kept[0])
        except RefusedError:
            return open_all(networks, KERAS)

    return opened


def open_all(networks: Networks, engine: Engine) -> Forwards:
    """Opens networks as an engine runs them; Keras shares batches among several GPUs."""
    if engine.xla and not tf.config.list_logical_devices("GPU"):
        opened = {name: backends.open_forward(network, xla=True) for name, network in networks.items()}
        return {name: functools.partial(runtime.predict, run, batch_size=_CHUNK) for name, run in opened.items()}
    devices = runtime.strategy()
    return {n: backends.open_forward(net, "float32", *engine, devices) for n, net in networks.items()}


def exact(networks: Networks, engine: Engine, shown: np.ndarray | None = None) -> Forwards:
    """Opens networks and compares every output with Keras', for a few images or, by default, drawn faces.

    Raises:
        RefusedError: If the engine does not run one of them, or gives other numbers, see `check`.
    """
    plain = open_all(networks, KERAS)
    if engine == KERAS:
        return plain
    relative = _RELATIVE
    if shown is None:
        shown, relative = _drawn(int(next(iter(networks.values())).input.shape[1])), _AGAIN
    try:
        forwards = open_all(networks, engine)
        for name, run in plain.items():
            check(forwards[name](shown), run(shown), relative)
    # Converters and compilers raise whatever they like of a network that they do not know.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise RefusedError(
            f"Expected Keras' numbers from {engine.name} on this machine: {reason} Make the run with --backend keras."
        ) from error
    return forwards


def _drawn(size: int) -> np.ndarray:
    return iresnet.normalise(images.read_faces(synthetic.sample_table(_DRAWN), images.Framing(size))[1])


def as_model(network: keras.Model, engine: Engine) -> keras.Model:
    """Returns a model that lets an engine compute a network's outputs, to stand in front of heads that are trained."""
    forward = exact({"": network}, engine)[""]

    def run(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.numpy_function(
            lambda values: list(map(forward(values).__getitem__, network.output)),
            [batch],
            [tf.float32] * len(network.output),
        )
        shapes = [(None, *values.shape[1:]) for values in network.output.values()]
        found = tf.nest.flatten(found)  # eagerly one output is no list
        return dict(zip(network.output, map(tf.ensure_shape, found, shapes), strict=True))

    pixels = keras.Input(network.input.shape[1:])
    return keras.Model(pixels, keras.layers.Lambda(run)(pixels), name=network.name)


def errors(given: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns how far each output is from Keras', as a part of its largest value."""
    least = np.finfo(np.float32).tiny
    return {
        name: float(np.abs(given[name] - values).max() / max(np.abs(values).max(), least))
        for name, values in expected.items()
    }


def check(given: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], relative: float = _RELATIVE) -> None:
    """Raises RefusedError if an output is further from Keras' than a part of its largest value."""
    for name, error in errors(given, expected).items():
        if not error <= relative:  # not above, so that a NaN is no excuse
            raise RefusedError(f"Expected Keras' {name}, received a relative error of {error:.1e}.")
