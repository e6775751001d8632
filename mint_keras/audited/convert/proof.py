"""Proves a conversion, tap by tap: against its source, a second opinion, what was saved, and what is exported of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx

from mint_keras import formats
from mint_keras.audited import iresnet, onnx_forward, parity, runtime, zoo
from mint_keras.audited.convert import onnx_tf, sources
from mint_keras.audited.convert.onnx import Converted
from mint_keras.data import images, samples
from mint_keras.records import InputError, ParityRecord, RefusedError

ONNX_TF = "onnx-tf"
DRAWN_FACES = "synthetic:1/web/0-7/1"
_NUM_IMAGES = 8
_MAX_FACE = 256  # pixels a side; detectors take more


def sample_pixels(model: keras.Model, faces: str, seed: int) -> dict[str, np.ndarray]:
    """Returns images to compare models on: noise, and faces of a source of aligned ones where the model takes faces.

    They are RGB pixels in 0..255, float32, (n, height, width, 3), called noise and faces.
    """
    side = model.input.shape[1]
    is_face = side <= _MAX_FACE
    # Detectors take 640 pixels a side: eight such pictures would be slow, and two tell as much.
    num = _NUM_IMAGES if is_face else 2
    # Whole numbers, as pixels are: some files take no others.
    noise = np.rint(np.random.default_rng(seed).uniform(0, 255, (num, *model.input.shape[1:]))).astype(np.float32)
    if not is_face:
        return {"noise": noise}
    table = samples.list_samples(faces)
    some = table.take(np.arange(min(len(table), 4 * _NUM_IMAGES)))  # the first may be unreadable
    try:
        found = images.first_faces(some, _NUM_IMAGES, images.Framing(side))
    except InputError as error:
        wanted = f"an aligned face, {images.MIN_SIZE} pixels or more a side, among the first {len(some)} of {faces}"
        raise InputError(f"Expected {wanted}, received none.") from error
    return {"noise": noise, "faces": found.astype(np.float32)}


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
        pixels: What to compare on, from `sample_pixels`.
        cross_check: "onnx-tf", another file of the same model, or "" for no second opinion.
        image_size: Side of the second file's input where that leaves it open.

    Returns:
        A record of every comparison, and what they prove.

    Raises:
        RefusedError: If a tap is out of tolerance.
    """
    sizes = parity.BATCH_SIZES[:1] if source.is_detector else parity.BATCH_SIZES
    records = [r for oracle in source.oracles for r in parity.check(converted, chosen, oracle, pixels, sizes)]
    if cross_check == ONNX_TF:
        other = _OnnxTf(source, onnx_tf.environment())
        records += parity.check(converted, chosen, other, {"noise": pixels["noise"][:1]}, (1,))
    elif cross_check:
        records += _compare_files(source, converted, chosen, pixels, sources.open_source(Path(cross_check)), image_size)
    if not source.is_checkpoint:
        given = (f"{oracle.name} ({oracle.about}) gives {_how_close(oracle)}" for oracle in source.oracles)
        return records, "; ".join(given)
    # The oracle of a checkpoint is a graph that we wrote from it; so is what onnx-tf gets.
    if cross_check in ("", ONNX_TF):
        return records, "mapping verified, file not: what checked it was written from the same file (verify_fr.py)"
    return records, f"mapping verified, and {Path(cross_check).name} is the same model"


def _how_close(oracle: parity.Oracle) -> str:
    if oracle.tolerance == parity.EXACT:
        return "the same values"
    limits = f"relative error up to {oracle.tolerance.relative:g}, cosine from {oracle.tolerance.cosine:g}"
    strict = f"{parity.FACES.relative:g} and {parity.FACES.cosine:g} less their mean"
    limits += f" on faces; where noise is farther, {strict}" if oracle.is_of_faces else ""
    return f"values as near as its rounding allows ({limits})"


