"""Stored and live AAD, several devices, other precisions, interruptions: all of them train the same head."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mint_keras.aad import extract, models, store
from mint_keras.audited import iresnet, taps
from mint_keras.data import images, synthetic
from mint_keras.heads import cnn, specs, vanilla
from mint_keras.records import InputError, concatenate_tables
from mint_keras.training import batches, checkpoints, fit_heads

ROOT = Path(__file__).resolve().parents[2]
TAP = "conv2"
SHAPE = (8, 8, 16)
IS_MEMBER = np.arange(160) < 80


@pytest.fixture(scope="module")
def extractor() -> keras.Model:
    keras.utils.set_random_seed(3)
    return taps.extractor(iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 8), 32), [TAP])


@pytest.fixture(scope="module")
def arrays(extractor: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, store.ShardedArray]:
    """AAD in float16 and pixels of the same faces of two databases."""
    folder = tmp_path_factory.mktemp("aad")
    table = concatenate_tables([synthetic.sample_table(f"synthetic:1/{name}/0-79/1") for name in ("web", "news")])
    functions = models.face_functions(models.ModelSpec(Path(), ()), {"audited": extractor})
    extract.extract(
        table, {**functions, **models.keep_pixels()}, folder, extract.Layout(shard_size=64, framing=images.Framing(32))
    )
    store.finish(folder, {"kind": store.KIND, "schema": 1, "config": {}, "inputs": {}}, table, 64)
    opened = store.open_store(folder)
    assert opened is not None
    return {TAP: opened.arrays["audited"][TAP], "pixels": opened.arrays["pixels"]["pixels"]}


def data(features: Mapping[str, store.ShardedArray]) -> batches.LabelledAad:
    return batches.LabelledAad(features, np.arange(160), IS_MEMBER)


def build(head: str) -> keras.Model:
    checkpoints.seed_everything(5)
    shape = {TAP: SHAPE}
    return cnn.build(shape) if head == "cnn" else vanilla.build(shape, literal=True)


def losses(out: Path) -> np.ndarray:
    return np.genfromtxt(out / "training.csv", delimiter=",", names=True)["loss"]


@pytest.fixture(scope="module")
def stored(arrays: dict[str, store.ShardedArray], tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A head that was trained on stored maps for two epochs, and the folder of its logs."""
    head, folder = build("cnn"), tmp_path_factory.mktemp("stored")
    fit_heads.fit_head(head, data({TAP: arrays[TAP]}), fit_heads.HeadTraining(2, 5, checkpoint_seconds=0.0), folder)
    return head, folder


