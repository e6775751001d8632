"""What a file is, by how it begins."""

import re

# How files begin, after a number of bytes, and whether that is an image.
_BEGINNINGS: tuple[tuple[int, bytes, bool, str], ...] = (
    (0, b"\xff\xd8\xff", True, "a JPEG image"),
    (0, b"\x89PNG\r\n\x1a\n", True, "a PNG image"),
    (0, b"GIF8", True, "a GIF image"),
    (0, b"II*\0", True, "a TIFF image"),
    (0, b"MM\0*", True, "a TIFF image"),
    (0, b"II+\0", True, "a TIFF image"),
    (0, b"MM\0+", True, "a TIFF image"),
    (8, b"WEBP", True, "a WebP image"),
    (0, b"\0\0\0\x0cjP  ", True, "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", True, "a JPEG 2000 image"),
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
_NETPBM = re.compile(rb"P(?:[1-6]\s+(?:#[^\n]*\n|\s)*\d+\s|7\n)")
LONGEST = 512  # bytes that tell what a file is


def describe(start: bytes) -> tuple[bool, str]:
    """Returns whether a file that begins so is an image, and what it is; "" where nobody knows."""
    for place, beginning, is_image, what in _BEGINNINGS:
        if start[place : place + len(beginning)] == beginning:
            return is_image, what
    if _NETPBM.match(start[:LONGEST]) or (start[:2] == b"BM" and start[6:10] == b"\0\0\0\0"):
        return True, "an image"
    return False, ""
