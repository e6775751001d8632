"""Scores faces with a bundle: NumPy, OpenCV and LiteRT only, no TensorFlow, no network."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tqdm import tqdm

from mint_keras import formats
from mint_keras.data import files, images, samples
from mint_keras.edge.bundle import SCORER, Bundle, read_bundle
from mint_keras.records import InputError, SampleTable, Scores, concatenate_tables

EVALUATION = "field"
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Score:
    """Options of score.py.

    Attributes:
        paths: aligned 112x112 faces or square crops: images, or folders of them.
        bundle: folder that export_tflite.py wrote.
        out: folder for scores.csv and rejected.csv.
        seed: no effect: nothing here is random.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    bundle: Path
    out: Path
    paths: tuple[str, ...] = dataclasses.field(metadata={"positional": True})
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


class Scorer:
    """Runs the TFLite file of a bundle, face by face.

    Args:
        model: the `.tflite` file.

    Raises:
        InputError: if LiteRT cannot run it.
    """

    def __init__(self, model: Path) -> None:
        try:
            interpreter = Interpreter(model_path=str(model))
            self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"Expected a TFLite model with one signature in {model}, received: {error}") from error
        outputs = set(self._run.get_output_details())
        if not {"logit", "score"} <= outputs:
            raise InputError(f"Expected outputs logit and score in {model}, received {sorted(outputs)}.")
        (self._input,) = self._run.get_input_details()

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Returns the score of each face before the sigmoid, shape (n,), float32, from uint8 RGB (n, 112, 112, 3)."""
        batches = (face[None].astype(np.float32) for face in faces)
        return np.array([self._run(**{self._input: batch})["logit"].item() for batch in batches], np.float32)


def score(config: Score) -> str:
    """Scores images, writes scores.csv, and returns what to print.

    Raises:
        InputError: if some image could not be used; the others have been scored then.
    """
    bundle = read_bundle(config.bundle)
    table = concatenate_tables([_list(path) for path in config.paths])
    inputs = {"bundle": formats.sha256_file(bundle.path / SCORER), "samples": samples.fingerprint(table)}
    manifest = formats.make_manifest("field_scores", inputs, {"bundle": str(config.bundle), "paths": config.paths})
    with formats.output_folder(config.out, manifest, config.overwrite):
        reader = images.FaceReader()
        scores = _score_all(bundle, table, reader, config.quiet)
        formats.write_rejected(config.out / formats.REJECTED, reader.rejected)
        formats.write_scores(config.out / formats.SCORES, [scores])
    report = _report(scores, reader, config.out)
    if reader.rejected:
        first = reader.rejected[0]
        raise InputError(
            f"{len(reader.rejected)} of {len(table)} files could not be scored, see {config.out / formats.REJECTED}. "
            f"{first.location}: {first.reason}",
            done=report,
        )
    return report


def _score_all(bundle: Bundle, table: SampleTable, reader: images.FaceReader, quiet: bool) -> Scores:
    scorer = Scorer(bundle.path / SCORER)
    used, logits = [], []
    with tqdm(total=len(table), unit="face", disable=quiet or not sys.stderr.isatty()) as bar:
        for rows, faces in reader.batches(table, batch_size=32):
            used.append(rows)
            logits.append(scorer.logits(faces))
            bar.update(len(rows))
    if not used:
        first = reader.rejected[0]
        raise InputError(f"None of {len(table)} files could be scored. {first.location}: {first.reason}")
    samples_used = table.take(np.concatenate(used))
    return Scores(bundle.head, bundle.tap, EVALUATION, bundle.seed, samples_used, None, np.concatenate(logits))


def _list(path: str) -> SampleTable:
    if Path(path).is_file() and Path(path).suffix not in (".rec", ".csv", ".parquet"):
        location, path = files.escape(str(Path(path).resolve())), files.escape(path)
        columns = (np.array([text]) for text in (path, Path(location).parent.name, Path(path).name, location))
        return SampleTable(*columns)
    return samples.list_samples(path)


def _report(scores: Scores, reader: images.FaceReader, out: Path) -> str:
    order = np.argsort(-scores.logit, kind="stable")
    lines = [f"{'score':>7}  {'logit':>8}  image"]
    for row in order[:_SHOWN]:
        lines.append(f"{scores.score[row]:7.4f}  {scores.logit[row]:8.3f}  {scores.samples.sample_id[row]}")
    if len(order) > _SHOWN:
        lines.append(f"... and {len(order) - _SHOWN} more")
    if reader.resized:
        lines.append(
            f"{reader.resized.total()} images were not 112x112 and were resized without alignment: trust them less."
        )
    lines.append(f"{len(order)} images scored by the {scores.scorer} head on {scores.tap}: {out / formats.SCORES}")
    lines.append(
        "A higher score means more like the members the head was trained on. It is not calibrated: no verdict."
    )
    return "\n".join(lines)
