"""Scores photos with a bundle: NumPy, OpenCV and LiteRT only, no TensorFlow, no network."""

import base64
import concurrent.futures
import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import cv2
import numpy as np

from mint_keras import formats, languages, progress, workers
from mint_keras.borders import shown
from mint_keras.data import files, images, registration, samples
from mint_keras.edge import judgement, report
from mint_keras.edge.bundle import SCORER, Bundle, read_bundle
from mint_keras.edge.judgement import ScoredFace
from mint_keras.edge.photos import Face, FaceFinder, Listed, Looking, list_photos
from mint_keras.edge.report import PhotoScores
from mint_keras.edge.resemblance import Looks
from mint_keras.edge.scorer import TfliteScorer
from mint_keras.environment import hidden_notices
from mint_keras.faces import quality
from mint_keras.records import InputError, Rejected, SampleTable, Scores

KIND = "field_scores"
EVALUATION = "field"
# The number of photos that an interruption can cost. Parts stay beside the results, so that a finished command that is
# given again reads them.
PART_SIZE = 64
# Every thread loads a model of up to so many bytes. A larger one runs once, with all threads, because it may take 200
# MB; a small one runs slower on two threads.
_SMALL = 32 * 2**20
# Faces, in the order of their photos, and the photos without a usable one.
Found = tuple[list[ScoredFace], list[Rejected]]


def score_photos(
    bundle: Path | Bundle,
    photos: Sequence[str | Path] | Listed,
    out: Path | None = None,
    looking: Looking | None = None,
    threads: int = 0,
    where: str = workers.HERE,
    overwrite: bool = False,
) -> PhotoScores:
    """Finds the faces in photos and scores them with a bundle; the photos that could not be used are among the result.

    Args:
        bundle: The bundle, or its folder.
        photos: The paths that `photos.list_photos` takes, or what it returned.
        out: The folder for scores.csv, faces.csv, scores.json, report.html and rejected.csv; an interrupted call
            continues there. Without it nothing is written.
        looking: How faces are looked for; with the bundle's detectors by default.
        threads: The number of processors to use; 0 stands for all.
        where: The workers of `workers.map_parts`: "1" is this process, "ray" or "ray://HOST:PORT" are Ray's.
        overwrite: Whether what `out` holds is replaced.

    Raises:
        InputError: if bundle or photos cannot be used, no photo has a usable face, or `out` cannot be written.
        RefusedError: if the bundle was changed, or `out` holds something else.

    Example:
        >>> found = score_photos(Path("export/lab"), ["export/lab/samples"])
        >>> len(found.faces), found.rejected
        (8, [])
    """
    opened = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
    table, left_out = photos if isinstance(photos, Listed) else list_photos(photos)
    _, counts = np.unique(table.people(), return_counts=True)
    looking = dataclasses.replace((looking or Looking()).with_bundle(opened), compares=bool((counts > 1).any()))
    # Ray has a worker on every processor core, so each of them takes one thread.
    threads = (threads or os.cpu_count() or 1) if where == workers.HERE else 1
    work = _Work((opened.path / SCORER).resolve(), table, looking, threads)

    def judged() -> PhotoScores:
        faces, rejected = _score_all(work, where, out)
        if not faces:
            _refuse(len(table), [*rejected, *left_out], out, languages.of(looking.language))
        return judge(opened, table, faces, [*rejected, *left_out], looking)

    if out is None:
        return judged()
    inputs = {"bundle": formats.sha256_file(opened.path / formats.MANIFEST), "samples": samples.fingerprint(table)}
    try:
        with formats.output_folder(out, formats.make_manifest(KIND, inputs, looking.settings()), overwrite):
            made = judged()
            report.write(out, made)
    except OSError as error:
        kept = "What is there is kept, and the same command continues from it."
        raise InputError(f"Expected to write into {out}, received: {error.strerror or error}. {kept}") from error
    return made


