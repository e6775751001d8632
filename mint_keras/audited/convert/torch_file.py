"""Reads the tensors of a PyTorch file without PyTorch, and without running what the file asks for.

Both formats of `torch.save`: the zip archive (PyTorch 1.6 and later) and the legacy stream of pickles before it.
Source: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

import functools
import io
import math
import os
import reprlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mint_keras.borders import reading
from mint_keras.data import pickles
from mint_keras.records import InputError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_PICKLE = 16 * 2**20  # bytes; a backbone's is some 100 KB, its tensors lie beside it
_MAX_VALUES = 2**48  # NumPy counts bytes in 63 bits
_MAX_AXES = 32  # NumPy's
_MIN_TENSORS, _MAX_COPIES = 2**20, 4
_MAX_DEPTH = 3
# Where trainings keep the weights of the network, in the order in which they are looked for.
_WRAPPERS = (
    "state_dict_backbone", "backbone_state_dict", "net_state_dict", "model_state_dict", "state_dict", "backbone",
    "model", "net", "network", "ema", "model_ema", "state_dict_ema", "ema_state_dict", "student", "teacher", "state",
    "weights",
)  # fmt: skip
_REMEDY = (
    " A file that names code is not read. Where its code is, write the weights alone: x = torch.load("
    '"{name}", "cpu", weights_only=False); torch.save(x["state_dict"] if isinstance(x, dict) else x.state_dict(), '
    '"backbone.pth").'
)
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "net.", "encoder.")
_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip


class _Storage(NamedTuple):
    kind: str
    key: str
    num_values: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Reads a state dict, such as arcface_torch's `backbone.pth`, and says where in a training's checkpoint it was.

    What wrappers (DistributedDataParallel, Lightning, torch.compile) put before all keys is taken off.

    Raises:
        InputError: The file is no complete PyTorch file, asks for anything but tensors, or holds no state dict.
    """
    try:
        with reading("a complete PyTorch file"), open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                value, read_storage = _read_zip(file)
            else:
                file.seek(0)
                if file.peek(4).startswith(b"PK"):
                    raise InputError("Expected a whole PyTorch archive, received the beginning of one: truncated?")
                value, read_storage = _read_legacy(file)
            found, where = _find(value)
            # A few bytes may name one storage thousands of times: half floats double, and some weights are tied.
            wanted, size = 4 * sum(math.prod(tensor.size) for tensor in found.values()), os.fstat(file.fileno()).st_size
            if wanted > _MIN_TENSORS + _MAX_COPIES * size:
                raise InputError(f"Expected the values of every tensor, received {wanted} bytes in a file of {size}.")
            return {key: _array(tensor, read_storage) for key, tensor in found.items()}, where
    except InputError as error:
        hint = _REMEDY.format(name=path.name) if "asks for" in str(error) else ""
        raise InputError(f"{path}: {error}{hint}") from error


def _find(value: Any) -> tuple[dict[str, _Tensor], str]:
    """Returns the state dict in what a file holds, without prefixes, and says where it lay."""
    where = ""
    for _ in range(_MAX_DEPTH):
        if isinstance(value, dict) and value and all(isinstance(v, _Tensor) for v in value.values()):
            break
        inner = [key for key in _WRAPPERS if isinstance(value, dict) and isinstance(value.get(key), dict)]
        if not inner:
            found = f"a dict with keys {list(value)[:5]}" if isinstance(value, dict) else type(value).__name__
            hint = 'Save the backbone\'s alone: torch.save(backbone.state_dict(), "backbone.pth").'
            raise InputError(f"Expected a state dict (tensors by key), received {found}. {hint}")
        where += f", its {inner[0]!r}" + (f" and not its {inner[1:]}" if inner[1:] else "")
        value = value[inner[0]]
    if not all(isinstance(key, str) and isinstance(tensor, _Tensor) for key, tensor in value.items()):
        raise InputError("Expected a state dict (tensors by key), received other keys, or dicts within dicts.")
    while prefix := next((p for p in _PREFIXES if any(key.startswith(p) for key in value)), ""):
        # What is beside the backbone, the classifier of the training, is no part of the face model.
        value = {key.removeprefix(prefix): tensor for key, tensor in value.items() if key.startswith(prefix)}
    return value, where


