"""How fast each engine runs a network here, and how near to Keras' numbers: what `--backend auto` asks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mint_keras import progress
from mint_keras.audited import backends, iresnet, runtime, taps, zoo
from mint_keras.audited import engines as product
from studies.benchmarks import iresnets
from studies.benchmarks.measurement import Bench, Measurement, in_turns

_LAB = Path(__file__).resolve().parents[2] / "models" / "lab"
_TAPS = (*taps.CONV_TAPS, taps.OUTCOME)


def engines(bench: Bench) -> Iterator[Measurement]:
    """The lab's model, IResNets with random weights (quick: none of 100 layers), and the models that are named."""
    num, rounds = (8, 2) if bench.quick else (16, 3)
    folders = [_LAB, *map(Path, bench.audited)]
    makers = {
        str(path) if path != _LAB else "lab": functools.partial(zoo.load_audited, path, zoo.kind_of(path))
        for path in folders
    }
    for arch in ("r18",) if bench.quick else ("r18", "r100"):
        makers[arch] = functools.partial(iresnets.random_iresnet, arch)
    shown = iresnet.normalise(iresnets.faces(num))
    for name, make in makers.items():
        network = taps.extractor(make(), _TAPS, "max")
        runs = {product.KERAS: product.open_all({name: network}, product.KERAS)[name]}
        expected = runs[product.KERAS](shown)
        errors = {product.KERAS: 0.0}
        for one in (one for one in product.ENGINES if backends.is_installed(one.backend)):
            try:
                run = product.open_all({name: network}, one)[name]
                errors[one] = float(np.max([*product.errors(run(shown), expected).values()]))  # a NaN stays one
                runs[one] = run
            # Converters and compilers raise whatever they like of a network that they do not know.
            except Exception as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                progress.say(f"{name} by {one.name}: not run, {reason}")
        rates = in_turns({one: functools.partial(_show, run, shown) for one, run in runs.items()}, rounds)
        for one, worst in errors.items():
            said = f"{name}, {one.name} (worst tap {worst:.0e})"
            yield Measurement(said, rates[one], rates[product.KERAS], "images/s", "Keras")


def _show(run: runtime.Forward, shown: np.ndarray) -> int:
    run(shown)
    return len(shown)
