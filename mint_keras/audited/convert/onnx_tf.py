"""A second opinion by onnx-tf, an independent converter that is archived and needs TensorFlow 2.15.

It cannot share an interpreter with us, so it lives in a virtual environment of its own and runs as a subprocess; the
two talk by files.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter

from mint_keras import progress
from mint_keras.records import InputError

WORKER = Path(__file__).with_name("onnx_tf_worker.py")
REQUIREMENTS = Path(__file__).with_name("requirements-onnx-tf.txt")
_PYTHON = "python3.11"
# The newest that onnx-tf 1.10 and its onnx read.
_MAX_OPSET = 15
_IR_VERSION = 8
_TIMEOUT = 1800  # seconds


def environment(requirements: Path = REQUIREMENTS, root: Path = Path("~/.cache/mint_keras")) -> Path:
    """Returns the Python of a virtual environment in `root`, made now, or earlier from the same requirements."""
    folder = root.expanduser() / "onnx-tf"
    marker = folder / "installed.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    executable = folder / "bin" / "python"
    if marker.is_file() and marker.read_text() == digest and executable.is_file():
        return executable
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which(_PYTHON)
    if base is None:
        raise InputError(f"Expected {_PYTHON} on this machine, which onnx-tf's TensorFlow needs, received none.")
    pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    for command in progress.bar([[base, "-m", "venv", "--clear", str(folder)], pip], desc=f"onnx-tf into {folder}"):
        _run(command)
    marker.write_text(digest)
    return executable


def run(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], tensors: Sequence[str], python: Path
) -> dict[str, np.ndarray]:
    """Converts a model by onnx-tf and runs it, in the Python of `environment`; returns some tensors of its graph.

    The model may be of any opset that ONNX can bring down to 15. It is fed its input, N, C, H, W, by name.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.output[:], graph.value_info[:]
    # A shape must be there; nothing reads it.
    graph.output.extend(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, []) for tensor in tensors)
    opset = next(entry.version for entry in copy.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > _MAX_OPSET:
        try:
            copy = onnx.version_converter.convert_version(copy, _MAX_OPSET)
        except RuntimeError as error:
            raise InputError(f"Expected a model that ONNX brings down to opset 15 for onnx-tf: {error}") from error
        graph = copy.graph
    copy.ir_version = min(copy.ir_version, _IR_VERSION)
    names: dict[str, str] = {"": ""}

    def rename(name: str) -> str:  # dotted names break onnx-tf
        return names.setdefault(name, f"t{len(names)}")

    for entry in (*graph.input, *graph.initializer, *graph.output):
        entry.name = rename(entry.name)
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        onnx.save(copy, place / "model.onnx")
        inputs: dict[str, Any] = {names[name]: array for name, array in feeds.items()}
        np.savez(place / "inputs.npz", **inputs)
        # -I: the folder of the worker holds modules named like the packages it needs.
        _run([str(python), "-I", str(WORKER), folder])
        with np.load(place / "outputs.npz", allow_pickle=False) as outputs:
            return {tensor: outputs[names[tensor]] for tensor in tensors}


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        program = f"{Path(command[0]).name} {Path(command[1]).name}"
        raise InputError(f"Expected {program} to run, received: {error}") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InputError(f"Expected onnx-tf to install, convert and run the model, received: {reason}")
