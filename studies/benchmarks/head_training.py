"""How fast heads train from a store, and live, against plain Keras in memory; and from a store larger than memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from mint_keras import formats
from mint_keras.aad import extract, models, store
from mint_keras.audited import taps
from mint_keras.data import images, synthetic
from mint_keras.heads import cnn, vanilla
from mint_keras.training import batches, checkpoints, fit_heads
from studies.benchmarks import iresnets
from studies.benchmarks.measurement import Bench, Measurement, peak_memory

_EPOCHS = 4
_NUM_VECTORS = 51_200
# Prints the samples per second of the last three quarters of the steps: the first ones compile and fill caches.
_STREAM = """
import sys, time
from pathlib import Path
import keras, numpy as np
from mint_keras.aad import store
from mint_keras.heads import cnn
from mint_keras.training import batches, checkpoints
from mint_keras.training import fit_heads
folder, num, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
array = store.ShardedArray(sorted(folder.glob("*.npy")))
data = batches.LabelledAad({"conv1": array}, np.arange(num), np.arange(num) % 2 == 0)
checkpoints.seed_everything(1)
head = cnn.build({"conv1": array.shape[1:]})
fit_heads.compile_head(head)
dataset, _ = batches.train_dataset(data, 1)
times = []
head.fit(dataset, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[
    keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: times.append(time.perf_counter()))])