def judge(
    bundle: Bundle, table: SampleTable, faces: list[ScoredFace], unused: list[Rejected], looking: Looking
) -> PhotoScores:
    """Returns what a bundle says of the faces that it scored in a table of photos.

    Args:
        bundle: The bundle.
        table: The photos.
        faces: Their faces.
        unused: Photos without a usable face, and what was left out (`files.LEFT_OUT`).
        looking: Whether scores are shown `anyway`, and in which language.
    """
    calibration = bundle.calibration()
    logit = np.array([face.logit for face in faces], np.float32)
    scores = Scores(bundle.head, bundle.tap, EVALUATION, bundle.seed, judgement.table_of(table, faces), None, logit)
    of_faces, of_persons = judgement.judge(scores, faces, calibration)
    num_resized = sum(face.is_resized for face in faces)
    left_out = [entry for entry in unused if entry.reason.startswith(files.LEFT_OUT)]
    rejected = [entry for entry in unused if entry not in left_out]
    num_photos = len({face.row for face in faces}) + len(rejected)
    num_odd = 0 if looking.anyway else sum(face.is_odd for face in of_faces)
    return PhotoScores(
        bundle, calibration, scores, of_faces, of_persons, rejected, num_photos, num_resized, left_out,
        is_withheld=2 * num_odd > len(of_faces), language=looking.language,
    )  # fmt: skip


class FaceScorer:
    """Scores the faces of photos with a bundle's TFLite file on several threads."""

    def __init__(self, model: Path, looking: Looking, threads: int) -> None:
        # The photos are spread over threads already.
        cv2.setNumThreads(1)
        is_small = model.stat().st_size <= _SMALL
        self._model, self._own_threads = model, 1 if is_small else threads
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._scoring = self._pool if is_small else concurrent.futures.ThreadPoolExecutor(1)
        self._finder = FaceFinder(looking)
        self._has_pictures, self._compares = looking.pictures, looking.compares
        # Each thread has a scorer of its own: an interpreter works on one face at a time.
        self._mine = threading.local()
        # LiteRT prints on the first face, and in the first photo, what it runs on.
        with hidden_notices(), contextlib.suppress(InputError):
            self._scoring.submit(self._measure, np.zeros((images.IMAGE_SIZE, images.IMAGE_SIZE, 3), np.uint8)).result()
            self._pool.submit(self._finder.faces, np.zeros((64, 64, 3), np.uint8)).result()

    def _measure(self, face: np.ndarray) -> tuple[float, list[float], list[float]]:
        """Returns a face's logit, its features, and its look where persons are asked for."""
        if not hasattr(self._mine, "scorer"):
            self._mine.scorer = TfliteScorer(self._model, self._own_threads)
            self._mine.looks = Looks() if self._compares else None
        look = [] if self._mine.looks is None else self._mine.looks.of(face).round(4).tolist()
        return float(self._mine.scorer.logits(face[None])[0]), quality.features(face[None])[0].tolist(), look

    def score_files(self, photos: SampleTable, rows: range) -> Found:
        """Scores the faces of photo files, given with their rows in the whole table of photos."""

        def look(location: str) -> list[Face] | str:
            try:
                return self._finder.faces(location)
            except InputError as error:
                return files.reason(error, location)

        locations = photos.location.tolist()
        try:
            found = list(self._pool.map(look, locations))
        except BaseException:
            # Ctrl-C does not wait for photos that nobody has begun.
            self._pool.shutdown(wait=False, cancel_futures=True)
            raise
        lines = zip(photos.sample_id.tolist(), locations, found, strict=True)
        rejected = [Rejected(shown(name, at), what) for name, at, what in lines if isinstance(what, str)]
        with_faces = [(row, what) for row, what in zip(rows, found, strict=True) if not isinstance(what, str)]
        return self.score_faces(with_faces), rejected

    def score_image(self, image: np.ndarray, row: int = 0) -> list[ScoredFace]:
        """Returns the faces of one decoded photo, RGB, (height, width, 3), uint8; raises InputError if it has none."""
        # The threads of the pool have the detectors.
        faces = self._pool.submit(self._finder.faces, image).result()
        return self.score_faces([(row, faces)])

    def score_faces(self, found: list[tuple[int, list[Face]]]) -> list[ScoredFace]:
        """Returns the scores of faces, each given as the row of a photo and the faces found in it."""
        entries = [(row, k, len(faces), face) for row, faces in found for k, face in enumerate(faces, 1)]
        measured = self._scoring.map(self._measure, [face.pixels for *_, face in entries])
        scored = []
        for (row, number, of, face), (logit, features, look) in zip(entries, measured, strict=True):
            picture = ""
            if self._has_pictures:
                bgr = cv2.cvtColor(face.pixels, cv2.COLOR_RGB2BGR)
                jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
                picture = base64.b64encode(jpeg.tobytes()).decode()
            pixels = registration.grey(face.pixels[None], registration.ROUGH).tobytes() if self._compares else b""
            rough, seen = base64.b64encode(pixels).decode(), (logit, tuple(features))
            scored.append(ScoredFace(row, number, of, *face[1:], *seen, picture, tuple(look), rough))
        return scored


