"""Runs images through models, shard by shard, and keeps what the taps give."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mint_keras import workers
from mint_keras.aad import store
from mint_keras.data import images
from mint_keras.records import SampleTable

if TYPE_CHECKING:  # with TensorFlow, which the help of a command has no need of
    from mint_keras.audited.runtime import FaceFunction

# Fixed, not measured: a run of heads gives the same digits in two clones of the repository. extract_aad.py measures.
BATCH_SIZE = 64
SHARD_SIZE = 1024
_FIRST_SHARDS = 2  # which are drawn or decoded while an engine is chosen

Decoded = tuple[np.ndarray, dict[str, Any]]
Decoding = concurrent.futures.Future[Decoded]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What decides the bytes of a store besides models and samples.

    Attributes:
        batch_size: Faces the models get at once, since outputs differ in the last bits between batch sizes.
        shard_size: Samples a shard covers; every shard begins a new batch.
        dtype: Type of stored maps; vectors are float32, pixels uint8.
        framing: What images become before the models see them.
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
        # Always the same range: the shard's bytes depend on nothing outside of it, and a worker needs only its number.
        return table.take(np.arange(shard * self.shard_size, min((shard + 1) * self.shard_size, len(table))))


def extract(
    table: SampleTable,
    functions: Mapping[str, FaceFunction],
    folder: Path,
    layout: Layout,
    on_faces: Callable[[int], object] = lambda _: None,
    begun: Mapping[int, Decoding] = {},
) -> None:
    """Writes the shards that are missing in a store's folder, by models by name; `store.finish` completes the store.

    `on_faces` is told how many samples were done, for progress; some shards may be on their way, see `begin_decoding`.

    Raises:
        InputError: If an activation does not fit the dtype.
    """
    store.begin(folder, table, layout.shard_size)
    shards = missing_shards(folder, layout, len(table))
    # A shard is decoded as a whole, because then its number of rows is known before the first is written, while the
    # models run on the shard before it. `tf.data` has no such unit.
    with concurrent.futures.ThreadPoolExecutor(1) as ahead:

        def coming(shard: int) -> Decoding:
            return begun.get(shard) or ahead.submit(decode, layout.part(table, shard), layout.framing)

        decodings = [coming(shard) for shard in shards[:1]]
        for shard, following in zip(shards, [*shards[1:], None], strict=False):
            decoded = decodings.pop().result()
            if following is not None:
                decodings.append(coming(following))
            write_shard(folder, shard, decoded, functions, layout, on_faces)


def begin_decoding(table: SampleTable, layout: Layout) -> dict[int, Decoding]:
    """Begins to decode the first shards of a store that there is not yet, and returns at once."""
    first = range(min(_FIRST_SHARDS, layout.num_shards(len(table))))
    works = (functools.partial(decode, layout.part(table, shard), layout.framing) for shard in first)
    return dict(zip(first, workers.beside(*works), strict=True))


def missing_shards(folder: Path, layout: Layout, num_samples: int) -> list[int]:
    """Returns the shards that are not written yet."""
    return [shard for shard in range(layout.num_shards(num_samples)) if not store.is_written(folder, shard)]


def decode(part: SampleTable, framing: images.Framing) -> Decoded:
    """Returns the usable faces of a shard, and what its record says of reading them."""
    reader = images.FaceReader(framing)
    nothing = np.empty(0, int), np.empty((0, framing.size, framing.size, 3), np.uint8)
    used, faces = next(reader.batches(part, len(part)), nothing)
    # Rejected images do not fail a run: they are counted, and listed in rejected.csv.
    rejected = [dataclasses.astuple(rejected) for rejected in reader.rejected]
    resized, digest = dict(reader.resized), reader.digest
    return faces, {"used": used.tolist(), "rejected": rejected, "resized": resized, "pixels_sha256": digest}


def write_shard(
    folder: Path,
    shard: int,
    decoded: Decoded,
    functions: Mapping[str, FaceFunction],
    layout: Layout,
    on_faces: Callable[[int], object] = lambda _: None,
) -> None:
    """Writes what models give for the faces of one shard, see `decode`."""
    all_faces, met = decoded
    with store.ShardWriter(folder, shard, len(all_faces)) as writer:
        for start in range(0, len(all_faces), layout.batch_size):
            faces = all_faces[start : start + layout.batch_size]
            for model, outputs in run(functions, faces, layout.batch_size).items():
                for name, values in outputs.items():
                    writer.append(model, name, store.cast(values, layout.dtype, f"{model} {name}"))
            on_faces(len(faces))
        writer.commit(met)
    on_faces(len(met["rejected"]))


def run(functions: Mapping[str, FaceFunction], faces: np.ndarray, batch_size: int) -> dict[str, dict[str, np.ndarray]]:
    """Runs all models on at most `batch_size` faces, filled up to a whole batch."""
    padding = np.zeros((batch_size - len(faces), *faces.shape[1:]), faces.dtype)
    batch = np.concatenate([faces, padding])
    results = {name: function(batch) for name, function in functions.items()}
    return {name: {tap: v[: len(faces)] for tap, v in outputs.items()} for name, outputs in results.items()}
