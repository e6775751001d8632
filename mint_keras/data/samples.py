"""From what a user names on the command line to a sample table."""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, texts
from mint_keras.data import files, images, layouts, pairs, recordio, sample_tables, synthetic
from mint_keras.records import InputError, NoSamplesError, Rejected, SampleTable, concatenate_tables, tabulate

TABLE = "sample table"
_PREPARED = re.compile(r"(.+)/crops/\d{6}/\d{9}\.\w+", re.DOTALL)  # see `faces.parts`
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Source:
    """What a user named: a database's name, where it lies (None for lab faces), and its layout."""

    text: str
    database: str
    path: Path | None
    layout: str


def list_samples(source: str, layout: str = "") -> SampleTable:
    """Lists the samples of one source.

    Args:
        source: A folder in a layout of `data.layouts`, which any folder of photos is; one that prepare_faces.py wrote;
            a folder with `train.rec`, or a `.rec` file; an insightface verification set (`.bin`); a sample table
            (`.parquet` or `.csv`); or lab faces (`synthetic:1/web/0-399/10`, see `data.synthetic`). `NAME=SOURCE`
            names the database of a source, which is otherwise called as its folder or its table says.
        layout: How a folder is to be read, see `locate`.

    Raises:
        InputError: if there is no such source or it holds no image.
    """
    found = locate(source, layout)
    if found.path is None:
        return synthetic.sample_table(found.text)
    if found.layout == TABLE:
        table = sample_tables.read_samples(found.path)
        if not found.database:
            return table
        if len(names := np.unique(table.database)) > 1:
            raise InputError(f"Expected one database to call {found.database}, received {names.tolist()}.")
        name: Any = texts.Texts(np.array([found.database]), np.zeros(len(table), int))
        return dataclasses.replace(table, database=name)
    is_pairs = found.layout == layouts.VERIFICATION
    read = pairs.read if is_pairs else functools.partial(layouts.read, layout=found.layout)
    try:
        table = (
            recordio.read(found.path, found.database)
            if found.layout == layouts.RECORDIO
            else tabulate(read(found.path, found.database))
        )
    except NoSamplesError as error:
        raise InputError(f"Expected images (.jpg .png .tif .gif .heic ...) in {found.path}, received none.") from error
    # Said here, before a run rejects them all one by one.
    if all(map(files.why_unusable, table.location)):
        raise InputError(f"Expected usable images in {found.path}: {files.why_unusable(str(table.location[0]))}")
    return table


def locate(source: str, layout: str = "") -> Source:
    """Returns what a source is, without listing its samples; a layout that is given stands for the one recognised.

    Raises:
        InputError: if there is no such source, or prepare_faces.py has not finished there.
    """
    name, text = "", source
    # A folder may have an equals sign in its name.
    if (match := _NAMED.fullmatch(source)) and not Path(source).exists():
        name, text = match.groups()
    if synthetic.is_synthetic(text):
        if name:
            raise InputError(f"Expected lab faces under their own name, received {source!r}.")
        return Source(text, "", None, "lab")
    path = _existing(text)
    if path.suffix in (".parquet", ".csv"):
        return Source(text, name, path, TABLE)
    if path.suffix == ".bin" and path.is_file():
        return Source(text, name or path.stem, path, layouts.VERIFICATION)
    if path.is_file() and path.suffix != ".rec":
        raise InputError(f"Expected a folder, .rec, .bin, .parquet or .csv, received the file {text}.")
    if _is_prepared(path):
        return Source(text, name, path / formats.SAMPLES, TABLE)
    records = path if path.suffix == ".rec" else path / "train.rec"
    if records.is_file():
        return Source(text, name or records.parent.name, records, layouts.RECORDIO)
    if layout:
        layouts.check(layout)
    layout = layout or layouts.recognise(path)
    # tensorflow_datasets calls the folder below a dataset's name by its version.
    return Source(text, name or (path.parent if layout == layouts.TFDS else path).name, path, layout)


def list_all(sources: Sequence[str], layout: str = "") -> SampleTable:
    """Lists several sources as one table."""
    return join([list_samples(source, layout) for source in sources])


