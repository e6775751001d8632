"""AAD of faces in memory, computed whenever rows are asked for, by an engine that is not part of the head's graph."""

import copy
from collections.abc import Callable
from typing import Self

import keras
import numpy as np

from mint_keras.aad import extract, store
from mint_keras.audited import iresnet
from mint_keras.audited.runtime import Forward

_Look = Callable[[np.ndarray], dict[str, np.ndarray]]  # from rows of the faces


class LiveArray:
    """The rows of one tap, rounded as a store keeps them; see `aad.store.ShardedArray`, which it stands for."""

    def __init__(self, look: _Look, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._look, self._name, self.shape, self.dtype = look, name, shape, dtype
        self._rows = np.arange(shape[0])

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray) -> Self:
        """Returns the same array with the given rows only; nothing is computed."""
        chosen = copy.copy(self)
        chosen._rows = self._rows[rows]
        chosen.shape = (len(chosen._rows), *self.shape[1:])
        return chosen

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Computes rows, given as indices, a boolean mask or a slice."""
        return self._look(self._rows[rows])[self._name]


def arrays(faces: np.ndarray, extractor: keras.Model, forward: Forward, dtype: str = "float16") -> dict[str, LiveArray]:
    """Returns the taps of an extractor for n faces, (n, size, size, 3), uint8, which a function of it computes."""
    last: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []

    def look(rows: np.ndarray) -> dict[str, np.ndarray]:
        if last and np.array_equal(last[0][0], rows):  # one pass for all taps, which are asked one after the other
            return last[0][1]
        last.clear()
        function = {"": lambda some: forward(iresnet.normalise(some))}
        starts = range(0, len(rows), extract.BATCH_SIZE)
        batches = [faces[rows[start : start + extract.BATCH_SIZE]] for start in starts]
        parts = [extract.run(function, batch, extract.BATCH_SIZE)[""] for batch in batches]
        found = {tap: np.concatenate([store.cast(part[tap], dtype, tap) for part in parts]) for tap in parts[0]}
        last.append((rows, found))
        return found

    shapes = {tap: tuple(values.shape[1:]) for tap, values in extractor.output.items()}
    kinds = {tap: np.dtype(dtype if len(shape) == 3 else np.float32) for tap, shape in shapes.items()}
    return {tap: LiveArray(look, tap, (len(faces), *shape), kinds[tap]) for tap, shape in shapes.items()}
