"""From encoded bytes to upright RGB pixels, or why not. OpenCV and libjpeg decode; Pillow says how to turn."""

import contextlib
import io
import re
import warnings
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from mint_keras.data import kinds
from mint_keras.records import InputError

JPEG_START = b"\xff\xd8"
_JPEG_END, _JPEG_SCAN = b"\xff\xd9", b"\xff\xda"
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_ORIENTATION, _SAMPLE_FORMAT = 0x0112, 0x0153  # tags of TIFF and EXIF
# What OpenCV does with an upright image for each EXIF orientation: transpose, then flip rows, then flip columns.
_TURNS = {2: (0, 0, 1), 3: (0, 1, 1), 4: (0, 1, 0), 5: (1, 0, 0), 6: (1, 0, 1), 7: (1, 1, 1), 8: (1, 1, 0)}
_NETPBM = re.compile(rb"P([1-6])(?:\s+(?:#[^\n]*\n\s*)*(\d+)){3}\s")
_PAM = re.compile(rb"P7\n.*MAXVAL 255\n.*ENDHDR\n", re.DOTALL)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_SUBFILE, _DNG_VERSION = 0x00FE, 0xC612
_HEIC = (b"hei", b"hev", b"mif1", b"msf1")
_MAX_PIXELS = 2**26
_PADDING = 16  # bytes before the end marker that encoders are known to add
_TAIL = bytes(64)
# What libjpeg says of scans that are not whole. OpenCV takes them all the same, grey or shifted from there on.
_DAMAGE = re.compile(
    r"Corrupt JPEG data: (?!bad ICC)(?:(\d+) extraneous bytes before marker 0xd9)?|Premature end of JPEG"
    r"|Unsupported marker"
)


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image to RGB, shape (height, width, 3), uint8.

    It is turned as an EXIF orientation, or the header of an AVIF image, says. Grey becomes three equal channels, 16
    bits become 8, transparency is dropped, of an animation the first picture is taken.

    Raises:
        InputError: if the bytes are no image, or a damaged one, or one of more pixels than
            `OPENCV_IO_MAX_IMAGE_PIXELS` allows.
    """
    netpbm = _NETPBM.match(encoded[:1024])
    if netpbm and (netpbm[1] in b"23" or (netpbm[1] in b"56" and netpbm[2] not in (b"255", b"65535"))):
        return _by_pillow(encoded)  # OpenCV does not scale these
    tags = _tiff_tags(encoded) if encoded[:4] in _TIFF else {}
    if any(kind != 1 for kind in np.ravel(tags.get(_SAMPLE_FORMAT, 1)).tolist()):
        raise InputError("Expected whole numbers without a sign, received a TIFF image of others. Save it as PNG.")
    if encoded[4:8] == b"ftyp" and encoded[8:12].startswith(_HEIC):
        return _heic(encoded)
    # The first picture of a photo's own file is the photo. In RAW files it is a small copy, which OpenCV reads.
    subfile = tags.get(_SUBFILE, 0)  # of whatever type
    is_copy = _DNG_VERSION in tags or (isinstance(subfile, int) and subfile & 1) or (tags and encoded[8:10] == b"CR")
    if is_copy or encoded.startswith(_RAW) or encoded[4:12] == b"ftypcrx ":
        raise InputError("Expected a developed photo, received a camera's RAW file: export it as JPEG.")
    image = _jpeg(encoded) if encoded.startswith(JPEG_START) else _opencv(encoded)
    is_scaled = not encoded.startswith(b"P7") or _PAM.match(encoded[:1024])  # which OpenCV does not do
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or not is_scaled:
        is_image, what = kinds.describe(encoded)
        received = what if what and not is_image else f"{what or 'bytes'} that OpenCV cannot decode"
        raise InputError(f"Expected an image, received {received}. Save it as JPEG or PNG.")
    _refuse_zeros(encoded, image)
    return turn(image, orientation(encoded))


def orientation(encoded: bytes) -> int:
    """Returns how stored pixels have to be turned: an EXIF orientation, 1 to 8, of which 1 leaves them."""
    # Only opened where something may say so. OpenCV's own reader of TIFF turns.
    value: object = 1
    says = encoded[4:8] == b"ftyp" or any(word in encoded for word in (b"Exif", b"EXIF", b"eXIf"))
    if says and encoded[:4] not in _TIFF:
        with contextlib.suppress(Exception), warnings.catch_warnings():  # of damaged tags; OpenCV read the pixels
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(encoded)) as image:
                value = image.getexif().get(_ORIENTATION)
    if isinstance(value, bytes):  # of type BYTE or UNDEFINED
        value = int.from_bytes(value[:4], "little") or int.from_bytes(value[:4], "big")
    value = value[0] if isinstance(value, tuple) and value else value
    return int(value) if isinstance(value, int) and value in _TURNS else 1


def turn(image: np.ndarray, how: int) -> np.ndarray:
    """Returns an image turned and mirrored as an EXIF orientation says."""
    if how not in _TURNS:
        return image
    transposed, rows, columns = _TURNS[how]
    image = image.transpose(1, 0, 2) if transposed else image
    return np.ascontiguousarray(image[:: -1 if rows else 1, :: -1 if columns else 1])


def turn_box(box: np.ndarray, shape: tuple[int, ...], how: int) -> np.ndarray:
    """Returns a box on stored pixels (left, top, right, bottom) as one on the upright image of a shape."""
    transposed, rows, columns = _TURNS.get(how, (0, 0, 0))
    points = box.reshape(2, 2)[:, ::-1] if transposed else box.reshape(2, 2)
    points = np.where([columns, rows], np.array([shape[1], shape[0]]) - points, points)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _tiff_tags(encoded: bytes) -> dict[int, Any]:
    """Returns the tags of the first picture of a TIFF file, as far as they can be read."""
    with contextlib.suppress(Exception), warnings.catch_warnings():  # Pillow has many for what is damaged
        warnings.simplefilter("ignore")
        is_big = 43 in encoded[2:4]
        tags, file = TiffImagePlugin.ImageFileDirectory_v2(encoded[: 16 if is_big else 8]), io.BytesIO(encoded)
        file.seek(tags.next)
        tags.load(file)
        return dict(tags)
    return {}


def _opencv(encoded: bytes) -> np.ndarray | None:
    if not encoded:
        return None
    flags = cv2.IMREAD_COLOR_RGB if encoded[:4] in _TIFF else _FLAGS
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        # OpenCV has one error for everything, so its message must tell. The limit is OpenCV's own, by its
        # environment variable, because only OpenCV can check it before decoding.
        if "CV_IO_MAX_IMAGE" in str(error):
            raise InputError(
                "Expected an image of sane size, received more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows "
                "(67 million, unless you set that environment variable)."
            ) from error
    return None


def _jpeg(encoded: bytes) -> np.ndarray | None:
    # The picture may be whole without its end marker, which decoders wait for. Within a scan neither marker occurs.
    has_end = encoded.rfind(_JPEG_END) > encoded.rfind(_JPEG_SCAN)
    whole = encoded if has_end else encoded + _JPEG_END
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(whole)
        if height * width > _MAX_PIXELS:
            return _opencv(whole)  # has a limit of its own, that users may move
        return simplejpeg.decode_jpeg(whole, "RGB")
    except ValueError as error:
        damage = _DAMAGE.search(str(error))
        num, end = int(damage[1] or 0) if damage else 0, encoded.rfind(_JPEG_END)
        is_padding = has_end and 0 < num <= _PADDING and len(set(encoded[end - num : end])) == 1
        if damage and not is_padding:
            raise InputError(f"Expected an image, received a JPEG whose pixels are damaged: {error}.") from error
    return _opencv(whole)  # knows CMYK, too


def _refuse_zeros(encoded: bytes, image: np.ndarray) -> None:
    """Raises InputError if zeros stand where the end of a file should be, as after a copy that was broken off."""
    end = int.from_bytes(encoded[4:8], "little") + 8 if encoded[8:12] == b"WEBP" else len(encoded)
    # Of these the decoders notice it.
    is_checked = encoded.startswith((JPEG_START, b"\x89PNG", b"GIF8")) or encoded[4:8] == b"ftyp"
    if is_checked or not encoded[:end].endswith(_TAIL) or encoded.rstrip(b"\0").endswith(_JPEG_END):
        return
    if encoded[:2] == b"BM" and int.from_bytes(encoded[22:26], "little", signed=True) > 0:
        image = image[::-1]  # from the last row to the first
    if encoded[:2] == b"BM" or encoded[:4] in _TIFF or encoded[:1] == b"P":
        # Black borders end with a row. Lost pixels begin within one, beside and below pixels that are not black.
        is_lit: np.ndarray = image.max(axis=2) > 0
        row = int(np.flatnonzero(is_lit.any(axis=1))[-1]) if is_lit.any() else 0
        column = int(np.flatnonzero(is_lit[row])[-1]) + 1 if is_lit[row].any() else 0
        if not (0 < row < len(image) - 1 and 0 < column < image.shape[1]):
            return
        if min(is_lit[row, :column].mean(), is_lit[row - 1, column:].mean()) < 0.5:
            return
    raise InputError("Expected an image, received one whose end was overwritten with zeros.")


def _by_pillow(encoded: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise InputError(f"Expected an image of sane size, received {image.width}x{image.height}.")
            pixels = np.asarray(image)
            if pixels.dtype.itemsize > 1:  # 16 bits, in 32
                grey = (pixels // 257).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"Expected an image, received: {error}.") from error


def _heic(encoded: bytes) -> np.ndarray:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            "Expected a photo that can be decoded, received HEIC (an iPhone's): pip install pillow-heif, or export it "
            "as JPEG."
        ) from error
    pillow_heif.register_heif_opener()  # which turns it, too
    return _by_pillow(encoded)
