"""Opens whatever holds an audited model: an ONNX file, a PyTorch checkpoint, or a folder in insightface's layout."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx

from mint_keras.audited.cards import ARCFACE, Card, Preprocessing
from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert import torch, torch_file
from mint_keras.audited.convert.onnx import Converted
from mint_keras.borders import reading
from mint_keras.records import InputError

TORCH_SUFFIXES = (".pth", ".pt")
# As insightface tells its models: 192 pixels are a landmark model's, whose vectors of 212 or 3309 numbers look like
# embeddings.
_FACE_SIDES = set(range(112, 257, 16)) - {192}


@dataclasses.dataclass(frozen=True)
class ForeignModel:
    """A model as its makers wrote it."""

    files: list[Path]  # the file and, of ONNX, its external weights
    format: str  # what the file is, for the record
    graph: graphs.Graph  # the file's graph; of a checkpoint, one of the same topology with cut weights
    is_detector: bool = False  # whether the model is a face detector
    state: dict | None = None  # arrays of a checkpoint

    @property
    def is_checkpoint(self) -> bool:
        """Tells whether the oracle's graph is ours, so that parity proves the mapping but not the file."""
        return self.state is not None

    def oracle_model(self) -> onnx.ModelProto:
        """Returns what ONNX Runtime runs as the oracle: the file itself, or the graph written from a checkpoint."""
        return self.graph.read if self.state is None else torch.to_onnx(self.state)

    def choose_preprocessing(
        self, mean: tuple[float, ...], std: tuple[float, ...], card: Card | None
    ) -> tuple[Preprocessing, str]:
        """Decides how the model wants its pixels, and says why: the user, its card, or insightface's rule.

        The user's mean and std, of pixels in 0..255, are one number, or red, green and blue, or empty.
        """
        if not mean and not std:
            if card is not None:
                return card.preprocessing, f"scaled as the card {card.name} says"
            usual = self.usual_preprocessing()
            return usual, (
                f"scaled as insightface's rule has it, (x - {usual.mean[0]:g}) / {usual.std[0]:g}; nobody said so of "
                "this file: verify_fr.py shows whether it is right, --mean and --std change it"
            )
        if {len(mean), len(std)} - {1, 3} or not all(np.isfinite([*mean, *std])) or min(std) <= 0:
            raise InputError(f"Expected --mean and --std of 1 or 3 numbers, --std above 0, received {mean} and {std}.")
        wide_mean, wide_std = (values if len(values) == 3 else values * 3 for values in (mean, std))
        return Preprocessing(wide_mean, wide_std), "scaled as the command says"  # type: ignore[arg-type]

    def usual_preprocessing(self) -> Preprocessing:
        """Returns how models of this kind usually want their pixels."""
        return ARCFACE if self.is_checkpoint else onnx_source.usual_preprocessing(self.graph)

    def to_keras(self, preprocessing: Preprocessing, image_size: int | None, name: str) -> Converted:
        """Converts the model; see `convert.onnx.to_keras` and `convert.torch.to_keras`."""
        if self.state is None:
            return onnx_source.to_keras(self.graph, preprocessing, image_size, name)
        if preprocessing != ARCFACE:
            raise InputError(f"Expected the preprocessing of arcface_torch, 127.5 and 127.5, received {preprocessing}.")
        with reading(f"a checkpoint of arcface_torch in {self.files[0]}"):
            return torch.to_keras(self.state, name)


def open_source(weights: Path) -> ForeignModel:
    """Opens a file .onnx, .pth or .pt, or the recognition model of a folder such as ~/.insightface/models/buffalo_l."""
    path = weights.expanduser()
    if path.is_dir():
        path = _recognition_model(path)
    if not path.is_file():
        raise InputError(f"Expected a model file (.onnx, .pth, .pt) or folder, received {path}: not found.")
    if path.suffix.lower() in TORCH_SUFFIXES:
        state = torch_file.read_state_dict(path)
        with reading(f"a checkpoint of arcface_torch in {path}"):
            graph = torch.topology(state)
        return ForeignModel([path], "PyTorch state dict of arcface_torch", graph, state=state)
    graph = graphs.read(path)
    maker = f"{graph.model.producer_name} {graph.model.producer_version}".strip() or "unknown exporter"
    about = f"ONNX, opset {graph.opset}, {maker}"
    return ForeignModel(graph.files, about, graph, onnx_source.is_detector(graph))


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
