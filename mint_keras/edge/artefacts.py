"""Makes the TFLite files that one head can become, and measures each against the Keras model that was trained."""

from __future__ import annotations

import collections
import dataclasses
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras import formats, progress
from mint_keras.audited import litert
from mint_keras.data import images, splits
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle, compression, export, parity
from mint_keras.edge.scorer import LOGIT, TfliteScorer
from mint_keras.records import Scores
from mint_keras.training.batches import LabelledAad

# The precision of the file in which each artefact is written.
PRECISIONS = {name: name for name in export.PRECISIONS} | {
    compression.QAT: litert.INT8,
    compression.PRUNED: litert.INT8_DYNAMIC,
}
_REPRESENTATIVE = 100
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class TrainedHead:
    """A trained head and the part of the audited model in front of it.

    Attributes:
        scorer: The MINT model, for example "vanilla".
        tap: The tap, or combination of taps, that the head looks at.
        seed: The seed of its training.
        model: The head, from AAD to the score.
        extractor: The part of the audited model that gives its AAD.
    """

    scorer: str
    tap: str
    seed: int
    model: keras.Model
    extractor: keras.Model

    def sweep(self) -> tuple[str, ...]:
        """Returns the names of all artefacts that the head can become."""
        return tuple(PRECISIONS) if compression.is_supported(self.model) else export.PRECISIONS


@dataclasses.dataclass(frozen=True)
class ComparedFaces:
    """The faces on which artefacts are compared with Keras, and those that stand for all.

    Attributes:
        tested: The parts that the n compared faces play.
        pixels: Their pixels, uint8 RGB, shape (n, 112, 112, 3), a memory-mapped file.
        representative: Training faces, uint8 RGB, shape (k, 112, 112, 3), which give the range of activations.
    """

    tested: protocols.Protocol
    pixels: np.ndarray
    representative: np.ndarray

    def scores(self, head: TrainedHead, logits: Iterable[np.ndarray]) -> list[Scores]:
        """Returns one entry for each evaluation, from the logits of all faces in parts."""
        table, logit = self.tested.table, np.concatenate(list(logits))
        return [
            Scores(head.scorer, head.tap, evaluation, head.seed, table.take(rows), is_member, logit[rows])
            for evaluation, (rows, is_member) in self.tested.evaluations().items()
        ]


def read_faces(protocol: protocols.Protocol, num_test: int, seed: int, folder: Path) -> ComparedFaces:
    """Chooses and decodes the faces of a run on which artefacts are compared.

    Args:
        protocol: The samples of the run.
        num_test: The number of faces of each kind (test members, test externals, held-out people) at most.
        seed: Seeds the choice.
        folder: The folder for the decoded pixels.

    Raises:
        InputError: if no training face can be read.
    """
    rng = np.random.default_rng(seed)

    def some(parts: Sequence[int], num: int) -> np.ndarray:
        rows = [np.flatnonzero(protocol.part == part) for part in parts]
        chosen = [side[splits.choose_evenly(protocol.table.database[side], num, rng)] for side in rows]
        return np.concatenate(chosen)

    tested = protocol.take(some((protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS, protocols.HELD_OUT), num_test))
    used, pixels = images.FaceReader().decode_to(folder / "faces.npy", tested.table)
    training = some((protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS), _REPRESENTATIVE // 2)
    representative = images.first_faces(protocol.table.take(training), _REPRESENTATIVE)
    return ComparedFaces(tested.take(used), pixels, representative)


def keras_scores(head: TrainedHead, faces: ComparedFaces) -> list[Scores]:
    """Returns what artefacts are measured against: the scores of the float32 Keras model that the run trained."""
    model = export.fuse(head.extractor, head.model)
    starts = progress.bar(range(0, len(faces.pixels), _BATCH), desc="Keras", unit="batch")
    return faces.scores(
        head, (model.predict_on_batch(faces.pixels[start : start + _BATCH])[LOGIT][:, 0] for start in starts)
    )


def make(
    head: TrainedHead, names: Sequence[str], representative: np.ndarray, training: Callable[[], LabelledAad], out: Path
) -> dict[str, Path]:
    """Writes artefacts of a head, and returns the TFLite files by name.

    Args:
        head: The head.
        names: Keys of `PRECISIONS`.
        representative: The faces that give the range of activations, uint8 RGB, shape (k, 112, 112, 3).
        training: Opens the training AAD of the run; it is called for heads that are trained further only.
        out: The folder for the files.
    """
    plain = litert.to_tflite(export.fuse(head.extractor, head.model))
    files = {}
    for name in names:
        content = plain
        if name in (compression.QAT, compression.PRUNED):
            trained = compression.compress(name, head.model, training(), head.seed)
            content = litert.to_tflite(export.fuse(head.extractor, trained))
        files[name] = out / f"{name}.tflite"
        files[name].write_bytes(export.in_precision(content, PRECISIONS[name], head.model.name, representative))
    return files


def measure(
    head: TrainedHead, files: dict[str, Path], faces: ComparedFaces, reference: Sequence[Scores], tolerance: float
) -> dict[str, dict[str, Any]]:
    """Returns by name what the manifest of a bundle says as its parity: size, differences from Keras, time and memory.

    Args:
        head: The head.
        files: The TFLite files by name.
        faces: The faces to compare on.
        reference: The scores of `keras_scores`.
        tolerance: The drop of the AUC above which an artefact is refused; see `parity.check`.

    Raises:
        RefusedError: if some logits are no numbers.
    """
    records: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        scorer, content = TfliteScorer(file), file.read_bytes()
        shown = progress.bar(range(len(faces.pixels)), desc=name, unit="face")
        received = faces.scores(head, (scorer.logits(faces.pixels[k : k + 1]) for k in shown))
        operations = collections.Counter(kind for kind, _ in litert.operations(content))
        comparison = parity.compare(reference, received)
        records[name] = {
            "bytes": len(content),
            "zipped_bytes": len(zlib.compress(content, 9)),
            "operations": dict(sorted(operations.items())),
            **comparison,
            "refused": parity.check(comparison, tolerance),
        }
    # After all comparisons: the clock runs only while nothing else does.
    few = next(iter(files.values())).parent / "few.npy"
    np.save(few, faces.representative)
    for name, cost in parity.costs(files, few).items():
        records[name] |= cost
    return records


def fill(folder: Path, scorer: Path, protocol: protocols.Protocol, num_samples: int) -> None:
    """Puts a TFLite file into a bundle's folder, and so many test members, and test externals, to try it on."""
    with formats.atomic_path(folder / bundle.SCORER) as temporary:
        shutil.copyfile(scorer, temporary)
    for name, part in (("member", protocols.TEST_MEMBERS), ("external", protocols.TEST_EXTERNALS)):
        table = protocol.table.take(protocol.part == part)
        for number, face in enumerate(images.first_faces(table, num_samples)):
            images.write_png(folder / "samples" / f"{name}_{number}.png", face)
