"""Opens whatever holds an audited model, by its content: see `doors`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mint_keras.audited import conventions, parity
from mint_keras.audited.cards import Card, Preprocessing
from mint_keras.audited.convert import doors, keras_file, pixels, quantised, saved_model, tflite, torch, torch_file
from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert.onnx import Converted
from mint_keras.borders import reading
from mint_keras.records import InputError

# As insightface tells its models: 192 pixels are a landmark model's, whose vectors of 212 or 3309 numbers look like
# embeddings.
_FACE_SIDES = set(range(112, 257, 16)) - {192}
_MAX_TFLITE = 2**31  # bytes, as the format has it


@dataclasses.dataclass(frozen=True)
class ForeignModel:
    """A model as its makers wrote it.

    Attributes:
        files: The file and, of ONNX, its external weights; all files of a SavedModel.
        format: What the file is, for the record.
        graph: The file's graph; of a checkpoint, one that was written from its weights.
        oracles: What runs it, the file as it is last.
        is_detector: Whether the model is a face detector.
        is_checkpoint: Whether the oracle's graph is ours, so that parity proves the mapping but not the file.
        layers: Layers of a Keras file.
        scale: Mean and divisor that a quantised input stands for, of TFLite.
    """

    files: list[Path]
    format: str
    graph: graphs.Graph
    oracles: Sequence[parity.Oracle]
    is_detector: bool = False
    is_checkpoint: bool = False
    layers: keras_file.KerasFile | None = None
    scale: tuple[float, float] | None = None

    def choose_preprocessing(
        self,
        card: Card | None,
        name: str = "",
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        bgr: bool | None = None,
    ) -> tuple[Preprocessing, str]:
        """Decides how the model wants its pixels, and says why: the user, its card, or what the file tells.

        The user says it by a name of `conventions.NAMED`, or by mean and std of pixels in 0..255, which are one number,
        or red, green and blue, or empty; bgr, where it is said, goes before what the card says of the order of colours.
        """
        if name:
            if name not in conventions.NAMED or mean or std or bgr is not None:
                wanted = f"--pixels, one of {list(conventions.NAMED)}, without --mean, --std and --bgr"
                raise InputError(f"Expected {wanted}, received {name!r}, {mean}, {std} and {bgr}.")
            return conventions.NAMED[name], f"{name}, as the command says"
        if not mean and not std:
            found, reason = self.usual_preprocessing()
            if card is not None:
                found, reason = card.preprocessing, f"scaled as the card {card.name} says"
            else:
                reason += "; nobody said so of this file: verify_fr.py shows whether it is right, --pixels changes it"
            if bgr is not None and bgr != found.bgr:
                found, reason = dataclasses.replace(found, bgr=bgr), f"{reason}; colours as the command says"
            return found, reason + ("; blue, green, red" if found.bgr else "")
        if {len(mean), len(std)} - {1, 3} or not all(np.isfinite([*mean, *std])) or min(std) <= 0:
            raise InputError(f"Expected --mean and --std of 1 or 3 numbers, --std above 0, received {mean} and {std}.")
        wide_mean, wide_std = (values if len(values) == 3 else values * 3 for values in (mean, std))
        order = "; blue, green, red" if bgr else ""
        return Preprocessing(wide_mean, wide_std, bool(bgr)), f"scaled as the command says{order}"  # type: ignore[arg-type]

    def told_preprocessing(self) -> tuple[Preprocessing, str] | None:
        """Returns how the file itself tells that it wants its pixels, and where it does; None if it does not."""
        if self.scale is None:
            return pixels.told(self.graph)
        mean, std = self.scale
        return Preprocessing((mean,) * 3, (std,) * 3), "scaled as the file quantises its input: pixels go in as bytes"

    def usual_preprocessing(self) -> tuple[Preprocessing, str]:
        """Returns how the file most likely wants its pixels, and why: what it tells, or else insightface's rule."""
        return self.told_preprocessing() or pixels.usual(self.is_detector)

    def to_keras(self, preprocessing: Preprocessing, image_size: int | None, name: str) -> Converted:
        """Converts the model; see `convert.onnx.to_keras`."""
        if self.layers is not None:
            size = pixels.contract(self.graph.input_shape, preprocessing, image_size, onnx_source.DEFAULT_SIZE)
            with reading(f"a Keras model of built-in layers in {self.files[0]}"):
                return self.layers.to_keras(size, name)
        return onnx_source.to_keras(self.graph, preprocessing, image_size, name)


