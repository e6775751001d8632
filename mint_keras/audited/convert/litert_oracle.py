"""A TFLite file's own interpreter, for what a conversion is compared with."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mint_keras.audited import litert, parity
from mint_keras.audited.convert.values import MAP_ORDER
from mint_keras.borders import reading
from mint_keras.records import InputError

# What may stand in a file that no output depends on: what gives no more than it takes, and arithmetic of shapes.
_AS_LARGE = {"CAST", "DEQUANTIZE", "QUANTIZE", "RESHAPE", "SHAPE"}
_OF_SHAPES = {"ADD", "CONCATENATION", "FLOOR_DIV", "GATHER", "MUL", "PACK", "REDUCE_PROD", "STRIDED_SLICE", "SUB"}
_MAX_SHAPE = 4096  # bytes


def check_unread(operators: Sequence[tuple[str, Any]], size_of: Callable[[int], int]) -> None:
    """Refuses operators that no output depends on, but for shapes: the interpreter would run them all the same.

    Args:
        operators: Their kinds, and the operators, in the file's order.
        size_of: Gives the bytes of a constant, 0 of other tensors.
    """
    sizes: dict[int, float] = {}  # of what they give, in bytes
    for kind, operator in operators:
        given = [sizes.get(i, size_of(i) or np.inf) for i in operator.inputs if i >= 0]
        size = 64 if kind == "SHAPE" else math.prod(given) if kind == "GATHER" else sum(given)
        if kind not in _AS_LARGE and (kind not in _OF_SHAPES or size > _MAX_SHAPE):
            raise InputError(f"Expected operators that an output depends on, received {kind}: export it without.")
        sizes |= dict.fromkeys(operator.outputs, size)


def shapes(content: bytes) -> dict[int, list[int]]:
    """Returns the shape that every tensor of a file has once one image went through, by its number."""
    with reading("a TFLite file that LiteRT runs"):
        interpreter = litert.open_plain(content, True)
        interpreter.allocate_tensors()
        interpreter.invoke()
        return {detail["index"]: detail["shape"].tolist() for detail in interpreter.get_tensor_details()}


class Interpreter(parity.Oracle):
    """Runs a TFLite file as it is and gives its tensors, quantised ones as the numbers that they stand for."""

    def __init__(
        self, content: bytes, places: dict[str, int], image: int, tolerance: parity.Tolerance, is_of_faces: bool
    ) -> None:
        super().__init__(None, "litert", tolerance, "the file as it is, LiteRT without delegates", places)
        self._content, self._places, self._image = content, places, image
        self.is_of_faces = is_of_faces

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        """Returns a function from images, NHWC as the file wants them scaled, to some tensors, maps N, C, H, W."""
        with reading("a TFLite file that LiteRT runs"):
            interpreter = litert.open_plain(self._content, True)
            (entry,) = interpreter.get_input_details()
            details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}

        def one(image: np.ndarray) -> list[np.ndarray]:
            scale, zero = entry["quantization"]
            if scale:
                limits = np.iinfo(entry["dtype"])
                image = np.clip(np.rint(image / scale + zero), limits.min, limits.max)
            interpreter.set_tensor(self._image, image[None].astype(entry["dtype"]))
            interpreter.invoke()
            found = []
            for tensor in tensors:
                place = self._places[tensor]
                values, (scale, zero) = interpreter.get_tensor(place), details[place]["quantization"]
                values = (values.astype(np.float32) - zero) * scale if scale else values.astype(np.float32)
                found.append(values.transpose(MAP_ORDER) if values.ndim == 4 else values)
            return found

        def run(images: np.ndarray) -> list[np.ndarray]:
            with reading("a TFLite file that LiteRT runs"):
                interpreter.resize_tensor_input(self._image, [1, *images.shape[1:]])
                interpreter.allocate_tensors()
                return [np.concatenate(parts) for parts in zip(*map(one, images), strict=True)]

        return run
