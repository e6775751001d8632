"""Writing and reading AAD, the memory that extraction takes, and two workers against one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mint_keras import formats, shelf, workers
from mint_keras.aad import extract, models, scale, store
from mint_keras.audited import zoo
from mint_keras.data import synthetic
from mint_keras.records import InputError
from studies.benchmarks import iresnets
from studies.benchmarks.measurement import Bench, Measurement, in_turns, peak_memory
from studies.benchmarks.reading import write_records

_ROWS = 512


def stores(bench: Bench) -> Iterator[Measurement]:
    """A shard of R100's conv1 (205 MB) with its SHA-256, flushed to the disk, against plain NumPy, flushed as well."""
    folder = bench.folder / "stores"
    folder.mkdir()
    values = np.random.default_rng(1).normal(size=(_ROWS, 56, 56, 64)).astype(np.float16)
    size = values.nbytes // 1_000_000
    numbers = iter(range(1000))

    def write() -> int:
        with store.ShardWriter(folder, next(numbers), _ROWS) as writer:
            for start in range(0, _ROWS, 64):
                writer.append("audited", "conv1", values[start : start + 64])
            writer.commit({})
        return size

    def save() -> int:
        with open(folder / "peer.npy", "wb") as file:
            np.save(file, values)
            os.fsync(file.fileno())  # as ours does: else the page cache would be measured
        return size

    rates = in_turns({"ours": write, "peer": save}, 3)
    yield Measurement("store, write", rates["ours"], rates["peer"], "MB/s", "np.save and fsync")
    shard = store.ShardedArray([store.shard_folder(folder, 0) / "audited" / "conv1.npy"])
    order = np.random.default_rng(2).permutation(_ROWS)
    mapped = np.load(folder / "peer.npy", mmap_mode="r")
    works: dict[str, Callable[[], int]] = {
        "whole": lambda: size * bool(len(shard[:])),
        "load": lambda: size * bool(len(np.load(folder / "peer.npy"))),
        "random": lambda: size * bool(len(shard[order])),
        "map": lambda: size * bool(len(mapped[order])),
    }
    rates = in_turns(works, 3)
    yield Measurement("store, read in order", rates["whole"], rates["load"], "MB/s", "np.load")
    yield Measurement("store, read at random", rates["random"], rates["map"], "MB/s", "a memory map")


def extraction_memory(bench: Bench) -> Iterator[Measurement]:
    """Peak memory of extract_aad.py on the lab model as the database grows."""
    peaks = []
    for num in (1_000, 4_000 if bench.quick else 100_000):
        path = write_records(bench.folder / f"aad-memory-{num}", num)
        arguments = ("--audited", shelf.path("lab"), "--samples", path, "--taps", "conv1", "--pooling", "max")
        out = bench.folder / f"aad-memory-{num}-out"
        peak, _ = peak_memory("scripts/extract_aad.py", *arguments, "--batch-size", 64, "--out", out, "--quiet")
        peaks.append(peak)
    name = f"memory of extract_aad, {4_000 if bench.quick else 100_000:,} images"
    yield Measurement(name, peaks[1], peaks[0], "MiB", "1,000 images", "<1.2")


def ray_workers(bench: Bench) -> Iterator[Measurement]:
    """Two single-threaded workers against one, once they have made a shard each."""
    try:
        workers.check(workers.RAY)
    except InputError:
        return
    folder, size = bench.folder / "workers", 64 if bench.quick else 256
    formats.write_json(folder / "model" / formats.MANIFEST, formats.make_manifest(zoo.KIND, {}, {}))
    zoo.save_audited(folder / "model", iresnets.random_iresnet("r18"), {})
    rates = [_rate_on_ray(folder, num_workers, size) for num_workers in (2, 1)]
    yield Measurement("two Ray workers, R18, all taps", rates[0], rates[1], "images/s", "one worker", "1.7")


def _rate_on_ray(folder: Path, num_workers: int, size: int) -> float:
    """Returns images per second: four shards a worker, without the first, for which it starts and compiles."""
    num_shards, out = 4 * num_workers, folder / f"{num_workers}"
    table = synthetic.sample_table(f"synthetic:1/web/0-{num_shards * size - 1}/1")
    store.begin(out, table, size)
    spec = models.ModelSpec(folder / "model", ("conv1", "conv2", "conv3", "conv4"), ("max",))
    work = scale.ShardWork(out, spec, extract.Layout(batch_size=16, shard_size=size))
    list(workers.map_parts(scale.ShardWorker, work, range(num_shards), workers.RAY, num_workers))
    records = [store.shard_folder(out, shard) / store.RECORD for shard in range(num_shards)]
    times = sorted(record.stat().st_mtime for record in records)
    return (num_shards - num_workers) * size / (times[-1] - times[num_workers - 1])
