"""Puts a face detector into a bundle: SCRFD from ONNX through Keras to TFLite, if it finds what ONNX Runtime finds."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from onnx import numpy_helper

from mint_keras import formats
from mint_keras.audited import litert
from mint_keras.audited.convert import sources
from mint_keras.data import samples, synthetic
from mint_keras.edge.bundle import DETECTORS
from mint_keras.edge.photos import FaceFinder, Looking
from mint_keras.faces import detectors, scrfd
from mint_keras.records import InputError, RefusedError

# The name of the signature's input.
PHOTO = "photo"
# Boxes may move by so many pixels of the network's input.
MAX_BOX_SHIFT = 0.5
MAX_SCORE_DIFFERENCE = 1e-3
_THREADS = 2


def export(file: str, photos: str, folder: Path) -> dict[str, Any]:
    """Writes a detector for both sizes of the input into a bundle, and returns the manifest's entry.

    Args:
        file: An SCRFD file with landmarks, `.onnx`, or `insightface:PACK`; see `detectors.find_file`.
        photos: A folder of photos to compare on, beside drawn ones; "" for none.
        folder: The bundle's folder.

    Raises:
        InputError: if the file is no such detector.
        RefusedError: if TFLite differs from ONNX Runtime by more than 0.5 pixels, or 0.001 of a score.
    """
    path = detectors.find_file(file)
    _open(path)
    # Drawn faces of two sizes in noise are there wherever a bundle is made, so something is always compared.
    drawn = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    for number, height in enumerate((112, 112, 56)):
        face = synthetic.render(f"synthetic:1/web/{number}/0")[:: 112 // height, :: 112 // height]
        drawn[40:][:height, 40 + 180 * number :][:, :height] = face
    finder = FaceFinder(Looking())
    locations = samples.list_samples(photos).location if photos else ()
    pictures = [drawn, *(finder.decode(str(location)) for location in locations)]
    records = {}
    for side, name in DETECTORS.items():
        with tempfile.TemporaryDirectory() as scratch, formats.atomic_path(folder / name) as made:
            # ONNX Runtime runs the resized file too.
            resized = _resized(path, side, Path(scratch))
            made.write_bytes(litert.to_tflite(to_keras(resized, side)))
            received, expected = detectors.litert_network(made, _THREADS)[0], detectors.onnx_network(resized)[0]
            records[name] = {
                "raw": compare_outputs(pictures, side, received, expected),
                "photos": compare_detections(pictures, side, received, expected),
                "bytes": made.stat().st_size,
            }
    return {"source": path.name, "sha256": formats.sha256_file(path), "files": records}


def to_keras(path: Path, side: int) -> keras.Model:
    """Converts a detector to a Keras model from "photo", uint8 RGB (1, side, side, 3), to outputs such as "score_8".

    Raises:
        InputError: if the file is no SCRFD with landmarks.
    """
    source = _open(path)
    inner = source.to_keras(source.usual_preprocessing()[0], side, "scrfd").model
    photo = keras.Input(batch_shape=(1, side, side, 3), dtype="uint8", name=PHOTO)
    return keras.Model(photo, inner(layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(photo)), name="detector")


def _open(path: Path) -> sources.ForeignModel:
    source = sources.open_source(path)
    # SCRFD without landmarks, of 6 or 10 outputs, says where a face is and not how to align it.
    if not source.is_detector or len(source.graph.outputs) not in (9, 15):
        raise InputError(f"Expected SCRFD with landmarks (9 or 15 outputs), received {path}.")
    return source


def compare_outputs(
    pictures: Sequence[np.ndarray], side: int, received: scrfd.Network, expected: scrfd.Network
) -> dict[str, float]:
    """Compares the networks' outputs at every place, also where there is no face; refuses as `export` does."""
    shifts, differences = [0.0], [0.0]
    for picture in pictures:
        canvas, _ = scrfd.letterbox(picture, side)
        ours, theirs = received(canvas), expected(canvas)
        strides = scrfd.STRIDES[: len(theirs) // len(scrfd.ROLES)]
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            role, stride = divmod(number, len(strides))
            difference = float(np.abs(a.reshape(-1) - b.reshape(-1)).max())
            # Distances are in units of the stride, scores have none.
            (shifts if role else differences).append(difference * (strides[stride] if role else 1))
    return _checked(shifts, differences, side)


def compare_detections(
    pictures: Sequence[np.ndarray], side: int, received: scrfd.Network, expected: scrfd.Network
) -> dict[str, float]:
    """Compares the faces that the networks find; refuses as `export` does."""
    shifts, differences, num_faces = [0.0], [0.0], 0
    for picture in pictures:
        ours, theirs = (scrfd.detect(picture, run, side) for run in (received, expected))
        if len(ours) != len(theirs):
            raise RefusedError(f"Expected {len(theirs)} faces as in ONNX Runtime at {side}, received {len(ours)}.")
        if not len(ours):
            continue
        # Boxes are in pixels of the photo; the limit is in pixels of the network's input.
        scale = scrfd.letterbox(picture, side)[1]
        shifts.append(float(np.abs(ours.boxes - theirs.boxes).max() * min(1.0, scale)))
        differences.append(float(np.abs(ours.scores - theirs.scores).max()))
        num_faces += len(ours)
    return {**_checked(shifts, differences, side), "faces": num_faces}


def _checked(shifts: Sequence[float], differences: Sequence[float], side: int) -> dict[str, float]:
    # NumPy's maximum keeps NaN, unlike Python's, and NaN is refused.
    shift, difference = float(np.max(shifts)), float(np.max(differences))
    if not (shift <= MAX_BOX_SHIFT and difference <= MAX_SCORE_DIFFERENCE):
        raise RefusedError(
            f"Expected boxes within {MAX_BOX_SHIFT} pixels and scores within {MAX_SCORE_DIFFERENCE} of ONNX Runtime "
            f"at {side}, received differences of {shift:.2g} and {difference:.2g}."
        )
    return {"max_box_shift": shift, "max_score_difference": difference}


def _resized(path: Path, side: int, folder: Path) -> Path:
    """Returns the file itself, or a copy for another input size where the file fixes one."""
    model = onnx.load(path)
    sizes = model.graph.input[0].type.tensor_type.shape.dim[2:]
    fixed = sizes[0].dim_value
    if fixed in (0, side):
        return path
    for size in sizes:
        size.dim_value = side
    for size in itertools.chain.from_iterable(output.type.tensor_type.shape.dim for output in model.graph.output):
        size.ClearField("dim_value")
    del model.graph.value_info[:]
    # Convolutions fit any size; only what `Resize` enlarges names how large it becomes.
    targets = {node.input[3] for node in model.graph.node if node.op_type == "Resize" and len(node.input) == 4}
    for constant in model.graph.initializer:
        if constant.name in targets:
            target = numpy_helper.to_array(constant).copy()
            target[2:] = target[2:] * side // fixed
            constant.CopyFrom(numpy_helper.from_array(target, constant.name))
    onnx.save(model, folder / path.name)
    return folder / path.name
