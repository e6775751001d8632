"""IJB-C in both distributions: NIST's photos and frames with boxes, and insightface's crops with five points."""

import csv
import itertools
import os
from collections.abc import Iterator, Set
from pathlib import Path

from mint_keras.borders import lines, reading
from mint_keras.data import files, pairs
from mint_keras.records import InputError, Sample

_NEEDED = {"SUBJECT_ID", "FILENAME", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT"}
_POINTS, _MEDIA = "ijbc_name_5pts_score.txt", "ijbc_face_tid_mid.txt"
_PAIRS = "ijbc_template_pair_label.txt"


def is_nist(folder: Path) -> bool:
    """Says whether images/ and protocols/ijbc_*.csv are there, in the folder or in IJB-C or IJB/IJB-C inside it."""
    return _nist_root(folder) is not None


def read_nist(folder: Path, database: str) -> Iterator[Sample]:
    """Yields each subject once per photo or frame; subjects of one photo follow each other.

    A photo may show several subjects, so the box says whose face is meant; a row without one is unusable.
    """
    root = _nist_root(folder)
    if root is None:
        raise InputError(f"Expected IJB-C's images and protocols in {folder}, received none.")
    protocols = root / "protocols"
    # Both metadata tables list the same faces; the one with ages says more.
    paths = sorted(protocols.glob("ijbc_metadata*.csv"))[-1:] or sorted(protocols.glob("ijbc_1N_*.csv"))
    samples: dict[tuple[str, str], Sample] = {}
    for row in (row for path in paths for row in _read_table(path, _NEEDED)):
        name, subject = row["FILENAME"] or "", row["SUBJECT_ID"] or ""
        if (name, subject) in samples:
            continue
        location = str(root / "images" / name)
        box: tuple[float, ...] = ()
        try:
            x, y, width, height = (float(row[f"FACE_{part}"]) for part in ("X", "Y", "WIDTH", "HEIGHT"))
            box = x, y, x + width, y + height
        except (TypeError, ValueError):
            inside = os.path.relpath(location, folder)
            location = files.unusable("Expected numbers as FACE_X ... FACE_HEIGHT, received others", inside)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            location = files.unusable("Expected a name inside images/, received another", name)
        attributes = {key.lower(): value for key, value in row.items() if key and key not in _NEEDED and value}
        sample_id = f"{database}/{name}/{subject}"
        samples[name, subject] = Sample(sample_id, database, subject, location, box=box, attributes=attributes)
    yield from sorted(samples.values(), key=lambda sample: sample.sample_id)


def is_insightface(folder: Path) -> bool:
    """Says whether loose_crop/ and meta/ are there, as in insightface's distribution."""
    return (folder / "loose_crop").is_dir() and (folder / "meta" / _POINTS).is_file()


def read_insightface(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the crops with their five points.

    Templates are no people. They are joined by the subjects of ijbc_1N_*.csv where these are there, else by the genuine
    pairs of the verification protocol; a template of which neither speaks is a person of its own.
    """
    meta = folder / "meta"
    subjects = {}
    for path in sorted(meta.glob("ijbc_1N_*.csv")):
        for row in _read_table(path, {"TEMPLATE_ID", "SUBJECT_ID"}):
            subjects[row["TEMPLATE_ID"]] = row["SUBJECT_ID"]
    if not subjects and (meta / _PAIRS).is_file():
        genuine = [line.split()[:2] for line in lines(meta / _PAIRS) if line.rstrip().endswith(" 1")]
        subjects = {name: f"subject-{component}" for name, component in pairs.join_people(genuine).items()}
    pair = itertools.zip_longest(lines(meta / _POINTS), lines(meta / _MEDIA), fillvalue="")
    for number, (line, entry) in enumerate(pair, start=1):
        name, *values = line.split() or [""]
        fields = entry.split()
        try:
            numbers = tuple(float(value) for value in values)
            same_name, template, medium = fields
            if same_name != name or len(numbers) != 11:
                raise ValueError(name)
        except ValueError as error:
            where = f"line {number} of {_POINTS} and {_MEDIA} in {meta}"
            raise InputError(f"Expected the same face in {where}, received others.") from error
        person, location = subjects.get(template, f"template-{template}"), str(folder / "loose_crop" / name)
        attributes = {"template": template, "media": medium, "score": values[10]}
        sample_id = f"{database}/{name}"
        yield Sample(sample_id, database, person, location, landmarks=numbers[:10], attributes=attributes)


def _nist_root(folder: Path) -> Path | None:
    roots = (folder, folder / "IJB-C", folder / "IJB" / "IJB-C")
    is_here = (root for root in roots if (root / "images").is_dir() and any((root / "protocols").glob("ijbc_*.csv")))
    return next(is_here, None)


def _read_table(path: Path, needed: Set[str]) -> Iterator[dict[str, str]]:
    with reading(f"a table of IJB-C at {path}"):
        reader = csv.DictReader(lines(path))
        # Copies of the tables differ in case, and in spaces after the commas.
        reader.fieldnames = [name.strip().upper() for name in reader.fieldnames or []]
        if missing := sorted(needed - set(reader.fieldnames)):
            raise InputError(f"Expected IJB-C's columns in {path}, received a table without {missing}.")
        yield from reader
