"""Databases that are folders of photos, whose names, or for CelebA a file, say who is who."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mint_keras.data import files, people
from mint_keras.data.people import unknown
from mint_keras.records import InputError, Sample

_CELEBA = "identity_CelebA.txt"
_LFW = re.compile(r"(?:.*/)?([^/]+)/\1_\d{4}\.\w+")
# A few names of UTKFace lack the race or the gender, and a few have a space.
_UTKFACE = re.compile(r"(?:.*/)?(\d+)_(?:([01])_)?(?:_?([0-4])_)?\d{14,17} ?\..+")
_UTKFACE_FOLDER = re.compile(r"utk.*|crop_part\d|part\d|.*cropped|images?", re.IGNORECASE)
_GANDIFFFACE = re.compile(r"(?:.*/)?(Asian|Black|Indian|White|Hispanic|Latino|Arab|Middle\w*)_(Male|Female)/\d+/[^/]+")


def read(folder: Path, database: str, layout: str = people.FOLDERS) -> Iterator[Sample]:
    """Yields photos; who is on them is what `people.read` makes of all of their names."""
    names = list(files.list_images(folder))
    for name, identity in zip(names, people.read(names, layout).identity, strict=True):
        yield Sample(f"{database}/{name}", database, identity, str(folder / name))


def is_lfw(names: Sequence[str]) -> bool:
    """Says whether photos are named as LFW's: PERSON/PERSON_0001.jpg."""
    return people.all_match(names, _LFW)


def is_gandiffface(names: Sequence[str]) -> bool:
    """Says whether photos lie as GANDiffFace's: ETHNICITY_Male or ETHNICITY_Female, then a number for the person."""
    return people.all_match(names, _GANDIFFFACE)


def read_gandiffface(folder: Path, database: str) -> Iterator[Sample]:
    """Yields GANDiffFace's photos with their group as attributes; the person is the folder."""
    for name in files.list_images(folder):
        match = _GANDIFFFACE.fullmatch(name)
        attributes = {"ethnicity": match[1], "gender": match[2]} if match else {}
        identity = name.rpartition("/")[0] or unknown(name)
        yield Sample(f"{database}/{name}", database, identity, str(folder / name), attributes=attributes)


def is_utkface(names: Sequence[str]) -> bool:
    """Says whether photos are named as UTKFace's, AGE_GENDER_RACE_DATE.jpg, and lie in no folders of other names."""
    inside = {name.rpartition("/")[0].rpartition("/")[2] for name in names} - {""}
    return people.all_match(names, _UTKFACE) and all(_UTKFACE_FOLDER.fullmatch(name) for name in inside)


def read_utkface(folder: Path, database: str) -> Iterator[Sample]:
    """Yields UTKFace's photos with what their names say; nothing says who is on them.

    Source: https://susanqq.github.io/UTKFace/
    """
    for name in files.list_images(folder):
        match = _UTKFACE.fullmatch(name)
        found = zip(("age", "gender", "race"), match.groups() if match else (), strict=False)
        attributes = {key: value for key, value in found if value is not None}
        yield Sample(f"{database}/{name}", database, unknown(name), str(folder / name), attributes=attributes)


def is_celeba(folder: Path) -> bool:
    """Says whether CelebA's file of identities is there, in the folder or in Anno inside it."""
    return any(path.is_file() for path in (folder / _CELEBA, folder / "Anno" / _CELEBA))


def read_celeba(folder: Path, database: str) -> Iterator[Sample]:
    """Yields CelebA's photos; one of which the file of identities says nothing is unusable."""
    file = folder / _CELEBA if (folder / _CELEBA).is_file() else folder / "Anno" / _CELEBA
    lines = [line.split() for line in files.read_lines(file)]
    if wrong := [number for number, line in enumerate(lines, start=1) if len(line) not in (0, 2)]:
        raise InputError(f"Expected a photo and a number in each line of {file}, received others in line {wrong[0]}.")
    known = dict(line for line in lines if line)
    for name in files.list_images(folder):
        # The file names photos without their folder, which differs between the distributions.
        person, location = known.get(name.rpartition("/")[2]), str(folder / name)
        if person is None:
            location = files.unusable(f"Expected every photo in {_CELEBA}, received one without a person", name)
        yield Sample(f"{database}/{name}", database, person or unknown(name), location)
