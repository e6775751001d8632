"""Which images a folder holds, at any depth."""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mint_keras.borders import without_controls
from mint_keras.records import InputError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".jp2", ".gif"}
    # Cameras write these; OpenCV reads some or none of them, and then they are rejected, not overlooked.
    | {".heic", ".heif", ".avif", ".jxl"}
)
_UNUSABLE = "unusable: "
_ESCAPED = re.compile(rb"\\x([0189a-f][0-9a-f]|7f)")


def escape(name: str) -> str:
    r"""Returns a name that tables can hold and terminals can show.

    Bytes that are not UTF-8, as in old archives, become `\xe9` or the like, and so do those that steer a terminal.
    """
    return without_controls(os.fsencode(name).decode("utf-8", "backslashreplace"))


def find(location: str) -> Path:
    """Returns the file at a location, whose name `escape` may have changed."""
    # A name may really hold a backslash and an x.
    if "\\x" not in location or os.path.exists(location):
        return Path(location)
    return Path(os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), os.fsencode(location))))


def unusable(reason: str, path: str) -> str:
    """Returns the location of a photo that a database has, but does not say enough about: reading it gives the reason.

    So it is rejected and counted like one that cannot be decoded.
    """
    return f"{_UNUSABLE}{reason} ({path})"


def why_unusable(location: str) -> str:
    """Returns the reason why a photo was listed as `unusable`, "" if it was not."""
    return location.removeprefix(_UNUSABLE) if location.startswith(_UNUSABLE) else ""


def list_images(folder: Path) -> Iterator[str]:
    """Yields the images of a folder by their names relative to it, with forward slashes, in a fixed order.

    Hidden files are left out; files without a suffix count. Links to folders are followed, each folder once. Names go
    through `escape`.
    """
    yield from _walk(folder, "", set())


def first_images(folder: Path, num: int = 20) -> list[str]:
    """Returns the first few images of a folder, which show its layout."""
    return list(itertools.islice(list_images(folder), num))


def all_match(folder: Path, pattern: re.Pattern[str]) -> bool:
    """Says whether a folder has images and the first few are named as a pattern says."""
    names = first_images(folder)
    return bool(names) and all(pattern.fullmatch(name) for name in names)


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file of a database, in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"Expected text in {path}, received bytes that are none.") from error


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    # A link may lead to a folder that is above it.
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    # The order of `scandir` is the file system's.
    with os.scandir(folder) as entries:
        ordered = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in ordered:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that leads in a circle
            continue
        if is_folder:
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", seen)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES or "." not in entry.name:
            yield escape(prefix + entry.name)