def _read_zip(file: BinaryIO) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(file)
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in names:
        raise InputError("Expected a PyTorch archive, received a zip file without data.pkl.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise InputError("Expected a PyTorch archive, which is never compressed, received compressed entries.")
    if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
        raise InputError("Expected little-endian tensors, received another byte order.")
    if archive.getinfo(names["data.pkl"]).file_size > _MAX_PICKLE:
        raise InputError(f"Expected data.pkl of at most {_MAX_PICKLE} bytes, received a larger one.")

    @functools.cache  # thousands of tensors may share one
    def read_storage(storage: _Storage) -> bytes:
        name = names.get(f"data/{storage.key}")
        if name is None:
            raise InputError(f"Expected the values of every tensor, received no data/{storage.key}: truncated?")
        return archive.read(name)

    return _unpickle(io.BytesIO(archive.read(names["data.pkl"]))), read_storage


def _read_legacy(file: BinaryIO) -> tuple[Any, Callable[[_Storage], bytes]]:
    if _unpickle(file) != _LEGACY_MAGIC or _unpickle(file) != _LEGACY_PROTOCOL:
        raise InputError("Expected a PyTorch file, received another kind of pickle.")
    system = _unpickle(file)
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise InputError("Expected little-endian tensors, received another byte order.")
    storages: dict[str, _Storage] = {}
    value = _unpickle(file, storages)
    keys = _unpickle(file)
    is_list = isinstance(keys, list) and all(isinstance(key, str | int) for key in keys)
    if not is_list or sorted(map(str, keys)) != sorted(storages):
        raise InputError("Expected the values of every tensor, received a list of other storages.")
    # The values of all storages follow, in the order of the keys, each with its number of values in front.
    contents: dict[str, bytes] = {}
    for key in keys:
        storage = storages[str(key)]
        num_values = int.from_bytes(file.read(8), "little")
        if num_values != storage.num_values:
            raise InputError(f"Expected {storage.num_values} values in storage {key}, received {num_values}.")
        size, start = num_values * np.dtype(_DTYPES[storage.kind]).itemsize, file.tell()
        if size > os.fstat(file.fileno()).st_size - start:
            raise InputError(f"Expected {size} bytes in storage {key}, received fewer: truncated?")
        contents[str(key)] = file.read(size)
    return value, lambda storage: contents[storage.key]


def _unpickle(file: BinaryIO, storages: dict[str, _Storage] | None = None) -> Any:
    def persistent_load(identifier: Any) -> _Storage:
        # A tuple within tuples takes for ever to write out, so it is not shown whole.
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] not in ("storage", b"storage"):
            raise InputError(f"Expected a reference to a storage, received {reprlib.repr(identifier)}.")
        kind, key, num_values = identifier[1], str(pickles.plain_key(identifier[2])), identifier[4]
        is_plain = isinstance(kind, str) and kind in _DTYPES and not (len(identifier) > 5 and identifier[5])
        if not is_plain or not isinstance(num_values, int) or not 0 <= num_values < _MAX_VALUES:
            raise InputError(f"Expected a plain storage of {sorted(_DTYPES)}, received {reprlib.repr(identifier)}.")
        storage = _Storage(kind, key, num_values)
        if storages is not None:
            storages[key] = storage
        return storage

    # A pickle can call whatever it names: these names are all that it may, and they do no more than gather tensors.
    allowed: dict[tuple[str, str], Any] = {("torch", name): name for name in _DTYPES}
    allowed |= {
        ("collections", "OrderedDict"): lambda items=(): {pickles.plain_key(key): value for key, value in items},
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    }
    return pickles.load(file, allowed, persistent_load)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """Stands for the functions of the same names in PyTorch; later arguments concern gradients."""
    is_whole = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= _MAX_AXES
    if (
        not isinstance(storage, _Storage)
        or not is_whole
        or not all(isinstance(number, int) and 0 <= number < _MAX_VALUES for number in (offset, *size, *stride))
    ):
        raise InputError("Expected a tensor of a storage, an offset, sizes and strides, received something else.")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) and (last >= storage.num_values or math.prod(size) > storage.num_values):
        raise InputError(f"Expected a tensor within its storage, received size {size} in {storage.num_values} values.")
    return _Tensor(storage, offset, size, stride)


def _array(tensor: _Tensor, read_storage: Callable[[_Storage], bytes]) -> np.ndarray:
    kind, key, num_values = tensor.storage
    raw, dtype = read_storage(tensor.storage), np.dtype(_DTYPES[kind])
    size = num_values * dtype.itemsize
    if len(raw) != size:
        raise InputError(f"Expected {size} bytes in storage {key}, received {len(raw)}: truncated?")
    # Strides that point outside would read foreign memory; `_rebuild_tensor` has refused them.
    values = np.frombuffer(raw, dtype)[tensor.offset :]
    strides = [step * dtype.itemsize for step in tensor.stride]
    array = np.lib.stride_tricks.as_strided(values, tensor.size, strides, writeable=False)
    if kind == "BFloat16Storage":  # the upper half of a float32, which NumPy has no type for
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array.copy()
