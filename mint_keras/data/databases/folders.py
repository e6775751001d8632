"""Databases that are folders of photos, whose names, or for CelebA a file, say who is who."""

import re
from collections.abc import Iterator
from pathlib import Path

from mint_keras.data import files
from mint_keras.records import InputError, Sample

_CELEBA = "identity_CelebA.txt"
_LFW = re.compile(r"(?:.*/)?([^/]+)/\1_\d{4}\.\w+")
_UTKFACE = re.compile(r"(?:.*/)?(\d+)_(?:([01])_)?(?:_?([0-4])_)?\d{8,17}\..+")
_GANDIFFFACE = re.compile(r"(?:.*/)?([A-Za-z]+)_(Male|Female)/\d+/[^/]+")


def read(folder: Path, database: str) -> Iterator[Sample]:
    """Yields photos: the folder a photo lies in is the person, and one directly in the database is nobody else."""
    for name in files.list_images(folder):
        yield Sample(f"{database}/{name}", database, name.rpartition("/")[0] or name, str(folder / name))


def is_lfw(folder: Path) -> bool:
    """Says whether photos are named as LFW's: PERSON/PERSON_0001.jpg."""
    return files.all_match(folder, _LFW)


def is_gandiffface(folder: Path) -> bool:
    """Says whether photos lie as GANDiffFace's: ETHNICITY_Male or ETHNICITY_Female, then a number for the person."""
    return files.all_match(folder, _GANDIFFFACE)


def read_gandiffface(folder: Path, database: str) -> Iterator[Sample]:
    """Yields GANDiffFace's photos with their group as attributes."""
    for sample in read(folder, database):
        match = _GANDIFFFACE.fullmatch(sample.sample_id)
        attributes = {"ethnicity": match[1], "gender": match[2]} if match else {}
        yield sample._replace(attributes=attributes)


def is_utkface(folder: Path) -> bool:
    """Says whether photos are named as UTKFace's: AGE_GENDER_RACE_DATE.jpg."""
    return files.all_match(folder, _UTKFACE)


def read_utkface(folder: Path, database: str) -> Iterator[Sample]:
    """Yields UTKFace's photos with what their names say; a few lack the race, as published.

    Source: https://susanqq.github.io/UTKFace/
    """
    for name in files.list_images(folder):
        match = _UTKFACE.fullmatch(name)
        found = zip(("age", "gender", "race"), match.groups() if match else (), strict=False)
        attributes = {key: value for key, value in found if value is not None}
        yield Sample(f"{database}/{name}", database, name, str(folder / name), attributes=attributes)


def is_celeba(folder: Path) -> bool:
    """Says whether CelebA's file of identities is there, in the folder or in Anno inside it."""
    return any(path.is_file() for path in (folder / _CELEBA, folder / "Anno" / _CELEBA))


def read_celeba(folder: Path, database: str) -> Iterator[Sample]:
    """Yields CelebA's photos; one of which the file of identities says nothing is unusable."""
    file = folder / _CELEBA if (folder / _CELEBA).is_file() else folder / "Anno" / _CELEBA
    lines = [line.split() for line in files.read_lines(file)]
    if wrong := [number for number, line in enumerate(lines, start=1) if len(line) not in (0, 2)]:
        raise InputError(f"Expected a photo and a number in each line of {file}, received others in line {wrong[0]}.")
    people = dict(line for line in lines if line)
    for name in files.list_images(folder):
        # The file names photos without their folder, which differs between the distributions.
        person, location = people.get(name.rpartition("/")[2]), str(folder / name)
        if person is None:
            location = files.unusable(f"Expected every photo in {_CELEBA}, received one without a person", location)
        yield Sample(f"{database}/{name}", database, person or name, location)
