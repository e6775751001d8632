"""Lists the photos that somebody wants scored, and finds the faces in them; every photo is decoded once."""

import collections
import contextlib
import dataclasses
import glob
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import cv2
import numpy as np

from mint_keras import formats, languages, shelf
from mint_keras.borders import read_text, shown
from mint_keras.data import files, images, samples
from mint_keras.data.people import unknown
from mint_keras.edge.bundle import DETECTORS, Bundle
from mint_keras.faces import align, detectors, mediapipe, policies, scrfd
from mint_keras.records import InputError, Rejected, SampleTable, concatenate_tables

ALL = "all"
_TABLES = (".rec", ".bin", ".csv", ".parquet")


class Listed(NamedTuple):
    """Photos, and what lies beside them: files that are none, and copies of the photos, each with the reason."""

    table: SampleTable
    left_out: list[Rejected]


def list_photos(paths: Sequence[str | Path], are_albums: bool = False) -> Listed:
    """Lists photos; one that is named twice or lies there twice counts once, and in albums everybody is somebody else.

    Args:
        paths: Images, folders, patterns of files such as `"photos/**/*.jpg"`, lists (`.txt`, a path a line, relative to
            the list's folder), or any other source of `samples.list_samples`.
        are_albums: Whether folders say nothing of who is on a photo.

    Raises:
        InputError: if there is no such path, nothing fits a pattern, or it holds no image.
    """
    if not paths:
        raise InputError("Expected photos to score, received none: name images or folders, or use --serve.")
    table = concatenate_tables([_list(str(path)) for path in paths])
    first = np.sort(np.unique(table.location, return_index=True)[1])
    table = table.take(first)
    names = _without_top(table.sample_id)
    # Where nobody says who is on a photo it is judged by itself, as the report says; folders are judged as persons.
    is_unknown = np.array([name.startswith(unknown("")) for name in table.identity.tolist()])
    identity = np.where((table.identity == table.sample_id) | is_unknown, names, table.identity)
    table = samples.join([dataclasses.replace(table, sample_id=names, identity=identity)])
    copies = _copies(table)
    place = dict(zip(table.location.tolist(), map(shown, table.sample_id, table.location), strict=True))
    left_out = [Rejected(place[location], same_photo(place[first])) for location, first in copies.items()]
    for path in dict.fromkeys(str(shelf.find(Path(path), shelf.EXPORT)) for path in paths):
        if Path(path).is_dir():
            left_out += samples.left_out(samples.locate(path), table)
    table = table.take(~np.isin(table.location, list(copies)))
    table = dataclasses.replace(table, identity=table.sample_id, group=None) if are_albums else table
    return Listed(table, left_out)


def same_photo(first: str) -> str:
    """Returns the reason why a photo is left out that has the bytes of another."""
    return f"{files.LEFT_OUT}the same photo as {first}."


def _copies(table: SampleTable) -> dict[str, str]:
    """Returns the locations of files that hold what an earlier one holds, each with that one."""
    by_size = collections.defaultdict(list)
    for location in table.location.tolist():
        path = files.find(location)
        if path.is_file():
            by_size[os.path.getsize(path)].append(location)
    copies: dict[str, str] = {}
    for alike in by_size.values():
        first: dict[str, str] = {}
        for location in alike if len(alike) > 1 else ():
            content = formats.sha256_file(files.find(location))
            if first.setdefault(content, location) != location:
                copies[location] = first[content]
    return copies


def _list(path: str) -> SampleTable:
    file = shelf.find(Path(path), shelf.EXPORT)
    if file.is_file() and file.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(file).splitlines()]
        named = [line for line in lines if line and not line.startswith("#")]
        if not named:
            raise InputError(f"Expected paths in {file}, one a line, received none.")
        inside = [str(file.parent / line) for line in named]
        return concatenate_tables([samples.list_samples(p) if Path(p).is_dir() else _photo(p) for p in inside])
    if file.is_file():
        return samples.list_samples(str(file)) if file.suffix in _TABLES else _photo(str(file))
    if not file.exists() and glob.has_magic(path):
        found = sorted(name for name in glob.glob(path, recursive=True) if Path(name).is_file())
        if not found:
            raise InputError(f"Expected files that fit the pattern {path}, received none.")
        return concatenate_tables([_list(name) for name in found])
    return samples.list_samples(str(file) if file.is_dir() else path)


def _without_top(names: np.ndarray) -> np.ndarray:
    """Returns names, those that are absolute paths relative to the folder that these have in common."""
    with contextlib.suppress(ValueError):  # there is none, or Windows has several drives
        top = os.path.commonpath([os.path.dirname(name) for name in names.tolist() if os.path.isabs(name)])
        short = np.array([shown(os.path.relpath(name, top), name) for name in names.tolist()])
        return short if len(np.unique(short)) == len(np.unique(names)) else names
    return names


def _photo(path: str) -> SampleTable:
    """Lists one photo, which is a person of its own; if it is missing, reading it says so."""
    location, path = files.escape(str(Path(path).resolve())), files.escape(path)
    return SampleTable(*(np.array([text]) for text in (path, Path(location).parent.name, path, location)))


