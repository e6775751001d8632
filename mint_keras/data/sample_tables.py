"""Sample tables on disk: Parquet, as every stage writes it, or a CSV of one's own."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import borders, formats
from mint_keras.data import files, people, synthetic
from mint_keras.data.people import unknown
from mint_keras.records import InputError, SampleTable

REQUIRED = ("sample_id", "database", "identity", "location")
# Before this was written, a photo of nobody known was a person of its own, called as its file is.
_VERSION = {b"mint_keras": b"2"}
# Optional columns of numbers and the shape of one sample's.
_NUMBERS = {"box": (4,), "landmarks": (5, 2)}


def write_samples(
    path: Path, table: SampleTable, extra: Mapping[str, np.ndarray] | None = None, part_size: int = 2**16
) -> None:
    """Writes a sample table as Parquet; boxes and landmarks are lists of numbers, null where there are none.

    `extra` are further columns of numbers, for others to read; `read_samples` can read `part_size` samples as one part.
    Locations become relative to the table's folder, see `borders.absolute_paths`.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {name: pyarrow.array(values) for name, values in (extra or {}).items()}
    for name, column in table.columns().items():
        if name in _NUMBERS:
            flat = column.reshape(len(column), -1)
            numbers = [None if np.isnan(row).any() else row.tolist() for row in flat]
            columns[name] = pyarrow.array(numbers, pyarrow.list_(pyarrow.float32()))
        else:
            texts, folder = column.tolist(), path.parent.resolve()
            places = [borders.placed(text, folder) for text in texts] if name == "location" else texts
            columns[name] = pyarrow.array(places, pyarrow.string())
    with formats.atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns, metadata=_VERSION), temporary, row_group_size=part_size)


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
    columns: dict[str, list[Any]] = (
        borders.read_parquet(path, known, part) if path.suffix == ".parquet" else {**borders.read_csv(path)}
    )
    if missing := [name for name in REQUIRED if name not in columns]:
        raise InputError(f"Expected a sample table with columns {list(REQUIRED)}, received {path} without {missing}.")
    if not columns["sample_id"]:
        raise InputError(f"Expected at least one sample, received the empty table {path}.")
    arrays: dict[str, Any] = {}
    for name in (name for name in known if name in columns):
        if name in _NUMBERS:
            arrays[name] = _parse_numbers(columns[name], _NUMBERS[name], f"{name} of {path}")
        else:
            arrays[name] = np.array([_as_text(value) for value in columns[name]])
    if "attributes" in arrays:
        arrays["attributes"] = np.array([_parse_attributes(text, path) for text in arrays["attributes"].tolist()])
    folder, places = path.parent.resolve(), arrays["location"].tolist()
    is_address = [synthetic.is_synthetic(text) or bool(files.why_unusable(text)) for text in places]
    arrays["location"] = np.array(
        [text if is_whole else borders.found(text, folder) for text, is_whole in zip(places, is_address, strict=True)]
    )
    pairs = zip(map(people.canonical, arrays["identity"].tolist()), arrays["sample_id"].tolist(), strict=True)
    is_old = path.suffix == ".parquet" and _is_old(path)
    arrays["identity"] = np.array(
        [unknown(of) if people.is_unknown(name) or (is_old and of.endswith(f"/{name}") and "." in name) else name
         for name, of in pairs]
    )  # fmt: skip
    if wrong := [text for text in np.unique(arrays["database"]).tolist() if "/" in text]:
        raise InputError(f"Expected names of databases without /, which people's names follow, received {wrong[0]!r}.")
    for name in ("sample_id", "database", "identity"):  # lists of them are written as text, and read again
        if wrong := [text for text in np.unique(arrays[name]).tolist() if text != borders.without_controls(text)]:
            raise InputError(f"Expected {name} without control characters in {path}, received {wrong[0]!r}.")
    if len(np.unique(arrays["sample_id"])) != len(arrays["sample_id"]):
        raise InputError(f"Expected unique sample_ids, received repeated ones in {path}.")
    return SampleTable(**arrays)


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


def _as_text(value: Any) -> str:
    """Returns a cell as text; whole numbers of a column that became floats because of gaps stay whole."""
    if value is None or value != value:  # NaN is not itself
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _parse_numbers(values: list[Any], shape: tuple[int, ...], where: str) -> np.ndarray:
    num = int(np.prod(shape))
    rows = []
    for number, value in enumerate(values, start=1):
        parts = value.split() if isinstance(value, str) else (value or [])
        try:
            row = [float(part) for part in parts] or [np.nan] * num
        except (TypeError, ValueError):
            row = []
        if len(row) != num or np.isinf(row).any():
            raise InputError(f"Expected {num} numbers or nothing as {where}, received {value!r} in row {number}.")
        rows.append(row)
    return np.array(rows, np.float32).reshape(-1, *shape)
