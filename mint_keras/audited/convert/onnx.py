"""ONNX graph to Keras functional model: NHWC, built-in layers only, one layer (or two) per node.

The converter is our own because onnx2tf and onnx-tf give graphs of TensorFlow operations with generated names and
without taps; this one gives named layers, and refuses what it cannot prove. It goes by topology, not by names.
Every tensor of the graph stays findable, so that parity can be checked anywhere and taps put anywhere.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from mint_keras.audited import taps
from mint_keras.audited.cards import Preprocessing
from mint_keras.audited.convert import blocks, naming, operators, pixels
from mint_keras.audited.convert import outputs as kinds
from mint_keras.audited.convert.graph import Graph, Node, describe, fold
from mint_keras.audited.convert.outputs import is_detector as is_detector
from mint_keras.audited.convert.values import MAP_ORDER, Builder, Value
from mint_keras.borders import reading
from mint_keras.records import InputError

DEFAULT_SIZE = 112
DETECTOR_SIZE = 640
# Of one tensor and one image: 256 MiB. SCRFD's largest at 640x640 is a fortieth of it.
_MAX_VALUES = 2**26


@dataclasses.dataclass(frozen=True)
class Converted:
    """A Keras model and where the tensors of its source are in it."""

    # The model from RGB squares, (x - 127.5) / 127.5 whatever the source wants, to its outputs by name.
    model: keras.Model
    tensors: dict[str, Value]  # Keras tensors by tensor of the source, in topological order
    layers: dict[str, str]  # name of the layer behind each tensor
    nodes: dict[str, str]  # name of the node behind each tensor
    outputs: dict[str, str]  # tensors by output name
    taps: dict[str, str]  # tensors by tap, found automatically; empty for a detector
    is_iresnet: bool  # whether the layers carry the names of `audited.iresnet`
    contract: pixels.Contract  # how the source wants its images
    seems: str = ""  # what the network seems to be by its outputs, if no face-recognition model

    def cut(self, tensors: Mapping[str, str]) -> keras.Model:
        """Returns the part of the model that gives some tensors of the source, by the names that are their keys."""
        return keras.Model(self.model.input, {name: self.tensors[tensor].tensor for name, tensor in tensors.items()})

    def choose_taps(self, own: Sequence[str]) -> dict[str, str]:
        """Returns the tensor of every tap, by name, the outcome last.

        Own taps, NAME=NODE by node, tensor or layer name, stand beside those found or in their place.
        """
        chosen = dict(self.taps or self.outputs)
        by_name = {tensor: tensor for tensor in self.tensors}
        by_name |= {name: tensor for names in (self.layers, self.nodes) for tensor, name in names.items()}
        for choice in own:
            tap, _, place = choice.partition("=")
            if not tap.isidentifier() or place not in by_name:
                wanted = "--taps NAME=NODE with a node, tensor or layer of the model"
                raise InputError(f"Expected {wanted}, received {choice!r}.")
            chosen[tap] = by_name[place]
        last = {tap: chosen.pop(tap) for tap in (taps.OUTCOME,) if tap in chosen}
        return {**chosen, **last}

    def locate(self, tensor: str) -> dict[str, str]:
        """Returns what the manifest says of where a tensor is, in Keras and in the source."""
        return {"layer": self.layers[tensor], "node": self.nodes[tensor], "tensor": tensor}

    def remarks(self, chosen: Mapping[str, str], notes: Sequence[str]) -> list[str]:
        """Says what an auditor should know of a conversion: notes of its reading, and what these taps lack."""
        said = [f"Read: {note}." for note in notes]
        if self.seems:
            said.append(f"No face-recognition model, by its looks: it seems to be {self.seems}.")
        if self.taps and (missing := blocks.describe_missing(chosen)):
            said.append(missing)
        if kinds.UNIT in chosen:
            said.append(f"{kinds.UNIT} has length 1 whatever the face: its norm says nothing, that of outcome may.")
        return said

    def tap_rows(self, chosen: Mapping[str, str]) -> list[tuple[str, ...]]:
        """Returns a table of taps with its header: name, shape, layer, node, operations from the image to there."""
        rows: list[tuple[str, ...]] = [("tap", "shape", "layer", "node", "GFLOPs so far")]
        for tap, tensor in chosen.items():
            output = self.tensors[tensor].tensor
            flops = f"{taps.flops(keras.Model(self.model.input, output)) / 1e9:.3f}"
            rows.append((tap, "x".join(map(str, output.shape[1:])), self.layers[tensor], self.nodes[tensor], flops))
        return rows


def to_keras(
    graph: Graph, preprocessing: Preprocessing, image_size: int | None = None, name: str = "audited"
) -> Converted:
    """Converts a graph; where the file leaves the image size open, it is 112, or 640 of a detector, by default.

    Raises:
        InputError: An operator, or the use of one, is not supported; the message names the node.
    """
    for node in graph.nodes:
        is_standard = node.proto.domain in ("", "ai.onnx")
        if not is_standard or (node.op not in operators.OPERATORS and not graph.is_static(node)):
            known = sorted(operators.OPERATORS)
            raise InputError(f"Expected operators of {known}, received {describe(node)}. {operators.remedy(node)}")
    default = DETECTOR_SIZE if is_detector(graph) else DEFAULT_SIZE
    contract = pixels.contract(graph.input_shape, preprocessing, image_size, default)
    images, scaled = contract.layers()
    with reading("a graph whose nodes can be named"):
        names = naming.layer_names(graph)
    builder = Builder(graph, names)
    builder.values[graph.input] = Value(scaled, MAP_ORDER if graph.input_shape[1] == 3 else (0, 1, 2, 3))
    for node in graph.nodes:
        with reading(f"a graph that goes on after {describe(node)}"):
            _build(builder, node)
    with reading("a graph whose outputs can be told apart"):
        return finish(builder, images, names, contract, name)


def finish(
    builder: Builder, images: keras.KerasTensor, names: dict[str, str], contract: pixels.Contract, name: str
) -> Converted:
    """Returns what was built, once every node is there."""
    graph = builder.graph
    tensors = {tensor: builder.settled(tensor) for tensor in builder.values if tensor != graph.input}
    shapes = {tensor: builder.shape_of(value)[1:] for tensor, value in tensors.items()}
    vectors = {
        tensor: math.prod(shape) for tensor, shape in shapes.items() if math.prod(shape) == max(shape, default=1)
    }
    outputs = kinds.names(graph, vectors)
    if missing := [tensor for tensor in outputs.values() if tensor not in tensors]:
        raise InputError(f"Expected outputs that depend on the image, received {missing}.")
    model = keras.Model(images, {key: tensors[tensor].tensor for key, tensor in outputs.items()}, name=name)
    # Height and width of maps, the number of tokens of sequences.
    places = {tensor: value for tensor, value in tensors.items() if value.order in (MAP_ORDER, (0, 1, 2, 3), (0, 1, 2))}
    sizes = {tensor: tuple(map(int, value.tensor.shape[1:-1])) for tensor, value in places.items()}
    node_of = {tensor: node.name for node in graph.nodes for tensor in node.outputs}
    return Converted(
        model=model,
        tensors=tensors,
        layers={tensor: names[tensor] for tensor in tensors},
        nodes={tensor: node_of[tensor] for tensor in tensors},
        outputs=outputs,
        taps={} if is_detector(graph) else {**blocks.find_taps(graph, sizes), **outputs},
        seems="" if is_detector(graph) else kinds.describe(graph, shapes, int(images.shape[1])),
        is_iresnet=naming.iresnet_names(graph) is not None,
        contract=contract,
    )


def _build(builder: Builder, node: Node) -> None:
    if builder.graph.is_static(node):
        if node.op == "Shape":
            start, end = node.attributes.get("start", 0), node.attributes.get("end")
            results = [np.array(builder.shape(node.inputs[0])[start:end], np.int64)]
        else:  # no constant: an absent optional input, or activations of which the shape is asked
            results = fold(node, [builder.constants.get(name) for name in node.inputs], builder.graph.opset)
        builder.constants.update(zip(node.outputs, results, strict=True))
        return
    made = operators.OPERATORS[node.op](builder, node)
    for tensor, value in zip(node.outputs, made if isinstance(made, list) else [made], strict=False):
        if math.prod(value.tensor.shape[1:]) > _MAX_VALUES:
            raise InputError(f"Expected maps of sane size, received {value.tensor.shape[1:]} from {describe(node)}.")
        builder.values[tensor] = value
