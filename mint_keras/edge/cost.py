"""What a TFLite scorer costs: time for a face and memory, in a process of its own that holds nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras.edge.scorer import Scorer
from mint_keras.records import InputError

_ROOT = Path(__file__).resolve().parents[2]
_WARM_UP = 3
_STATUS = Path("/proc/self/status")


def measure(model: Path, faces: Path) -> dict[str, Any]:
    """Measures a scorer in a fresh process.

    Args:
        model: the `.tflite` file.
        faces: a `.npy` file of faces, uint8 RGB, shape (n, 112, 112, 3).

    Returns:
        Milliseconds for each face by number of threads, "1" and "2", and the largest memory of the process while it
        ran one thread, "rss_mib", None where the system does not say.

    Raises:
        InputError: if the model does not run.
    """
    command = [sys.executable, "-m", "mint_keras.edge.cost", *(str(path.resolve()) for path in (model, faces))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)  # noqa: S603 # our own
    if done.returncode:
        raise InputError(f"Expected a scorer that runs, received {model}: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure_here(model: Path, faces: Path) -> dict[str, Any]:
    shown = np.load(faces, mmap_mode="r", allow_pickle=False)
    single = _milliseconds(model, shown, 1)
    memory = _peak_memory()
    return {"1": single, "2": _milliseconds(model, shown, 2), "rss_mib": memory}


def _milliseconds(model: Path, faces: np.ndarray, threads: int) -> list[float]:
    scorer = Scorer(model, threads)
    scorer.logits(faces[:_WARM_UP])
    taken = []
    for face in faces:
        start = time.perf_counter()
        scorer.logits(face[None])
        taken.append(round((time.perf_counter() - start) * 1000, 4))
    return taken


def _peak_memory() -> float | None:
    """Not what `getrusage` says: that begins with the memory of the process that started this one."""
    if not _STATUS.is_file():
        return None
    return round(int(_STATUS.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) / 1024, 1)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_here(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")
