"""Fuses the truncated audited model and a head into TFLite files of built-in operations, and measures each of them."""

import collections
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from mint_keras import formats, progress
from mint_keras.audited import litert
from mint_keras.data import images, splits
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle, compression, parity, scorer
from mint_keras.edge.scorer import FACES, LOGIT, SCORE, TfliteScorer
from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.statistics import division
from mint_keras.training.batches import LabelledAad

MIXED = "mixed"
PRECISIONS = (*litert.PRECISIONS, MIXED)
# By the name of an artefact, the precision in which its file is written.
ARTEFACTS = {p: p for p in PRECISIONS} | {compression.QAT: litert.INT8, compression.PRUNED: litert.INT8_DYNAMIC}
_NORMALISE = "normalise"
_REPRESENTATIVE = 100
_BATCH = 32


def fuse(extractor: keras.Model, head: keras.Model, image_size: int = 112) -> keras.Model:
    """Joins a model of `audited.taps.extractor` and the head that was trained on its taps and pooling.

    Returns:
        A model from RGB pixels, uint8 of shape (batch, size, size, 3), to {"logit", "score"}, float32 (batch, 1) each.
    """
    faces = keras.Input((image_size, image_size, 3), dtype="uint8", name=FACES)
    pixels = layers.Rescaling(1 / 127.5, offset=-1.0, name=_NORMALISE)(faces)
    if (side := extractor.input.shape[1]) != image_size:  # bundles cut faces of one size
        pixels = layers.Resizing(side, side, name="enlarge")(pixels)
    aad = extractor(pixels)
    # The embedding is no further output: XNNPACK fails on an int8 tensor that is an output and is also read.
    outputs = {LOGIT: head.get_layer("logit").output, SCORE: head.output}
    return keras.Model(faces, keras.Model(head.input, outputs, name=head.name)(aad), name="scorer")


def in_precision(content: bytes, precision: str, head: str, faces: np.ndarray) -> bytes:
    """Returns a fused model in another precision; scores are computed in float32 in all of them.

    The content is the float32 file that `litert.to_tflite` makes of a model of `fuse`. Precisions are those of
    `litert.quantise`, and mixed: int8 with the first convolution, and the head of that name, in float32. Representative
    faces are uint8 RGB, shape (n, 112, 112, 3).

    Raises:
        InputError: for another precision.
    """
    if precision not in (litert.INT8, MIXED):
        return litert.quantise(content, precision)
    operations = litert.operations(content)
    names = [name for _, name in operations]
    # An int8 logit or sigmoid would have 256 values, so that faces would tie: the last two stay in float32.
    exact = [name for name in names if f"/{_NORMALISE}" in name] + names[-2:]
    if precision == MIXED:
        first = next((name for kind, name in operations if kind == "CONV_2D"), None)
        inside = [name for name in names if re.search(rf"/{head}(_\d+)?/", name)]
        if first is None or not inside:
            raise InputError(f"Expected a convolution and a head {head!r} in the model, received {names}.")
        exact += [first, *inside]
    return litert.quantise(content, litert.INT8, faces, list(dict.fromkeys(exact)))


class TrainedHead(NamedTuple):
    """A head of a scorer, for example "vanilla", from AAD to the score, and the part of the audited model before it."""

    scorer: str
    tap: str
    seed: int
    model: keras.Model
    extractor: keras.Model

    def sweep(self) -> tuple[str, ...]:
        """Returns the names of all artefacts that the head can become."""
        return tuple(ARTEFACTS) if compression.is_supported(self.model) else PRECISIONS


class ComparedFaces(NamedTuple):
    """The faces on which artefacts are compared with Keras, with the parts they play, and those that stand for all.

    Pixels are uint8 RGB, shape (n, 112, 112, 3); representative ones, of training faces, give the range of activations.
    """

    tested: protocols.Protocol
    pixels: np.ndarray
    representative: np.ndarray

    def scores(self, head: TrainedHead, logits: Iterable[np.ndarray]) -> list[Scores]:
        """Returns one entry for each evaluation, from the logits of all faces in parts.

        Raises:
            RefusedError: if some logits are no numbers.
        """
        table, logit = self.tested.table, np.concatenate(list(logits))
        if num := np.count_nonzero(~np.isfinite(logit)):
            raise RefusedError(f"Expected logits that are numbers, received NaN or infinity for {num} of {len(logit)}.")
        return [
            Scores(head.scorer, head.tap, evaluation, head.seed, table.take(rows), is_member, logit[rows])
            for evaluation, (rows, is_member) in self.tested.evaluations().items()
        ]


