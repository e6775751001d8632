"""What AAD costs here: time, room on the disk, and whether to store it or to compute it anew in every epoch."""

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mint_keras.aad import store
from mint_keras.audited.runtime import FaceFunction

BATCH_SIZES = (1, 8, 16, 32, 64, 128, 256)
_SECONDS = 3.0
_DISK_BYTES = 2**26
_ROOM = 0.9  # share of the free disk that a store may take


@dataclasses.dataclass(frozen=True)
class Costs:
    """What was measured: of all models and taps, of reading what is not in memory, and of the disk."""

    images_per_second: float
    bytes_per_sample: int
    disk_bytes_per_second: float
    free_bytes: int


@dataclasses.dataclass(frozen=True)
class Choice:
    """Whether to compute AAD live, whether it would fit the disk, and why."""

    is_live: bool
    fits: bool
    why: str


def measure(functions: Mapping[str, FaceFunction], faces: np.ndarray, folder: Path) -> Costs:
    """Measures models by name on a batch of uint8 RGB faces, and the disk that a folder lies on."""
    block = np.random.default_rng(0).bytes(_DISK_BYTES)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        # Else the file would be read from the memory: stores are larger than that.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start = time.perf_counter()
        file.read()
        disk_rate = _DISK_BYTES / (time.perf_counter() - start)
    free = shutil.disk_usage(folder).free
    return Costs(rate(functions, faces, len(faces)), bytes_per_sample(functions, faces), disk_rate, free)


def bytes_per_sample(functions: Mapping[str, FaceFunction], faces: np.ndarray, dtype: str = "float16") -> int:
    """Returns the size of one sample's stored AAD, of all models and taps."""
    named = [pair for function in functions.values() for pair in function(faces[:1]).items()]
    return sum(store.cast(values, dtype, name).nbytes for name, values in named)


def rate(functions: Mapping[str, FaceFunction], faces: np.ndarray, batch_size: int) -> float:
    """Returns the images per second of all models at a batch size, measured for about three seconds."""
    batch = np.resize(faces, (batch_size, *faces.shape[1:]))
    # The first run compiles.
    for function in functions.values():
        function(batch)
    start, num = time.perf_counter(), 0
    while not num or time.perf_counter() - start < _SECONDS:
        for function in functions.values():
            function(batch)
        num += batch_size
    return num / (time.perf_counter() - start)


def best_batch_size(functions: Mapping[str, FaceFunction], faces: np.ndarray) -> tuple[int, dict[int, float]]:
    """Returns the fastest of `BATCH_SIZES`, and the images per second of each that was tried."""
    rates: dict[int, float] = {}
    best = BATCH_SIZES[0]
    for size in BATCH_SIZES:
        rates[size] = rate(functions, faces, size)
        # A larger batch takes more memory, which has to give at least 3%.
        if size != best and rates[size] < 1.03 * rates[best]:
            break
        best = size
    return best, rates


def choose(costs: Costs, num_samples: int, num_reads: int) -> Choice:
    """Chooses between storing the AAD of samples and computing it anew whenever heads read it: epochs times heads."""
    size = num_samples * costs.bytes_per_sample
    once = num_samples / costs.images_per_second
    stored, live = once + num_reads * size / costs.disk_bytes_per_second, num_reads * once
    text = (
        f"{num_samples:,} samples of {costs.bytes_per_sample:,} bytes make {size / 1e9:.1f} GB "
        f"({costs.free_bytes / 1e9:.0f} GB are free); at {costs.images_per_second:.0f} images/s and "
        f"{costs.disk_bytes_per_second / 1e6:.0f} MB/s, extraction and {num_reads} readings take {duration(stored)}, "
        f"live AAD {duration(live)}"
    )
    fits = size <= _ROOM * costs.free_bytes
    if not fits:
        return Choice(True, False, f"does not fit the disk: {text}")
    return Choice(live < stored, True, text)


def duration(seconds: float) -> str:
    """Returns a time for people: 45 s, 12 min, 3.4 h, 2.1 days."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86_400:.1f} days"
