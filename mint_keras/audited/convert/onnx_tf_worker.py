"""Runs in onnx-tf's own environment, as a file: converts `model.onnx` of a folder and runs it on `inputs.npz` there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Writes `outputs.npz` beside the model, every output by name."""
    import numpy as np
    import onnx
    import onnx_tf.backend

    model = onnx.load(str(folder / "model.onnx"))
    with np.load(str(folder / "inputs.npz"), allow_pickle=False) as inputs:
        feeds = {name: inputs[name] for name in inputs.files}
    outputs = onnx_tf.backend.prepare(model, device="CPU").run(feeds)
    names = [entry.name for entry in model.graph.output]
    arrays: dict[str, Any] = {name: np.asarray(outputs[name]) for name in names}
    np.savez(str(folder / "outputs.npz"), **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
