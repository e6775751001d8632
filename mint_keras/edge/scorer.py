"""Scores faces with a bundle: NumPy, OpenCV and LiteRT only, no TensorFlow, no network."""

from __future__ import annotations

import collections
import dataclasses
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tqdm import tqdm

from mint_keras import formats, workers
from mint_keras.data import files, images, samples
from mint_keras.edge.bundle import SCORER, Bundle, read_bundle
from mint_keras.records import InputError, Rejected, SampleTable, Scores, concatenate_tables

EVALUATION = "field"
_SHOWN = 20
_BATCH = 32
FACES, LOGIT, SCORE = "faces", "logit", "score"  # the signature of a scorer
_PART_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class Score:
    """Options of score.py.

    Attributes:
        paths: aligned 112x112 faces or square crops: images, or folders of them.
        bundle: folder that export_tflite.py wrote.
        out: folder for scores.csv and rejected.csv.
        workers: 1 is this process; ray starts one for each processor core, ray://HOST:PORT uses a cluster, whose
            machines see bundle and photos under the same paths (needs requirements-scale.txt).
        seed: no effect: nothing here is random.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    bundle: Path
    out: Path
    paths: tuple[str, ...] = dataclasses.field(metadata={"positional": True})
    workers: str = workers.HERE
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


class Scorer:
    """Runs the TFLite file of a bundle, face by face: LiteRT gains nothing from batches, which take memory.

    Args:
        model: the `.tflite` file.
        threads: that share the work on a face.

    Raises:
        InputError: if LiteRT cannot run it, or it does not take faces and give scores.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        try:
            interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"Expected a TFLite model with one signature in {model}, received: {error}") from error
        inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        received = {name: (entry["dtype"], tuple(entry["shape"][1:])) for name, entry in inputs.items()}
        if received != {FACES: (np.uint8, (images.IMAGE_SIZE, images.IMAGE_SIZE, 3))} or not {LOGIT, SCORE} <= set(
            outputs
        ):
            raise InputError(
                f"Expected a model from {FACES}, uint8 (n, 112, 112, 3), to {LOGIT} and {SCORE} in {model}, received "
                f"{', '.join(received)} to {', '.join(sorted(outputs))}."
            )

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Returns the score of each face before the sigmoid, shape (n,), float32, from uint8 RGB (n, 112, 112, 3)."""
        return np.array([self._run(**{FACES: face[None]})[LOGIT].item() for face in faces], np.float32)


def score(config: Score) -> str:
    """Scores images, writes scores.csv, and returns what to print.

    Raises:
        InputError: if some image could not be used; the others have been scored then.
    """
    workers.check(config.workers)
    bundle = read_bundle(config.bundle)
    table = concatenate_tables([_list(path) for path in config.paths])
    inputs = {"bundle": formats.sha256_file(bundle.path / SCORER), "samples": samples.fingerprint(table)}
    manifest = formats.make_manifest("field_scores", inputs, {"bundle": str(config.bundle), "paths": config.paths})
    with formats.output_folder(config.out, manifest, config.overwrite):
        scores, scored = _score_all(config, bundle, table)
        formats.write_rejected(config.out / formats.REJECTED, scored.rejected)
        formats.write_scores(config.out / formats.SCORES, [scores])
    report = _report(scores, scored.resized.total(), config.out)
    if scored.rejected:
        first = scored.rejected[0]
        raise InputError(
            f"{len(scored.rejected)} of {len(table)} files could not be scored, see {config.out / formats.REJECTED}. "
            f"{first.location}: {first.reason}",
            done=report,
        )
    return report


@dataclasses.dataclass(frozen=True)
class _Work:
    """What a worker needs to score any part of a table: the TFLite file and the samples."""

    model: Path
    table: SampleTable

    def part(self, number: int) -> SampleTable:
        rows = np.arange(number * _PART_SIZE, min((number + 1) * _PART_SIZE, len(self.table)))
        return self.table.take(rows)


@dataclasses.dataclass(frozen=True)
class _Scored:
    """What came of one part: usable rows of the table and their logits, rejected samples, resized ones by database."""

    number: int
    rows: np.ndarray
    logits: np.ndarray
    rejected: list[Rejected]
    resized: collections.Counter[str]


class _ScoreWorker:
    """Loads the model once and scores parts."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._scorer = Scorer(work.model)

    def __call__(self, number: int) -> _Scored:
        reader = images.FaceReader()
        rows, logits = [np.empty(0, int)], [np.empty(0, np.float32)]
        for used, faces in reader.batches(self._work.part(number), _BATCH):
            rows.append(used + number * _PART_SIZE)
            logits.append(self._scorer.logits(faces))
        return _Scored(number, np.concatenate(rows), np.concatenate(logits), reader.rejected, reader.resized)


def _score_all(config: Score, bundle: Bundle, table: SampleTable) -> tuple[Scores, _Scored]:
    work, parts = _Work((bundle.path / SCORER).resolve(), table), range(-(-len(table) // _PART_SIZE))
    scored = []
    with tqdm(total=len(table), unit="face", disable=config.quiet or not sys.stderr.isatty()) as bar:
        for part in workers.map_parts(_ScoreWorker, work, parts, config.workers):
            scored.append(part)
            bar.update(len(part.rows) + len(part.rejected))
    whole = _join(scored)
    if not len(whole.rows):
        first = whole.rejected[0]
        raise InputError(f"None of {len(table)} files could be scored. {first.location}: {first.reason}")
    used = table.take(whole.rows)
    return Scores(bundle.head, bundle.tap, EVALUATION, bundle.seed, used, None, whole.logits), whole


def _join(parts: list[_Scored]) -> _Scored:
    """Joins parts, which workers finish in any order, in the order of the samples."""
    parts = sorted(parts, key=lambda part: part.number)
    rows, logits = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "logits"))
    rejected = [entry for part in parts for entry in part.rejected]
    return _Scored(0, rows, logits, rejected, sum((part.resized for part in parts), collections.Counter[str]()))


def _list(path: str) -> SampleTable:
    if Path(path).is_file() and Path(path).suffix not in (".rec", ".csv", ".parquet"):
        location, path = files.escape(str(Path(path).resolve())), files.escape(path)
        columns = (np.array([text]) for text in (path, Path(location).parent.name, Path(path).name, location))
        return SampleTable(*columns)
    return samples.list_samples(path)


def _report(scores: Scores, num_resized: int, out: Path) -> str:
    order = np.argsort(-scores.logit, kind="stable")
    lines = [f"{'score':>7}  {'logit':>8}  image"]
    for row in order[:_SHOWN]:
        lines.append(f"{scores.score[row]:7.4f}  {scores.logit[row]:8.3f}  {scores.samples.sample_id[row]}")
    if len(order) > _SHOWN:
        lines.append(f"... and {len(order) - _SHOWN} more")
    if num_resized:
        lines.append(f"{num_resized} images were not 112x112 and were resized without alignment: trust them less.")
    lines.append(f"{len(order)} images scored by the {scores.scorer} head on {scores.tap}: {out / formats.SCORES}")
    lines.append(
        "A higher score means more like the members the head was trained on. It is not calibrated: no verdict."
    )
    return "\n".join(lines)
