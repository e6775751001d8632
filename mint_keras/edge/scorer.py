"""Runs the TFLite file of a bundle, and says what it costs: NumPy and LiteRT only, no TensorFlow, no network."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mint_keras.borders import reading
from mint_keras.data import images
from mint_keras.records import InputError

# The names in the signature of a scorer.
FACES, LOGIT, SCORE = "faces", "logit", "score"
THREADS = ("1", "2")
_ROOT = Path(__file__).resolve().parents[2]
_STATUS = Path("/proc/self/status")
_ROUNDS = 3
_WARM_UP = 3


class TfliteScorer:
    """Runs the TFLite file of a bundle, face by face, each on so many threads.

    Raises:
        InputError: if LiteRT cannot run the file, or it does not take faces and give scores.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        self._model = model
        with reading(f"a TFLite model with one signature in {model}"):
            interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._run = interpreter.get_signature_runner()
            inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
            received = {name: (entry["dtype"], tuple(entry["shape"][1:])) for name, entry in inputs.items()}
        expected = {FACES: (np.uint8, (images.IMAGE_SIZE, images.IMAGE_SIZE, 3))}
        if received != expected or not {LOGIT, SCORE} <= set(outputs):
            raise InputError(
                f"Expected a model from {FACES}, uint8 (n, 112, 112, 3), to {LOGIT} and {SCORE} in {model}, received "
                f"{', '.join(received)} to {', '.join(sorted(outputs))}."
            )

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Returns the score of each face before the sigmoid, shape (n,), float32, from uint8 RGB (n, 112, 112, 3)."""
        # The file takes any number of faces. A free batch costs no speed (4.6 ms a face, fixed and free), but eight at
        # once gain none either, and take memory.
        with reading(f"a model that gives a logit for a face in {self._model}"):
            return np.array([self._run(**{FACES: face[None]})[LOGIT].item() for face in faces], np.float32)


def costs(models: Mapping[str, Path], faces: Path) -> dict[str, dict[str, Any]]:
    """Measures TFLite files by name on a file of faces, as `cost` does.

    Returns:
        By name: "latency_ms", by number of threads the percentiles {"p50", "p95"}, and "rss_mib".
    """
    # In turns, so that all meet the same machine. The quietest of three rounds counts; others had company.
    rounds = [
        {name: cost(path, faces) for name, path in models.items()} for _ in range(_ROUNDS if len(models) > 1 else 1)
    ]
    found: dict[str, dict[str, Any]] = {}
    for name in models:
        latency = {}
        for threads in THREADS:
            p50, p95 = np.percentile(min((one[name][threads] for one in rounds), key=np.median), [50, 95]).tolist()
            latency[threads] = {"p50": p50, "p95": p95}
        found[name] = {"latency_ms": latency, "rss_mib": rounds[0][name]["rss_mib"]}
    return found


def cost(model: Path, faces: Path) -> dict[str, Any]:
    """Measures a `.tflite` file on a `.npy` file of faces, uint8 RGB, shape (n, 112, 112, 3), in a fresh process.

    Returns:
        Milliseconds for each face with one thread, "1", and with two, "2", and the largest memory of the process while
        it ran one thread, "rss_mib"; None where the system does not say.

    Raises:
        InputError: if the model does not run.
    """
    command = [sys.executable, "-m", "mint_keras.edge.scorer", *(str(path.resolve()) for path in (model, faces))]
    # The process imports the package from where this one has it.
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)  # noqa: S603
    if done.returncode:
        raise InputError(f"Expected a scorer that runs, received {model}: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _milliseconds(model: Path, faces: np.ndarray, threads: str) -> list[float]:
    scorer = TfliteScorer(model, int(threads))
    # LiteRT plans its memory and fills its caches on the first faces.
    scorer.logits(faces[:_WARM_UP])
    taken = []
    for face in faces:
        start = time.perf_counter()
        scorer.logits(face[None])
        taken.append(round((time.perf_counter() - start) * 1000, 4))
    return taken


if __name__ == "__main__":
    scorer_file, shown = Path(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r", allow_pickle=False)
    found: dict[str, Any] = {"1": _milliseconds(scorer_file, shown, "1"), "rss_mib": None}
    if _STATUS.is_file():
        # The most so far, before a second interpreter is there. `getrusage` would begin with the memory of the process
        # that started this one.
        peak = _STATUS.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]
        found["rss_mib"] = round(int(peak) / 1024, 1)
    sys.stdout.write(json.dumps({**found, "2": _milliseconds(scorer_file, shown, "2")}) + "\n")
