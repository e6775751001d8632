"""What is in a database? Its layout, images and identities, sizes, what cannot be read, and a sheet to look at.

The layout is recognised: RecordIO, IJB-C, FDDB, Adience, CelebA, UTKFace, LFW, GANDiffFace, insightface's verification
sets, CIFAR-100, Tiny-ImageNet, COCO, Caltech, prepared tensorflow_datasets, any folder of photos, or a table of your
own. Counts are compared with those published. With --audited a face-recognition model looks at aligned faces: whose
names look like one person, and which like several? It proposes a list that make_protocol.py --identities obeys.

Example:
    python scripts/inspect_database.py faces/ms1mv3
    python scripts/inspect_database.py adience=downloads/aligned photos --num-read 0 --out runs/sheet
    python scripts/inspect_database.py faces/members faces/externals --audited dlib --out runs/who
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import environment, formats, shelf
from mint_keras.commands import Result
from mint_keras.data import identity_list, inspection, samples
from mint_keras.options import Common
from mint_keras.records import InputError, Rejected

KIND = "database_sheet"
_MOST = 100  # images side by side that a sheet can show
SHEET, PEOPLE, INSPECTION = "sheet.png", "people.png", "inspection.json"


@dataclasses.dataclass(frozen=True)
class InspectDatabase(Common):
    """Options of inspect_database.py.

    Attributes:
        paths: Databases: folders, .rec or .bin files, sample tables or lab faces (synthetic:1/web/0-11/1).
        out: Folder for sheet.png, inspection.json and rejected.csv; runs/inspect-NAME by default.
        layout: How folders are read, where that which is recognised is wrong: folders, inner-folders (the one a photo
            lies in is the person), names (of files), unknown, or a layout such as utkface. Left out: recognised.
        num: Images of each database on the sheet.
        num_read: Images of each database to decode, at random, for their sizes and for what is broken; 0 reads all.
        seed: Seed of the choice.
        audited: A face-recognition model, such as dlib of the shelf or one of convert_fr.py. It compares all faces and
            writes identities.csv and people.png: what it proposes, and a sheet to look at. Strike out what is wrong.
    """

    paths: tuple[str, ...] = dataclasses.field(metadata={"positional": True})
    out: Path | None = None
    num: int = 12
    # If none of a thousand is broken, at most 0.3% of all are (95%).
    num_read: int = 1000
    seed: int = 1
    layout: str = ""
    audited: Path | None = None


@dataclasses.dataclass(frozen=True)
class Inspection(Result):
    """What was found: the content of inspection.json, an entry for each database, and the folder with the sheet."""

    databases: list[dict[str, Any]]
    out: Path


def inspect_database(config: InspectDatabase) -> Inspection:
    """Counts what there is in each database, decodes some of it, and draws a row of images of each."""
    if not 1 <= config.num <= _MOST:
        raise InputError(f"Expected --num from 1 to {_MOST}, received {config.num}.")
    from mint_keras.statistics import bounds

    sources = [samples.locate(path, config.layout) for path in config.paths]
    tables = [samples.list_samples(path, config.layout) for path in config.paths]
    inputs = {f"source {number}": samples.fingerprint(table) for number, table in enumerate(tables, 1)}
    if config.audited is not None:
        inputs["audited"] = formats.sha256_file(shelf.find(config.audited) / formats.MODEL)
    settings = {"layout": config.layout, "num": config.num, "num_read": config.num_read, "seed": config.seed}
    names = [str(table.database[0]) for table in tables]
    out = config.out or Path("runs") / ("inspect-" + "-".join(dict.fromkeys(names)))
    found: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    rows: dict[str, list[np.ndarray]] = {}
    with formats.output_folder(out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        for source, table in zip(sources, tables, strict=True):
            seen, shown, unreadable = inspection.look(table, config.num_read, config.num, config.seed)
            others = samples.left_out(source, table)
            found.append(inspection.count(source, table, others) | seen)
            rejected += unreadable + others
            if shown:
                label = found[-1]["database"]
                # Two sources may be of one database.
                rows[f"{label}, {len(rows) + 1}" if label in rows else label] = shown
        sheets: dict[str, tuple[str, Mapping[str, Sequence[np.ndarray | None]]]] = {SHEET: ("Databases", rows)}
        lines = [inspection.describe(c, bounds.upper_limit(c["unreadable"], c["read"])) for c in found]
        written = [INSPECTION, *([formats.REJECTED] if rejected else [])]
        if config.audited is not None:
            environment.import_tensorflow()  # which nothing else here needs
            from mint_keras.auditing import who

            checked = who.look(tables, config.audited)
            identity_list.write(out / identity_list.FILE, checked.lines)
            sheets[PEOPLE] = ("Do these look like one person, or like several?", checked.sheet)
            lines.append("\n".join(checked.said))
            written.append(identity_list.FILE)
        formats.write_json(out / INSPECTION, {"databases": found, "names": checked.said if config.audited else []})
        formats.write_rejected(out / formats.REJECTED, rejected)
        for file, (title, sheet) in sheets.items():
            if sheet:
                from mint_keras.report import plots  # with matplotlib, which --help has no need of

                plots.save_sheet(out / file, sheet, title)
                written.append(file)
    return Inspection("\n\n".join([*lines, f"Written: {out}: {', '.join(written)}"]), found, out)
