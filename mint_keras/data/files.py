"""Which images a folder holds, at any depth, and what else lies there."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mint_keras.borders import without_controls
from mint_keras.records import InputError, Rejected

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".jp2", ".gif"}
    # OpenCV reads some or none of these, and then they are rejected, not overlooked.
    | {".heic", ".heif", ".avif", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".raw"}
)
# How files begin, after a number of bytes, and whether that is an image.
_BEGINNINGS: tuple[tuple[int, bytes, bool, str], ...] = (
    (0, b"\xff\xd8\xff", True, "a JPEG image"),
    (0, b"\x89PNG\r\n\x1a\n", True, "a PNG image"),
    (0, b"GIF8", True, "a GIF image"),
    (0, b"II*\0", True, "a TIFF image"),
    (0, b"MM\0*", True, "a TIFF image"),
    (8, b"WEBP", True, "a WebP image"),
    (0, b"\0\0\0\x0cjP  ", True, "a JPEG 2000 image"),
    (0, b"\xff\x0a", True, "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", True, "a JPEG XL image"),
    *(
        (8, brand, True, "an AVIF or HEIC image")
        for brand in (b"avif", b"avis", b"hei", b"hev", b"mif1", b"msf1", b"crx ")
    ),
    (4, b"ftyp", False, "a video"),
    (0, b"\x1aE\xdf\xa3", False, "a video"),
    (8, b"AVI ", False, "a video"),
    (0, b"%PDF", False, "a PDF, whose pictures are not read"),
    *(
        (place, start, False, "a document, whose pictures are not read")
        for place, start in (
            (30, b"[Content_Types].xml"),
            (30, b"mimetypeapplication/vnd.oasis"),
            (0, b"\xd0\xcf\x11\xe0"),
        )
    ),
    *(
        (0, start, False, "an archive, which is not unpacked")
        for start in (b"PK\3\4", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh")
    ),
    (257, b"ustar", False, "an archive, which is not unpacked"),
)
_NETPBM = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n|\s)*\d+\s")
_LONGEST = 512  # bytes that tell what a file is
# Copies that a NAS, a system or a viewer makes of photos that lie beside them, and what was thrown away.
_COPIES = frozenset(
    {"@eadir", "@recently-snapshot", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "__macosx", "lost+found"}
    | {"thumbs", "thumbnails", "_thumbs", "@thumb", "system volume information", "network trash folder"}
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

    Files of other suffixes, or none, are images if they begin as images do. Hidden files and copies that a NAS or a
    viewer made are left out. Links to folders are followed, each folder once. Names go through `escape`.
    """
    for path, name in _walk(folder, "", set()):
        if not _why_hidden(name) and (_suffix(name) in SUFFIXES or _what(path)[0]):
            yield escape(name)


def left_out(folder: Path, used: Iterable[str]) -> list[Rejected]:
    """Returns every file of a folder that is not among the locations of its samples, and why."""
    inside = f" ({folder}/"
    known = {
        f"{folder}/{location.partition(inside)[2].removesuffix(')')}" if why_unusable(location) else location
        for location in used
    }
    found = []
    for path, name in _walk(folder, "", set()):
        if (location := f"{folder}/{escape(name)}") not in known:
            is_image, what = _what(path)
            other = f"{what}, of which the database says nothing" if is_image else what
            found.append(Rejected(location, f"{LEFT_OUT}{_why_hidden(name) or other}."))
    return found


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file of a database, in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"Expected text in {path}, received bytes that are none.") from error


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _why_hidden(name: str) -> str:
    """Returns why a file is left out whatever it holds, "" if it is not."""
    *folders, last = name.split("/")
    if any(folder.casefold() in _COPIES for folder in folders) or _COPY.fullmatch(last):
        return "a thumbnail or another copy that a system made"
    return "hidden" if any(part.startswith(".") for part in (*folders, last)) else ""


def _what(path: Path) -> tuple[bool, str]:
    """Returns whether a file begins as an image does, and what it is."""
    try:
        # A pipe would be waited for.
        start = b"" if not path.is_file() else _beginning(path)
    except OSError:
        return False, "a file that cannot be read"
    is_image, what = describe(start)
    return is_image, what or f"no image ({_suffix(path.name) or 'without a suffix'})"


def describe(start: bytes) -> tuple[bool, str]:
    """Returns whether a file that begins so is an image, and what it is; "" where nobody knows."""
    for place, beginning, is_image, what in _BEGINNINGS:
        if start[place : place + len(beginning)] == beginning:
            return is_image, what
    if _NETPBM.match(start[:_LONGEST]) or (start[:2] == b"BM" and start[6:10] == b"\0\0\0\0"):
        return True, "an image"
    return False, ""


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_LONGEST)


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str]]:
    """Yields every file, hidden ones included, with its name relative to the folder on top."""
    # A link may lead to a folder that is above it.
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    # The order of `scandir` is the file system's.
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that leads in a circle
            continue
        if is_folder:
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", seen)
        else:
            yield folder / entry.name, prefix + entry.name