def open_source(weights: Path) -> ForeignModel:
    """Opens a file or folder of any kind that `doors.recognise` knows, such as ~/.insightface/models/buffalo_l.

    Raises:
        InputError: if it is of another kind, or broken.
    """
    path = weights.expanduser()
    kind = doors.recognise(path)
    with reading(f"a model that can be read in {path}"):
        return _open(kind, path)


def _open(kind: str, path: Path) -> ForeignModel:
    if kind == doors.PACK:
        return _open_onnx(_recognition_model(path))
    if kind == doors.TORCH:
        state, where = torch_file.read_checkpoint(path)
        graph, network = torch.to_graph(state), torch.about(state)
        oracle = parity.Oracle(lambda: graph.read, "graph of the checkpoint", about="a graph of the weights")
        about = f"PyTorch state dict of arcface_torch, {network}{where}"
        return ForeignModel([path], about, graph, [oracle], is_checkpoint=True)
    if kind == doors.KERAS:
        layers = keras_file.KerasFile(keras_file.read(path))
        return ForeignModel([path], "Keras file", layers.graph, [layers.oracle()], layers=layers)
    if kind == doors.SAVED_MODEL:
        files = [path / saved_model.FILE, *sorted((path / "variables").glob("variables.*"))]
        file, oracle = saved_model.read(path)
        return _from_tflite(file, files, "SavedModel, read as TFLite", [oracle])
    if kind == doors.TFLITE:
        if path.stat().st_size > _MAX_TFLITE:
            raise InputError(f"Expected a TFLite file of at most {_MAX_TFLITE} bytes, received {path}, a larger one.")
        file = tflite.TfliteFile(path.read_bytes())
        return _from_tflite(file, [path], f"TFLite, {'int8' if file.quantised else 'float'}", [])
    return _open_onnx(path)


def _from_tflite(
    file: tflite.TfliteFile, files: list[Path], about: str, oracles: Sequence[parity.Oracle]
) -> ForeignModel:
    graph = graphs.parse(file.model, files[0].name)
    if file.quantised:
        graph = dataclasses.replace(graph, notes=(quantised.ROUNDED,))
    # The graph first, which has every tap; then whoever runs the file as it is.
    mapped = parity.Oracle(lambda: file.model, "float32", about="the graph of the file in float32")
    found = [mapped, file.oracle(), *oracles]
    return ForeignModel(files, about, graph, found, onnx_source.is_detector(graph), scale=file.input_scale)


def _open_onnx(path: Path) -> ForeignModel:
    graph = graphs.read(path)
    maker = f"{graph.model.producer_name} {graph.model.producer_version}".strip() or "unknown exporter"
    oracles = [parity.Oracle(lambda: graph.model)]
    if graph.notes:  # what is proven is the float network; beside it stands what the file itself gives
        tolerance = parity.ROUNDED if quantised.ROUNDED in graph.notes else parity.HALF
        given = set(graph.outputs.values())  # what is inside may be integers there
        oracles = [parity.Oracle(lambda: graph.read, "float32", about="the file read in float32")]
        oracles.append(parity.Oracle(lambda: graph.model, tolerance=tolerance, only=given))
    return ForeignModel(
        graph.files, f"ONNX, opset {graph.opset}, {maker}", graph, oracles, onnx_source.is_detector(graph)
    )


def _recognition_model(folder: Path) -> Path:
    """Returns the recognition model of an insightface pack, by what its graph takes and gives, never by its name."""
    files = sorted(folder.glob("*.onnx"))
    for file in files:
        try:
            graph = graphs.read(file)
        except InputError:
            continue
        if len(graph.outputs) == 1 and graph.input_shape[2] in _FACE_SIDES:
            dimensions = graph.model.graph.output[0].type.tensor_type.shape.dim
            # Attribute models give vectors too, but of a few numbers.
            if len(dimensions) == 2 and dimensions[1].dim_value >= 64:
                return file
    nested = [inner.name for inner in folder.iterdir() if inner.is_dir() and any(inner.glob("*.onnx"))]
    hint = f" Its folder {nested[0]} has some: name that." if nested else ""
    received = [file.name for file in files]
    raise InputError(f"Expected a recognition model among the .onnx files of {folder}, received {received}.{hint}")
