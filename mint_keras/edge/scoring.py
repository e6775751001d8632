"""Scores photos with a bundle: NumPy, OpenCV and LiteRT only, no TensorFlow, no network."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from tqdm import tqdm

from mint_keras import formats, workers
from mint_keras.data import images, samples
from mint_keras.edge import calibration as calibrations
from mint_keras.edge import judgement, photos, report
from mint_keras.edge.bundle import SCORER, Bundle, read_bundle
from mint_keras.edge.judgement import ScoredFace
from mint_keras.edge.photos import Face, FaceFinder, Looking
from mint_keras.edge.scorer import Scorer
from mint_keras.faces import quality, scrfd
from mint_keras.quiet import hidden_notices
from mint_keras.records import InputError, Rejected, SampleTable, Scores

KIND = "field_scores"
EVALUATION = "field"
PART_SIZE = 64
_SMALL = 32 * 2**20  # bytes of a model that every thread may load
_PARTS = "parts"


@dataclasses.dataclass(frozen=True)
class Score:
    """Options of score.py.

    Attributes:
        paths: photos: images, folders (with all that is in them), patterns such as "photos/**/*.jpg", or lists (.txt, a
            path a line). Images of 112x112 are taken for aligned faces; in others the faces are sought. Where folders
            in a folder hold one person each, name the outer one: persons are then judged by all of their photos.
        bundle: folder that export_tflite.py wrote.
        out: folder for scores.csv, faces.csv, scores.json, report.html and rejected.csv. Without it nothing is written
            and an interrupted command begins anew.
        serve: open a page on this machine instead, at 127.0.0.1, onto which photos are dropped (needs
            requirements-serve.txt). Nothing leaves the machine, and nothing is kept.
        port: of the page; 0 takes any that is free.
        albums: folders are no persons: everybody on the photos is somebody else.
        aligned: every image is a face already: squares of other sizes are resized as they are.
        policy: which of several faces in a photo are scored: all, the largest, the most central, or only: photos with
            several are rejected.
        detector: SCRFD that finds the faces: a file (.tflite or .onnx), or insightface:PACK. By default the bundle's
            own (of 640 pixels, and where that finds nothing of 320), or else one that insightface has installed, if
            onnxruntime is there to run it.
        min_score: of the detector; below it a face does not count.
        border: black border around every photo while its faces are sought, as a share of its sides; 0.5 helps where a
            face fills the picture.
        pictures: show the faces in report.html. Think of who will read it.
        threads: processors to use; all by default.
        workers: 1 is this process; ray starts one for each processor core, ray://HOST:PORT uses a cluster, whose
            machines see bundle and photos under the same paths (needs requirements-scale.txt).
        seed: no effect: nothing here is random.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    bundle: Path
    paths: tuple[str, ...] = dataclasses.field(default=(), metadata={"positional": True})
    out: Path | None = None
    serve: bool = False
    port: int = 8765
    albums: bool = False
    aligned: bool = False
    policy: Literal["all", "largest", "central", "only"] = "all"
    detector: str = ""
    min_score: float = scrfd.MIN_SCORE
    border: float = 0.0
    pictures: bool = False
    threads: int = 0
    workers: str = workers.HERE
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def score(config: Score) -> str:
    """Scores photos, writes what was found, and returns what to print.

    Raises:
        InputError: if some photo could not be used; the others have been scored then.
    """
    if not 0 < config.min_score < 1 or not 0 <= config.border <= 2:
        raise InputError(
            f"Expected --min-score between 0 and 1 and --border from 0 to 2, received {config.min_score} and "
            f"{config.border}."
        )
    workers.check(config.workers)
    bundle = read_bundle(config.bundle)
    table = photos.list_photos(config.paths, config.albums)
    looking = looking_of(config, bundle)
    work = _Work.of(config, bundle, table, looking)
    if config.out is None:
        return _ending(_score_all(config, bundle, work), None)
    inputs = {"bundle": formats.sha256_file(bundle.path / formats.MANIFEST), "samples": samples.fingerprint(table)}
    manifest = formats.make_manifest(KIND, inputs, {**looking.settings(), "pictures": config.pictures})
    try:
        with formats.output_folder(config.out, manifest, config.overwrite):
            made = _score_all(config, bundle, work)
            report.write(config.out, made)
    except OSError as error:
        raise InputError(
            f"Expected to write into {config.out}, received: {error.strerror or error}. What is there is kept, and the "
            "same command continues from it."
        ) from error
    return _ending(made, config.out)