def check_databases(named: Iterable[tuple[str, SampleTable]]) -> None:
    """Refuses tables, each behind what named it, if two folders of one name made one database of what lies in them.

    What tells two databases apart would look like membership. Whoever writes NAME=SOURCE has said which is which.

    Raises:
        InputError: if databases of one name lie in two places, and are called as these or were prepared there.
    """
    places: dict[str, Path] = {}
    for source, table in named:
        if _NAMED.fullmatch(source) and not Path(source).exists():
            continue
        for name, row in zip(*np.unique(table.database, return_index=True), strict=True):
            place = _place(str(name), str(table.sample_id[row]), str(table.location[row]))
            if place is not None and places.setdefault(str(name), place) != place:
                raise InputError(
                    f"Expected NAME=PATH for {places[str(name)]} and {place}, which are both called {name}: with one "
                    "name if they are one database, with two if they are not; of a table of several databases, change "
                    "the column instead."
                )


def _place(database: str, sample_id: str, location: str) -> Path | None:
    """Returns where a database lies that is called as its folder, or was prepared; None where nobody can say."""
    container, key = images.split(location)
    if synthetic.is_synthetic(location):
        return None
    if prepared := _PREPARED.fullmatch(location):
        return Path(os.path.realpath(prepared[1]))
    if key is not None:
        place = Path(os.path.realpath(container))
        place = place if place.suffix == ".bin" else place.parent
        return place if database in (place.stem, place.name, place.parent.name) else None
    rest = sample_id.removeprefix(f"{database}/")
    if rest == sample_id or not location.endswith(f"/{rest}"):
        return None
    place = Path(os.path.realpath(location.removesuffix(rest)))
    return place if place.name == database else None


def left_out(source: Source, table: SampleTable) -> list[Rejected]:
    """Returns every file of a folder that is none of its samples, and why; of other sources nothing."""
    if source.path is None or not source.path.is_dir() or source.layout in layouts.CONTAINERS:
        return []
    return files.left_out(source.path, source.database, table.location.tolist())


def join(parts: Sequence[SampleTable]) -> SampleTable:
    """Returns several tables as one.

    Raises:
        InputError: if two of them have the same sample.
    """
    table = concatenate_tables(parts)
    if twice := texts.repeated(table.sample_id):
        raise InputError(
            f"Expected different samples, received {len(twice)} twice, such as {twice[0]!r}. Databases are told apart "
            "by their folder names: NAME=PATH gives one another name."
        )
    return table


def fingerprint(table: SampleTable) -> str:
    """Returns a SHA-256 that changes when a row, or the size or time of a file behind it, changes."""
    # Not the contents: a million images are not read twice. They are hashed while they are decoded, see `FaceReader`.
    paths = {images.split(location)[0] for location in texts.column(table.location)}
    stats = [os.stat(path) for path in sorted(paths) if os.path.exists(path)]
    return formats.sha256_json([formats.sha256_table(table), [[s.st_size, s.st_mtime_ns] for s in stats]])


def _existing(text: str) -> Path:
    path = Path(text).resolve()
    if (shown := files.escape(str(path))) != str(path):
        raise InputError(f"Expected a path in UTF-8, which tables can hold, received {shown}. Rename it.")
    if not path.exists():
        raise InputError(f"Expected a folder, a sample table or lab faces (synthetic:...), received {text}: not found.")
    return path


def _is_prepared(folder: Path) -> bool:
    """Says whether prepare_faces.py wrote a folder: its table lists the crops, whose names say nothing."""
    try:
        kind = formats.read_json(folder / formats.MANIFEST).get("kind")
    except InputError:  # none, or one of somebody else's
        return False
    if kind == formats.PREPARED_FACES and not (folder / formats.SAMPLES).is_file():
        raise InputError(
            f"Expected {formats.SAMPLES} in {folder}, received none: prepare_faces.py has not finished there."
        )
    return kind == formats.PREPARED_FACES


def attribute(table: SampleTable, name: str) -> np.ndarray:
    """Returns an attribute of every sample as text, "" where there is none."""
    objects = ["{}"] * len(table) if table.attributes is None else table.attributes.tolist()
    return np.array([str(json.loads(text).get(name, "")) for text in objects])
