"""The border: strangers' files become values here, or our error; few bytes never ask for much time or memory.

What leaves says nothing of the machine either: no formulas, nothing that steers a terminal, no places of files.
"""

import collections
import contextlib
import contextvars
import csv
import difflib
import functools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras.records import InputError, RefusedError

# A manifest or a list of photos has fewer; longer ones are read by lines, or as Parquet.
_MAX_TEXT, _MAX_LINE = 2**28, 2**20  # bytes, characters
_MAX_YAML = 2**16  # bytes; the longest card has 4,000
_MAX_BRACKETS = 500
_MAX_COLUMNS = 1000  # a short row of a table has every column
# Arrays of text are as wide as their longest, 4 bytes a character. They may take so much, or a few times their texts.
_MAX_WIDE = 2**26  # bytes
_MAX_WIDTH_RATIO = 16
# Rows of a Parquet file have names of their own, so each takes more than a byte; a sample has at most ten numbers.
_MIN_ROWS, _MAX_NUMBERS = 2**16, 16
_BLOCK = 2**16  # rows of a Parquet file that are Python values at once, or a part of the file
_MAX_PACKED = 200  # bytes of text for a byte of a Parquet file
# What a spreadsheet would take for a formula, behind the quotes that somebody may have put there.
_FORMULA = re.compile(r"'*[=+\-@]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*(e[+-]?\d+)?|inf|nan)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BESIDE = "beside:"
_NAMED = re.compile(r"([\w.-]+=)?(.*)", re.DOTALL)  # NAME=SOURCE, --option=VALUE
# Whether places are written is no business of the functions that write, so it is no argument of theirs.
_has_places = contextvars.ContextVar("has_places", default=False)


@contextlib.contextmanager
def reading(expected: str) -> Iterator[None]:
    """Turns whatever is raised while a stranger's file is read into our error, because libraries raise almost anything.

    Args:
        expected: What was expected and where, such as "a Parquet file at faces.parquet".

    Raises:
        InputError: if anything was raised but our own errors, which pass as they are.

    Example:
        >>> with reading("two numbers in a.txt"):
        ...     first, second = [1.0, 2.0, 3.0]
        Traceback (most recent call last):
        mint_keras.records.InputError: Expected two numbers in a.txt, received: too many values to unpack (expected 2).
    """
    try:
        yield
    except (InputError, RefusedError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"Expected {expected}, received: {reason}.") from error


def check_regular(path: Path, most: float = np.inf, where: str | None = None) -> None:
    """Raises InputError if a path is no regular file, or one of more bytes; `where` is what the message calls it.

    A pipe would be waited for, and a device never ends.
    """
    status, where = path.stat(), f" at {path}" if where is None else where
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"Expected a file{where}, received a folder, pipe or device.")
    if status.st_size > most:
        raise InputError(f"Expected a file of at most {most} bytes{where}, received {status.st_size}.")


def read_text(path: Path, most: int = _MAX_TEXT) -> str:
    """Reads a stranger's text in UTF-8 whole, without the mark that spreadsheets begin with.

    Raises:
        InputError: if there is none, or it is longer than `most` bytes.
    """
    with reading(f"text (UTF-8) in {path}"):
        check_regular(path, most)
        return path.read_text(encoding="utf-8").removeprefix("\ufeff")