def looking_of(config: Score, bundle: Bundle) -> Looking:
    """Returns how faces are found with a bundle, as options say."""
    found = () if config.aligned else photos.choose_detectors(bundle, config.detector)
    return Looking(found, config.aligned, config.policy, config.min_score, config.border)


def _ending(made: report.FieldReport, out: Path | None) -> str:
    text = report.text(made, out)
    if made.rejected:
        where = "" if out is None else f", see {out / formats.REJECTED}"
        raise InputError(
            f"{len(made.rejected)} of {made.num_photos} photos could not be scored{where}. {_first(made.rejected)}",
            done=text,
        )
    return text


def _first(rejected: Sequence[Rejected]) -> str:
    return f"{report.printable(rejected[0].location)}: {rejected[0].reason}"


@dataclasses.dataclass(frozen=True)
class _Work:
    """What a worker needs to score any part of a table of photos."""

    model: Path
    table: SampleTable
    looking: Looking
    threads: int
    with_pictures: bool

    @classmethod
    def of(cls, config: Score, bundle: Bundle, table: SampleTable, looking: Looking) -> _Work:
        threads = config.threads or os.cpu_count() or 1
        threads = threads if config.workers == workers.HERE else 1  # Ray has a worker on every core
        return cls((bundle.path / SCORER).resolve(), table, looking, threads, config.pictures)

    def rows(self, number: int) -> range:
        return range(number * PART_SIZE, min((number + 1) * PART_SIZE, len(self.table)))


@dataclasses.dataclass(frozen=True)
class _Part:
    """What came of one part of the photos."""

    number: int
    faces: list[ScoredFace]
    rejected: list[Rejected]


class FaceScorer:
    """Scores the faces of photos on several threads, each its own faces if the model is small enough to load for each.

    Args:
        model: the bundle's TFLite file.
        looking: how faces are found.
        threads: processors to use.
        with_pictures: keep the faces.
    """

    def __init__(self, model: Path, looking: Looking, threads: int, with_pictures: bool = False) -> None:
        cv2.setNumThreads(1)  # the photos are spread over threads
        is_small = model.stat().st_size <= _SMALL
        self._model, self._own_threads = model, 1 if is_small else threads
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._scoring = self._pool if is_small else concurrent.futures.ThreadPoolExecutor(1)
        self._finder = FaceFinder(looking)
        self._with_pictures = with_pictures
        self._mine = threading.local()
        with hidden_notices():  # LiteRT says on the first face what it runs on
            self._scoring.submit(self._measure, np.zeros((images.IMAGE_SIZE, images.IMAGE_SIZE, 3), np.uint8)).result()

    def _measure(self, face: np.ndarray) -> tuple[float, list[float]]:
        """Returns logit and features of a face."""
        if not hasattr(self._mine, "scorer"):
            self._mine.scorer = Scorer(self._model, self._own_threads)
        return float(self._mine.scorer.logits(face[None])[0]), quality.features(face[None])[0].tolist()

    def score_files(self, locations: list[str], rows: range) -> tuple[list[ScoredFace], list[Rejected]]:
        """Returns the faces of some photos, in their order, and the photos that have none or cannot be read."""

        def look(location: str) -> list[Face] | str:
            try:
                return self._finder.faces(location)
            except InputError as error:
                return " ".join(str(error).split())

        try:
            found = list(self._pool.map(look, locations))
        except BaseException:  # Ctrl-C does not wait for photos that nobody has begun
            self._pool.shutdown(wait=False, cancel_futures=True)
            raise
        rejected = [Rejected(at, what) for at, what in zip(locations, found, strict=True) if isinstance(what, str)]
        with_faces = [(row, what) for row, what in zip(rows, found, strict=True) if not isinstance(what, str)]
        return self.score_faces(with_faces), rejected

    def score_image(self, image: np.ndarray, row: int = 0) -> list[ScoredFace]:
        """Returns the faces of one decoded photo.

        Raises:
            InputError: if it has none.
        """
        faces = self._pool.submit(self._finder.of_image, image).result()  # whose threads have detectors
        return self.score_faces([(row, faces)])

    def score_faces(self, found: list[tuple[int, list[Face]]]) -> list[ScoredFace]:
        """Returns the scores of faces that were found, by the rows of their photos."""
        entries = [(row, k, len(faces), face) for row, faces in found for k, face in enumerate(faces, 1)]
        measured = self._scoring.map(self._measure, [face.pixels for *_, face in entries])
        scored = []
        for (row, number, of, face), (logit, features) in zip(entries, measured, strict=True):
            picture = _jpeg(face.pixels) if self._with_pictures else ""
            about = (face.box, face.certainty, face.is_resized, logit, tuple(features), picture)
            scored.append(ScoredFace(row, number, of, *about))
        return scored


