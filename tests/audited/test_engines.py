"""Which engine runs a network: the fastest that gives Keras' numbers, and never one that does not."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from mint_keras.aad import extraction, models
from mint_keras.audited import backends, engines, runtime
from mint_keras.audited.engines import KERAS, Engine
from mint_keras.records import InputError, RefusedError

IMAGES = np.zeros((12, 4, 4, 3), np.float32)
EXACT = {"conv1": np.linspace(1.0, 2.0, 16, dtype=np.float32)[None], "outcome": np.ones((1, 4), np.float32)}
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]


def engine(seconds: float, changes: dict[str, float] | None = None) -> Forward:
    """Takes so long, and is off at some outputs by some factor of the first number."""

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        assert len(images) == 8  # no more are needed
        time.sleep(seconds)
        given = {name: values.copy() for name, values in EXACT.items()}
        for name, factor in (changes or {}).items():
            given[name][0, 0] *= factor
        return given

    return run


def choose(monkeypatch: pytest.MonkeyPatch, given: dict[Engine, Forward]) -> tuple[Engine, list[engines.Measured]]:
    def open_forward(extractor: object, *, backend: str, xla: bool) -> Forward:
        if Engine(backend, xla) not in given:
            raise RefusedError("Expected only operations built in\nand much more")
        return given[Engine(backend, xla)]

    monkeypatch.setattr(backends, "open_forward", open_forward)
    return engines.choose(None, IMAGES, seconds=0.03)  # type: ignore[arg-type] # what is run stands above


def test_the_fastest_is_taken_and_whoever_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = Engine(backends.ONNXRUNTIME)
    chosen, measured = choose(
        monkeypatch, {KERAS: engine(0.01), Engine("keras", True): engine(0.006), onnx: engine(0.002)}
    )
    assert chosen == onnx
    said = engines.describe(chosen, measured)
    assert said.startswith("Run by onnxruntime. Images per second here, over Keras': ")
    assert "keras 1.00; keras with XLA 1." in said
    assert "litert Expected only operations built in;" in said
    assert "much more" not in said


@pytest.mark.parametrize("changes", [{"conv1": 1.01}, {"outcome": 1.01}, {"outcome": np.nan}])
def test_one_wrong_tap_is_one_too_many(changes: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    litert = Engine(backends.LITERT)
    chosen, measured = choose(monkeypatch, {KERAS: engine(0.01), litert: engine(0.0, changes)})
    assert chosen == KERAS
    refused = {one.engine: one.refused for one in measured if one.refused}
    assert f"Expected Keras' {next(iter(changes))}" in refused[litert]
    assert choose(monkeypatch, {KERAS: engine(0.01), litert: engine(0.0, {"conv1": 1 + 1e-6})})[0] == litert


def test_a_little_faster_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, {KERAS: engine(0.010), Engine("keras", True): engine(0.0098)})[0] == KERAS


def test_what_keras_cannot_run_is_no_matter_of_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError, match="built in"):
        choose(monkeypatch, {})


def test_it_chooses_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for options in ({"precision": "mixed_bfloat16"}, {"xla": True}):
        spec = models.ModelSpec(tmp_path, ("conv1",), backend=runtime.AUTO, **options)
        with pytest.raises(InputError, match="--backend auto with float32"):
            extraction.measure_engines(spec, None, IMAGES)  # type: ignore[arg-type]