class _Work(NamedTuple):
    """What a worker needs to score any part of a table of photos."""

    model: Path
    table: SampleTable
    looking: Looking
    threads: int

    def rows(self, number: int) -> range:
        return range(number * PART_SIZE, min((number + 1) * PART_SIZE, len(self.table)))

    def begin(self) -> Callable[[int], tuple[int, Found]]:
        """Loads the models once, for all parts that a worker scores."""
        scorer = FaceScorer(self.model, self.looking, self.threads)

        def score(number: int) -> tuple[int, Found]:
            rows = self.rows(number)
            return number, scorer.score_files(self.table.take(np.array(rows)), rows)

        return score


def _score_all(work: _Work, where: str, out: Path | None) -> Found:
    """Returns the faces of all photos, and the photos without one; reads the parts that a folder holds already."""
    numbers = range(-(-len(work.table) // PART_SIZE))
    files = {} if out is None else {k: out / "parts" / f"{k:06d}.json" for k in numbers}
    parts = {k: _read_part(file) for k, file in files.items() if file.is_file()}
    missing = [k for k in numbers if k not in parts]
    done = sum(len(work.rows(k)) for k in parts)
    with progress.bar(total=len(work.table), initial=done, desc="photos", unit="photo") as bar:
        for k, found in workers.map_parts(_Work.begin, work, missing, where):
            if files:
                faces, rejected = ([dataclasses.asdict(entry) for entry in side] for side in found)
                formats.write_json(files[k], {"faces": faces, "rejected": rejected})
            parts[k] = found
            bar.update(len(work.rows(k)))
    return [face for k in numbers for face in parts[k][0]], [entry for k in numbers for entry in parts[k][1]]


def _refuse(num: int, unusable: list[Rejected], out: Path | None, language: languages.Language) -> NoReturn:
    """Says why none of the photos could be scored, and of each into the folder, if any."""
    done = ""
    if out is not None:
        formats.write_rejected(out / formats.REJECTED, unusable)
        done = language.plain("Why, photo by photo: {0}").format(out / formats.REJECTED)
    none = language.plain("None of {0} photos could be scored.").format(num)
    raise InputError(f"{none} {report.why(unusable[0], language)}", done)


def _read_part(path: Path) -> Found:
    content = formats.read_json(path)
    try:
        # JSON has lists where faces have tuples.
        tuples = [
            {name: face[name] and tuple(face[name]) for name in ("box", "features", "look")}
            for face in content["faces"]
        ]
        faces = [ScoredFace(**(face | known)) for face, known in zip(content["faces"], tuples, strict=True)]
        return faces, [Rejected(**entry) for entry in content["rejected"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"Expected a part of these scores in {path}, received: {error!r}; use --overwrite.") from error