def _jpeg(face: np.ndarray) -> str:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return base64.b64encode(encoded.tobytes()).decode()


class _PartScorer:
    """Loads the models once and scores parts; the worker that `workers.map_parts` asks for."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._scorer = FaceScorer(work.model, work.looking, work.threads, work.with_pictures)

    def __call__(self, number: int) -> _Part:
        rows = self._work.rows(number)
        locations = [str(self._work.table.location[row]) for row in rows]
        return _Part(number, *self._scorer.score_files(locations, rows))


def _score_all(config: Score, bundle: Bundle, work: _Work) -> report.FieldReport:
    numbers = range(-(-len(work.table) // PART_SIZE))
    parts = {}
    if config.out is not None:
        parts = {k: _read_part(path, k) for k in numbers if (path := _part_path(config.out, k)).is_file()}
    done = sum(len(work.rows(k)) for k in parts)
    show = not config.quiet and sys.stderr.isatty()
    with tqdm(total=len(work.table), initial=done, desc="photos", unit="photo", disable=not show) as bar:
        for part in _score_parts(config, work, [k for k in numbers if k not in parts]):
            parts[part.number] = part
            bar.update(len(work.rows(part.number)))
    faces = [face for k in numbers for face in parts[k].faces]
    rejected = [entry for k in numbers for entry in parts[k].rejected]
    if not faces:
        first = rejected[0]
        raise InputError(
            f"None of {len(work.table)} photos could be scored. {report.printable(first.location)}: {first.reason}"
        )
    return judge(bundle, work.table, faces, rejected)


def _score_parts(config: Score, work: _Work, numbers: list[int]) -> Iterator[_Part]:
    """Yields parts; what has been yielded is on the disk, if anything is to be there."""
    for part in workers.map_parts(_PartScorer, work, numbers, config.workers):
        if config.out is not None:
            content = {"faces": [dataclasses.asdict(face) for face in part.faces]}
            rejected = [dataclasses.asdict(entry) for entry in part.rejected]
            formats.write_json(_part_path(config.out, part.number), {**content, "rejected": rejected})
        yield part


def _part_path(out: Path, number: int) -> Path:
    return out / _PARTS / f"{number:06d}.json"


def _read_part(path: Path, number: int) -> _Part:
    content = formats.read_json(path)
    try:
        faces = [
            ScoredFace(**{**face, "box": _tuple(face["box"]), "features": tuple(face["features"])})
            for face in content["faces"]
        ]
        return _Part(number, faces, [Rejected(**entry) for entry in content["rejected"]])
    except (KeyError, TypeError) as error:
        raise InputError(f"Expected a part of these scores in {path}, received: {error!r}; use --overwrite.") from error


def _tuple(box: Any) -> tuple[float, ...] | None:
    return None if box is None else tuple(box)


def judge(bundle: Bundle, table: SampleTable, faces: list[ScoredFace], rejected: list[Rejected]) -> report.FieldReport:
    """Returns what is said of scored faces.

    Args:
        bundle: that scored them.
        table: the photos.
        faces: in them.
        rejected: photos without a usable face.
    """
    calibration = calibrations.read(bundle)
    logit = np.array([face.logit for face in faces], np.float32)
    scored = judgement.table_of(table, faces)
    scores = Scores(bundle.head, bundle.tap, EVALUATION, bundle.seed, scored, None, logit)
    of_faces, of_persons = judgement.judge(scores, faces, calibration)
    return report.FieldReport(
        bundle=bundle,
        calibration=calibration,
        scores=scores,
        faces=of_faces,
        persons=of_persons,
        rejected=rejected,
        num_photos=len(table),
        num_resized=sum(face.is_resized for face in faces),
    )
