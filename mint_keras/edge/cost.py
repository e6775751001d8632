"""Measures what a TFLite scorer costs, time and memory, in a process that holds nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras.edge.scorer import TfliteScorer
from mint_keras.records import InputError

_ROOT = Path(__file__).resolve().parents[2]
_WARM_UP = 3
_STATUS = Path("/proc/self/status")


def measure(model: Path, faces: Path) -> dict[str, Any]:
    """Measures a scorer in a fresh process.

    Args:
        model: The `.tflite` file.
        faces: A `.npy` file of faces, uint8 RGB, shape (n, 112, 112, 3).

    Returns:
        Milliseconds for each face with one thread, "1", and with two, "2", and the largest memory of the process while
        it ran one thread, "rss_mib"; None where the system does not say.

    Raises:
        InputError: if the model does not run.
    """
    command = [sys.executable, "-m", "mint_keras.edge.cost", *(str(path.resolve()) for path in (model, faces))]
    # The process imports the package from where this one has it.
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)  # noqa: S603
    if done.returncode:
        raise InputError(f"Expected a scorer that runs, received {model}: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _milliseconds(model: Path, faces: np.ndarray, threads: int) -> list[float]:
    scorer = TfliteScorer(model, threads)
    # LiteRT plans its memory and fills its caches on the first faces.
    scorer.logits(faces[:_WARM_UP])
    taken = []
    for face in faces:
        start = time.perf_counter()
        scorer.logits(face[None])
        taken.append(round((time.perf_counter() - start) * 1000, 4))
    return taken


def peak_memory() -> float | None:
    """Returns the most memory that this process has held so far, in MiB; None where the system does not say."""
    if not _STATUS.is_file():
        return None
    # `getrusage` would begin with the memory of the process that started this one.
    return round(int(_STATUS.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) / 1024, 1)


if __name__ == "__main__":
    scorer_file, shown = Path(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r", allow_pickle=False)
    found: dict[str, Any] = {"1": _milliseconds(scorer_file, shown, 1), "rss_mib": peak_memory()}
    sys.stdout.write(json.dumps({**found, "2": _milliseconds(scorer_file, shown, 2)}) + "\n")
