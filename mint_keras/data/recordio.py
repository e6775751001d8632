"""Reads MXNet RecordIO databases (`train.rec`, `train.idx`) as MS1MV3 and Glint360K ship them.

Framing (dmlc-core `recordio.h`): uint32 magic, uint32 whose top 3 bits say whether the record is whole or a part
and whose low 29 bits are the length, the payload, zeros up to a multiple of 4. A payload that contains the magic
is split there, and the magic is put back between the parts. Header of an image (MXNet `recordio.py`): uint32 flag,
float32 label, uint64 id, uint64 id2; with flag > 0 that many float32 labels follow.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from mint_keras.records import InputError, SampleTable

_MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _LAST = 0, 3  # 1 is a first part, 2 a middle one


class RecordFile:
    """Random access to the records of one `.rec` file through its `.idx`.

    Args:
        path: the `.rec` file; the index is expected beside it.

    Raises:
        InputError: if a file is missing or the index cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.offsets = _read_index(self.path.with_suffix(".idx"))
        try:
            self._file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InputError(f"Expected a RecordIO file at {self.path}, received: {error}.") from error

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
        if key not in self.offsets:
            raise InputError(f"Expected a key of {self.path.name}'s index, received {key}.")
        self._file.seek(self.offsets[key])
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

    def image_keys(self) -> list[int]:
        """Returns the keys that hold images: record 0, where present, says where they end and identities begin."""
        keys = sorted(self.offsets)
        labels, payload = self.read(keys[0])
        if keys[0] == 0 and not payload and len(labels) == 2:
            return [key for key in keys if 0 < key < int(labels[0])]
        return keys

    def _read_record(self, key: int) -> bytes:
        parts = []
        while True:
            frame = self._file.read(_FRAME.size)
            if len(frame) < _FRAME.size or _FRAME.unpack(frame)[0] != _MAGIC:
                raise InputError(f"Expected a RecordIO frame at key {key} of {self.path}: damaged file or wrong index.")
            length_and_flag = _FRAME.unpack(frame)[1]
            continuation, length = length_and_flag >> 29, length_and_flag & ((1 << 29) - 1)
            payload = self._file.read(length)
            if len(payload) < length or continuation > _LAST:
                raise InputError(f"Expected {length} bytes at key {key} of {self.path}, received {len(payload)}.")
            self._file.seek(-length % 4, 1)
            parts.append(payload)
            if continuation in (_WHOLE, _LAST):
                return struct.pack("<I", _MAGIC).join(parts)


def list_records(path: Path, database: str) -> SampleTable:
    """Lists the images of a `.rec` file; the first label of a record is its identity.

    Returns:
        A table whose locations are `FILE.rec#KEY`.
    """
    with RecordFile(path) as records:
        keys = records.image_keys()
        identities = [f"{int(records.read(key)[0][0]):07d}" for key in keys]
    if not keys:
        raise InputError(f"Expected images in {path}, received none.")
    return SampleTable(
        sample_id=np.array([f"{database}/{key}" for key in keys]),
        database=np.full(len(keys), database),
        identity=np.array(identities),
        location=np.array([f"{path}#{key}" for key in keys]),
    )


def _read_index(path: Path) -> dict[int, int]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return {int(key): int(offset) for key, offset in (line.split("\t") for line in lines)}
    except (OSError, ValueError) as error:
        raise InputError(f"Expected an index of KEY<TAB>OFFSET lines at {path}, received: {error}.") from error
