"""What a file is, by how it begins."""

import re

_DOCUMENT, _ARCHIVE = "a document, whose pictures are not read", "an archive, which is not unpacked"
# Whether it is an image, what it is, and what stands after a number of bytes.
_BEGINNINGS: tuple[tuple[bool, str, int, tuple[bytes, ...]], ...] = (
    (True, "a JPEG image", 0, (b"\xff\xd8\xff",)),
    (True, "a PNG image", 0, (b"\x89PNG\r\n\x1a\n",)),
    (True, "a GIF image", 0, (b"GIF8",)),
    (True, "a TIFF image", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (True, "a WebP image", 8, (b"WEBP",)),
    (True, "a JPEG 2000 image", 0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    (True, "a JPEG XL image", 0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    (True, "an AVIF or HEIC image", 8, (b"avif", b"avis", b"hei", b"hev", b"mif1", b"msf1", b"crx ")),
    (False, "a video", 4, (b"ftyp",)),
    (False, "a video", 0, (b"\x1aE\xdf\xa3",)),
    (False, "a video", 8, (b"AVI ",)),
    (False, "a PDF, whose pictures are not read", 0, (b"%PDF",)),
    (False, _DOCUMENT, 30, (b"[Content_Types].xml", b"mimetypeapplication/vnd.oasis")),
    (False, _DOCUMENT, 0, (b"\xd0\xcf\x11\xe0",)),
    (False, _ARCHIVE, 0, (b"PK\3\4", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh")),
    (False, _ARCHIVE, 257, (b"ustar",)),
)
_NETPBM = re.compile(rb"P(?:[1-6]\s+(?:#[^\n]*\n|\s)*\d+\s|7\n)")
LONGEST = 512  # bytes that tell what a file is


def describe(start: bytes) -> tuple[bool, str]:
    """Returns whether a file that begins so is an image, and what it is; "" where nobody knows."""
    for is_image, what, place, beginnings in _BEGINNINGS:
        if start.startswith(beginnings, place):
            return is_image, what
    if _NETPBM.match(start[:LONGEST]) or (start[:2] == b"BM" and start[6:10] == b"\0\0\0\0"):
        return True, "an image"
    return False, ""
