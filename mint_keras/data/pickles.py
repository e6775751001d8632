"""The only place that reads pickles, and it runs nothing: a file may name what its format needs, and no more.

PyTorch checkpoints, insightface's verification sets and CIFAR are pickles, so a plain `pickle.load` of a file from a
stranger would run the stranger's program.
"""

import pickle
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np

from mint_keras.borders import check_regular, reading
from mint_keras.records import InputError

# Bytes; a pickle is read as a whole.
_MAX_VERIFICATION = 2**31
_MAX_CIFAR = 2**30
_MAX_READS = 2**23  # a minute's work; CIFAR-100 takes a million
_MAX_GIVEN = 4  # times the file's size: what calls are given
_MAX_LINE = 2**16  # bytes of a name or number that is written as a line
_CIFAR_SIDE = 32
# Operations that call other things, fill sets, or refer to what lies outside of the file.
_NEVER = (
    pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.EMPTY_SET,
    pickle.ADDITEMS, pickle.FROZENSET, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.PERSID,
)  # fmt: skip


def load(
    file: BinaryIO,
    allowed: Mapping[tuple[str, str], Any],
    persistent_load: Callable[[Any], Any] | None = None,
    encoding: Literal["ASCII", "latin1", "bytes"] = "ASCII",
) -> Any:
    """Reads one pickle from a file and leaves the file behind it.

    Args:
        file: A file that is open for reading bytes.
        allowed: What the pickle may name, by (module, name), and what stands for it here. Nothing is imported.
        persistent_load: Gives the objects that the file refers to from outside the pickle.
        encoding: Decodes Python 2's strings; "bytes" leaves them as bytes.

    Raises:
        InputError: if it names anything else, or is not a whole pickle.
    """
    # PyTorch checkpoints come here too, so that one place admits names, and nothing that a file names is imported.
    with reading("a complete pickle"):
        return _Unpickler(allowed, persistent_load, file, encoding=encoding).load()


class _Bounded:
    """A file that refuses to give more than it has, so that a size it only declares takes no memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._num_reads = file, 0
        start = file.tell()
        self._left = self.left = file.seek(0, 2) - start
        file.seek(start)

    def read(self, num: int) -> bytes:
        self._num_reads += 1
        if not 0 <= num <= self._left or self._num_reads > _MAX_READS:
            raise InputError(f"Expected a complete pickle of sane size, received one that asks for {num} bytes more.")
        self._left -= num
        return self._file.read(num)

    def readline(self) -> bytes:
        line = self._file.readline(_MAX_LINE)
        self._left -= len(line)
        return line


class _Unpickler(pickle._Unpickler):
    """Python's own reader in Python, which keeps its memo in a dictionary: C's makes room for whatever index is named.

    It knows the operations that arrays and tensors need, and no others.
    """

    # What the parent has, of which its types say nothing.
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {
        key: read for key, read in pickle._Unpickler.dispatch.items() if bytes([key]) not in _NEVER
    }

    def __init__(self, allowed: Mapping, persistent_load: Callable | None, file: BinaryIO, *, encoding: str) -> None:
        bounded = _Bounded(file)
        super().__init__(bounded, encoding=encoding)
        self._left = _MAX_GIVEN * bounded.left + _MAX_LINE
        self._allowed, self._persistent_load = allowed, persistent_load

    # Called for every name in a pickle. The parent's would import the module, which already runs it.
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            names = sorted(".".join(key) for key in self._allowed)
            raise InputError(f"Expected a file of {names}, received one that asks for {module}.{name}: not read.")
        return self._allowed[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        if self._persistent_load is None:
            raise InputError("Expected a pickle that stands alone, received one that refers to other data.")
        return self._persistent_load(identifier)

    def load_frame(self) -> None:
        """Passes over the size of a frame, which we have no need of."""
        self.read(8)

    def load_bytearray8(self) -> None:
        """Reads bytes; the parent makes room for as many as are declared, and zeroes it, before there are any."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_build(self) -> None:
        """Gives an array its state; the parent would set attributes of anything, our own functions included."""
        state, item = self.stack.pop(), self.stack[-1]
        if isinstance(item, _Pickled):
            item.state = state
        elif not isinstance(item, dict):  # what else an ordered dictionary of PyTorch knows is left out
            raise InputError(f"Expected the state of an array, received one of {type(item).__name__}.")

    def load_reduce(self) -> None:
        """Calls what the file names; it may give no more to calls than it holds, however often it names one text."""
        arguments, called = self.stack.pop(), self.stack.pop()
        self._left -= sum(len(one) for one in arguments if isinstance(one, str | bytes | list | tuple | dict))
        if self._left < 0:
            raise InputError("Expected a pickle that gives about as much to calls as it holds, received one with more.")
        self.append(called(*arguments))

    def load_setitem(self) -> None:
        """Sets an item."""
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][plain_key(key)] = value

    def load_setitems(self) -> None:
        """Sets items."""
        items = self.pop_mark()
        self.stack[-1].update(zip(map(plain_key, items[::2]), items[1::2], strict=True))

    def load_dict(self) -> None:
        """Makes a dictionary of items."""
        items = self.pop_mark()
        self.append(dict(zip(map(plain_key, items[::2]), items[1::2], strict=True)))

    dispatch |= {
        pickle.FRAME[0]: load_frame, pickle.BYTEARRAY8[0]: load_bytearray8, pickle.BUILD[0]: load_build,
        pickle.REDUCE[0]: load_reduce, pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict,
    }  # fmt: skip


