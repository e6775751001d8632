"""Which images a folder holds, at any depth, and what else lies there."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mint_keras.borders import read_text, shown, without_controls
from mint_keras.data import kinds
from mint_keras.records import Rejected

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".jp2", ".gif"}
    # OpenCV reads some or none of these, and then they are rejected, not overlooked.
    | {".heic", ".heif", ".avif", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".raw"}
)
# Copies that a NAS, a system or a viewer makes of photos that lie beside them, and what was thrown away.
_COPIES = frozenset(
    {"@eadir", "@recently-snapshot", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "__macosx", "lost+found"}
    | {"thumb", "thumbs", "thumbnail", "thumbnails", "@tmp", "system volume information", "network trash folder"}
)
_COPY = re.compile(r"SYNO(?:PHOTO|FILE)[_@]THUMB.*|Thumbs\.db|ZbThumbnail\.info|desktop\.ini", re.IGNORECASE)
_UNUSABLE = "unusable: "
# How reasons begin of what nobody took for a photo, or for another one.
LEFT_OUT = "Left out: "
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


def unusable(reason: str, name: str) -> str:
    """Returns the location of a photo that a database has, but does not say enough about: reading it gives the reason.

    So it is rejected and counted like one that cannot be decoded.
    """
    return f"{_UNUSABLE}{reason} ({name})"


def why_unusable(location: str) -> str:
    """Returns the reason why a photo was listed as `unusable`, "" if it was not."""
    return location.removeprefix(_UNUSABLE) if location.startswith(_UNUSABLE) else ""


def reason(error: Exception, location: str) -> str:
    """Returns in a line why a photo could not be used; in which folder it lies is nobody's business."""
    folder = os.path.dirname(location)
    text = str(error).replace(f"{folder}/", "") if folder else str(error)
    return " ".join(text.split())


def list_images(folder: Path) -> Iterator[str]:
    """Yields the images of a folder by their names relative to it, with forward slashes, in a fixed order.

    Files of other suffixes, or none, are images if they begin as images do. Hidden files and copies that a NAS or a
    viewer made are left out. Links to folders are followed, each folder once. Names go through `escape`.
    """
    for path, name in _walk(folder):
        if not _why_hidden(name) and (_suffix(name) in SUFFIXES or _what(path)[0]):
            yield escape(name)


def left_out(folder: Path, database: str, used: Iterable[str]) -> list[Rejected]:
    """Returns every file of a database's folder that is not among the locations of its samples, and why."""
    known = {
        f"{folder}/{location.partition(' (')[2].removesuffix(')')}" if why_unusable(location) else location
        for location in used
    }
    found = []
    for path, name in _walk(folder):
        if (location := f"{folder}/{escape(name)}") not in known:
            is_image, what = _what(path)
            other = f"{what}, of which the database says nothing" if is_image else what
            place = shown(f"{database}/{escape(name)}", location)
            found.append(Rejected(place, f"{LEFT_OUT}{_why_hidden(name) or other}."))
    return found


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file of a database, in UTF-8."""
    return read_text(path).splitlines()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _why_hidden(name: str) -> str:
    """Returns why a file is left out whatever it holds, "" if it is not."""
    *folders, last = name.split("/")
    if any(_COPIES & {folder.casefold(), folder.casefold().strip("@_")} for folder in folders) or _COPY.fullmatch(last):
        return "a thumbnail or another copy that a system made"
    return "hidden" if any(part.startswith(".") for part in (*folders, last)) else ""


def _what(path: Path) -> tuple[bool, str]:
    """Returns whether a file begins as an image does, and what it is."""
    start = b""
    try:
        if path.is_file():  # a pipe would be waited for
            with open(path, "rb") as file:
                start = file.read(kinds.LONGEST)
    except OSError:
        return False, "a file that cannot be read"
    is_image, what = kinds.describe(start)
    return is_image, what or f"no image ({_suffix(path.name) or 'without a suffix'})"


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yields every file, hidden ones included, with its name relative to the folder."""
    seen: set[tuple[int, int]] = set()
    # A stack of what is still to come at each depth, because folders may be deeper than Python calls.
    coming = [iter([(folder, "", True)])]
    while coming:
        path, name, is_folder = next(coming[-1], (None, "", False))
        if path is None:
            coming.pop()
        elif not is_folder:
            yield path, name
        else:
            # A link may lead to a folder that is above it.
            status = os.stat(path)
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                coming.append(_entries(path, f"{name}/" if name else ""))


def _entries(folder: Path, prefix: str) -> Iterator[tuple[Path, str, bool]]:
    """Yields what lies in a folder: where, its name behind a prefix, and whether it is a folder."""
    # The order of `scandir` is the file system's.
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        with contextlib.suppress(OSError):  # a link that leads in a circle
            yield folder / entry.name, prefix + entry.name, entry.is_dir()
