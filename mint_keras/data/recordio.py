"""Reads MXNet RecordIO databases (`train.rec`, `train.idx`) as MS1MV3 and Glint360K ship them.

Framing (dmlc-core `recordio.h`): uint32 magic, uint32 whose top 3 bits say whether the record is whole or a part
and whose low 29 bits are the length, the payload, zeros up to a multiple of 4. A payload that contains the magic
is split there, and the magic is put back between the parts. Header of an image (MXNet `recordio.py`): uint32 flag,
float32 label, uint64 id, uint64 id2; with flag > 0 that many float32 labels follow.
"""

import array
import functools
import struct
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from mint_keras.borders import check_regular, read_text
from mint_keras.data.people import unknown
from mint_keras.records import InputError, SampleTable
from mint_keras.texts import Texts

_MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
# What a record of an image begins with, up to its first label: in the header, or behind it where there are several.
_START = np.dtype(
    [("magic", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("ids", "V16"), ("first", "<f4")]
)
_WHOLE, _FIRST, _LAST = 0, 1, 3  # 2 is a middle part
_MOST_OF_INDEX = 2**30  # bytes, where the file itself has fewer: it may be truncated
_MAX_ID = 2**62  # a larger id is a sign of damage
_BLOCK = 2**20  # bytes that are searched at once
_LABELS = 2**14  # records whose labels are read at once
_MOST_SHARED, _OPENING = 4, threading.Lock()  # indices that are kept
_MOST_CHECKED = 20_000  # records of an index that are compared with the file: of more, the longest


class RecordFile:
    """Random access to the records of one `.rec` file; without a right index (`.idx`) beside it, it is scanned."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._index = self.path.with_suffix(".idx")
        try:
            self._file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by __exit__, or with the last reader
        except OSError as error:
            raise InputError(f"Expected a RecordIO file at {self.path}, received: {error}.") from error
        weakref.finalize(self, self._file.close)
        keys, offsets = self._read_index() if self._index.is_file() else self._scan()
        # What is wrong with the index; "" if nothing is, or there is none.
        self.why_scanned = self._complaint(keys, offsets)
        if self.why_scanned:
            keys, offsets = self._scan()
        if not len(keys) or not self._file.seek(0, 2):
            raise InputError(f"Expected records in {self.path}, received none.")
        # Keys of the records, sorted, and where these begin, in bytes, (n,), int64: a tenth of what a dictionary takes.
        if (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys, kind="stable")
            keys, offsets = keys[order], offsets[order]
        self.keys, self.offsets = keys, offsets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, key: int) -> tuple[np.ndarray, bytes]:
        """Returns the labels (float32, at least one) and the payload (an encoded image) of one record.

        Raises:
            InputError: for a key that is not in the index or a damaged record.
        """
        place = int(np.searchsorted(self.keys, key))
        if place == len(self.keys) or self.keys[place] != key:
            raise InputError(f"Expected a key of {self.path.name}'s index, received {key}.")
        self._file.seek(int(self.offsets[place]))
        parts: list[bytes] = []
        continuation = None
        while continuation not in (_WHOLE, _LAST):
            if (frame := self._frame()) is None:
                raise InputError(f"Expected a RecordIO frame at key {key} of {self.path}: damaged file or wrong index.")
            continuation, length = frame
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

    def first_labels(self, keys: np.ndarray) -> tuple[np.ndarray, str]:
        """Returns the first label of each record, float32, NaN where it cannot be read; and why not of the last such.

        Images are not read, because whoever lists millions must not read theirs.
        """
        found, is_read, reason = np.full(len(keys), np.nan, np.float32), np.zeros(len(keys), bool), ""
        offsets = self.offsets[np.searchsorted(self.keys, keys)]
        for start in range(0, len(keys), _LABELS):
            # Mapped anew, so that the memory of what was looked at is free.
            file = np.memmap(self.path, np.uint8, "r")
            rows = start + np.flatnonzero(offsets[start : start + _LABELS] <= len(file) - _START.itemsize)
            heads = file[offsets[rows, None] + np.arange(_START.itemsize)].view(_START)[:, 0]
            # One that is whole: of others, the parts are joined below.
            is_read[rows] = (heads["magic"] == _MAGIC) & (heads["length"] >> 29 == _WHOLE)
            is_read[rows] &= heads["length"] >= _HEADER.size + 4 * heads["flag"].astype(np.int64)
            found[rows] = np.where(heads["flag"] > 0, heads["first"], heads["label"])
        for row in np.flatnonzero(~is_read).tolist():
            try:
                found[row] = self.read(int(keys[row]))[0][0]
            except InputError as error:
                found[row], reason = np.nan, str(error)
        return found, reason

    def image_keys(self) -> np.ndarray:
        """Returns the keys that hold images: record 0, where present, says where they end and identities begin.

        It says so in float32, which holds whole numbers up to 2**24 only (Glint360K has more images), so the records
        around that place are looked at. Where record 0 is damaged, the identities are looked for from the end.
        """
        keys = self.keys
        if keys[0] == 0 and (about := self._is_identity(0)) is not False:
            behind = int(keys[-1]) + 1
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
        check_regular(self._index, max(_MOST_OF_INDEX, self._file.seek(0, 2)))  # a record is longer than its line
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
        if _repeats(keys):
            keys, offsets = np.unique(np.stack([keys, offsets]), axis=1)
        return keys, offsets

    def _complaint(self, keys: np.ndarray, offsets: np.ndarray) -> str:
        """Returns why an index is not of this file, "" if it may be; one of a truncated file is right."""
        if _repeats(keys) or _repeats(offsets):
            return "repeats records"
        if len(offsets) and (min(keys.min(), offsets.min()) < 0 or (offsets % 4).any()):
            return "points to places where no record can begin"
        size = self._file.seek(0, 2)
        within = offsets[offsets < size]
        within.sort()
        gaps = np.diff(within, append=size)
        # Not all in order, nor in copies: a number for each of 17 million records takes 137 MB.
        longest = np.argpartition(gaps, max(len(gaps) - _MOST_CHECKED, 0))[-_MOST_CHECKED:] if len(gaps) else gaps
        for place in np.union1d(longest, [len(within) - 1] if len(within) else []).astype(int).tolist():
            end = self._end(int(within[place]))
            if end is None or end >= size:
                continue
            if within[min(int(np.searchsorted(within, end)), len(within) - 1)] != end and self._begins_record(end):
                return "lacks records"
        has_first = bool(len(within)) and within[0] == 0
        return "lacks the first record" if not has_first and self._begins_record(0) else ""

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
        if _repeats(keys):
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

    def _frame(self, position: int | None = None) -> tuple[int, int] | None:
        """Returns which part of a record the frame at a place, or here, holds, and its length; None without one."""
        if position is not None:
            self._file.seek(position)
        encoded = self._file.read(_FRAME.size)
        magic, length_and_flag = _FRAME.unpack(encoded) if len(encoded) == _FRAME.size else (0, 0)
        return (length_and_flag >> 29, length_and_flag & ((1 << 29) - 1)) if magic == _MAGIC else None


def open_shared(path: Path) -> Callable[[int], bytes]:
    """Returns a function from a key to an encoded image, for any thread of the process, of the file as it is now.

    The index of 17 million records takes five seconds, and a gigabyte for that moment, to read: it is read once.
    """
    stats = [place.stat() for place in (path, path.with_suffix(".idx")) if place.exists()]
    with _OPENING:
        records, lock = _shared(path, tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats))

    def read_image(key: int) -> bytes:
        with lock:  # the file has one place that is read
            return records.read(key)[1]

    return read_image


@functools.lru_cache(maxsize=_MOST_SHARED)
def _shared(path: Path, _written: tuple[tuple[int, ...], ...]) -> tuple[RecordFile, threading.Lock]:
    return RecordFile(path), threading.Lock()


def read(path: Path, database: str) -> SampleTable:
    """Lists the images of a `.rec` file; the first label of a record is its identity, its location `FILE.rec#KEY`.

    Labels below 0, no numbers, or all the same, are unknown. A damaged record stays listed, to be rejected with its
    reason by whoever reads its image.
    """
    with RecordFile(path) as records:
        keys = records.image_keys()
        labels, reason = records.first_labels(keys)
    del records  # its index is as large as the table
    if not len(readable := labels[np.isfinite(labels)]):
        received = f"damaged ones only: {reason}" if reason else "none"
        raise InputError(f"Expected images in {path}, received {received}")
    is_known = np.isfinite(labels) & (labels >= 0) & (not _why_unknown(readable))
    values, label_of = np.unique(labels[is_known], return_inverse=True)
    stem_of = np.zeros(len(keys), np.int32)
    stem_of[is_known] = label_of + 1
    same = np.zeros(len(keys), np.uint8)
    sample_id: Any = Texts(np.array([f"{database}/"]), same, keys)
    # Who is unknown is told apart by the key.
    number = None if is_known.all() else np.where(is_known, -1, sample_id.number)
    identity: Any = Texts(np.array([unknown(""), *(f"{int(label):07d}" for label in values)]), stem_of, number)
    location: Any = Texts(np.array([f"{path}#"]), same, sample_id.number)
    name: Any = Texts(np.array([database]), same)
    return SampleTable(sample_id, name, identity, location)


def complaints(path: Path) -> list[str]:
    """Returns what is wrong with the index of a `.rec` file and with its labels."""
    with RecordFile(path) as records:
        found = [f"The index {records.why_scanned}; the file was scanned instead."] if records.why_scanned else []
        labels, _ = records.first_labels(records.image_keys())
    why = _why_unknown(labels[np.isfinite(labels)])
    return [*found, why] if why else found


def _repeats(numbers: np.ndarray) -> bool:
    ordered = np.sort(numbers)  # a tenth of the time and the memory that `np.unique` takes
    return bool((ordered[1:] == ordered[:-1]).any())


def _why_unknown(labels: np.ndarray) -> str:
    """Returns why labels say nothing of who is who, "" if they may."""
    if len(labels) > 1 and (labels == labels[0]).all():
        return f"Labels do not tell people apart: all are {labels[0]:g}. Identities are unknown."
    return "" if (labels % 1 == 0).all() else "Labels are no whole numbers, so no people. Identities are unknown."


def read_property(folder: Path) -> int | None:
    """Returns the number of classes that a RecordIO database's `property` file claims, None without one."""
    try:
        return int(read_text(folder / "property").split(",")[0])
    except (OSError, ValueError):
        return None
