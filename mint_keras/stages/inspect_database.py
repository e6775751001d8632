"""Stage: draw a sheet of faces of some databases, to see what the numbers are about."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.data import images, samples, splits
from mint_keras.records import InputError, SampleTable
from mint_keras.report import plots

KIND = "database_sheet"
SHEET = "sheet.png"


@dataclasses.dataclass(frozen=True)
class InspectDatabase:
    """Options of inspect_database.py.

    Attributes:
        paths: databases: folders, .rec files, sample tables or lab faces (synthetic:1/web/0-11/1).
        out: folder for sheet.png.
        num: faces of each database; the first ones if there are no more than these.
        seed: seed of the choice.
        overwrite: replace what --out holds.
        quiet: no effect: nothing here takes long.
    """

    out: Path
    paths: tuple[str, ...] = dataclasses.field(metadata={"positional": True})
    num: int = 12
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def inspect_database(config: InspectDatabase) -> str:
    """Draws one row of faces per database and counts what there is."""
    tables = {path: samples.list_samples(path) for path in config.paths}
    inputs = {path: samples.fingerprint(table) for path, table in tables.items()}
    manifest = formats.make_manifest(KIND, inputs, {"num": config.num, "seed": config.seed})
    lines, rows = [], {}
    for table in tables.values():
        database = str(table.database[0])
        rows[database] = _faces(table, config)
        lines.append(f"{database}: {len(table)} images of {len(np.unique(table.people()))} identities")
    with formats.output_folder(config.out, manifest, config.overwrite):
        plots.save_sheet(config.out / SHEET, rows, "Databases")
    return "\n".join([*lines, str(config.out / SHEET)])


def _faces(table: SampleTable, config: InspectDatabase) -> list[np.ndarray]:
    rows = splits.choose_evenly(table.database, config.num, np.random.default_rng(config.seed))
    reader = images.FaceReader()
    batch = next(reader.batches(table.take(rows), config.num), None)
    if batch is None or len(batch[1]) < config.num:
        reason = reader.rejected[0].reason if reader.rejected else "it has fewer."
        raise InputError(f"Expected {config.num} usable faces of {table.database[0]}, received less: {reason}")
    return list(batch[1])
