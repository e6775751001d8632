"""CelebA: identity_CelebA.txt says who is on each photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mint_keras.data import files
from mint_keras.records import InputError, Sample

IDENTITIES = "identity_CelebA.txt"


def is_here(folder: Path) -> bool:
    """Says whether the file of identities is there."""
    return _find(folder) is not None


def read(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the photos; one of which the file of identities says nothing is unusable.

    Raises:
        InputError: if the file of identities is damaged.
    """
    file = _find(folder)
    lines = [line.split() for line in files.read_lines(file)] if file else []
    if wrong := [number for number, line in enumerate(lines, start=1) if len(line) not in (0, 2)]:
        raise InputError(f"Expected a photo and a number in each line of {file}, received others in line {wrong[0]}.")
    people = dict(line for line in lines if line)
    for name in files.list_images(folder):
        # The file names photos without their folder, which differs between the distributions.
        person, location = people.get(name.rpartition("/")[2]), str(folder / name)
        if person is None:
            location = files.unusable(f"Expected every photo in {IDENTITIES}, received one without a person", location)
        yield Sample(f"{database}/{name}", database, person or name, location)


def _find(folder: Path) -> Path | None:
    paths = (folder / IDENTITIES, folder / "Anno" / IDENTITIES)
    return next((path for path in paths if path.is_file()), None)
