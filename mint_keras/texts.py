"""A column of texts that takes megabytes for millions of rows, and that NumPy takes for an array of str."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

# Zeros in front of it belong to the stem.
_LAST_NUMBER = re.compile(r"((?:.*[^0-9])?0*)([1-9][0-9]{0,11})([^0-9]*)", re.DOTALL)
_BLOCK = 2**16  # rows that are written out at once


class Texts:
    """Texts of shape (n,): a stem, which is kept once, a number and a tail, as in `glint360k/17` or `lfw/Ann/17.jpg`.

    It acts as the array of str that it stands for: whatever is not said here gives that array, or works on it.

    Args:
        stems: Beginnings of texts, or whole ones, shape (k,), str; some may be equal.
        stem_of: Which stem each text begins with, shape (n,), int.
        number: What follows, shape (n,), int, -1 for nothing; None where nothing follows anywhere.
        tails: What follows the number of each stem, shape (k,), str; None for nothing.

    Example:
        >>> ids = Texts(np.array(["web/", "Ann"]), np.array([0, 0, 1]), np.array([7, 17, -1]))
        >>> ids.tolist(), ids[1], np.unique(ids[[1, 1]]).tolist()
        (['web/7', 'web/17', 'Ann'], 'web/17', ['web/17'])
    """

    def __init__(
        self,
        stems: np.ndarray,
        stem_of: np.ndarray,
        number: np.ndarray | None = None,
        tails: np.ndarray | None = None,
    ) -> None:
        self.stems = np.asarray(stems, np.str_)
        # One byte a row, where all have one stem.
        self.stem_of = np.asarray(stem_of).astype(np.min_scalar_type(max(len(self.stems) - 1, 0)), copy=False)
        self.number, self.tails = None, tails
        if number is not None and (most := int(np.max(number, initial=-1))) >= 0:
            self.number = number.astype(np.min_scalar_type(-most - 1), copy=False)
        self.shape = (len(self.stem_of),)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        texts = self.stems[self.stem_of]
        if self.number is not None:
            longer = np.strings.add(texts, self.number.astype(np.str_))
            if self.tails is not None:
                longer = np.strings.add(longer, self.tails[self.stem_of])
            texts = np.where(self.number >= 0, longer, texts)
        return texts if dtype is None else texts.astype(dtype)

    def __getitem__(self, rows: Any) -> Any:
        """Returns one text for a number; else the texts of some rows (a slice, indices or a boolean mask)."""
        if isinstance(rows, int | np.integer):
            return str(np.asarray(self[rows : rows + 1 or None])[0])
        stem_of, stems, tails = self.stem_of[rows], self.stems, self.tails
        # A few rows do not carry the stems of a million.
        if 2 * len(stem_of) < len(stems):
            used, stem_of = np.unique(stem_of, return_inverse=True)
            stems, tails = stems[used], None if tails is None else tails[used]
        return Texts(stems, stem_of, None if self.number is None else self.number[rows], tails)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from np.asarray(self[start : start + _BLOCK]).tolist()

    def __eq__(self, other: object) -> Any:
        if isinstance(other, str) and self.number is None:
            return (self.stems == other)[self.stem_of]
        return np.asarray(self) == np.asarray(other)

    def __ne__(self, other: object) -> Any:
        return np.asarray(self) != np.asarray(other)

    __hash__ = None  # type: ignore[assignment] # as of arrays

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what others look for to know what this is
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __array_function__(self, function: Callable, _: Any, args: Sequence, kwargs: dict[str, Any]) -> Any:
        if function in _FUNCTIONS:
            return _FUNCTIONS[function](*args, **kwargs)
        return function(*_written(args), **{name: _written(value) for name, value in kwargs.items()})


def packed(texts: Iterable[str]) -> Texts:
    """Returns texts as columns, in which the last number of each is apart."""
    stems: dict[tuple[str, str], int] = {}
    stem_of, numbers = [], []
    for text in texts:
        match = _LAST_NUMBER.fullmatch(text)
        stem, number, tail = match.groups() if match else (text, -1, "")
        stem_of.append(stems.setdefault((stem, tail), len(stems)))
        numbers.append(int(number))
    begins, ends = np.array(list(stems), np.str_).reshape(-1, 2).T
    return Texts(begins, np.array(stem_of, np.int64), np.array(numbers, np.int64), ends)


def column(texts: Any) -> Texts:
    """Returns texts as a column, if they are none yet."""
    return texts if isinstance(texts, Texts) else Texts(texts, np.arange(len(texts)))


def first_rows(texts: Any) -> np.ndarray:
    """Returns the rows of shape (k,), sorted, where the k different texts are first, with a few bytes a row."""
    return np.sort(np.unique(_hashes(texts), return_index=True)[1])


def repeated(texts: Any) -> list[str]:
    """Returns the texts that are there more than once, sorted, with a few bytes a row."""
    hashes = _hashes(texts)
    ordered = np.sort(hashes)
    alike = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    names, counts = np.unique(np.asarray(texts[np.isin(hashes, alike)]), return_counts=True)
    return names[counts > 1].tolist()


def paired(first: Any, second: Any) -> Any:
    """Returns `FIRST/SECOND` of every row, shape (n,)."""
    if not isinstance(first, Texts) and not isinstance(second, Texts):
        return np.strings.add(np.strings.add(first.astype(str), "/"), second.astype(str))
    one, two = column(first), column(second)
    one = one if one.number is None else column(np.asarray(one))
    used, code = _numbered(one.stem_of, two.stem_of, len(one.stems), len(two.stems))
    of_one, of_two = np.divmod(used, len(two.stems))
    begins = np.strings.add(one.stems[of_one], "/")
    tails = None if two.tails is None else two.tails[of_two]
    return Texts(np.strings.add(begins, two.stems[of_two]), code, two.number, tails)


def _hashes(texts: Any) -> np.ndarray:
    return np.fromiter(map(hash, column(texts)), np.int64, len(texts))


def _numbered(high: np.ndarray, low: np.ndarray, num_high: int, num_low: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different pairs of numbers, sorted, as `high * num_low + low`, and which of them each row has."""
    most = num_high * num_low
    # In the fewest bytes that hold them: of 17 million rows four are 70 MB.
    key = np.multiply(high, num_low, dtype=np.min_scalar_type(max(most, num_low)), casting="unsafe")
    np.add(key, low, out=key, casting="unsafe")
    if most > 2 * len(key):
        return np.unique(key, return_inverse=True)
    is_used = np.zeros(most, bool)  # of few there is a table, in a third of the memory that a sort takes
    is_used[key] = True
    return np.flatnonzero(is_used), (np.cumsum(is_used, dtype=np.min_scalar_type(-most - 1)) - 1)[key]


