"""The only place that reads pickles, and it runs nothing: a file may name what its format needs, and no more.

PyTorch checkpoints, insightface's verification sets and CIFAR are pickles, so a plain `pickle.load` of a file from a
stranger would run the stranger's program.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Literal

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
