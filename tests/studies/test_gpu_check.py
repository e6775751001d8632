"""The check of a GPU, on what every machine has: a CPU, the backend that is loaded, a tiny network."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.records import InputError
from studies import gpu_check
from studies.gpu_check import GpuCheck


@pytest.mark.parametrize(
    ("there", "asked", "chosen"),
    [
        (("tensorflow", "jax", "torch"), "auto", "tensorflow"),
        (("torch",), "auto", "torch"),
        (("jax", "torch"), "auto", "jax"),
        (("tensorflow", "jax"), "jax", "jax"),
    ],
)
def test_it_takes_what_is_installed(
    there: tuple[str, ...], asked: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in there or None)
    assert gpu_check.choose_backend(asked) == chosen


def test_without_a_backend_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="jax or torch for Keras to run on, received none of them"):
        gpu_check.choose_backend("auto")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax" or None)
    with pytest.raises(InputError, match="Expected torch for Keras to run on, received jax"):
        gpu_check.choose_backend("torch")


def test_keras_that_runs_on_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_check, "choose_backend", lambda asked: "jax")
    with pytest.raises(InputError, match="Expected Keras on jax, received tensorflow"):
        gpu_check.gpu_check(GpuCheck(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_parts_that_fail_or_have_no_time_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> list[gpu_check.Row]:
        raise RuntimeError("no kernel image is available")

    def measure() -> list[gpu_check.Row]:
        monkeypatch.setattr(gpu_check.time, "monotonic", lambda: np.inf)  # the clock of the deadline
        return [{"run": "Keras float32", "rate": 1234.5, "unit": "faces/s"}]

    monkeypatch.setattr(gpu_check, "_parts", lambda options: [("a", fail), ("b", measure), ("c", fail)])
    said = gpu_check.gpu_check(GpuCheck(tmp_path)).text
    assert "a: RuntimeError: no kernel image is available" in said
    assert "1,234.5 faces/s" in said
    assert "No time was left for: c." in said
    assert formats.read_json(tmp_path / "gpu_check.json")["left_out"] == ["c"]


@pytest.mark.long
def test_all_of_it_on_a_tiny_network(tmp_path: Path) -> None:
    content = gpu_check.gpu_check(GpuCheck(tmp_path, archs=("tiny",), batch_size=4, num_maps=128, seconds=0.01)).content
    assert not [row for row in content["rows"] if "error" in row]
    runs = {row["run"]: row for row in content["rows"] if row["part"] == "extraction, tiny"}
    assert {"Keras float32", "Keras mixed_bfloat16", "ONNX Runtime, CPU"} <= set(runs)
    for found in runs["Keras float32"]["taps"].values():
        assert found["relative"] < 1e-4
        assert found["cosine"] > 0.999999
    lower = runs["Keras mixed_bfloat16"]["taps"]
    assert {tap for tap, found in lower.items() if found["relative"] > 1e-4} >= {"conv3", "outcome"}
    assert min(found["cosine"] for found in lower.values()) > 0.99
    assert {row["part"] for row in content["rows"]} >= {f"cnn head, {policy}" for policy in gpu_check.POLICIES}