def _unique(texts: Texts, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False) -> Any:
    span = 1 if texts.number is None else int(texts.number.max(initial=-1)) + 2
    if len(texts.stems) * span > np.iinfo(np.int64).max:
        return _unique(column(np.asarray(texts)), return_index, return_inverse, return_counts)
    number: Any = np.zeros(1, np.uint8)
    if texts.number is not None:  # without signs, with which large ones would be added as floats, and room for one more
        number = np.add(texts.number, 1, dtype=np.min_scalar_type(span - 1), casting="unsafe")
    used, code = _numbered(texts.stem_of, number, len(texts.stems), span)
    of_stem, number = np.divmod(used.astype(np.int64), span)
    names, name_of = np.unique(np.asarray(Texts(texts.stems, of_stem, number - 1, texts.tails)), return_inverse=True)
    found = [names]
    if return_index:
        found.append(np.full(len(names), len(texts)))
        np.minimum.at(found[-1], name_of[code], np.arange(len(texts)))
    if return_inverse:
        found.append(name_of[code])
    if return_counts:
        found.append(np.bincount(name_of[code], minlength=len(names)))
    return names if len(found) == 1 else tuple(found)


def _isin(texts: Any, wanted: Any) -> np.ndarray:
    if not isinstance(texts, Texts):
        return np.isin(texts, np.asarray(wanted))
    known = set(column(wanted))
    if texts.number is None and len(texts.stems) < len(texts):
        return _isin(column(texts.stems), wanted)[texts.stem_of]
    return np.fromiter((text in known for text in texts), bool, len(texts))


def _concatenate(parts: Sequence) -> Texts:
    columns = [column(part) for part in parts]
    starts = np.cumsum([0, *(len(one.stems) for one in columns)])
    number = None
    if any(one.number is not None for one in columns):
        number = np.concatenate([np.full(len(one), -1) if one.number is None else one.number for one in columns])
    stem_of = [
        one.stem_of.astype(np.min_scalar_type(starts[-1])) + start for one, start in zip(columns, starts, strict=False)
    ]
    stems = np.concatenate([one.stems for one in columns])
    tails = None
    if any(one.tails is not None for one in columns):
        tails = np.concatenate([np.full(len(one.stems), "") if one.tails is None else one.tails for one in columns])
    return Texts(stems, np.concatenate(stem_of), number, tails)


def _where(condition: np.ndarray, first: Any, second: Any) -> Texts:
    rows = np.arange(len(condition))
    sides = [side if isinstance(side, Texts) else np.broadcast_to(side, rows.shape) for side in (first, second)]
    return _concatenate(sides)[np.where(condition, rows, rows + len(rows))]


_FUNCTIONS: dict[Callable, Callable] = {
    np.unique: _unique, np.isin: _isin, np.concatenate: _concatenate, np.where: _where
}  # fmt: skip


def _written(value: Any) -> Any:
    """Returns a value, or a list of them, with arrays in place of columns."""
    if isinstance(value, list | tuple):
        return type(value)(map(_written, value))
    return np.asarray(value) if isinstance(value, Texts) else value
