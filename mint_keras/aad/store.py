"""AAD on disk: shards of `.npy` arrays, an index that says which row is whose, and a manifest.

    manifest.json                  what it is made from, how, and what was met on the way; written last
    samples.parquet                the samples that were asked for
    index.parquet                  the samples that have AAD, with the shard and the row of each
    shards/000000/shard.json       what one shard holds: sizes and SHA-256 of its arrays, what was rejected
    shards/000000/MODEL/NAME.npy   one row a sample; NAME is a tap, or a tap and its pooling (`conv1_max`)

A shard holds what is usable of a fixed range of the samples, and is there as a whole or not at all.
"""

import collections
import copy
import dataclasses
import hashlib
import io
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from mint_keras import formats, progress
from mint_keras.borders import reading
from mint_keras.data import sample_tables
from mint_keras.records import InputError, RefusedError, Rejected, SampleTable

KIND = "aad"
INDEX = "index.parquet"
RECORD = "shard.json"
_SHARDS = "shards"
_ARRAY = re.compile(r"\w[\w+-]*/\w[\w+-]*\.npy")


class ShardedArray:
    """The rows of one tap over all shards, read from the disk as they are asked for.

    Its `paths` are one `.npy` file a shard, in order; shards without rows have none. No file stays open or mapped, so a
    store of any size takes no memory but for the rows in hand.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._files = [_File.at(path) for path in paths]
        kinds = {(file.shape[1:], file.dtype) for file in self._files}
        if len(kinds) != 1:
            raise InputError(f"Expected shards of one shape and type, received {sorted(map(str, kinds))}: {paths[0]}.")
        ((row_shape, self.dtype),) = kinds
        self._ends = np.cumsum([file.shape[0] for file in self._files])
        self._rows = np.arange(int(self._ends[-1]))
        self.shape = (len(self._rows), *row_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray) -> Self:
        """Returns the same array with the given rows only; nothing is read."""
        chosen = copy.copy(self)
        chosen._rows = self._rows[rows]
        chosen.shape = (len(chosen._rows), *self.shape[1:])
        return chosen

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Reads rows, given as indices, a boolean mask or a slice, shard by shard."""
        wanted = self._rows[rows]
        values = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        shards = np.searchsorted(self._ends, wanted, side="right")
        order = np.argsort(shards, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
            if len(places):
                file = self._files[shards[places[0]]]
                first = int(self._ends[shards[places[0]]]) - file.shape[0]
                file.read(wanted[places] - first, places, values)
        return values


@dataclasses.dataclass(frozen=True)
class _File:
    """A `.npy` file: where its values begin, their shape and type."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def at(cls, path: Path) -> Self:
        """Reads the header of a file."""
        with reading(f"an AAD array at {path}"), open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of the format")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
            offset, size = file.tell(), path.stat().st_size
        is_right = shape and min(shape) >= 0 and math.prod(shape) * dtype.itemsize == size - offset
        if is_fortran or dtype.kind not in "fiu" or not is_right:
            raise InputError(f"Expected rows of numbers in {path}, received {dtype} of shape {shape} in {size} bytes.")
        return cls(path, offset, shape, dtype)

    def read(self, rows: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
        """Copies rows of the file to places of an array."""
        # Not mapped: pages of a map count as the process's memory until the system wants them back, and a random row of
        # 401 KB (conv1 of an R100) is one read in place of a hundred page faults. Neighbours are read at once.
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(places) != 1)) + 1
        with open(self.path, "rb", buffering=0) as file:
            for run in np.split(np.arange(len(rows)), breaks):
                into = memoryview(values[places[run[0]] : places[run[-1]] + 1]).cast("B")  # type: ignore[arg-type] # a buffer
                file.seek(self.offset + int(rows[run[0]]) * (into.nbytes // len(run)))
                if file.readinto(into) != into.nbytes:
                    raise InputError(f"Expected {self.shape[0]} rows of AAD in {self.path}, received a shorter file.")


@dataclasses.dataclass(frozen=True)
class AadStore:
    """AAD of a set of samples through one or more models."""

    table: SampleTable  # n rows
    arrays: dict[str, dict[str, ShardedArray]]  # by model name and array name, each of shape (n, ...)
    manifest: dict[str, Any]  # what it was made from, and what was met on the way (`rejected`, `resized`)
    files: list[tuple[Path, dict[str, Any]]]  # every array file, with its size in bytes and its SHA-256

    @property
    def num_bytes(self) -> int:
        """The size of the arrays."""
        return sum(entry["bytes"] for _, entry in self.files)


# --- writing ---------------------------------------------------------------------------------------------------------


def shard_folder(folder: Path, shard: int) -> Path:
    """Returns where a shard lies."""
    return folder / _SHARDS / f"{shard:06d}"


def is_written(folder: Path, shard: int) -> bool:
    """Says whether a shard is there, and then it is whole."""
    return (shard_folder(folder, shard) / RECORD).is_file()


def cast(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Returns values in the type they are stored in: maps in `dtype`, the small vectors and pixels in their own.

    Raises:
        InputError: If one does not fit.
    """
    if values.dtype == np.uint8:
        return values
    if values.ndim == 2:
        # Vectors are small, and a laptop's scores then agree with scores.csv to 1e-5 from pixels.
        dtype = "float32"
    largest = float(np.abs(values).max())
    # Not turned round, so that NaN is refused too.
    if not largest <= float(np.finfo(dtype).max):
        raise InputError(f"Expected activations of {name} that fit {dtype}, received one of magnitude {largest:g}.")
    return values.astype(dtype, copy=False)


class ShardWriter:
    """Writes one shard batch by batch, under a temporary name until it is whole. It knows beforehand its `num_rows`."""

    def __init__(self, folder: Path, shard: int, num_rows: int) -> None:
        self._target = shard_folder(folder, shard)
        self._num_rows = num_rows
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = Path(tempfile.mkdtemp(prefix=f".{self._target.name}.", dir=self._target.parent))
        self._files: dict[str, BinaryIO] = {}
        self._digests: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def append(self, model: str, name: str, values: np.ndarray) -> None:
        """Adds rows to an array, (k, ...)."""
        key = f"{model}/{name}.npy"
        header = io.BytesIO()
        if key not in self._files:
            path = self._temporary / key
            path.parent.mkdir(exist_ok=True)
            self._files[key] = open(path, "wb")  # noqa: SIM115 # closed by __exit__
            self._digests[key] = hashlib.sha256()
            kind = {"descr": values.dtype.str, "fortran_order": False, "shape": (self._num_rows, *values.shape[1:])}
            np.lib.format.write_array_header_1_0(header, kind)
        # Not compressed: zstd takes 8% off conv1, and a row could no longer be read alone.
        for data in (header.getbuffer(), np.ascontiguousarray(values).data.cast("B")):
            self._files[key].write(data)
            # While it is at hand, so that no file is read again for its SHA-256.
            self._digests[key].update(data)

    def commit(self, met: Mapping[str, Any]) -> None:
        """Flushes the arrays to the disk and gives the shard its name."""
        arrays = {}
        for key, file in sorted(self._files.items()):
            file.flush()
            os.fsync(file.fileno())
            arrays[key] = {"bytes": file.tell(), "sha256": self._digests[key].hexdigest()}
        record = {"num_rows": self._num_rows, "arrays": arrays, **met}
        formats.write_json(self._temporary / RECORD, record)
        # `mkdtemp` lets nobody else read; a store is shared.
        self._temporary.chmod(0o755)
        try:
            self._temporary.rename(self._target)
        except OSError:
            # A shard that another worker has finished meanwhile stays as it is: both have the same bytes.
            if not (self._target / RECORD).is_file():
                raise


def begin(folder: Path, table: SampleTable, shard_size: int) -> None:
    """Opens a folder for shards: lists the samples, one part a shard, and removes what a killed process left behind."""
    for path in (folder / _SHARDS).glob(".*"):
        shutil.rmtree(path)
    if not (folder / formats.SAMPLES).is_file():
        sample_tables.write_samples(folder / formats.SAMPLES, table, part_size=shard_size)


def finish(folder: Path, manifest: dict[str, Any], table: SampleTable, shard_size: int) -> None:
    """Writes index, list of rejected samples and manifest, once all shards of the samples asked for are there.

    Raises:
        InputError: If no sample was usable.
    """
    num_shards = -(-len(table) // shard_size)
    records = [formats.read_json(shard_folder(folder, shard) / RECORD) for shard in range(num_shards)]
    rejected = [Rejected(*pair) for record in records for pair in record["rejected"]]
    used = [np.asarray(record["used"], int) + shard * shard_size for shard, record in enumerate(records)]
    rows = np.concatenate(used)
    formats.write_rejected(folder / formats.REJECTED, rejected)
    if not len(rows):
        why = rejected[0].reason
        raise InputError(f"Expected images, received {len(rejected)} files of which none is usable: {why}")
    places = {
        "shard": np.repeat(np.arange(num_shards), [len(part) for part in used]),
        "row": np.concatenate([np.arange(len(part)) for part in used]),
    }
    sample_tables.write_samples(folder / INDEX, table.take(rows), places)
    resized = collections.Counter[str]()
    for record in records:
        resized.update(record["resized"])
    facts = {
        "num_rows": len(rows),
        "num_shards": num_shards,
        "shard_size": shard_size,
        "rejected": len(rejected),
        "resized": dict(resized),
        "pixels_sha256": formats.sha256_json([record["pixels_sha256"] for record in records]),
        "index_sha256": formats.sha256_file(folder / INDEX),
        "shards_sha256": formats.sha256_json(records),
    }
    formats.write_json(folder / formats.MANIFEST, {**manifest, **facts})


# --- reading ---------------------------------------------------------------------------------------------------------


def open_store(folder: Path, fingerprint: str | None = None) -> AadStore | None:
    """Opens a store and checks its index, its records and the size of every file; None if there is no finished one.

    Raises:
        RefusedError: If its manifest has another fingerprint than a given one, or index or records were changed.
        InputError: If a file of it is missing or damaged.
    """
    if not (folder / formats.MANIFEST).is_file():
        return None
    manifest = formats.read_manifest(folder, KIND)
    if "shards_sha256" not in manifest:  # an extraction has begun
        return None
    if fingerprint not in (None, manifest.get("fingerprint")):
        raise RefusedError(
            f"{folder} holds AAD made from other inputs: its fingerprint is {manifest.get('fingerprint')}, expected "
            f"{fingerprint}. Delete it, or use --overwrite."
        )
    num_rows, files = _read_records(folder, manifest)
    table = sample_tables.read_samples(folder / INDEX)
    if len(table) != num_rows:
        raise InputError(f"Expected as many rows in {folder / INDEX} as in the shards, received {len(table)}.")
    paths: dict[str, dict[str, list[Path]]] = {}
    for path, _ in files:
        paths.setdefault(path.parent.name, {}).setdefault(path.stem, []).append(path)
    arrays = {model: {name: ShardedArray(parts) for name, parts in named.items()} for model, named in paths.items()}
    wrong = [f"{model} {name}" for model, named in arrays.items() for name, a in named.items() if len(a) != len(table)]
    if wrong:
        raise InputError(f"Expected {len(table)} rows of AAD in {folder}, received others for {wrong}.")
    return AadStore(table, arrays, manifest, files)


def verify(folder: Path) -> AadStore:
    """Reads every byte of a finished store again, and returns the store if all are as they were written.

    Raises:
        RefusedError: If something was changed; it names the first such files.
        InputError: If there is no finished store, or a file is missing.
    """
    formats.read_manifest(folder, KIND)  # says why where there is none
    opened = open_store(folder)
    if opened is None:
        raise InputError(f"Expected a finished AAD store in {folder}, received an unfinished one.")
    changed = []
    with progress.bar(total=opened.num_bytes, unit="B", unit_scale=True, desc="verify") as bar:
        for path, entry in opened.files:
            if formats.sha256_file(path) != entry["sha256"]:
                changed.append(str(path))
            bar.update(entry["bytes"])
    if changed:
        raise RefusedError(f"{len(changed)} files were changed after they were written: {', '.join(changed[:5])}.")
    return opened


def _read_records(folder: Path, manifest: Mapping[str, Any]) -> tuple[int, list[tuple[Path, dict[str, Any]]]]:
    """Returns the rows of all shards and every array file with its entry, after a look at digests and sizes."""
    files = []
    with reading(f"the index and the shards of an AAD store in {folder}"):
        records = [formats.read_json(shard_folder(folder, k) / RECORD) for k in range(int(manifest["num_shards"]))]
        digests = {"index_sha256": formats.sha256_file(folder / INDEX), "shards_sha256": formats.sha256_json(records)}
        if changed := [name for name, digest in digests.items() if manifest.get(name) != digest]:
            raise RefusedError(
                f"{folder} was changed after it was written: {changed}. Delete it, or use --overwrite, to make it "
                "again."
            )
        for shard, record in enumerate(records):
            for key, entry in record["arrays"].items():
                # A name from a file must not lead out of the folder.
                if not _ARRAY.fullmatch(key):
                    raise InputError(f"Expected arrays MODEL/NAME.npy in shard {shard} of {folder}, received {key!r}.")
                path = shard_folder(folder, shard) / key
                size = path.stat().st_size if path.is_file() else None
                if size != entry["bytes"]:
                    raise InputError(
                        f"Expected an AAD array of {entry['bytes']} bytes at {path}, received {size or 'none'}. Delete "
                        "its shard and the manifest to have it made again."
                    )
                files.append((path, {"bytes": size, "sha256": entry["sha256"]}))
        return sum(record["num_rows"] for record in records), files