@dataclasses.dataclass(frozen=True)
class Looking:
    """How faces are looked for.

    Attributes:
        detectors: Names that `detectors.find_file` knows; where one finds nothing the next is asked. `with_bundle` puts
            some in place of none.
        is_aligned: Whether every image is a face already, whatever its size.
        policy: Which of several faces are taken: "all", or one of `policies.POLICIES`.
        min_score: The certainty, 0 to 1, below which a face does not count.
        border: The width of a black border around every photo while its faces are sought, as a share of its sides.
        pictures: Whether faces are kept as pictures for the report.
        anyway: Whether scores are shown although most faces are unlike those that the bundle was calibrated with.
        compares: Whether it is asked if a person's photos show one person.
        language: What pages are written in, a key of `languages.NAMES`.

    Raises:
        InputError: for a language that there is none of.
    """

    detectors: tuple[str, ...] = ()
    is_aligned: bool = False
    policy: str = ALL
    min_score: float = scrfd.MIN_SCORE
    border: float = 0.0
    pictures: bool = False
    anyway: bool = False
    compares: bool = False
    language: str = languages.ENGLISH

    def __post_init__(self) -> None:
        languages.of(self.language)

    def settings(self) -> dict[str, Any]:
        """Returns what decides the faces, for a manifest: detectors by their content."""
        hashes = [formats.sha256_file(detectors.find_file(name)) for name in self.detectors]
        settings = {**dataclasses.asdict(self), "detectors": hashes}
        # The faces are the same with and without.
        del settings["anyway"], settings["language"]
        return settings

    def with_bundle(self, bundle: Bundle) -> Self:
        """Returns the same with detectors: those named, or the bundle's own, or else MediaPipe's.

        Raises:
            InputError: if a named detector is none.
        """
        for name in () if self.is_aligned else self.detectors:
            # This shows early whether it is one.
            detectors.open_detector(name)
        own = [str(path.resolve()) for name in DETECTORS.values() if (path := bundle.file(name)) is not None]
        found = () if self.is_aligned else self.detectors or tuple(own) or (mediapipe.NAME,)
        return dataclasses.replace(self, detectors=found)


class Face(NamedTuple):
    """A face found in a photo, or a crop that was a face already, which has neither box nor certainty."""

    pixels: np.ndarray  # the aligned face, RGB, shape (112, 112, 3), uint8
    box: tuple[float, ...] | None = None  # left, top, right and bottom in the photo's pixels
    certainty: float | None = None  # the detector's, 0 to 1
    is_resized: bool = False  # whether it was a crop of another size


class FaceFinder:
    """Decodes photos and finds the faces in them, on as many threads as one likes."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        # Each thread has files and detectors of its own: neither may be used by two at once.
        self._mine = threading.local()

    def decode(self, location: str) -> np.ndarray:
        """Returns a photo as RGB, shape (height, width, 3), uint8, or raises InputError."""
        if not hasattr(self._mine, "reader"):
            self._mine.reader = images.FaceReader()
        return self._mine.reader.image(location)

    def faces(self, photo: str | np.ndarray) -> list[Face]:
        """Returns the faces of a photo (its location, or as `decode` returns it), the most certain first.

        Raises:
            InputError: if it cannot be decoded, or has no face.
        """
        image, looking = self.decode(photo) if isinstance(photo, str) else photo, self._looking
        # An image of 112x112 is a face and any other is a photo: the laptop cannot know better, and resizes nothing
        # unless somebody says that crops of other sizes are faces.
        if looking.is_aligned or image.shape[:2] == (images.IMAGE_SIZE, images.IMAGE_SIZE):
            face = images.FACE.apply(image)
            return [Face(face, is_resized=face.shape != image.shape)]
        if not hasattr(self._mine, "detect"):
            opened = [detectors.open_detector(name, looking.min_score) for name in looking.detectors]
            self._mine.detect = [detectors.with_border(one, looking.border) for one in opened]
        try:
            # SCRFD finds small faces with an input of 640 pixels, and with 320 those that fill the picture.
            # `prepare_faces.py` keeps to insightface's one size, because there it is to be equal.
            seen = (detect(image) for detect in self._mine.detect)
            found: scrfd.Detections | None = next((faces for faces in seen if len(faces)), None)
            if found is None:
                raise InputError("Expected a face, received a photo in which none was found.")
            # Detectors without landmarks are refused when they are opened.
            assert found.landmarks is not None  # noqa: S101
            is_all = looking.policy == ALL
            chosen = range(len(found)) if is_all else [policies.choose(found, image.shape, looking.policy)]
            return [
                Face(align.align(image, found.landmarks[k]), tuple(map(float, found.boxes[k])), float(found.scores[k]))
                for k in chosen
            ]
        except cv2.error as error:
            # OpenCV has limits of its own, such as 32,767 pixels a side.
            raise InputError(f"Expected a photo that OpenCV can work on, received: {error}") from error
