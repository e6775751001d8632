"""From what a user names on the command line to a sample table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.data import identities, images, recordio, synthetic
from mint_keras.records import InputError, SampleTable, concatenate_tables


def list_samples(source: str) -> SampleTable:
    """Lists the samples of one source.

    Args:
        source: a folder with one subfolder per identity; a folder of images, each then a person of their own; Adience
            or CelebA as published; a folder with `train.rec` or a `.rec` file; a sample table (`.parquet` or
            `.csv`); or lab faces (`synthetic:1/web/0-399/10`, see `data.synthetic`).

    Raises:
        InputError: if there is no such source or it holds no image.
    """
    if synthetic.is_synthetic(source):
        return synthetic.sample_table(source)
    path = Path(source).resolve()
    if not path.exists():
        raise InputError(
            f"Expected a folder, a sample table or lab faces (synthetic:...), received {source}: not found."
        )
    if path.suffix in (".parquet", ".csv"):
        return formats.read_samples(path)
    if path.is_file() and path.suffix != ".rec":
        raise InputError(f"Expected a folder, .rec, .parquet or .csv, received the file {source}.")
    records = path if path.suffix == ".rec" else path / "train.rec"
    if records.is_file():
        return recordio.list_records(records, database=records.parent.name)
    return _list_folder(path)


def list_all(sources: Sequence[str]) -> SampleTable:
    """Lists several sources as one table.

    Raises:
        InputError: if two sources give the same sample.
    """
    tables = [list_samples(source) for source in sources]
    table = concatenate_tables(tables)
    if len(np.unique(table.sample_id)) != len(table):
        raise InputError(f"Expected different samples in {list(sources)}, received some of them twice.")
    return table


def fingerprint(table: SampleTable) -> str:
    """Returns a SHA-256 that changes when a row, or the size or time of a file behind it, changes."""
    files = {location.rpartition("#")[0] if "#" in location else location for location in table.location.tolist()}
    stats = [os.stat(file) for file in sorted(files) if os.path.exists(file)]
    return formats.sha256_json([formats.sha256_table(table), [[s.st_size, s.st_mtime_ns] for s in stats]])


def _list_folder(folder: Path) -> SampleTable:
    database = folder.name
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    paths = [p for p in paths if p.suffix.lower() in images.SUFFIXES or p.suffix == ""]
    if not paths:
        raise InputError(f"Expected images ({', '.join(sorted(images.SUFFIXES))}) in {folder}, received none.")
    names = [p.relative_to(folder).as_posix() for p in paths]
    return SampleTable(
        sample_id=np.array([f"{database}/{name}" for name in names]),
        database=np.full(len(paths), database),
        identity=np.array(identities.identities(folder, names)),
        location=np.array([str(p) for p in paths]),
    )
