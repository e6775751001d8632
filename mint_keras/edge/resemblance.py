"""Whether the photos of a folder show one person: NumPy and LiteRT only."""

from pathlib import Path

import numpy as np

from mint_keras import shelf
from mint_keras.borders import reading

# The shelf's face network (see its card) in int8, as `litert.quantise` makes it.
NETWORK = Path("dlib") / "laptop.tflite"
# Of 600 pairs of photos of one person (LFW) 1.7% are less alike, of 600 of two people 0.5% as much; it was chosen on
# these pairs, so that of others it may be a little more.
_ALIKE = 0.915
# Photos that look like nobody else's may be bad ones; where they are more than a quarter, somebody else is there.
_SHARE = 0.75


class Looks:
    """Says what faces look like; for one thread."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        path = shelf.path(NETWORK.parent.name) / NETWORK.name
        with reading(f"a face network in {path}"):
            self._run = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()

    def of(self, face: np.ndarray) -> np.ndarray:
        """Returns a vector of length 1, (128,), for an aligned face, RGB, (112, 112, 3), uint8."""
        pixels = (face[None].astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
        embedding = self._run(image=pixels)["outcome"][0]
        return embedding / np.linalg.norm(embedding)


def are_one_person(looks: np.ndarray) -> bool:
    """Tells whether most faces, vectors of `Looks.of` of shape (n, 128), resemble the one that most resemble.

    It says nothing of drawn faces: all of them resemble each other.
    """
    return bool((looks @ looks.T >= _ALIKE).mean(axis=1).max() >= _SHARE)
