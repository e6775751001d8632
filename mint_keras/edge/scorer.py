"""Runs the TFLite file of a bundle: NumPy and LiteRT only, no TensorFlow, no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mint_keras.data import images
from mint_keras.records import InputError

# The names in the signature of a scorer.
FACES, LOGIT, SCORE = "faces", "logit", "score"


class TfliteScorer:
    """Runs the TFLite file of a bundle, face by face, each on so many threads.

    Raises:
        InputError: if LiteRT cannot run the file, or it does not take faces and give scores.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        try:
            interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"Expected a TFLite model with one signature in {model}, received: {error}") from error
        inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        received = {name: (entry["dtype"], tuple(entry["shape"][1:])) for name, entry in inputs.items()}
        if received != {FACES: (np.uint8, (images.IMAGE_SIZE, images.IMAGE_SIZE, 3))} or not {LOGIT, SCORE} <= set(
            outputs
        ):
            raise InputError(
                f"Expected a model from {FACES}, uint8 (n, 112, 112, 3), to {LOGIT} and {SCORE} in {model}, received "
                f"{', '.join(received)} to {', '.join(sorted(outputs))}."
            )

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Returns the score of each face before the sigmoid, shape (n,), float32, from uint8 RGB (n, 112, 112, 3)."""
        # The file takes any number of faces. A free batch costs no speed (4.6 ms a face, fixed and free), but eight at
        # once gain none either, and take memory.
        return np.array([self._run(**{FACES: face[None]})[LOGIT].item() for face in faces], np.float32)
