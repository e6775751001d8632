"""The only place that reads pickles, and it runs nothing: a file may name what its format needs, and no more.

PyTorch checkpoints, insightface's verification sets and CIFAR are pickles, so a plain `pickle.load` of a file from a
stranger would run the stranger's program.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Literal

import numpy as np

from mint_keras.records import InputError


def load(
    file: BinaryIO,
    allowed: Mapping[tuple[str, str], Any],
    persistent_load: Callable[[Any], Any] | None = None,
    encoding: Literal["ASCII", "latin1", "bytes"] = "ASCII",
) -> Any:
    """Reads one pickle from a file and leaves the file behind it.

    Args:
        file: open for reading bytes.
        allowed: what the pickle may name, by (module, name), and what stands for it here. Nothing is imported.
        persistent_load: gives the objects that the file refers to from outside the pickle.
        encoding: of Python 2's strings; "bytes" leaves them as bytes.

    Returns:
        What the pickle holds.

    Raises:
        InputError: if it names anything else, or is not a whole pickle.
    """
    try:
        return _Unpickler(file, allowed, persistent_load, encoding).load()
    except InputError:
        raise
    except Exception as error:  # a broken pickle can make the machine behind it raise almost anything
        raise InputError(f"Expected a complete pickle, received one that breaks: {error}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        file: BinaryIO,
        allowed: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None,
        encoding: str,
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed, self._persistent_load = allowed, persistent_load

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            names = sorted(".".join(key) for key in self._allowed)
            raise InputError(f"Expected a file of {names}, received one that asks for {module}.{name}: not read.")
        return self._allowed[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        if self._persistent_load is None:
            raise InputError("Expected a pickle that stands alone, received one that refers to other data.")
        return self._persistent_load(identifier)


class _Pickled:
    """Stands for a NumPy array, data type or scalar in a pickle: keeps what it was made of."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def plain(item: Any) -> Any:
    """Returns the bytes of a pickled uint8 array, the value of a pickled scalar, anything else as it is.

    Raises:
        InputError: if it is another array.
    """
    if isinstance(item, bytearray):
        return bytes(item)
    if not isinstance(item, _Pickled):
        return item
    dtype = item.arguments[0] if item.state is None else item.state[2]
    raw = item.arguments[1] if item.state is None else item.state[4]
    kind = dtype.arguments[0] if isinstance(dtype, _Pickled) else None
    if kind in ("u1", b"u1") and isinstance(raw, bytes):
        return raw if item.state is not None else raw[0]
    if kind in ("b1", b"b1", "i8", b"i8") and item.state is None and isinstance(raw, bytes):
        return int.from_bytes(raw, "little")
    raise InputError(f"Expected arrays of bytes, received {kind!r}.")


def byte_rows(item: Any, width: int) -> np.ndarray:
    """Returns a pickled uint8 array as rows of the width given.

    Raises:
        InputError: if it is none.
    """
    raw = plain(item)
    if not isinstance(raw, bytes) or len(raw) % width or (isinstance(item, _Pickled) and item.state[3]):
        raise InputError(f"Expected rows of {width} bytes, received something else.")
    return np.frombuffer(raw, np.uint8).reshape(-1, width)


def _encode(text: str, _encoding: str = "latin1") -> bytes:
    """Stands for the function by which Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


ARRAYS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Pickled,
}
ARRAYS |= {
    (f"numpy.{package}.multiarray", name): _Pickled
    for package in ("core", "_core")
    for name in ("_reconstruct", "scalar")
}
