"""Reads MXNet RecordIO databases (`train.rec`, `train.idx`) as MS1MV3 and Glint360K ship them.

Framing (dmlc-core `recordio.h`): uint32 magic, uint32 whose top 3 bits say whether the record is whole or a part
and whose low 29 bits are the length, the payload, zeros up to a multiple of 4. A payload that contains the magic
is split there, and the magic is put back between the parts. Header of an image (MXNet `recordio.py`): uint32 flag,
float32 label, uint64 id, uint64 id2; with flag > 0 that many float32 labels follow.
"""

import array
import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from mint_keras.data.people import unknown
from mint_keras.records import InputError, Sample

_MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _LAST = 0, 1, 3  # 2 is a middle part
_MAX_ID = 2**62  # a larger id is a sign of damage
_BLOCK = 2**20  # bytes that are searched at once
_MOST_CHECKED = 20_000  # records of an index that are compared with the file: of more, the longest


class RecordFile:
    """Random access to the records of one `.rec` file; without a right index (`.idx`) beside it, it is scanned first.

    Attributes:
        why_scanned: What is wrong with the index; "" if nothing is, or there is none.
        keys: Keys of the records, sorted, shape (n,), int64.
        offsets: Where the records begin, in bytes, shape (n,), int64.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._index = self.path.with_suffix(".idx")
        try:
            self._file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InputError(f"Expected a RecordIO file at {self.path}, received: {error}.") from error
        keys, offsets = self._read_index() if self._index.is_file() else self._scan()
        self.why_scanned = self._complaint(keys, offsets)
        if self.why_scanned:
            keys, offsets = self._scan()
        if not len(keys):
            raise InputError(f"Expected records in {self.path}, received none.")
        # Arrays take a tenth of what a dictionary takes.
        order = np.argsort(keys, kind="stable")
        self.keys, self.offsets = keys[order], offsets[order]
        # Views give Python numbers, several times as fast as arrays give theirs.
        self._keys, self._offsets = memoryview(self.keys.data), memoryview(self.offsets.data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, key: int) -> tuple[np.ndarray, bytes]:
        """Returns the labels (float32, at least one) and the payload (an encoded image) of one record.

        Raises:
            InputError: for a key that is not in the index or a damaged record.
        """
        self._seek(key)
        parts: list[bytes] = []
        continuation = None
        while continuation not in (_WHOLE, _LAST):
            continuation, length = self._frame_of(key)
            payload = self._file.read(length)
            if len(payload) < length:
                raise InputError(f"Expected {length} bytes at key {key} of {self.path}, received {len(payload)}.")
            if (continuation in (_WHOLE, _FIRST)) == bool(parts) or continuation > _LAST:
                raise InputError(f"Expected a whole record at key {key} of {self.path}, received parts of others.")
            self._file.seek(-length % 4, 1)
            parts.append(payload)
        # The magic is split out of a payload that contains it, see the module.
        record = struct.pack("<I", _MAGIC).join(parts)
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
        """Returns the labels of one record without reading its image: whoever lists millions must not read theirs."""
        self._seek(key)
        continuation, length = self._frame_of(key)
        start = self._file.read(min(length, _HEADER.size))
        flag = _HEADER.unpack(start)[0] if len(start) == _HEADER.size else 0
        rest = self._file.read(4 * flag) if _HEADER.size + 4 * flag <= length else b""
        if continuation != _WHOLE or len(start) < _HEADER.size or len(rest) < 4 * flag:
            return self.read(key)[0]  # split or damaged within its labels
        return np.frombuffer(rest, np.float32) if flag else np.array([_HEADER.unpack(start)[1]], np.float32)

    def image_keys(self) -> np.ndarray:
        """Returns the keys that hold images: record 0, where present, says where they end and identities begin.

        It says so in float32, which holds whole numbers up to 2**24 only (Glint360K has more images), so the records
        around that place are looked at. Where record 0 is damaged, the identities are looked for from the end.
        """
        keys = self.keys
        if self._keys[0] == 0 and (about := self._is_identity(0)) is not False:
            behind = self._keys[-1] + 1
            stated = float(self.read(0)[0][0]) if about else np.nan
            end = min(max(int(stated), 1), behind) if np.isfinite(stated) else behind
            while end > 1 and self._is_identity(end - 1) is True:
                end -= 1
            while self._is_identity(end) is False:
                end += 1
            # A damaged record 0 with no identities behind the images may have been an image.
            first = 0 if np.isnan(stated) and end == behind else 1
            keys = keys[(keys >= first) & (keys < end)]
        # An index may number records otherwise, and then these are anywhere.
        is_odd = len(keys) and any(self._is_identity(int(key)) for key in (keys[0], keys[-1]))
        return np.array([key for key in keys.tolist() if not self._is_identity(key)]) if is_odd else keys

    def _is_identity(self, key: int) -> bool | None:
        """Says whether a record is about people, not an image; None if it cannot be read, as in a truncated file."""
        try:
            labels, payload = self.read(key)
        except InputError:
            return None
        return not payload and len(labels) == 2

    def _read_index(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            if not self._index.stat().st_size:
                raise ValueError("an empty file")
            keys, offsets = np.loadtxt(
                self._index, np.int64, comments=None, delimiter="\t", ndmin=2, encoding="ascii"
            ).T
        except (OSError, ValueError) as error:
            message = f"Expected an index of KEY<TAB>OFFSET lines at {self._index}, received: {error}."
            raise InputError(f"{message} Without the file the records are looked for instead.") from error
        # A line that is there twice says nothing wrong.
        if len(np.unique(keys)) < len(keys):
            keys, offsets = np.unique(np.stack([keys, offsets]), axis=1)
        return keys, offsets

    def _complaint(self, keys: np.ndarray, offsets: np.ndarray) -> str:
        """Returns why an index is not of this file, "" if it may be; one of a truncated file is right."""
        if len(np.unique(keys)) < len(keys) or len(np.unique(offsets)) < len(offsets):
            return "repeats records"
        if len(offsets) and (min(keys.min(), offsets.min()) < 0 or (offsets % 4).any()):
            return "points to places where no record can begin"
        size = self._file.seek(0, 2)
        within = np.sort(offsets[offsets < size])
        gaps = np.diff(np.append(within, size))
        known = set(within.tolist())
        longest = np.sort(np.argsort(-gaps, kind="stable")[:_MOST_CHECKED])
        for place in np.union1d(longest, [len(within) - 1] if len(within) else []).astype(int).tolist():
            end = self._end(int(within[place]))
            if end is not None and end < size and end not in known and self._begins_record(end):
                return "lacks records"
        return "lacks the first record" if 0 not in known and self._begins_record(0) else ""

    def _scan(self) -> tuple[np.ndarray, np.ndarray]:
        # Keys are the ids in the headers, or else the order. Where a record is damaged, it goes on at the next frame
        # that begins one; several damaged ones in a row count as one.
        size = self._file.seek(0, 2)
        ids, offsets = array.array("q"), array.array("q")
        position = 0
        while position < size:
            frame = self._frame(position)
            start = self._file.read(_HEADER.size) if frame and frame[1] >= _HEADER.size else b""
            number = _HEADER.unpack(start)[2] if len(start) == _HEADER.size else _MAX_ID
            after = ids[-1] + 1 if ids else 0
            ids.append(number if number < _MAX_ID else after)
            offsets.append(position)
            end = self._end(position)
            if end is None:
                end = self._next_record(position + 4, size)
            elif end != size and not self._begins_record(end):
                # Either this length is wrong, or the next record is damaged, and is listed where it should begin.
                end = min(end, self._next_record(position + _FRAME.size, size))
            position = end
        keys = np.array(ids, np.int64)
        # Ids that repeat, as where a writer left them all at 0, tell no records apart; their order does.
        if len(np.unique(keys)) < len(keys):
            keys = np.arange(len(keys))
        return keys, np.array(offsets, np.int64)

    def _end(self, position: int) -> int | None:
        """Returns where the record at this place ends, None if one of its frames is missing."""
        start = position
        while (frame := self._frame(position)) is not None:
            if position > start and frame[0] in (_WHOLE, _FIRST):
                return None
            position += _FRAME.size + frame[1] + -frame[1] % 4  # zeros fill it up to a multiple of four
            if frame[0] in (_WHOLE, _LAST):
                return position
        return None

    def _begins_record(self, position: int) -> bool:
        frame = self._frame(position)
        return frame is not None and frame[0] in (_WHOLE, _FIRST)

    def _next_record(self, position: int, size: int) -> int:
        """Returns the next place where a record begins: at multiples of four the magic stands there only."""
        while position < size:
            self._file.seek(position)
            block = self._file.read(_BLOCK)
            words = np.frombuffer(block[: len(block) // 4 * 4], "<u4")
            for place in (position + 4 * np.flatnonzero(words == _MAGIC)).tolist():
                if self._begins_record(place):
                    return place
            position += _BLOCK
        return size

    def _seek(self, key: int) -> None:
        # Keys without a gap, the usual case, need no search.
        place = key - self._keys[0]
        if not 0 <= place < len(self._keys) or self._keys[place] != key:
            place = int(np.searchsorted(self.keys, key))
            if place == len(self._keys) or self._keys[place] != key:
                raise InputError(f"Expected a key of {self.path.name}'s index, received {key}.")
        offset = self._offsets[place]
        if offset < 0:
            raise InputError(f"Expected an offset of at least 0 at key {key} of {self._index}, received {offset}.")
        self._file.seek(offset)

    def _frame(self, position: int | None = None) -> tuple[int, int] | None:
        """Returns which part of a record the frame at a place, or here, holds, and its length; None without one."""
        if position is not None:
            self._file.seek(position)
        encoded = self._file.read(_FRAME.size)
        magic, length_and_flag = _FRAME.unpack(encoded) if len(encoded) == _FRAME.size else (0, 0)
        return (length_and_flag >> 29, length_and_flag & ((1 << 29) - 1)) if magic == _MAGIC else None

    def _frame_of(self, key: int) -> tuple[int, int]:
        if (frame := self._frame()) is None:
            raise InputError(f"Expected a RecordIO frame at key {key} of {self.path}: damaged file or wrong index.")
        return frame


def read(path: Path, database: str) -> Iterator[Sample]:
    """Yields the images of a `.rec` file; the first label of a record is its identity, its location `FILE.rec#KEY`.

    Labels below 0, no numbers, or all the same, are unknown. A damaged record stays listed, to be rejected by
    whoever reads its image.
    """
    identities, reason = {}, "none"
    with RecordFile(path) as records:
        for key in map(int, records.image_keys()):
            identities[key] = np.nan
            try:
                identities[key] = float(records.labels(key)[0])
            except InputError as error:
                reason = f"damaged ones only: {error}"
    readable = np.array([label for label in identities.values() if np.isfinite(label)])
    if not len(readable):
        raise InputError(f"Expected images in {path}, received {reason}")
    says_nothing = bool(_why_unknown(readable))
    for key, label in identities.items():
        is_known = not says_nothing and np.isfinite(label) and label >= 0
        identity = f"{int(label):07d}" if is_known else unknown(str(key))
        yield Sample(f"{database}/{key}", database, identity, f"{path}#{key}")


def complaints(path: Path) -> list[str]:
    """Returns what is wrong with the index of a `.rec` file and with its labels."""
    with RecordFile(path) as records:
        found = [f"The index {records.why_scanned}; the file was scanned instead."] if records.why_scanned else []
        labels = []
        for key in map(int, records.image_keys()):
            with contextlib.suppress(InputError):
                labels.append(float(records.labels(key)[0]))
    why = _why_unknown(np.array([label for label in labels if np.isfinite(label)]))
    return [*found, why] if why else found


def _why_unknown(labels: np.ndarray) -> str:
    """Returns why labels say nothing of who is who, "" if they may."""
    if len(labels) > 1 and (labels == labels[0]).all():
        return f"Labels do not tell people apart: all are {labels[0]:g}. Identities are unknown."
    return "" if (labels % 1 == 0).all() else "Labels are no whole numbers, so no people. Identities are unknown."


def read_property(folder: Path) -> int | None:
    """Returns the number of classes that a RecordIO database's `property` file claims, None without one."""
    try:
        return int((folder / "property").read_text(encoding="ascii").split(",")[0])
    except (OSError, ValueError):
        return None
