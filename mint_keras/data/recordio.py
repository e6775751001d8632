"""Reads MXNet RecordIO databases (`train.rec`, `train.idx`) as MS1MV3 and Glint360K ship them.

Framing (dmlc-core `recordio.h`): uint32 magic, uint32 whose top 3 bits say whether the record is whole or a part
and whose low 29 bits are the length, the payload, zeros up to a multiple of 4. A payload that contains the magic
is split there, and the magic is put back between the parts. Header of an image (MXNet `recordio.py`): uint32 flag,
float32 label, uint64 id, uint64 id2; with flag > 0 that many float32 labels follow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from mint_keras.records import InputError, Sample

_MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _LAST = 0, 1, 3  # 2 is a middle part


class RecordFile:
    """Random access to the records of one `.rec` file.

    Args:
        path: the `.rec` file. Its index (`.idx`) is expected beside it; without one the whole file is scanned first.

    Raises:
        InputError: if the file is missing or damaged, or the index cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        index = self.path.with_suffix(".idx")
        try:
            self._file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InputError(f"Expected a RecordIO file at {self.path}, received: {error}.") from error
        self.offsets = _read_index(index) if index.exists() else self._scan()
        if not self.offsets:
            raise InputError(f"Expected records in {self.path}, received none.")

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, key: int) -> tuple[np.ndarray, bytes]:
        """Returns the labels (float32, at least one) and the payload (an encoded image) of one record.

        Raises:
            InputError: for a key that is not in the index or a damaged record.
        """
        self._seek(key)
        record = self._read_record(key)
        if len(record) < _HEADER.size:
            raise InputError(f"Expected a record of at least {_HEADER.size} bytes at key {key} of {self.path}.")
        flag, label, _, _ = _HEADER.unpack_from(record)
        body = record[_HEADER.size :]
        if flag == 0:
            return np.array([label], np.float32), body
        if len(body) < 4 * flag:
            raise InputError(f"Expected {flag} labels at key {key} of {self.path}, received {len(body)} bytes.")
        return np.frombuffer(body, np.float32, flag), body[4 * flag :]

    def labels(self, key: int) -> np.ndarray:
        """Returns the labels of one record without reading its image.

        Raises:
            InputError: for a key that is not in the index or a damaged record.
        """
        self._seek(key)
        continuation, length = self._read_frame(key)
        start = self._file.read(min(length, _HEADER.size))
        flag = _HEADER.unpack(start)[0] if len(start) == _HEADER.size else 0
        rest = self._file.read(4 * flag) if _HEADER.size + 4 * flag <= length else b""
        if continuation != _WHOLE or len(start) < _HEADER.size or len(rest) < 4 * flag:
            return self.read(key)[0]  # split or damaged within its labels
        return np.frombuffer(rest, np.float32) if flag else np.array([_HEADER.unpack(start)[1]], np.float32)

    def image_keys(self) -> list[int]:
        """Returns the keys that hold images: record 0, where present, says where they end and identities begin.

        It says so in float32, which holds whole numbers up to 2**24 only (Glint360K has more images), so the records
        around that place are looked at.
        """
        keys = sorted(self.offsets)
        labels, payload = self.read(keys[0])
        if keys[0] != 0 or payload or len(labels) != 2:
            return keys
        end = int(labels[0])
        while end - 1 in self.offsets and end > 1 and self._is_identity(end - 1):
            end -= 1
        while end in self.offsets and not self._is_identity(end):
            end += 1
        return [key for key in keys if 0 < key < end]

    def _is_identity(self, key: int) -> bool:
        labels, payload = self.read(key)
        return not payload and len(labels) == 2

    def _scan(self) -> dict[int, int]:
        """Finds the records one after the other; their keys are the ids in their headers, or else their order."""
        size = self._file.seek(0, 2)
        offsets: list[int] = []
        ids: list[int] = []
        position = 0
        while position < size:
            self._file.seek(position)
            offset, continuation = position, _FIRST
            while continuation not in (_WHOLE, _LAST):
                continuation, length = self._read_frame(len(offsets))
                if position == offset:
                    start = self._file.read(min(length, _HEADER.size))
                    ids.append(_HEADER.unpack(start)[2] if len(start) == _HEADER.size else -1)
                position += _FRAME.size + length + -length % 4
                self._file.seek(position)
            offsets.append(offset)
        keys = ids if len(set(ids)) == len(ids) and -1 not in ids else range(len(offsets))
        return dict(zip(keys, offsets, strict=True))

    def _seek(self, key: int) -> None:
        if key not in self.offsets:
            raise InputError(f"Expected a key of {self.path.name}'s index, received {key}.")
        self._file.seek(self.offsets[key])

    def _read_frame(self, key: int) -> tuple[int, int]:
        """Returns which part of a record the frame at this place holds, and its length."""
        frame = self._file.read(_FRAME.size)
        if len(frame) < _FRAME.size or _FRAME.unpack(frame)[0] != _MAGIC:
            raise InputError(f"Expected a RecordIO frame at key {key} of {self.path}: damaged file or wrong index.")
        length_and_flag = _FRAME.unpack(frame)[1]
        return length_and_flag >> 29, length_and_flag & ((1 << 29) - 1)

    def _read_record(self, key: int) -> bytes:
        parts = []
        while True:
            continuation, length = self._read_frame(key)
            payload = self._file.read(length)
            if len(payload) < length or continuation > _LAST:
                raise InputError(f"Expected {length} bytes at key {key} of {self.path}, received {len(payload)}.")
            self._file.seek(-length % 4, 1)
            parts.append(payload)
            if continuation in (_WHOLE, _LAST):
                return struct.pack("<I", _MAGIC).join(parts)


def read(path: Path, database: str) -> Iterator[Sample]:
    """Yields the images of a `.rec` file; the first label of a record is its identity, its location `FILE.rec#KEY`.

    A damaged record stays listed, to be rejected with its reason by whoever reads its image.

    Raises:
        InputError: if the file cannot be read, or half of its records are damaged.
    """
    with RecordFile(path) as records:
        keys = records.image_keys()
        damaged = []
        for key in keys:
            try:
                identity = f"{int(records.labels(key)[0]):07d}"
            except (InputError, ValueError, OverflowError) as error:
                identity = f"damaged-{key}"
                damaged.append(str(error))
            yield Sample(f"{database}/{key}", database, identity, f"{path}#{key}")
    if 2 * len(damaged) >= len(keys):
        reason = f"{len(damaged)} damaged ones of {len(keys)}: {damaged[0]}" if damaged else "none"
        raise InputError(f"Expected images in {path}, received {reason}")


def read_property(folder: Path) -> int | None:
    """Returns the number of classes that a RecordIO database's `property` file claims, None without one."""
    try:
        return int((folder / "property").read_text(encoding="ascii").split(",")[0])
    except (OSError, ValueError):
        return None


def _read_index(path: Path) -> dict[int, int]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return {int(key): int(offset) for key, offset in (line.split("\t") for line in lines)}
    except (OSError, ValueError) as error:
        raise InputError(f"Expected an index of KEY<TAB>OFFSET lines at {path}, received: {error}.") from error