def plain_key(key: Any) -> Any:
    """Returns a key of a dictionary; a tuple within tuples takes for ever to hash, so text, bytes and numbers do."""
    if not isinstance(key, str | bytes | int):
        raise InputError(f"Expected keys of text or numbers, received {type(key).__name__}.")
    return key


class _Pickled:
    """Stands for a NumPy array, data type or scalar in a pickle: keeps what it was made of."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None


def plain(item: Any) -> Any:
    """Returns the bytes of a pickled uint8 array, the value of a pickled scalar, anything but an array as it is."""
    if isinstance(item, bytearray):
        return bytes(item)
    if not isinstance(item, _Pickled):
        return item
    # A scalar is made of (type, bytes) and has no state; the state of an array is (version, shape, type, order, bytes).
    dtype = item.arguments[0] if item.state is None else item.state[2]
    raw = item.arguments[1] if item.state is None else item.state[4]
    kind = dtype.arguments[0] if isinstance(dtype, _Pickled) else None
    if kind in ("u1", b"u1") and isinstance(raw, bytes):
        return raw if item.state is not None else raw[0]
    if kind in ("b1", b"b1", "i8", b"i8") and item.state is None and isinstance(raw, bytes):
        return int.from_bytes(raw, "little")
    raise InputError(f"Expected arrays of bytes, received {reprlib.repr(kind)}.")


ARRAYS: dict[tuple[str, str], Any] = {
    # Python 3 writes bytes for Python 2 as text that this function is to encode.
    ("_codecs", "encode"): lambda text, _encoding="latin1": text.encode("latin1"),
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Pickled,
}
ARRAYS |= {
    (f"numpy.{package}.multiarray", name): _Pickled
    for package in ("core", "_core")  # before and since NumPy 2
    for name in ("_reconstruct", "scalar")
}


def read_verification(path: Path) -> tuple[list[bytes], list[Any]]:
    """Reads an insightface verification set: 2n encoded images, and for each pair whether both show one person.

    Source: insightface recognition/arcface_torch/eval/verification.py, load_bin.
    """
    content = _read_file(path, _MAX_VERIFICATION)
    if not isinstance(content, tuple | list) or len(content) != 2 or not all(isinstance(x, list) for x in content):
        raise InputError(f"Expected two lists, images and labels, in {path}, received {type(content).__name__}.")
    with reading(f"encoded images and labels in {path}"):
        images, labels = ([plain(item) for item in part] for part in content)
    if not labels or len(images) != 2 * len(labels) or not all(isinstance(image, bytes) for image in images):
        raise InputError(f"Expected two images for each label in {path}, received {len(images)} for {len(labels)}.")
    if not all(label in (0, 1) for label in labels):
        raise InputError(f"Expected labels true or false in {path}, received others.")
    return images, labels


def read_cifar(path: Path) -> dict[bytes, Any]:
    """Reads a file of CIFAR-100 as the dictionary that it is."""
    content = _read_file(path, _MAX_CIFAR)
    if not isinstance(content, dict):
        raise InputError(f"Expected a dictionary in {path}, received {type(content).__name__}.")
    return content


def cifar_pictures(content: Mapping[bytes, Any]) -> np.ndarray:
    """Returns the pictures of a file of CIFAR-100 that `read_cifar` read, RGB of shape (n, 32, 32, 3), uint8."""
    item, width = content.get(b"data"), 3 * _CIFAR_SIDE**2
    with reading(f"rows of {width} bytes as CIFAR's data"):
        raw = plain(item)
        if not isinstance(raw, bytes) or len(raw) % width or (isinstance(item, _Pickled) and item.state[3]):
            raise InputError(f"Expected rows of {width} bytes, received something else.")
    return np.frombuffer(raw, np.uint8).reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).transpose(0, 2, 3, 1)


def _read_file(path: Path, max_bytes: int) -> Any:
    check_regular(path, max_bytes)
    try:
        with open(path, "rb") as file:
            # Python 2's strings may be pictures, which no text encoding keeps.
            return load(file, ARRAYS, encoding="bytes")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
