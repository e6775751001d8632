"""Opens whatever holds an audited model: an ONNX file, a PyTorch checkpoint, or a folder in insightface's layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert import torch, torch_file
from mint_keras.audited.convert.onnx import Converted
from mint_keras.audited.preprocessing import ARCFACE, Preprocessing
from mint_keras.records import InputError

TORCH_SUFFIXES = (".pth", ".pt")
_FACE_SIDES = range(112, 257, 16)


@dataclasses.dataclass(frozen=True)
class Source:
    """An audited model as its makers wrote it.

    Attributes:
        files: the file and, of ONNX, its external weights.
        format: what it is, for the record.
        graph: of the file; of a checkpoint, one of the same topology with cut weights.
        is_checkpoint: whether the oracle's graph is ours, so that parity proves the mapping but not the file.
        is_detector: whether it is a face detector.
        state: the arrays of a checkpoint.
    """

    files: list[Path]
    format: str
    graph: graphs.Graph
    is_checkpoint: bool
    is_detector: bool
    state: dict | None = None

    def oracle_model(self) -> onnx.ModelProto:
        """Returns what ONNX Runtime runs as the oracle: the file itself, or the graph written from a checkpoint."""
        return self.graph.model if self.state is None else torch.to_onnx(self.state)

    def usual_preprocessing(self) -> Preprocessing:
        """Returns how models of this kind usually want their pixels."""
        return ARCFACE if self.is_checkpoint else onnx_source.usual_preprocessing(self.graph)

    def to_keras(self, preprocessing: Preprocessing, image_size: int | None, name: str) -> Converted:
        """Converts the model; see `convert.onnx.to_keras` and `convert.torch.to_keras`."""
        if self.state is None:
            return onnx_source.to_keras(self.graph, preprocessing, image_size, name)
        if preprocessing != ARCFACE:
            raise InputError(f"Expected the preprocessing of arcface_torch, 127.5 and 127.5, received {preprocessing}.")
        return torch.to_keras(self.state, name)


def open_source(weights: Path) -> Source:
    """Opens a model.

    Args:
        weights: `.onnx`; `.pth` or `.pt`; or a folder such as `~/.insightface/models/buffalo_l`, of which the
            recognition model is taken.

    Raises:
        InputError: if it is none of these, or broken.
    """
    path = weights.expanduser()
    if path.is_dir():
        path = _recognition_model(path)
    if not path.is_file():
        raise InputError(f"Expected a model file (.onnx, .pth, .pt) or folder, received {path}: not found.")
    if path.suffix.lower() in TORCH_SUFFIXES:
        state = torch_file.read_state_dict(path)
        graph = torch.topology(state)
        return Source([path], "PyTorch state dict of arcface_torch", graph, True, False, state)
    graph = graphs.read(path)
    maker = f"{graph.model.producer_name} {graph.model.producer_version}".strip() or "unknown exporter"
    about = f"ONNX, opset {graph.opset}, {maker}"
    return Source(graph.files, about, graph, False, onnx_source.is_detector(graph))


def _recognition_model(folder: Path) -> Path:
    """Returns the recognition model of an insightface pack, by what its graph takes and gives, never by its name."""
    files = sorted(folder.glob("*.onnx"))
    for file in files:
        try:
            graph = graphs.read(file)
        except InputError:
            continue
        if len(graph.outputs) == 1 and graph.input_shape[2] in _FACE_SIDES and _gives_vectors(graph.model):
            return file
    nested = [inner.name for inner in folder.iterdir() if inner.is_dir() and any(inner.glob("*.onnx"))]
    hint = f" Its folder {nested[0]} has some: name that." if nested else ""
    raise InputError(
        f"Expected a recognition model among the .onnx files of {folder}, received {[f.name for f in files]}.{hint}"
    )


def _gives_vectors(model: onnx.ModelProto) -> bool:
    dimensions = model.graph.output[0].type.tensor_type.shape.dim
    # Landmark and attribute models give vectors too, but of other inputs than 112 or of a few numbers.
    return len(dimensions) == 2 and dimensions[1].dim_value >= 64