def lines(path: Path) -> Iterator[str]:
    """Yields the lines of a stranger's text of any length, each with its end.

    Raises:
        InputError: if it is no regular file, or a line never ends.
    """
    check_regular(path)
    with open(path, newline="", encoding="utf-8-sig") as file:
        for line in iter(lambda: file.readline(_MAX_LINE), ""):
            if len(line) == _MAX_LINE:
                raise InputError(f"Expected lines of fewer than {_MAX_LINE} characters in {path}.")
            yield line


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a small YAML mapping, as cards and --config are.

    Raises:
        InputError: if the file is missing, large or no mapping, or refers to parts of itself.
    """
    import yaml

    with reading(f"YAML in {path}"):
        text = read_text(path, _MAX_YAML)
        if text.count("[") + text.count("{") > _MAX_BRACKETS:  # the time to read them grows with their square
            raise InputError(f"Expected at most {_MAX_BRACKETS} lists and mappings in brackets in {path}.")
        # A few lines can name gigabytes by anchors, and nobody needs them for what we read.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise InputError(f"Expected YAML without aliases in {path}, received some: write the values out.")
        value = yaml.safe_load(text)
    if not isinstance(value, dict):
        raise InputError(f"Expected names and values in {path}, received {type(value).__name__}.")
    return value


def read_csv(path: Path) -> dict[str, list[str]]:
    """Reads a CSV table with a header, as columns of text.

    Raises:
        InputError: if it is none, or its columns would take far more memory than the file.
    """
    with reading(f"a CSV table at {path}"):
        rows = csv.DictReader(lines(path))
        columns: dict[str, list[str]] = _empty(path, rows.fieldnames or [])
        for row in rows:
            # A comma too many would move texts into other columns; a cell too few costs more memory than file.
            if None in row or None in row.values():
                raise InputError(f"Expected {len(columns)} cells in line {rows.line_num} of {path}, received others.")
            for name, values in columns.items():
                text = row[name] or ""
                values.append(text[1:] if text.startswith("'") and _FORMULA.match(text) else text)  # see `inert`
    _check_widths(path, columns)
    return columns


def read_parquet(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """Reads columns of a Parquet table as Python values, see `parquet_blocks`."""
    columns: dict[str, list[Any]] = {}
    for block in parquet_blocks(path, wanted):
        for name, values in block.items():
            columns.setdefault(name, []).extend(values)
    return columns


def parquet_blocks(path: Path, wanted: Sequence[str], part: int | None = None) -> Iterator[dict[str, list[Any]]]:
    """Yields columns of a Parquet table in blocks of rows, at least one, as Python values; others are not read.

    `part` is the number of the only row group to read.

    Raises:
        InputError: if it is none, or its columns would take far more memory than the file.
    """
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    with reading(f"a Parquet file at {path}"):
        check_regular(path)
        size, facts = path.stat().st_size, pyarrow.parquet.read_metadata(path)
        fields = [field for field in facts.schema.to_arrow_schema() if field.name in wanted]
        _empty(path, [field.name for field in fields])
        texts = [field.name for field in fields if _is_text(field.type)]
        if odd := [field.name for field in fields if field.name not in texts and not _is_numbers(field.type)]:
            raise InputError(f"Expected texts, numbers or lists of numbers in {path}, received other {odd}.")
        # As dictionaries, equal texts are there once, however many rows have them, so their sizes can be asked first.
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
        names, groups = [field.name for field in fields], [facts.row_group(k) for k in range(facts.num_row_groups)]
        leaves = [k for k in range(facts.num_columns) if facts.schema.column(k).path.partition(".")[0] in names]
        num_values, num_bytes = 0, sum(group.total_byte_size for group in groups)
        is_sane = facts.num_rows <= size + _MIN_ROWS and num_bytes <= _MAX_WIDE + _MAX_PACKED * size
        for k in (range(len(groups)) if part is None else [part]) if is_sane else ():
            # Arrow refuses contradictory columns where it reads them; asked for their facts first, it aborts.
            next(file.iter_batches(1, [k], names), None)
            num_values = max([num_values, *(groups[k].column(leaf).num_values for leaf in leaves)])
        if not is_sane or num_values > _MAX_NUMBERS * (facts.num_rows + 1):
            received = f"{facts.num_rows} rows and {num_bytes} bytes in a file of {size}"
            raise InputError(f"Expected a table of samples at {path}, received {received}.")
        num_bytes, ends = 0, np.cumsum([group.num_rows for group in groups])
        # Many small parts at once: each takes its time.
        parts = np.split(np.arange(len(groups)), np.flatnonzero(np.diff(ends // _BLOCK)) + 1)
        for some in parts if part is None else [np.array([part])]:
            table = file.read_row_groups(some.tolist(), names)
            for chunk in (chunk for name in texts for chunk in table.column(name).chunks):
                lengths = pyarrow.compute.binary_length(chunk.dictionary).take(chunk.indices)
                num_bytes += pyarrow.compute.sum(lengths).as_py() or 0
            if num_bytes > _MAX_WIDE + _MAX_PACKED * size:
                received = f"{num_bytes} bytes in a file of {size}"
                raise InputError(f"Expected texts of sane size in {path}, received {received}.")
            for start in range(0, max(len(table), 1), _BLOCK):
                block = table.slice(start, _BLOCK)
                columns = {name: block.column(name).to_pylist() for name in names}
                _check_widths(path, columns)
                yield columns


def without_controls(text: str) -> str:
    r"""Returns a text without what steers a terminal or ends a line: these characters are written out.

    Example:
        >>> print(without_controls("a\nb"))
        a\x0ab
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