def check_saved(folder: Path, kind: str, model: keras.Model, noise: np.ndarray) -> None:
    """Refuses and deletes what was saved, if a tap gives other values on noise than the model that was proven."""
    batch = iresnet.normalise(noise[:1])
    loaded, proven = (runtime.forward(m)(batch) for m in (zoo.load_audited(folder, kind), model))
    wrong = [tap for tap in proven if not parity.is_within(parity.compare(tap, loaded[tap], proven[tap], ("", "", 1)))]
    if wrong:
        (folder / formats.MODEL).unlink()
        raise RefusedError(f"{folder / formats.MODEL} gives other values for {wrong} than the model that was saved.")


def _compare_files(
    source: sources.ForeignModel,
    converted: Converted,
    chosen: Mapping[str, str],
    pixels: Mapping[str, np.ndarray],
    other: sources.ForeignModel,
    image_size: int | None,
) -> list[ParityRecord]:
    # Pixels as the source has them, which the user or a card may have said, unless the other file itself tells.
    scaling, _ = other.told_preprocessing() or (converted.contract.preprocessing, "")
    theirs = other.to_keras(scaling, image_size, "other")
    shared = [tap for tap in chosen if tap in theirs.taps]
    both = [
        runtime.forward(model.cut({tap: where[tap] for tap in shared}))
        for model, where in ((theirs, theirs.taps), (converted, chosen))
    ]
    records = []
    for name, images_ in pixels.items():
        expected, received = (runtime.predict(forward, images_, _NUM_IMAGES) for forward in both)
        made = (other.files[0].name, name, _NUM_IMAGES)
        records += [parity.compare(tap, received[tap], expected[tap], made) for tap in shared]
    wrong = [record for record in records if not parity.is_within(record)]
    if wrong or not shared:
        reason = f"tap {wrong[0].tap} has relative error {wrong[0].relative:.2g}" if wrong else "no tap in common"
        raise RefusedError(f"{source.files[0]} and {other.files[0]} are not the same model: {reason}.")
    return records


def export_onnx(extractor: keras.Model, path: Path, inputs: Mapping[str, np.ndarray]) -> list[ParityRecord]:
    """Writes an extractor as ONNX, once ONNX Runtime gives the same values with it as Keras; returns the records.

    Its outputs keep their names, N, H, W, C. The inputs are RGB pixels in 0..255 by name, (n, height, width, 3).

    Raises:
        RefusedError: A tap is out of tolerance.
    """
    model = onnx_forward.to_onnx(extractor)
    theirs, ours = onnx_forward.open_model(model), runtime.forward(extractor)
    records = []
    for name, pixels in inputs.items():
        batch = iresnet.normalise(pixels)
        expected, received = ours(batch), theirs(batch)
        made = ("keras (extractor.onnx)", name, len(batch))
        records += [parity.compare(tap, received[tap], expected[tap], made) for tap in extractor.output]
    wrong = [record for record in records if not parity.is_within(record)]
    if wrong:
        raise RefusedError(f"tf2onnx's file differs from Keras: tap {wrong[0].tap}, relative {wrong[0].relative:.2g}.")
    with formats.atomic_path(path) as temporary:
        onnx.save(model, temporary)
    return records


class _OnnxTf(parity.Oracle):
    """onnx-tf in an environment of its own."""

    def __init__(self, source: sources.ForeignModel, python: Path) -> None:
        super().__init__(name=ONNX_TF, about="the graph, converted by onnx-tf")
        self._graph = source.graph.model
        if not self._graph.graph.node:
            raise InputError("Expected a file that ONNX describes for --cross-check onnx-tf, received a Keras file.")
        self._input, self._python = source.graph.input, python

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        def run(images_: np.ndarray) -> list[np.ndarray]:
            feed = np.ascontiguousarray(images_.transpose(0, 3, 1, 2))
            outputs = onnx_tf.run(self._graph, {self._input: feed}, tensors, self._python)
            return [outputs[tensor] for tensor in tensors]

        return run
