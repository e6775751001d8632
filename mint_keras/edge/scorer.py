"""Runs the TFLite file of a bundle: NumPy and LiteRT only, no TensorFlow, no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mint_keras.records import InputError


class Scorer:
    """Runs the TFLite file of a bundle, face by face.

    Args:
        model: the `.tflite` file.
        threads: of LiteRT.

    Raises:
        InputError: if LiteRT cannot run it.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        try:
            interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"Expected a TFLite model with one signature in {model}, received: {error}") from error
        outputs = set(self._run.get_output_details())
        if not {"logit", "score"} <= outputs:
            raise InputError(f"Expected outputs logit and score in {model}, received {sorted(outputs)}.")
        (self._input,) = self._run.get_input_details()

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Returns the score of each face before the sigmoid, shape (n,), float32, from uint8 RGB (n, 112, 112, 3)."""
        batches = (face[None].astype(np.float32) for face in faces)
        return np.array([self._run(**{self._input: batch})["logit"].item() for batch in batches], np.float32)
