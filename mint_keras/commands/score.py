"""Score photos with a bundle, offline and without TensorFlow (pip install -r requirements-edge.txt).

Example:
    python scripts/score.py --bundle export/lab export/lab/samples --out runs/scores
    python scripts/score.py --bundle export/lab --serve

Exit codes:
    0    every photo was scored
    1    some photos, or the bundle, could not be used; the others were scored, and rejected.csv lists these
    2    wrong usage
    3    refused: the bundle was changed, --out holds something else, or most faces are unlike those that the bundle was
         calibrated with, so that no score is shown (see --anyway)
    130  interrupted; with --out the same command continues
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mint_keras import formats, languages, progress, workers
from mint_keras.commands import Result
from mint_keras.faces import scrfd
from mint_keras.options import Common
from mint_keras.records import InputError, RefusedError

if TYPE_CHECKING:
    from mint_keras.edge.photos import Looking
    from mint_keras.edge.report import PhotoScores

_MOST_THREADS = 1024


@dataclasses.dataclass(frozen=True)
class Score(Common):
    """Options of score.py.

    Attributes:
        paths: The photos: images, folders (with all that is in them), patterns such as "photos/**/*.jpg", or lists
            (.txt, a path a line). Images of 112x112 are taken for aligned faces; in others the faces are sought. Where
            folders in a folder hold one person each, name the outer one: persons are then judged by all of their
            photos.
        bundle: The folder that export_tflite.py wrote.
        out: The folder for scores.csv, faces.csv, scores.json, report.html and rejected.csv. Without it nothing is
            written and an interrupted command begins anew.
        serve: Open a page on this machine instead, at 127.0.0.1, onto which photos are dropped (needs
            requirements-serve.txt). Nothing leaves the machine, and nothing is kept.
        port: The port of the page; 0 takes any that is free.
        address: Where the page listens. 0.0.0.0 is for a container whose port is published to 127.0.0.1 only: others
            than this machine could ask otherwise.
        albums: Folders are no persons: everybody on the photos is somebody else.
        aligned: Every image is a face already: squares of other sizes are resized as they are.
        policy: Which of several faces in a photo are scored: all, the largest, or the most central. only rejects photos
            with several.
        detector: What finds the faces: an SCRFD file (.tflite, or .onnx where onnxruntime is), insightface:PACK, or
            mediapipe. By default it is the bundle's own (of 640 pixels, and where that finds nothing of 320), or else
            mediapipe, which comes along.
        min_score: Faces of which the detector is less certain do not count.
        border: The width of a black border around every photo while its faces are sought, as a share of its sides; 0.5
            helps where a face fills the picture.
        pictures: Show the faces in report.html. Think of who will read it.
        anyway: Show scores although most faces are unlike those that the bundle was calibrated with, as most
            photographed ones are for a bundle of drawn faces. They mean nothing then.
        language: Of report, page and text: en, de, es or fr. Tables and JSON are English.
        threads: The number of processors to use; all by default.
        workers: 1 is this process; ray starts one for each processor core, ray://HOST:PORT uses a cluster, whose
            machines see bundle and photos under the same paths (needs requirements-scale.txt).
    """

    bundle: Path
    paths: tuple[str, ...] = dataclasses.field(default=(), metadata={"positional": True})
    out: Path | None = None
    serve: bool = False
    port: int = 8765
    address: str = "127.0.0.1"
    albums: bool = False
    aligned: bool = False
    policy: Literal["all", "largest", "central", "only"] = "all"
    detector: str = ""
    min_score: float = scrfd.MIN_SCORE
    border: float = 0.0
    pictures: bool = False
    anyway: bool = False
    language: str = languages.ENGLISH
    threads: int = 0
    workers: str = workers.HERE


@dataclasses.dataclass(frozen=True)
class Scored(Result):
    """What the bundle says about the photos."""

    photos: PhotoScores


def score(config: Score) -> Result:
    """Scores photos, or serves the page."""
    from mint_keras.edge import photos, report, scoring
    from mint_keras.edge.bundle import read_bundle

    named = (config.detector,) if config.detector else ()
    looking = photos.Looking(
        named, config.aligned, config.policy, config.min_score, config.border, config.pictures, config.anyway,
        language=config.language,
    )  # fmt: skip
    if not 0 < config.min_score < 1 or not 0 <= config.border <= 2 or not 0 <= config.threads <= _MOST_THREADS:
        raise InputError(
            f"Expected --min-score between 0 and 1, --border from 0 to 2 and --threads up to {_MOST_THREADS}, received "
            f"{config.min_score}, {config.border} and {config.threads}."
        )
    workers.check(config.workers)
    if config.serve:
        return _serve(config, looking)
    bundle, listed = read_bundle(config.bundle), photos.list_photos(config.paths, config.albums)
    # Where nobody watches, an error is the only line: photos are a matter of seconds.
    with progress.hidden(config.quiet or not sys.stderr.isatty()):
        made = scoring.score_photos(
            bundle, listed, config.out, looking, config.threads, config.workers, config.overwrite
        )
    text, spoken = report.text(made, config.out), languages.of(config.language)
    if made.is_withheld:
        raise RefusedError(spoken.say(f"{made.verdict} {made.counts}"))
    # A person named these files, so one that could not be scored is an error, after the others were scored.
    if made.rejected:
        said = (
            "{0} of {1} photos could not be scored, see {2}."
            if config.out
            else "{0} of {1} photos could not be scored."
        )
        some = spoken.plain(said).format(len(made.rejected), made.num_photos, (config.out or Path()) / formats.REJECTED)
        raise InputError(f"{some} {report.why(made.rejected[0], spoken)}", done=text)
    return Scored(text, made)


def _serve(config: Score, looking: Looking) -> Result:
    try:
        from mint_keras.edge import page
    except ModuleNotFoundError as error:
        raise InputError("Expected Starlette and uvicorn for --serve: pip install -r requirements-serve.txt") from error
    if config.paths or config.out is not None:
        raise InputError(
            "Expected photos and --out, or --serve, received both: the page takes photos and keeps nothing."
        )
    page.serve(config.bundle, config.port, looking, config.threads, not config.quiet, config.address)
    return Result(languages.of(config.language).plain("The page is closed; nothing was kept."))