def test_maps_are_scored_in_parts_of_what_a_training_step_takes(arrays: dict[str, store.ShardedArray]) -> None:
    """Of 256 faces at once LiteRT and TensorFlow kept 300 MB that no training had asked for."""
    shown: list[int] = []

    class Logits:
        distribute_strategy = tf.distribute.get_strategy()

        def __call__(self, features: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
            shown.append(len(features[TAP]))
            return tf.zeros((shown[-1], 1))

    assert len(fit_heads.predict_logits(Logits(), data({TAP: arrays[TAP]}))) == 160
    assert shown == [64, 64, 32]


@pytest.mark.slow
def test_live_and_stored_training_are_the_same(
    stored: tuple[keras.Model, Path], arrays: dict[str, store.ShardedArray], extractor: keras.Model, tmp_path: Path
) -> None:
    before = [layer.numpy().copy() for layer in extractor.weights]
    live, pixels = build("cnn"), data({"pixels": arrays["pixels"]})
    fit_heads.fit_head(fit_heads.live_head(live, extractor), pixels, fit_heads.HeadTraining(2, 5), tmp_path)
    for weight, value in zip(extractor.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)  # frozen, its statistics too
    logit = {
        "stored": fit_heads.predict_logits(fit_heads.logit_model(stored[0]), data({TAP: arrays[TAP]})),
        "live": fit_heads.predict_logits(fit_heads.live_head(fit_heads.logit_model(live), extractor), pixels),
    }
    rows = {"all": (np.arange(len(IS_MEMBER)), IS_MEMBER)}
    found = {
        source: fit_heads.evaluate_logits(head, logit[source], rows)["all"]
        for source, head in (("stored", stored[0]), ("live", live))
    }
    np.testing.assert_allclose(losses(tmp_path), losses(stored[1]), atol=1e-4)
    assert found["live"]["cross_entropy"] == pytest.approx(found["stored"]["cross_entropy"], abs=1e-3)
    np.testing.assert_allclose(logit["live"], logit["stored"], atol=1e-2)


def test_live_aad_that_would_overflow_the_store_ends_the_training(
    arrays: dict[str, store.ShardedArray], extractor: keras.Model, tmp_path: Path
) -> None:
    huge = keras.Model(extractor.input, {TAP: keras.layers.Rescaling(1e6)(extractor.output[TAP])})
    model = fit_heads.live_head(build("cnn"), huge)
    with pytest.raises(InputError, match="fit float16"):
        fit_heads.fit_head(model, data({"pixels": arrays["pixels"]}), fit_heads.HeadTraining(1, 5), tmp_path)


def test_standardised_heads_are_not_live(extractor: keras.Model) -> None:
    with pytest.raises(InputError, match="standardised inputs"):
        fit_heads.live_head(vanilla.build({TAP: SHAPE}), extractor)


def test_without_a_folder_nothing_is_written(
    stored: tuple[keras.Model, Path],
    arrays: dict[str, store.ShardedArray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = build("cnn")
    monkeypatch.chdir(tmp_path)
    done: list[int] = []
    settings = fit_heads.HeadTraining(2, 5, checkpoint_seconds=0.0)
    fit_heads.fit_head(quiet, data({TAP: arrays[TAP]}), settings, on_epoch=done.append)
    assert done == [0, 1, 1]
    assert not list(tmp_path.iterdir())
    for one, two in zip(quiet.get_weights(), stored[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_an_interrupted_training_ends_where_a_whole_one_does(
    arrays: dict[str, store.ShardedArray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a vanilla head, which has all that a checkpoint must keep: weights, moving statistics and dropout's seeds."""
    settings = fit_heads.HeadTraining(5, 5, warmup=3, checkpoint_seconds=0.0)  # interrupted before it has risen
    whole = build("vanilla")
    fit_heads.fit_head(whole, data({TAP: arrays[TAP]}), settings, tmp_path / "whole")

    class Interrupted(checkpoints.Checkpoint):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit_heads.checkpoints, "Checkpoint", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_heads.fit_head(build("vanilla"), data({TAP: arrays[TAP]}), settings, tmp_path / "again")
    assert checkpoints.completed_epochs(tmp_path / "again" / "checkpoint") == 2
    done: list[int] = []
    again = build("vanilla")
    fit_heads.fit_head(again, data({TAP: arrays[TAP]}), settings, tmp_path / "again", done.append)
    assert done == [2, 1, 1, 1]
    for one, two in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(losses(tmp_path / "again"), losses(tmp_path / "whole"))
    assert not (tmp_path / "again" / "checkpoint").exists()


def test_lines_of_epochs_that_come_again_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("epoch,loss\n0,1.0\n1,0.9\n2,0.8\n")
    log = checkpoints.epoch_log(tmp_path / "training.csv", 2)
    assert log.append
    assert (tmp_path / "training.csv").read_text() == "epoch,loss\n0,1.0\n1,0.9\n"
    assert not checkpoints.epoch_log(tmp_path / "none.csv", 0).append


def test_short_trainings_write_no_checkpoint(arrays: dict[str, store.ShardedArray], tmp_path: Path) -> None:
    written = []
    monitor = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: written.append((tmp_path / "checkpoint").exists()))
    head = build("vanilla")
    dataset, steps = batches.train_dataset(data({TAP: arrays[TAP]}), 5)
    fit_heads.compile_head(head)
    head.fit(
        dataset, epochs=2, steps_per_epoch=steps, verbose=0, shuffle=False,
        callbacks=[checkpoints.Checkpoint(tmp_path / "checkpoint", 60.0), monitor],
    )  # fmt: skip
    assert written == [False, False]


@pytest.mark.slow
def test_heads_in_lower_precision(
    stored: tuple[keras.Model, Path], arrays: dict[str, store.ShardedArray], tmp_path: Path
) -> None:
    settings, exact = fit_heads.HeadTraining(1, 5), losses(stored[1])[0]
    for policy in ("mixed_bfloat16", "mixed_float16"):
        placed = fit_heads.place_head(build("cnn"), policy)
        assert placed.get_layer(f"{TAP}_conv").compute_dtype == policy.removeprefix("mixed_")
        assert placed.get_layer("logit").compute_dtype == "float32"
        assert {variable.dtype for variable in placed.trainable_variables} == {"float32"}
        fit_heads.fit_head(placed, data({TAP: arrays[TAP]}), settings, tmp_path / policy)
        assert losses(tmp_path / policy) == pytest.approx(exact, rel=0.1)
        assert losses(tmp_path / policy) != exact


@pytest.mark.parametrize("name", ["resnet50_reduced", "vit_reduced"])
@pytest.mark.long
def test_networks_of_table_7_learn_in_lower_precision(
    name: str, arrays: dict[str, store.ShardedArray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CLASS_BATCH", 4)
    few = np.arange(0, 160, 16)
    checkpoints.seed_everything(5)
    head = specs.find(name).build({TAP: SHAPE})
    placed = fit_heads.place_head(head, "mixed_bfloat16")
    before = placed.get_weights()
    some = batches.LabelledAad({TAP: arrays[TAP]}, few, IS_MEMBER[few])
    fit_heads.fit_head(placed, some, fit_heads.HeadTraining(1, 5), tmp_path)
    changed = [not np.array_equal(a, b) for a, b in zip(before, placed.get_weights(), strict=True)]
    names = [weight.path for weight in placed.weights]
    still = [name for name, has_changed in zip(names, changed, strict=True) if not has_changed]
    assert not [name for name in still if "seed" not in name]  # moving statistics of ResNet50 as well
    assert {variable.dtype for variable in placed.trainable_variables} == {"float32"}
    assert np.isfinite(losses(tmp_path)).all()


def test_float32_on_one_device_is_the_head_itself() -> None:
    head = build("cnn")
    assert fit_heads.place_head(head, "float32") is head


def test_no_xla_with_deterministic_kernels() -> None:
    with pytest.raises(InputError, match="XLA can compile"), pytest.warns(UserWarning, match="jit_compile"):
        fit_heads.compile_head(build("vanilla"), xla=True)


PROGRAM = """
import keras, numpy as np, sys, tensorflow as tf
from pathlib import Path
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.heads import cnn, vanilla
from mint_keras.training import batches, checkpoints, fit_heads
devices = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(1)
is_member = np.arange(256) < 128
maps = (rng.normal(size=(256, 8, 8, 16)).T + is_member).T.astype(np.float32)
pixels = rng.integers(0, 256, (256, 112, 112, 3), dtype=np.uint8)
extractor = taps.extractor(iresnet.build("tiny"), ["conv3"])

def train(kind, strategy, xla=False):
    checkpoints.seed_everything(1, is_deterministic=False)
    if kind == "live":
        head, features = cnn.build({"conv3": (14, 14, 16)}), {"pixels": pixels}
    else:
        head = (vanilla if kind == "vanilla" else cnn).build({"a": (8, 8, 16)} if kind == "cnn" else {"a": (16,)})
        features = {"a": maps if kind == "cnn" else maps.max((1, 2))}
    for layer in head.layers:  # each copy draws other dropout, which would hide what is compared
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    placed = fit_heads.place_head(head, "float32", strategy)
    model = placed
    if kind == "live":
        model = fit_heads.live_head(placed, runtime.place(extractor, "float32", strategy))
    data = batches.LabelledAad(features, np.arange(256), is_member)
    out = Path(sys.argv[1]) / f"{kind}-{strategy is not None}"
    fit_heads.fit_head(model, data, fit_heads.HeadTraining(2, 1, xla), out)
    assert model.jit_compile == xla
    if strategy:
        assert model.distribute_strategy.num_replicas_in_sync == 2
        for variable in placed.variables:  # the copies have not drifted apart
            if hasattr(variable.value, "values"):
                one, two = (np.asarray(copy) for copy in variable.value.values)
                np.testing.assert_array_equal(one, two, err_msg=variable.path)
        head.set_weights(placed.get_weights())
    return head.get_weights()

for kind in ("vanilla", "cnn", "live"):
    one, two, compiled = train(kind, None), train(kind, devices), train(kind, None, xla=True)
    for a, b, c in zip(one, two, compiled):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3, err_msg=kind)
        np.testing.assert_allclose(a, c, rtol=2e-2, atol=2e-3, err_msg=f"{kind}, compiled")
print("done")
"""


@pytest.mark.long
def test_two_devices_and_xla_train_the_same_head(tmp_path: Path) -> None:
    """Two virtual CPU devices: members on one, externals on the other, so batch normalisation has to see both."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("done")
