"""Which engine runs a network: the one that ends the job first with Keras' numbers, and never one without them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest

from mint_keras.audited import backends, engines, runtime
from mint_keras.audited.engines import KERAS, Choice, Engine
from mint_keras.records import RefusedError

IMAGES = np.zeros((12, 4, 4, 3), np.float32)
EXACT = {"conv1": np.linspace(1.0, 2.0, 16, dtype=np.float32)[None], "outcome": np.ones((1, 4), np.float32)}
ONNX, LITERT, XLA = Engine(backends.ONNXRUNTIME), Engine(backends.LITERT), Engine(backends.KERAS, xla=True)
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]


def engine(seconds: float, changes: Mapping[str, float] | None = None) -> Forward:
    """Takes so long, and is off at some outputs by some factor of the first number."""

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        given = {name: values.copy() for name, values in EXACT.items()}
        for name, factor in (changes or {}).items():
            given[name][0, 0] *= factor
        return given

    run.seconds = seconds  # type: ignore[attr-defined]
    return run


@pytest.mark.slow
def test_litert_says_nothing_of_what_it_runs_on() -> None:
    program = (
        "import keras, numpy as np\nfrom mint_keras.audited import litert\n"
        "pixels = keras.Input((4, 4, 3))\nmodel = keras.Model(pixels, {'a': keras.layers.Conv2D(2, 3)(pixels)})\n"
        "print(litert.forward(model, litert.FP32)(np.ones((2, 4, 4, 3), np.float32))['a'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "(2, 2, 2, 2)\n", done.stderr
    assert "delegate" not in done.stderr


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Choice]:
    """Chooses among what is given, by engine, or by engine and network; a job of 10,000 images is long for all."""

    def of(
        given: Mapping[Engine, Forward], num_passes: float = 1e4, networks: tuple[str, ...] = ("audited",)
    ) -> Choice:
        def open_all(asked: Mapping[str, keras.Model], by: Engine) -> engines.Forwards:
            if by not in given:
                raise RefusedError("Expected only operations built in\nand much more")
            return {name: given.get((name, by), given[by]) for name in asked}  # type: ignore[call-overload]

        monkeypatch.setattr(engines, "_PAYS", 0.1)
        monkeypatch.setattr(engines, "open_all", open_all)
        monkeypatch.setattr(
            runtime, "fastest", lambda runs, images, seconds: {name: run.seconds for name, run in runs.items()}
        )
        return engines.choose(dict.fromkeys(networks), IMAGES, num_passes)  # type: ignore[arg-type]

    return of


def test_the_fastest_is_taken_and_whoever_fails_is_named(choose: Callable[..., Choice]) -> None:
    chosen = choose({KERAS: engine(0.01), XLA: engine(0.006), ONNX: engine(0.002)})
    assert chosen.engine == ONNX
    said = chosen.facts()["engine_said"]
    assert said.startswith("Run by onnxruntime. Images per second here, over Keras': keras 1.00; litert ")
    assert "; keras with XLA 1." in said
    assert "litert Expected only operations built in; onnxruntime 5.00" in said
    assert "much more" not in said
    assert chosen.facts()["engine"] == {"backend": "onnxruntime", "xla": False}
    assert chosen.measured[ONNX] == pytest.approx(5.0)


@pytest.mark.parametrize(("seconds", "tried"), [(100.0, 4), (25.0, 3), (15.0, 2), (5.0, 1)])
def test_no_engine_is_tried_when_trying_has_taken_a_tenth_of_the_job(
    seconds: float, tried: int, choose: Callable[..., Choice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them takes a second to start, and as long as the others for the job."""
    ticks = itertools.count()
    monkeypatch.setattr(engines.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(engines.os, "cpu_count", lambda: 2)  # of whom eight images are shown
    monkeypatch.setattr(backends, "is_installed", lambda backend: backend != backends.OPENVINO)
    chosen = choose({one: engine(8.0) for one in (KERAS, LITERT, ONNX, XLA)}, num_passes=seconds)
    assert len(chosen.measured or [KERAS]) == tried


@pytest.mark.parametrize("changes", [{"conv1": 1.0001}, {"outcome": 1.0001}, {"outcome": np.nan}])
def test_one_wrong_tap_is_one_too_many(changes: dict[str, float], choose: Callable[..., Choice]) -> None:
    chosen = choose({KERAS: engine(0.01), LITERT: engine(0.001, changes)})
    assert chosen.engine == KERAS
    assert f"Expected Keras' {next(iter(changes))}" in str(chosen.measured[LITERT])
    assert choose({KERAS: engine(0.01), LITERT: engine(0.001, {"conv1": 1 + 2e-6})}).engine == LITERT


def test_one_wrong_tap_of_the_untrained_copy_too(choose: Callable[..., Choice]) -> None:
    """The copy runs in the same engine: what its conv1 alone gets wrong would be read as a sign of training."""
    wrong = engine(0.001, {"conv1": 1.001})
    given = {KERAS: engine(0.01), LITERT: engine(0.001), ("untrained", LITERT): wrong, ONNX: engine(0.003)}
    chosen = choose(given, networks=("audited", "untrained"))
    assert chosen.engine == ONNX
    assert set(chosen.forwards) == {"audited", "untrained"}
    assert "Expected Keras' conv1" in chosen.facts()["engine_said"]


def test_a_little_faster_is_no_reason(choose: Callable[..., Choice]) -> None:
    assert choose({KERAS: engine(0.010), XLA: engine(0.0098)}).engine == KERAS


def test_a_small_job_tries_nobody(choose: Callable[..., Choice]) -> None:
    chosen = choose({KERAS: engine(0.01), ONNX: engine(0.001)}, num_passes=0)
    assert chosen.engine == KERAS
    assert chosen.facts()["engine_said"] == "Run by keras: measuring would not pay."


def test_what_keras_cannot_run_is_no_matter_of_engines(choose: Callable[..., Choice]) -> None:
    with pytest.raises(RefusedError, match="built in"):
        choose({})


def test_another_network_of_an_audit_runs_by_keras_where_its_engine_is_wrong(choose: Callable[..., Choice]) -> None:
    plain, wrong = engine(0.01), engine(0.01, {"outcome": 1.001})
    choose({KERAS: plain, ONNX: plain, ("second", ONNX): wrong})
    pixels = keras.Input((112, 112, 3))
    network = keras.Model(pixels, {"outcome": pixels})
    right = engines.opener([ONNX])({"first": network})
    assert set(right) == {"first"}
    # One of two: both go through Keras, since what is compared goes through one engine.
    both = engines.opener([ONNX])({"first": network, "second": network})
    assert both == {"first": plain, "second": plain}


def test_who_has_chosen_keeps_to_it(choose: Callable[..., Choice], monkeypatch: pytest.MonkeyPatch) -> None:
    choose({KERAS: engine(0.01), ONNX: engine(0.01)})
    pixels = keras.Input((112, 112, 3))
    network = keras.Model(pixels, {"outcome": pixels})
    kept: list[Engine] = []
    engines.opener(kept, IMAGES, 10)({"": network})
    assert kept == [KERAS]
    monkeypatch.setattr(engines, "choose", lambda *given: pytest.fail("chosen twice"))
    engines.opener(kept, IMAGES, 1e9)({"": network})


def test_every_backend_gives_the_same_one_by_one() -> None:
    """Also more images than threads, in their order."""
    runs = [lambda image, k=k: {"x": image[:, 0] + 0 * k} for k in range(3)]
    images = np.arange(50.0).reshape(25, 2)
    np.testing.assert_array_equal(runtime.one_by_one(runs)(images)["x"], images[:, 0])  # type: ignore[arg-type]


def test_who_is_chosen_gave_keras_numbers_for_the_faces_that_are_shown_again(choose: Callable[..., Choice]) -> None:
    """Else a first call would use an engine, and the next one, which asks again by drawn faces, another."""

    def by(factor: float) -> Forward:
        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            is_drawn = images.any(axis=(1, 2, 3))  # the job's own are all zeros
            return {"outcome": np.where(is_drawn, factor, 1.0).astype(np.float32)[:, None]}

        run.seconds = 0.01 if factor == 1 else 0.001  # type: ignore[attr-defined]
        return run

    assert choose({KERAS: by(1.0), ONNX: by(1.0 + 1e-4)}).engine == KERAS
    assert choose({KERAS: by(1.0), ONNX: by(1.0 + 1e-6)}).engine == ONNX


def test_a_model_that_an_engine_computes_gives_one_tap_eagerly_too() -> None:
    pixels = keras.Input((4, 4, 3))
    network = keras.Model(pixels, {"conv1": keras.layers.Conv2D(2, 3)(pixels)})
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    given = engines.as_model(network, ONNX)(images)
    np.testing.assert_allclose(given["conv1"], network(images)["conv1"], atol=1e-5)