rate = 128 * (len(times) - 1 - steps // 4) / (times[-1] - times[steps // 4])
print(rate)
"""


def heads(bench: Bench) -> Iterator[Measurement]:
    """The paper's heads on conv1 of a lab-sized network (quick), or of an R100, and on pooled vectors."""
    arch, num = ("small", 640) if bench.quick else ("r100", 2560)
    model = iresnets.random_iresnet(arch)
    extractor = taps.extractor(model, ["conv1"])
    arrays = _store(bench.folder / "heads", extractor, num)
    is_member = np.arange(num) % 2 == 0
    shapes = {"conv1": arrays["conv1"].shape[1:]}
    peer = _in_memory(cnn.build(shapes), arrays["conv1"], is_member, bench.folder / "peer")
    against = "Keras fit, in memory, with logs"
    stored = _ours(cnn.build(shapes), {"conv1": arrays["conv1"]}, is_member, bench.folder / "stored")
    yield Measurement(f"cnn on {arch} conv1, stored", stored, peer, "samples/s", against, "0.9")
    live = fit_heads.live_head(cnn.build(shapes), extractor)
    rate = _ours(live, {images.PIXELS: arrays["pixels"]}, is_member, bench.folder / "live")
    yield Measurement(f"cnn on {arch} conv1, live", rate, peer, "samples/s", against)
    rng, folder = np.random.default_rng(1), bench.folder / "vectors"
    folder.mkdir()
    for shard in range(_NUM_VECTORS // 1024):
        np.save(folder / f"{shard:03d}.npy", rng.normal(size=(1024, 960)).astype(np.float32))
    vectors, many = store.ShardedArray(sorted(folder.glob("*.npy"))), np.arange(_NUM_VECTORS) % 2 == 0
    wide = {"combination": vectors.shape[1:]}
    peer = _in_memory(vanilla.build(wide, literal=True), vectors, many, bench.folder / "peer")
    stored = _ours(vanilla.build(wide, literal=True), {"combination": vectors}, many, bench.folder / "vanilla")
    yield Measurement("vanilla on 960 maxima, stored", stored, peer, "samples/s", against, "0.9")


def streaming(bench: Bench) -> Iterator[Measurement]:
    """200 steps of a cnn head over conv1 of an R100 for 100,000 samples, in random order: 40 GB on the disk.

    Quick: the maps of the lab's network, in sparse files.
    """
    found = {}
    for num, steps in ((10_000, 20 if bench.quick else 40), (100_000, 20 if bench.quick else 200)):
        folder = bench.folder / f"stream-{num}"
        _write_stream(folder, num, bench.quick)
        peak, printed = peak_memory("-c", _STREAM, folder, num, steps)
        found[num] = peak, float(printed[-1])
        # Or the disk would have to hold both at once.
        for path in folder.glob("*.npy"):
            path.unlink()
    (small, slow), (large, rate) = found.values()
    hours = 30 * 100_000 / rate / 3600
    kind = "small conv1, sparse files" if bench.quick else "r100 conv1, 40 GB"
    yield Measurement(f"memory of cnn on 100,000 samples ({kind})", large, small, "MiB", "10,000 samples", "<1.2")
    name = f"the same, speed (30 epochs: {hours:.1f} h)"
    yield Measurement(name, rate, slow, "samples/s", "10,000 samples", "0.9")


def _store(folder: Path, extractor: keras.Model, num: int) -> dict[str, store.ShardedArray]:
    functions = models.face_functions(models.ModelSpec(folder, ()), {models.AUDITED: extractor})
    table = synthetic.sample_table(f"synthetic:1/web/0-{num // 10 - 1}/10")
    extract.extract(table, {**functions, **models.keep_pixels()}, folder, extract.Layout())
    store.finish(folder, formats.make_manifest(store.KIND, {}, {}), table, extract.SHARD_SIZE)
    opened = store.open_store(folder)
    assert opened is not None  # noqa: S101 # it has just been finished
    return {**opened.arrays[models.AUDITED], **opened.arrays[images.PIXELS]}


def _write_stream(folder: Path, num: int, is_sparse: bool) -> None:
    """Writes shards as conv1 of an R100 fills them, 56x56x64 in float16, or sparse ones of the lab's network."""
    folder.mkdir()
    values = np.random.default_rng(1).normal(size=(1024, 56, 56, 16 if is_sparse else 64)).astype(np.float16)
    for start in range(0, num, 1024):
        rows = min(1024, num - start)
        with open(folder / f"{start:07d}.npy", "wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (rows, *values.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
            if is_sparse:
                file.truncate(file.tell() + values[:rows].nbytes)
            else:
                file.write(values[:rows].data)


def _ours(model: keras.Model, features: dict[str, store.ShardedArray], is_member: np.ndarray, out: Path) -> float:
    """Returns the rate of training as train_mint.py trains."""
    # Maps are read from the disk even if there are few of them, as those of a real run would be.
    is_map = any(len(values.shape) > 2 for values in features.values())
    data = batches.LabelledAad(features, np.arange(len(is_member)), is_member, 0 if is_map else 2**30)
    times: list[float] = []
    settings = fit_heads.HeadTraining(_EPOCHS, 1)
    fit_heads.fit_head(model, data, settings, out, lambda num: times.append(time.perf_counter()))
    return _rate(times, len(is_member))


def _in_memory(model: keras.Model, array: store.ShardedArray, is_member: np.ndarray, out: Path) -> float:
    """Returns the rate of training as a user without a store would: everything in one float32 array."""
    # With the logs that we write, or the difference would be theirs.
    features, labels = {next(iter(model.input)): array[:].astype(np.float32)}, is_member[:, None].astype(np.float32)
    checkpoints.seed_everything(1)
    fit_heads.compile_head(model)
    times: list[float] = []
    note: Callable[..., None] = lambda *_, **__: times.append(time.perf_counter())  # noqa: E731
    callbacks = [
        keras.callbacks.LambdaCallback(on_train_begin=note, on_epoch_end=note),
        keras.callbacks.TensorBoard(str(out)),
    ]
    model.fit(features, labels, batch_size=128, epochs=_EPOCHS, verbose=0, callbacks=callbacks)
    return _rate(times, len(is_member))


def _rate(times: list[float], num: int) -> float:
    """Returns the samples per second of the fastest epoch but the first, which compiles."""
    return num / float(np.diff(times)[1:].min())
