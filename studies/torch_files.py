"""Writes files of PyTorch where PyTorch is not."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write(file: Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict as `torch.save` does, without PyTorch: a pickle that names storages, and their bytes."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    written = b"\x80\x02}("
    for i, (key, array) in enumerate(state.items()):
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(i)) + text("cpu")
        storage += b"J" + struct.pack("<i", array.size) + b"tQ"
        strides = tuple(stride // array.itemsize for stride in array.strides)
        tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + numbers(array.shape)
        written += text(key) + tensor + numbers(strides) + b"\x89}tR"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", written + b"u.")
        for i, array in enumerate(state.values()):
            archive.writestr(f"archive/data/{i}", array.tobytes())