@functools.lru_cache(2**14)  # of tables whose cells mostly come again
def inert(text: str) -> str:
    """Returns a cell of a CSV table that is no formula for a spreadsheet; `read_csv` takes the quote in front off.

    Example:
        >>> inert("=cmd"), inert("-1.5"), inert("it's")
        ("'=cmd", '-1.5', "it's")
    """
    text = without_controls(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def one_line(text: str, longest: int = 500) -> str:
    """Returns a message in one line of at most so many characters; the middle of a longer one is left out."""
    text = without_controls(" ".join(text.split()))
    half = longest // 2 - 3
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def nearest(given: str, known: Iterable[str]) -> str:
    """Returns the end of a message about a wrong name: which of those that there are may be meant; "" if none.

    Example:
        >>> nearest("larges", ["all", "largest"]), nearest("x", ["all", "largest"])
        (': did you mean largest?', '')
    """
    near = difflib.get_close_matches(given, list(known), 1)
    return f": did you mean {near[0]}?" if near else ""


@contextlib.contextmanager
def absolute_paths(are_written: bool = True) -> Iterator[None]:
    """Lets files say where other files lie on this machine, inside the block."""
    token = _has_places.set(are_written)
    try:
        yield
    finally:
        _has_places.reset(token)


def named(value: Any) -> Any:
    """Returns a JSON value whose absolute paths are names: who has what is made learns nothing of this machine.

    Example:
        >>> named({"data": "/home/ann/faces", "more": ["web=/home/ann/web", "synthetic:1/web/0-9/2", "a/b"]})
        {'data': 'faces', 'more': ['web=web', 'synthetic:1/web/0-9/2', 'a/b']}
    """
    if _has_places.get():
        return value
    if isinstance(value, dict):
        return {key: named(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [named(inner) for inner in value]
    return _with_path(value, lambda path: Path(path).name) if isinstance(value, str) else value


def placed(text: str, folder: Path, mark: str = "") -> str:
    """Returns a path that is absolute, also one of NAME=PATH, relative to a folder and behind a mark.

    The folder is absolute and without links, see `found`.

    Example:
        >>> placed("web=/home/ann/web", Path("/home/ann/runs")), placed("web", Path("/home/ann/runs"))
        ('web=../web', 'web')
    """
    if _has_places.get():
        return text
    return _with_path(text, lambda path: mark + _relative(path, str(folder)))


def found(text: str, folder: Path) -> str:
    """Returns a path that may be relative to a folder, itself absolute and without links, as `placed` makes it."""
    path = folder / text
    return os.path.normpath(path) if text.startswith(os.pardir) else str(path)


def beside(text: str, folder: Path) -> str:
    """Returns a path as `placed` does, with a mark by which `find_beside` knows it from one that was given so."""
    return placed(text, folder.resolve(), _BESIDE)


def find_beside(text: str, folder: Path) -> str:
    """Returns the path that `beside` was given."""
    name, mark, path = text.partition(_BESIDE)
    return name + found(path, folder.resolve()) if mark else text


def shown(name: str, place: str) -> str:
    """Returns where a sample lies as others may know it: by its name, where its place is one of this machine."""
    return name if os.path.isabs(place) and not _has_places.get() else place


def _with_path(text: str, change: Callable[[str], str]) -> str:
    name, path = _NAMED.fullmatch(text).groups("")  # type: ignore[union-attr] # anything fits
    return name + change(path) if os.path.isabs(path) else text


def _relative(path: str, folder: str) -> str:
    above, name = os.path.split(path)  # a database has few folders
    return os.path.join(_relative_folder(above, folder), name)


@functools.lru_cache(2**12)
def _relative_folder(path: str, folder: str) -> str:
    try:
        return "" if (found := os.path.relpath(path, folder)) == "." else found
    except ValueError:  # another drive of Windows
        return path


def _empty(path: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    """Returns empty columns of those names."""
    if len(names) > _MAX_COLUMNS:
        raise InputError(f"Expected at most {_MAX_COLUMNS} columns in {path}, received {len(names)}.")
    if twice := [name for name, num in collections.Counter(names).items() if num > 1]:
        raise InputError(f"Expected each column once in {path}, received {twice} twice.")
    return {name: [] for name in names}


def _is_text(kind: Any) -> bool:
    """Says whether a Parquet column holds text, also one that pandas calls a category."""
    import pyarrow

    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def _is_numbers(kind: Any) -> bool:
    """Says whether a Parquet column holds numbers, lists of numbers or nothing."""
    import pyarrow

    is_list = pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind)
    return pyarrow.types.is_null(kind) or pyarrow.types.is_primitive(kind.value_type if is_list else kind)


def _check_widths(path: Path, columns: dict[str, list[Any]]) -> None:
    for name, values in columns.items():
        lengths = [len(value) for value in values if isinstance(value, str)]
        if any("\0" in value for value in values if isinstance(value, str)):  # no name of a file has it
            raise InputError(f"Expected text as {name!r} in {path}, received bytes that are none (NUL).")
        longest = max(lengths, default=0)
        if 4 * len(values) * longest > max(_MAX_WIDE, 4 * _MAX_WIDTH_RATIO * sum(lengths)):
            raise InputError(f"Expected texts of like lengths as {name!r} in {path}, received one of {longest}.")
