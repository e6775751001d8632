"""Precision, devices and XLA change how an extractor runs, not what it computes beyond their rounding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras.audited import iresnet, runtime, taps
from mint_keras.records import InputError

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.random.default_rng(1).normal(size=(8, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def extractor() -> keras.Model:
    keras.utils.set_random_seed(1)
    model = iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 32), 8), 32)
    return taps.extractor(model, ["conv1", "stage2", "outcome"])


@pytest.fixture(scope="module")
def run(extractor: keras.Model) -> runtime.Forward:
    return runtime.forward(extractor)


def difference(received: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    return max(float(np.linalg.norm(received[t] - expected[t]) / np.linalg.norm(expected[t])) for t in expected)


def test_a_graph_gives_what_keras_gives(extractor: keras.Model, run: runtime.Forward) -> None:
    expected = {tap: np.asarray(values) for tap, values in extractor(IMAGES).items()}
    assert difference(run(IMAGES), expected) < 1e-6
    assert run(IMAGES[:3])["conv1"].shape == (3, 16, 16, 16)
    assert difference(runtime.predict(run, IMAGES, 3), expected) < 1e-6
    assert difference(runtime.forward(extractor, xla=True)(IMAGES), expected) < 1e-5


@pytest.mark.parametrize(("policy", "error"), [("mixed_float16", 1e-3), ("mixed_bfloat16", 1e-2)])
def test_lower_precision_rounds_and_no_more(
    policy: str, error: float, extractor: keras.Model, run: runtime.Forward
) -> None:
    placed = runtime.place(extractor, policy)
    received = runtime.forward(placed)(IMAGES)
    assert 0 < difference(received, run(IMAGES)) < error
    assert all(values.dtype == np.float32 for values in received.values())
    convolutions = [layer for layer in placed.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {policy.removeprefix("mixed_")}
    assert placed.get_layer("fc").compute_dtype == "float32"
    assert {variable.dtype for variable in placed.variables} == {"float32"}


def test_float32_is_the_model_itself_and_other_names_are_refused(extractor: keras.Model) -> None:
    assert runtime.place(extractor, "float32") is extractor
    with pytest.raises(InputError, match="precision of"):
        runtime.place(extractor, "int8")


def test_the_cost_of_a_precision_is_measured(extractor: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = runtime.measure(extractor, "mixed_bfloat16", IMAGES, seconds=0.2)
    assert cost.speedup > 0
    assert list(cost.cosine) == ["conv1", "stage2", "outcome"]
    assert all(0.99 < cosine < 1 for cosine in cost.cosine.values())
    for speedup, cosine, chosen in ((2.0, 0.9999, "mixed_bfloat16"), (1.0, 0.9999, "float32"), (2.0, 0.99, "float32")):
        made = runtime.Cost(speedup, {"conv1": 1.0, "outcome": cosine})
        monkeypatch.setattr(runtime, "measure", lambda *_, made=made: made)
        assert runtime.choose(extractor, IMAGES) == (chosen, made)


PROGRAM = """
import keras, numpy as np, sys, tensorflow as tf
from pathlib import Path
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from mint_keras import formats
from mint_keras.aad import extract, models, store
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.data import samples
keras.utils.set_random_seed(1)
model = iresnet.iresnet(iresnet.ARCHITECTURES["tiny"])
extractor = taps.extractor(model, ["conv2", "outcome"], "max")
devices = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert runtime.strategy() is None  # no GPUs here
table = samples.list_samples("synthetic:1/web/0-19/5")
stores = []
for name, strategy in (("one", None), ("two", devices)):
    folder = Path(sys.argv[1]) / name
    manifest = formats.make_manifest(store.KIND, {}, {})
    runtime.strategy = lambda strategy=strategy: strategy
    functions = models.face_functions(models.ModelSpec(folder, ()), {"audited": extractor})
    extract.extract(table, functions, folder, extract.Layout(shard_size=75))
    store.finish(folder, manifest, table, 75)
    stores.append(store.open_store(folder, manifest["fingerprint"]).arrays["audited"])
for tap in ("conv2", "outcome"):
    one, two = (arrays[tap][:] for arrays in stores)
    assert one.shape == two.shape == (100, one.shape[1])
    assert len(np.unique(np.round(one[:, 0], 5))) > 50, "rows must differ, or their order would not show"
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
placed = runtime.place(extractor, "float32", devices)
assert placed.distribute_strategy.num_replicas_in_sync == 2
images = np.random.default_rng(1).normal(size=(3, 112, 112, 3)).astype(np.float32)  # does not divide by two
three, expected = runtime.forward(placed)(images), runtime.forward(extractor)(images)
np.testing.assert_allclose(three["conv2"], expected["conv2"], rtol=1e-4, atol=1e-5)
print("done")
"""


@pytest.mark.long
def test_extraction_on_two_devices(tmp_path: Path) -> None:
    """Two virtual CPU devices, each with half of every batch: the same AAD, in the same order."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("done")
