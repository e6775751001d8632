"""Runs images through models, shard by shard, and keeps what the taps give."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mint_keras.aad import store
from mint_keras.data import images
from mint_keras.records import InputError, SampleTable

if TYPE_CHECKING:  # with TensorFlow, which the help of a command has no need of
    from mint_keras.audited.runtime import FaceFunction

BATCH_SIZE = 64
SHARD_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class Layout:
    """What decides the bytes of a store besides models and samples.

    Attributes:
        batch_size: faces the models get at once: outputs differ in the last bits between batch sizes.
        shard_size: samples a shard covers; every shard begins a new batch.
        dtype: of stored maps; vectors are float32, pixels uint8.
        framing: what images become before the models see them.
    """

    batch_size: int = BATCH_SIZE
    shard_size: int = SHARD_SIZE
    dtype: str = "float16"
    framing: images.Framing = images.FACE

    def settings(self) -> dict[str, Any]:
        """Returns all of it for a manifest."""
        sizes = {"batch_size": self.batch_size, "shard_size": self.shard_size, "dtype": self.dtype}
        return {**sizes, **self.framing.settings()}

    def num_shards(self, num_samples: int) -> int:
        """Returns how many shards so many samples make."""
        return -(-num_samples // self.shard_size)

    def part(self, table: SampleTable, shard: int) -> SampleTable:
        """Returns the samples that a shard covers."""
        return table.take(np.arange(shard * self.shard_size, min((shard + 1) * self.shard_size, len(table))))


@dataclasses.dataclass(frozen=True)
class _Decoded:
    used: np.ndarray
    faces: np.ndarray
    met: dict[str, Any]


def extract(
    table: SampleTable,
    functions: Mapping[str, FaceFunction],
    folder: Path,
    layout: Layout,
    on_faces: Callable[[int], object] = lambda _: None,
) -> None:
    """Writes the shards that are missing: every image is decoded once, while the models run on the shard before it.

    Args:
        table: the samples.
        functions: the models by name.
        folder: of the store; `store.finish` completes it.
        layout: sizes and type.
        on_faces: called with the number of samples done, for progress.

    Raises:
        InputError: if an activation does not fit the dtype.
    """
    store.begin(folder, table, layout.shard_size)
    shards = missing_shards(folder, layout, len(table))
    with concurrent.futures.ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(_decode, layout.part(table, shard), layout.framing) for shard in shards[:1]]
        for shard, following in zip(shards, [*shards[1:], None], strict=False):
            decoded = coming.pop().result()
            if following is not None:
                coming.append(ahead.submit(_decode, layout.part(table, following), layout.framing))
            _write(folder, shard, decoded, functions, layout, on_faces)
            on_faces(len(decoded.met["rejected"]))


def missing_shards(folder: Path, layout: Layout, num_samples: int) -> list[int]:
    """Returns the shards that are not written yet."""
    return [shard for shard in range(layout.num_shards(num_samples)) if not store.is_written(folder, shard)]


def write_shard(
    part: SampleTable, shard: int, functions: Mapping[str, FaceFunction], folder: Path, layout: Layout
) -> dict[str, Any]:
    """Writes one shard, for workers that share the store's folder; returns its record."""
    return _write(folder, shard, _decode(part, layout.framing), functions, layout, lambda _: None)


def _decode(part: SampleTable, framing: images.Framing) -> _Decoded:
    reader = images.FaceReader(framing)
    rows, faces = [np.empty(0, int)], [np.empty((0, framing.size, framing.size, 3), np.uint8)]
    for some_rows, some_faces in reader.batches(part, BATCH_SIZE):
        rows.append(some_rows)
        faces.append(some_faces)
    used = np.concatenate(rows)
    met = {
        "used": used.tolist(),
        "rejected": [dataclasses.astuple(rejected) for rejected in reader.rejected],
        "resized": dict(reader.resized),
        "pixels_sha256": reader.digest,
    }
    return _Decoded(used, np.concatenate(faces), met)


def _write(
    folder: Path,
    shard: int,
    decoded: _Decoded,
    functions: Mapping[str, FaceFunction],
    layout: Layout,
    on_faces: Callable[[int], object],
) -> dict[str, Any]:
    with store.ShardWriter(folder, shard, len(decoded.faces)) as writer:
        for start in range(0, len(decoded.faces), layout.batch_size):
            faces = decoded.faces[start : start + layout.batch_size]
            for model, outputs in run(functions, faces, layout.batch_size).items():
                for name, values in outputs.items():
                    writer.append(model, name, cast(values, layout.dtype, f"{model} {name}"))
            on_faces(len(faces))
        return writer.commit(decoded.met)


def run(functions: Mapping[str, FaceFunction], faces: np.ndarray, batch_size: int) -> dict[str, dict[str, np.ndarray]]:
    """Runs all models on at most `batch_size` faces, filled up to a whole batch."""
    padding = np.zeros((batch_size - len(faces), *faces.shape[1:]), faces.dtype)
    batch = np.concatenate([faces, padding])
    results = {name: function(batch) for name, function in functions.items()}
    return {name: {tap: v[: len(faces)] for tap, v in outputs.items()} for name, outputs in results.items()}


def bytes_per_sample(functions: Mapping[str, FaceFunction], faces: np.ndarray, dtype: str = "float16") -> int:
    """Returns the size of one sample's stored AAD, of all models and taps."""
    outputs = run(functions, faces[:1], len(faces[:1]))
    return sum(cast(v, dtype, name).nbytes for named in outputs.values() for name, v in named.items())


def cast(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Returns values in the type they are stored in: maps in `dtype`, the small vectors and pixels in their own.

    Raises:
        InputError: if one does not fit.
    """
    if values.dtype == np.uint8:
        return values
    if values.ndim == 2:
        dtype = "float32"
    largest = float(np.abs(values).max())
    if not largest <= float(np.finfo(dtype).max):
        raise InputError(f"Expected activations of {name} that fit {dtype}, received one of magnitude {largest:g}.")
    return values.astype(dtype, copy=False)
