"""Databases that are folders of photos, whose names, or for CelebA a file, say who is who."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mint_keras.data import files, people
from mint_keras.data.people import unknown
from mint_keras.records import InputError, Sample

_CELEBA = "identity_CelebA.txt"
# Named groups are attributes; `who` is the person.
LFW = re.compile(r"(?:.*/)?([^/]+)/\1_\d{4}\.\w+")
# A few names of UTKFace lack the race or the gender, and a few have a space.
# Source: https://susanqq.github.io/UTKFace/
UTKFACE = re.compile(r"(?:.*/)?(?P<age>\d+)_(?:(?P<gender>[01])_)?(?:_?(?P<race>[0-4])_)?\d{14,17} ?\..+")
_UTKFACE_FOLDER = re.compile(r"utk.*|crop_part\d|part\d|.*cropped|images?", re.IGNORECASE)
_ETHNICITY = r"(?P<ethnicity>Asian|Black|Indian|White|Hispanic|Latino|Arab|Middle\w*)"
GANDIFFFACE = re.compile(rf"(?P<who>(?:.*/)?{_ETHNICITY}_(?P<gender>Male|Female)/\d+)/[^/]+")


def read(folder: Path, database: str, layout: str = people.FOLDERS) -> Iterator[Sample]:
    """Yields photos; who is on them is what `people.read` makes of all of their names."""
    names = list(files.list_images(folder))
    for name, identity in zip(names, people.read(names, layout).identity, strict=True):
        yield Sample(f"{database}/{name}", database, identity, str(folder / name))


def read_named(
    folder: Path, database: str, pattern: re.Pattern[str], nobody: Callable[[str], str] = unknown
) -> Iterator[Sample]:
    """Yields photos with what their names say by a pattern's groups; `nobody` makes an identity of a name without."""
    for name in files.list_images(folder):
        match = pattern.fullmatch(name)
        said = {key: value for key, value in (match.groupdict() if match else {}).items() if value}
        identity = said.pop("who", "") or nobody(name)
        yield Sample(f"{database}/{name}", database, identity, str(folder / name), attributes=said)


def is_utkface(names: Sequence[str]) -> bool:
    """Says whether photos are named as UTKFace's, AGE_GENDER_RACE_DATE.jpg, and lie in no folders of other names."""
    inside = {name.rpartition("/")[0].rpartition("/")[2] for name in names} - {""}
    return people.all_match(names, UTKFACE) and all(_UTKFACE_FOLDER.fullmatch(name) for name in inside)


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
