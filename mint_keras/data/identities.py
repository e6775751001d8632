"""Whose face a photo shows, as the layout of its database tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mint_keras.records import InputError

CELEBA_FILE = "identity_CelebA.txt"
_ADIENCE = re.compile(r"(?:coarse_tilt_aligned|landmark_aligned)_face\.(\d+)\.")


def identities(folder: Path, names: Sequence[str]) -> list[str]:
    """Returns the person in each photo, unique within the database.

    Adience and CelebA are recognised by their names of files. Otherwise the folder a photo lies in is the person (LFW,
    GANDiffFace at any depth), and a photo directly in the database's folder belongs to nobody else (UTKFace).

    Args:
        folder: of the database.
        names: of the photos, relative to it, with forward slashes.

    Raises:
        InputError: if the layout is one that is known, but broken.
    """
    if all(_ADIENCE.match(name.rpartition("/")[2]) for name in names):
        return _adience(folder, names)
    files = [path for path in (folder / CELEBA_FILE, folder / "Anno" / CELEBA_FILE) if path.is_file()]
    if files:
        return _celeba(files[0], names)
    return [name.rpartition("/")[0] or name for name in names]


def _adience(folder: Path, names: Sequence[str]) -> list[str]:
    """faces/USER/coarse_tilt_aligned_face.FACE.PHOTO: a user's album may show several people, FACE tells them apart.

    Source: OpenCV contrib, datasets/fr_adience, and the README of the Adience set.
    """
    kinds = {name.rpartition("/")[2].partition(".")[0] for name in names}
    if len(kinds) > 1:
        raise InputError(f"Expected Adience's faces or aligned folder, received {folder} with both: name one of them.")
    found = []
    for name in names:
        match = _ADIENCE.match(name.rpartition("/")[2])
        user = name.rpartition("/")[0].rpartition("/")[2]
        found.append(f"{user}/{match[1] if match else ''}")
    return found


def _celeba(file: Path, names: Sequence[str]) -> list[str]:
    """identity_CelebA.txt: a line "000001.jpg 2880" for every photo."""
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"Expected text in {file}, received bytes that are none.") from error
    wrong = [number for number, line in enumerate(lines, start=1) if len(line) not in (0, 2)]
    if wrong:
        raise InputError(f"Expected a photo and a number in each line of {file}, received others in line {wrong[0]}.")
    people = dict(line for line in lines if line)
    missing = [name for name in names if name.rpartition("/")[2] not in people]
    if missing:
        raise InputError(f"Expected every photo in {file}, received {len(missing)} without a person: {missing[:3]}.")
    return [people[name.rpartition("/")[2]] for name in names]
