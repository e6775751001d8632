"""What kind of model a path holds, by its content; what is not read here is named, with what to do."""

import zipfile
from pathlib import Path

from mint_keras import formats
from mint_keras.audited.convert import saved_model, tflite
from mint_keras.borders import reading
from mint_keras.records import InputError

ONNX, KERAS, TFLITE, SAVED_MODEL, TORCH, PACK = "onnx", "keras", "tflite", "saved_model", "torch", "pack"
READ = (
    "an ONNX file, a Keras file (.keras, .h5), a SavedModel, a TFLite file, a state dict of PyTorch, or a folder in "
    "insightface's layout"
)
_FROM_TORCH = (
    'torch.onnx.export(model.eval(), torch.zeros(1, 3, 112, 112), "model.onnx", opset_version=17), in its own size'
)
_OPENVINO = "Name the ONNX, Keras, TFLite or PyTorch file that it was made from: OpenVINO's own graph is not read"
_BEFORE = "Name the model that it was made from: its ONNX, Keras, TFLite or PyTorch file"
# By how a file begins, from which byte on. A pickle, as PyTorch wrote before 1.6, and ONNX begin with their versions.
_STARTS = (
    (4, tflite.MAGIC, TFLITE), (0, b"\x89HDF\r\n\x1a\n", KERAS), (0, b"\x80\x02", TORCH), (0, b"\x80\x03", TORCH),
    (0, b"\x80\x04", TORCH), (0, b"\x80\x05", TORCH), (0, b"\x08", ONNX),
)  # fmt: skip
_SUFFIXES = {".onnx": ONNX, ".pth": TORCH, ".pt": TORCH}
_OTHERS = {
    b"\x1f\x8b": ("a gzip archive", "Unpack it, and name the model in it"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it, and name the model in it"),
    b"Rar!": ("a RAR archive", "Unpack it, and name the model in it"),
    b"7767517": ("a graph of ncnn (.param)", _BEFORE),
    b"\x12\x01\x00\x00": ("weights of MXNet (.params)", "Name the ONNX file of the same model (mx2onnx)"),
    b"ftrt": ("an engine of TensorRT", _BEFORE),
    b"RKNN": ("a model of RKNN", _BEFORE),
    b"\x93NUMPY": ("an array of NumPy", _BEFORE),
    b"version https://git-lfs": ("a pointer of Git LFS in place of the file", "Run git lfs pull, and try again"),
    b"<?xml": ("XML, as OpenVINO has it", _OPENVINO),
    b"<net": ("XML, as OpenVINO has it", _OPENVINO),
    b"{": ("JSON without weights", _BEFORE),
}


def recognise(path: Path) -> str:
    """Returns what kind of model a file or folder holds, one of the names above.

    Raises:
        InputError: It holds none that is read; the message says what it seems to be, and what to do.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(f"Expected {READ}, received {path}: not found.")
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"PK"):
        return _archive(path)
    for magic, (kind, remedy) in _OTHERS.items():
        if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(magic):
            raise InputError(f"Expected {READ}, received {kind}, {path}. {remedy}.")
    if start[8:10] == b'{"':
        remedy = 'torch.save(safetensors.torch.load_file("FILE"), "backbone.pth")'
        raise InputError(f"Expected {READ}, received safetensors, {path}. Where PyTorch is: {remedy}.")
    for place, magic, kind in _STARTS:
        if start[place:].startswith(magic):
            return kind
    # What is damaged is known by its name.
    if start and path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    kind = "which begins as none of them" if start else "an empty file"
    raise InputError(f"Expected {READ}, received {path}, {kind}. Export the model again, or name another of its files.")


def _archive(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        raise InputError(f"Expected {READ}, received the beginning of a zip archive, {path}: truncated? Copy it again.")
    with reading(f"a whole zip archive at {path}"), zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist()]
    inner = {name.partition("/")[2] for name in names}
    if {"config.json", "model.weights.h5"} <= set(names):
        return KERAS
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise InputError(
            f"Expected {READ}, received TorchScript, a program of PyTorch, {path}. Where PyTorch is: model = "
            f'torch.jit.load("{path.name}", "cpu"); {_FROM_TORCH}.'
        )
    if "data.pkl" in inner:
        return TORCH
    raise InputError(
        f"Expected {READ}, received a zip archive without data.pkl of PyTorch or config.json of Keras, {path}, of "
        f"{sorted(names)[:5]}. Unpack it, and name the model in it."
    )


def _folder(path: Path) -> str:
    if (path / saved_model.FILE).is_file():
        return SAVED_MODEL
    if (path / formats.MANIFEST).is_file() and (path / formats.MODEL).is_file():
        raise InputError(f"Expected {READ}, received {path}, which is converted already: name it as --audited.")
    if any(path.glob("*.mlmodel")) or (path / "Manifest.json").is_file():
        raise InputError(f"Expected {READ}, received a Core ML package, {path}. {_BEFORE}.")
    if any(path.glob("*.onnx")) or not any(path.glob("*.xml")):
        return PACK
    raise InputError(f"Expected {READ}, received a folder as OpenVINO has it, {path}. {_OPENVINO}.")
