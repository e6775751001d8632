"""How a source wants its images, and the layers that make them of what every converted model takes.

Everything here shows models RGB squares, (x - 127.5) / 127.5. What else a source wants is done by the first layers of
the model that is saved, so that extraction, audits and bundles need to know no other convention.
"""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

from mint_keras.audited.cards import ARCFACE, RAW, SCRFD, UNIT, Preprocessing
from mint_keras.audited.convert.graph import Graph, Node
from mint_keras.records import InputError

_MIN_SIZE, _MAX_SIZE = 8, 4096
_SEES_THROUGH = ("Transpose", "Identity", "Cast", "Gather", "Slice", "ReverseSequence", "Pad")


@dataclasses.dataclass(frozen=True)
class Contract:
    """How a source wants its images: scaling, order of colours, height and width in pixels."""

    preprocessing: Preprocessing
    size: tuple[int, int]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Makes of RGB squares in 0..255, (n, side, side, 3), what the source takes, N, H, W, C."""
        (height, width), side = self.size, max(self.size)
        top, left = (side - height) // 2, (side - width) // 2
        return self.preprocessing.apply(pixels[:, top : top + height, left : left + width])

    def layers(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Returns the input of a converted model, a square, and what it becomes for the source."""
        (height, width), side = self.size, max(self.size)
        images = x = keras.Input((side, side, 3), name="image")
        if height != width:
            # The template of 112x96, SphereFace's, is the middle of ArcFace's of 112x112.
            spare = [(side - size, (side - size) // 2) for size in self.size]
            cropping = tuple((before, whole - before) for whole, before in spare)
            x = keras.layers.Cropping2D(cropping, name="crop")(x)
        scaling = self.preprocessing
        scale = [127.5 / std for std in scaling.std]
        offset = [(127.5 - mean) / std for mean, std in zip(scaling.mean, scaling.std, strict=True)]
        is_same = scale == [1.0] * 3 and offset == [0.0] * 3
        layer = keras.layers.Identity if is_same else functools.partial(keras.layers.Rescaling, scale, offset)
        x = layer(name="preprocessing")(x)
        return images, keras.ops.take(x, np.array([2, 1, 0]), axis=-1) if scaling.bgr else x

    def record(self) -> dict[str, Any]:
        """Returns what the manifest says; `zoo.framing` reads the size, and the model's first layers do the rest."""
        height, width = self.size
        middle = "" if height == width else f", of which the middle {height}x{width} is used"
        crop = f"aligned to the ArcFace template at {max(self.size)} pixels{middle}"
        return {**dataclasses.asdict(self.preprocessing), "size": [height, width], "crop": crop}


def contract(
    shape: tuple[int | None, ...], preprocessing: Preprocessing, image_size: int | None, default: int
) -> Contract:
    """Returns the contract of an input of a shape, N, C, H, W or N, H, W, C; an open size is the one given, or default.

    Raises:
        InputError: if the file says another size, or the size is none of images.
    """
    height, width = shape[2:] if shape[1] == 3 else shape[1:3]
    if image_size and {height, width} - {None, image_size}:
        raise InputError(f"Expected the image size of the file, {height}x{width}, received {image_size}.")
    height, width = height or image_size or default, width or image_size or default
    if not all(_MIN_SIZE <= side <= _MAX_SIZE for side in (height, width)):
        raise InputError(f"Expected an image size of {_MIN_SIZE} to {_MAX_SIZE}, received {height}x{width}.")
    return Contract(preprocessing, (height, width))


def told(graph: Graph) -> tuple[Preprocessing, str] | None:
    """Returns how a graph tells that it wants its pixels, and where; None if it does not.

    Whole numbers are pixels. A graph that begins with a scaling of pixels takes them as they are, or divided by 255; a
    normalisation in front of all tells by its running mean.
    """
    if graph.takes_integers:
        return RAW, "not scaled: the file takes whole numbers"
    readers, tensor = graph.consumers(), graph.input
    while len(readers[tensor]) == 1 and readers[tensor][0].op in _SEES_THROUGH:
        tensor = readers[tensor][0].outputs[0]
    first = readers[tensor][0] if len(readers[tensor]) == 1 else None
    is_scaling = first is not None and first.op in ("Add", "BatchNormalization", "Div", "Mul", "Sub")
    return _by_first(graph, first) if first is not None and is_scaling else None


def usual(is_detector: bool) -> tuple[Preprocessing, str]:
    """Returns insightface's rule, (x - 127.5) / 127.5, or / 128 of detectors, and its name."""
    usual = SCRFD if is_detector else ARCFACE
    return usual, f"scaled as insightface's rule has it, (x - {usual.mean[0]:g}) / {usual.std[0]:g}"


def _by_first(graph: Graph, node: Node) -> tuple[Preprocessing, str]:
    position = 3 if node.op == "BatchNormalization" else 1 if node.inputs[0] not in graph.constants else 0
    constant = graph.constants.get(node.inputs[position])
    size = float(np.abs(constant).max()) if constant is not None and constant.size else np.inf
    # Of 0..255 a mean is some 100 and a divisor more than 1; what multiplies them is about 1/128.
    if node.op == "BatchNormalization" and size < 0.2:
        return ARCFACE, "scaled to -1..1, as the running mean of its first normalisation has it"
    is_raw = size < 0.1 if node.op == "Mul" else size > 1.5
    where = f"as the graph's first operation, {node.op}, has it"
    return (RAW, f"not scaled, {where}") if is_raw else (UNIT, f"scaled to 0..1, {where}")