def read_faces(protocol: protocols.Protocol, num_test: int, seed: int) -> ComparedFaces:
    """Chooses and decodes at most `num_test` test members, test externals and held-out people of a run each.

    Raises:
        InputError: if no training face can be read.
    """
    rng = np.random.default_rng(seed)

    def some(parts: Sequence[int], num: int) -> protocols.Protocol:
        rows = [np.flatnonzero(protocol.part == part) for part in parts]
        chosen = [side[splits.choose_evenly(protocol.table.database[side], num, rng)] for side in rows]
        return protocol.take(np.concatenate(chosen))

    tested = some((protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS, protocols.HELD_OUT), num_test)
    used, pixels = images.read_faces(tested.table)
    training = some((protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS), _REPRESENTATIVE // 2)
    return ComparedFaces(tested.take(used), pixels, images.first_faces(training.table, _REPRESENTATIVE))


def keras_scores(head: TrainedHead, faces: ComparedFaces) -> list[Scores]:
    """Returns what artefacts are measured against: the scores of the float32 Keras model that the run trained."""
    model = fuse(head.extractor, head.model)
    starts = progress.bar(range(0, len(faces.pixels), _BATCH), desc="Keras", unit="batch")
    logits = (model.predict_on_batch(faces.pixels[start : start + _BATCH])[LOGIT][:, 0] for start in starts)
    return faces.scores(head, logits)


def make(
    head: TrainedHead, names: Sequence[str], representative: np.ndarray, training: Callable[[], LabelledAad], out: Path
) -> dict[str, Path]:
    """Writes artefacts of a head into a folder, and returns the TFLite files by name, a key of `ARTEFACTS`.

    `training` opens the training AAD of the run; it is called for heads that are trained further only.
    """
    plain = litert.to_tflite(fuse(head.extractor, head.model))
    files = {}
    for name in names:
        content = plain
        if name in (compression.QAT, compression.PRUNED):
            trained = compression.compress(name, head.model, training(), head.seed)
            content = litert.to_tflite(fuse(head.extractor, trained))
        files[name] = out / f"{name}.tflite"
        files[name].write_bytes(in_precision(content, ARTEFACTS[name], head.model.name, representative))
    return files


def measure(
    head: TrainedHead,
    files: dict[str, Path],
    faces: ComparedFaces,
    reference: Sequence[Scores],
    tolerance: float,
    divided: division.Division | None = None,
) -> dict[str, dict[str, Any]]:
    """Returns by name what the manifest of a bundle says as its parity: size, differences from Keras, time and memory.

    The reference is that of `keras_scores`, the tolerance that of `parity.check`. Where one of several artefacts is to
    be chosen, people are divided: some say who is refused, and all other figures are of the others.

    Raises:
        RefusedError: if some logits are no numbers.
    """
    records: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        run, content = TfliteScorer(file), file.read_bytes()
        shown = progress.bar(range(len(faces.pixels)), desc=name, unit="face")
        received = faces.scores(head, (run.logits(faces.pixels[k : k + 1]) for k in shown))
        asked = (reference, received)
        told = parity.compare(*(map(divided.choosing, asked) if divided else asked))
        comparison = parity.compare(*map(divided.reported, asked)) if divided else told
        records[name] = {
            "bytes": len(content),
            "zipped_bytes": len(zlib.compress(content, 9)),
            "operations": collections.Counter(kind for kind, _ in litert.operations(content)),
            **comparison,
            "refused": parity.check(told, tolerance),
        }
    # After all comparisons: the clock runs only while nothing else does.
    few = next(iter(files.values())).parent / "few.npy"
    np.save(few, faces.representative)
    for name, cost in scorer.costs(files, few).items():
        records[name] |= cost
    return records


def fill(folder: Path, file: Path, protocol: protocols.Protocol, num_samples: int) -> None:
    """Puts a TFLite file into a bundle's folder, and so many test members, and test externals, to try it on."""
    with formats.atomic_path(folder / bundle.SCORER) as temporary:
        shutil.copyfile(file, temporary)
    for name, part in (("member", protocols.TEST_MEMBERS), ("external", protocols.TEST_EXTERNALS)):
        table = protocol.table.take(protocol.part == part)
        for number, face in enumerate(images.first_faces(table, num_samples)):
            images.write_png(folder / "samples" / f"{name}_{number}.png", face)
