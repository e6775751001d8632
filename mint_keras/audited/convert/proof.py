"""Proves a conversion, tap by tap: against its source, against a second opinion, and again after it was saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from mint_keras import formats
from mint_keras.audited import iresnet, parity, runtime, zoo
from mint_keras.audited.convert import onnx_tf, sources
from mint_keras.audited.convert.onnx import Converted
from mint_keras.data import images, samples
from mint_keras.records import InputError, ParityRecord, RefusedError

ONNX_TF = "onnx-tf"
DRAWN_FACES = "synthetic:1/web/0-7/1"
_NUM_IMAGES = 8


def sample_pixels(model: keras.Model, faces: str, seed: int) -> dict[str, np.ndarray]:
    """Returns images to compare models on: noise, and faces where the model takes faces.

    Args:
        model: The converted model.
        faces: A source of aligned faces.
        seed: Seeds the noise.

    Returns:
        RGB pixels in 0..255, float32, (n, height, width, 3), called noise and faces.

    Raises:
        InputError: If no face can be read.
    """
    _, height, width, channels = model.input.shape
    is_face = (height, width) == (images.IMAGE_SIZE,) * 2
    # Detectors take 640 pixels a side: eight such pictures would be slow, and two tell as much.
    num = _NUM_IMAGES if is_face else 2
    noise = np.random.default_rng(seed).uniform(0, 255, (num, height, width, channels)).astype(np.float32)
    if not is_face:
        return {"noise": noise}
    table = samples.list_samples(faces)
    reader = images.FaceReader()
    # Some of the first may be unreadable.
    batch = next(reader.batches(table.take(np.arange(min(len(table), 4 * _NUM_IMAGES))), _NUM_IMAGES), None)
    if batch is None:
        raise InputError(f"Expected aligned faces in {faces}, received none: {reader.rejected[0].reason}")
    return {"noise": noise, "faces": batch[1].astype(np.float32)}


def prove(
    source: sources.ForeignModel,
    converted: Converted,
    chosen: Mapping[str, str],
    pixels: Mapping[str, np.ndarray],
    cross_check: str,
    image_size: int | None,
) -> tuple[list[ParityRecord], str]:
    """Compares a conversion with its source, and with a second opinion where one is asked for.

    Args:
        source: What was converted.
        converted: What it was converted to.
        chosen: The tensor of every tap.
        pixels: What to compare on, see `sample_pixels`.
        cross_check: "onnx-tf", another file of the same model, or "" for no second opinion.
        image_size: Side of the second file's input where that leaves it open.

    Returns:
        A record of every comparison, and what they prove.

    Raises:
        RefusedError: If a tap is out of tolerance.
    """
    oracle = parity.Oracle(source.oracle_model, "graph of the checkpoint" if source.is_checkpoint else "onnxruntime")
    # Detectors are asked for one photo at a time.
    sizes = parity.BATCH_SIZES[:1] if source.is_detector else parity.BATCH_SIZES
    records = parity.check(converted, chosen, oracle, pixels, sizes)
    if cross_check == ONNX_TF:
        by_onnx_tf = _OnnxTf(source, onnx_tf.environment())
        # One image is enough: it converts the model anew for every run.
        records += parity.check(converted, chosen, by_onnx_tf, {"noise": pixels["noise"][:1]}, (1,))
    elif cross_check:
        other = sources.open_source(Path(cross_check))
        theirs = other.to_keras(other.usual_preprocessing(), image_size, "other")
        # Own taps name nodes of one file, which the other need not have.
        shared = [tap for tap in chosen if tap in theirs.taps]
        both = [
            runtime.forward(keras.Model(model.model.input, {tap: model.tensors[where[tap]].tensor for tap in shared}))
            for model, where in ((theirs, theirs.taps), (converted, chosen))
        ]
        compared = []
        for name, images_ in pixels.items():
            expected, received = (runtime.predict(forward, images_, _NUM_IMAGES) for forward in both)
            made = (other.files[0].name, name, _NUM_IMAGES)
            compared += [parity.compare(tap, received[tap], expected[tap], made) for tap in shared]
        wrong = [record for record in compared if not parity.is_within(record)]
        if wrong or not shared:
            raise RefusedError(
                f"{source.files[0]} and {other.files[0]} are not the same model: "
                + (f"tap {wrong[0].tap} has relative error {wrong[0].relative:.2g}." if wrong else "no tap in common.")
            )
        records += compared
    if not source.is_checkpoint:
        return records, "the same file run by ONNX Runtime gives the same values"
    # The oracle of a checkpoint is a graph that we wrote from it; so is what onnx-tf gets.
    if cross_check in ("", ONNX_TF):
        return records, "mapping verified, file not: what checked it was written from the same file (verify_fr.py)"
    return records, f"mapping verified, and {Path(cross_check).name} is the same model"


def check_saved(folder: Path, kind: str, model: keras.Model, noise: np.ndarray) -> None:
    """Loads what was saved and refuses it, and deletes it, if it gives other values than what was proven.

    Args:
        folder: The folder of the saved model.
        kind: What its manifest says it is.
        model: The model that was proven.
        noise: Pixels to compare on.

    Raises:
        RefusedError: If a tap differs.
    """
    batch = iresnet.normalise(noise[:1])
    loaded, proven = (runtime.forward(m)(batch) for m in (zoo.load_audited(folder, kind), model))
    wrong = [tap for tap in proven if not parity.is_within(parity.compare(tap, loaded[tap], proven[tap], ("", "", 1)))]
    if wrong:
        (folder / formats.MODEL).unlink()
        raise RefusedError(f"{folder / formats.MODEL} gives other values for {wrong} than the model that was saved.")


class _OnnxTf(parity.Oracle):
    """onnx-tf in an environment of its own."""

    def __init__(self, source: sources.ForeignModel, python: Path) -> None:
        super().__init__(source.oracle_model, ONNX_TF)
        self._input, self._python = source.graph.input, python

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        def run(images_: np.ndarray) -> list[np.ndarray]:
            feed = np.ascontiguousarray(images_.transpose(0, 3, 1, 2))
            outputs = onnx_tf.run(self._model(), {self._input: feed}, tensors, self._python)
            return [outputs[tensor] for tensor in tensors]

        return run
