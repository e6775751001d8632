"""Adience: faces/USER/coarse_tilt_aligned_face.FACE.PHOTO, aligned/USER/landmark_aligned_face.FACE.PHOTO.

A user's album may show several people; FACE tells them apart. Source: the README of the Adience set, as OpenCV's
datasets/fr_adience quotes it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mint_keras.data import files
from mint_keras.data.people import unknown
from mint_keras.records import InputError, Sample

_NAME = re.compile(r"(?:(.*)/)?(coarse_tilt_aligned|landmark_aligned)_face\.(\d+)\.(.+)")
_COLUMNS = ["user_id", "original_image", "face_id", "age", "gender"]


def is_here(names: Sequence[str]) -> bool:
    """Says whether most images are named as Adience's are, and lie in folders of users of Flickr."""
    return sum("@N" in name and bool(_NAME.fullmatch(name)) for name in names) > len(names) / 2


def read(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the faces, with age and gender where the fold files lie in the folder or beside it.

    An image that is not named as Adience's are is unusable. Adience's two folders hold the same faces: one is read.
    """
    attributes = {}
    for path in sorted([*folder.glob("fold_*_data.txt"), *folder.parent.glob("fold_*_data.txt")]):
        lines = [line.split("\t") for line in files.read_lines(path) if line]
        if not lines or lines[0][:5] != _COLUMNS or any(len(line) < len(_COLUMNS) for line in lines):
            raise InputError(f"Expected lines of {_COLUMNS} ..., separated by tabs, in {path}, received others.")
        for user, photo, face, age, gender, *_ in lines[1:]:
            known = {"age": age, "gender": gender}
            attributes[user, photo, face] = {key: said for key, said in known.items() if said not in ("", "None")}
    kinds = set()
    for name in files.list_images(folder):
        match = _NAME.fullmatch(name)
        if not match:
            location = files.unusable("Expected Adience's names, received another", name)
            yield Sample(f"{database}/{name}", database, unknown(name), location)
            continue
        parent, kind, face, photo = match.groups()
        kinds.add(kind)
        if len(kinds) > 1:
            raise InputError(f"Expected Adience's faces or aligned, received {folder} with both: name one of them.")
        user = (parent or "").rpartition("/")[2]
        known = attributes.get((user, photo, face), {})
        yield Sample(f"{database}/{name}", database, f"{user}/{face}", str(folder / name), attributes=known)
