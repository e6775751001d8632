"""Sample tables on disk: Parquet, as every stage writes it, or a CSV of one's own."""

import collections
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import borders, formats, texts
from mint_keras.data import files, people, synthetic
from mint_keras.data.people import unknown
from mint_keras.records import NUMBERS, InputError, SampleTable, concatenate_tables

_BLOCK = 2**16  # rows that are written at once, or a few more
REQUIRED = ("sample_id", "database", "identity", "location")
# Before this was written, a photo of nobody known was a person of its own, called as its file is.
_VERSION = {b"mint_keras": b"2"}


def write_samples(
    path: Path, table: SampleTable, extra: Mapping[str, np.ndarray] | None = None, part_size: int = 2**16
) -> None:
    """Writes a sample table as Parquet; boxes and landmarks are lists of numbers, null where there are none.

    `extra` are further columns of numbers, for others to read; `read_samples` can read `part_size` samples as one part.
    Locations become relative to the table's folder, see `borders.absolute_paths`.
    """
    import pyarrow
    import pyarrow.parquet

    folder, writer = path.parent.resolve(), None
    block = -(-_BLOCK // part_size) * part_size
    with formats.atomic_path(path) as temporary, contextlib.ExitStack() as closing:
        for start in range(0, max(len(table), 1), block):
            rows = slice(start, start + block)
            columns = {name: pyarrow.array(values[rows]) for name, values in (extra or {}).items()}
            for name, column in table.columns().items():
                if name in NUMBERS:
                    flat = column[rows].reshape(-1, int(np.prod(NUMBERS[name])))
                    numbers = [None if np.isnan(row).any() else row.tolist() for row in flat]
                    columns[name] = pyarrow.array(numbers, pyarrow.list_(pyarrow.float32()))
                else:
                    said = column[rows].tolist()
                    places = [borders.placed(text, folder) for text in said] if name == "location" else said
                    columns[name] = pyarrow.array(places, pyarrow.string())
            part = pyarrow.table(columns, metadata=_VERSION)
            writer = writer or closing.enter_context(pyarrow.parquet.ParquetWriter(temporary, part.schema))
            writer.write_table(part, row_group_size=part_size)


def read_samples(path: Path, part: int | None = None) -> SampleTable:
    """Reads a sample table.

    Args:
        path: A `.parquet` or `.csv` with the columns sample_id, database, identity, location and, if you want, group,
            box ("left top right bottom" in pixels), landmarks (ten numbers) and attributes (a JSON object). Relative
            locations are relative to the table's folder. An empty identity, NaN, NA, None, -1 or "unknown" is unknown.
            Boxes are drawn on the upright photo, as an EXIF orientation turns it.
        part: Number of the only part to read, see `part_size` of `write_samples`; None reads all.

    Raises:
        InputError: if the file is neither, is empty, lacks a column, repeats a sample_id or has a wrong value.
    """
    known = [field.name for field in dataclasses.fields(SampleTable)]
    tables: list[SampleTable] = []
    first: dict[str, dict[str, str]] = collections.defaultdict(dict)  # spellings of each database's people
    for columns in _blocks(path, known, part):
        if missing := [name for name in REQUIRED if name not in columns]:
            raise InputError(
                f"Expected a sample table with columns {list(REQUIRED)}, received {path} without {missing}."
            )
        if columns["sample_id"]:
            here = {name: columns[name] for name in known if name in columns}
            tables.append(_parse(here, path, 1 + sum(map(len, tables)), first))
    if not tables:
        raise InputError(f"Expected at least one sample, received the empty table {path}.")
    table = concatenate_tables(tables)
    if texts.repeated(table.sample_id):
        raise InputError(f"Expected unique sample_ids, received repeated ones in {path}.")
    return table


def _blocks(path: Path, names: Sequence[str], part: int | None = None) -> Iterator[dict[str, list[Any]]]:
    if path.suffix == ".parquet":
        return borders.parquet_blocks(path, names, part)
    return iter([{name: column for name, column in borders.read_csv(path).items() if name in names}])


def notes(path: Path) -> tuple[str, ...]:
    """Returns notes on people of a table whose names are read as others, see `people.spelt`."""
    first: dict[str, dict[str, str]] = collections.defaultdict(dict)
    said: dict[str, list[str]] = collections.defaultdict(list)
    for columns in _blocks(path, ("database", "identity")):
        for database, name in dict.fromkeys(zip(columns["database"], columns["identity"], strict=True)):
            if people.spelling(one := people.as_text(name), first[database]) not in ("", one):
                said[database].append(one)
    return tuple(note for of in said for note in people.spelt(said[of], first[of]))


def _parse(
    columns: Mapping[str, list[Any]], path: Path, first_row: int, first: Mapping[str, dict[str, str]]
) -> SampleTable:
    """Returns some rows of a table of samples, the first of which has a number in the file."""
    numbers = {
        name: _parse_numbers(columns[name], shape, f"{name} of {path}", first_row)
        for name, shape in NUMBERS.items()
        if name in columns
    }
    said = {name: list(map(people.as_text, values)) for name, values in columns.items() if name not in numbers}
    if "attributes" in said:
        said["attributes"] = [_parse_attributes(text, path) for text in said["attributes"]]
    folder = path.parent.resolve()
    said["location"] = [
        text if synthetic.is_synthetic(text) or files.why_unusable(text) else borders.found(text, folder)
        for text in said["location"]
    ]
    rows = zip(said["identity"], said["database"], said["sample_id"], strict=True)
    pairs = [(people.spelling(name, first[database]), of) for name, database, of in rows]
    if "group" in said:
        groups = zip(said["group"], said["database"], strict=True)
        said["group"] = [people.spelling(name, first[database]) or name for name, database in groups]
    is_old = path.suffix == ".parquet" and _is_old(path)
    said["identity"] = [
        unknown(of) if not name or (is_old and of.endswith(f"/{name}") and "." in name) else name for name, of in pairs
    ]
    if wrong := sorted(text for text in set(said["database"]) if "/" in text):
        raise InputError(f"Expected names of databases without /, which people's names follow, received {wrong[0]!r}.")
    for name in ("sample_id", "database", "identity"):  # lists of them are written as text, and read again
        if wrong := sorted(text for text in set(said[name]) if text != borders.without_controls(text)):
            raise InputError(f"Expected {name} without control characters in {path}, received {wrong[0]!r}.")
    arrays: dict[str, Any] = {name: texts.packed(values) for name, values in said.items()}
    return SampleTable(**arrays, **numbers)


def _is_old(path: Path) -> bool:
    """Says whether an earlier version wrote a table; those of others have no manifest beside them."""
    import pyarrow.parquet

    said = pyarrow.parquet.read_metadata(path).metadata or {}
    return (path.parent / formats.MANIFEST).is_file() and not _VERSION.keys() <= said.keys()


def _parse_attributes(text: str, path: Path) -> str:
    """Returns a JSON object as text whose keys are sorted, so that tables of equal samples have equal fingerprints."""
    with borders.reading(f"a JSON object as attributes in {path}"):
        value = json.loads(text or "{}")
    if not isinstance(value, dict):
        raise InputError(f"Expected a JSON object as attributes in {path}, received {text!r}.")
    return json.dumps(value, sort_keys=True)


def _parse_numbers(values: list[Any], shape: tuple[int, ...], where: str, first_row: int) -> np.ndarray:
    num = int(np.prod(shape))
    rows = []
    for number, value in enumerate(values, start=first_row):
        parts = value.split() if isinstance(value, str) else (value or [])
        try:
            row = [float(part) for part in parts] or [np.nan] * num
        except (TypeError, ValueError):
            row = []
        if len(row) != num or np.isinf(row).any():
            raise InputError(f"Expected {num} numbers or nothing as {where}, received {value!r} in row {number}.")
        rows.append(row)
    return np.array(rows, np.float32).reshape(-1, *shape)
