"""How a training continues where it was interrupted, and what makes two trainings equal."""

import shutil
import tempfile
import time
from pathlib import Path

import keras
import tensorflow as tf

from mint_keras import formats

_STATE = "state.json"
_SEED = "seed_generator_state"


def seed_everything(seed: int, is_deterministic: bool = True) -> None:
    """Seeds Python, NumPy and TensorFlow; deterministic kernels make equal seeds give equal digits."""
    # TensorFlow has no deterministic kernels for XLA: whoever wants to compile gives up equal digits.
    keras.utils.set_random_seed(seed)
    if is_deterministic:
        tf.config.experimental.enable_op_determinism()


class Checkpoint(keras.callbacks.Callback):
    """Keeps the state of a training at the ends of epochs until it is complete, and restores it.

    Args:
        folder: Where it is kept; `completed_epochs` says where `fit` has to begin.
        seconds: Least time between two savings, where saving would cost more than an epoch.
    """

    # Keras' own `BackupAndRestore` forgets how far dropout has come, so that a continued training ends elsewhere, and a
    # kill between its two files mixes two epochs.

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        super().__init__()
        self._folder = folder
        self._seconds = seconds
        self._last_saved = time.monotonic()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Restores weights, optimiser and random state, if there are any."""
        if not (self._folder / _STATE).is_file():
            return
        state = formats.read_json(self._folder / _STATE)
        self.model.load_weights(self._folder / str(state["weights"]))
        for variable, value in zip(_seeds(self.model), state["seeds"], strict=True):
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves if it is time."""
        if time.monotonic() - self._last_saved < self._seconds:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{epoch + 1:06d}.weights.h5"
        with tempfile.TemporaryDirectory(prefix=".weights.", dir=self._folder) as temporary:
            path = Path(temporary) / name
            self.model.save_weights(path)
            formats.flush_files([path])
            path.replace(self._folder / name)
        seeds = [keras.ops.convert_to_numpy(variable).tolist() for variable in _seeds(self.model)]
        # The state names its weights, so whatever moment a process is killed in, the two belong together.
        formats.write_json(self._folder / _STATE, {"epoch": epoch + 1, "weights": name, "seeds": seeds})
        for path in self._folder.glob("*.weights.h5"):
            if path.name != name:
                path.unlink()
        self._last_saved = time.monotonic()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Removes what is no longer needed."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _seeds(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.variables if variable.path.endswith(_SEED)]


def completed_epochs(folder: Path) -> int:
    """Returns where `Checkpoint` will continue; the stream of batches has to start at the same epoch."""
    return int(formats.read_json(folder / _STATE)["epoch"]) if (folder / _STATE).is_file() else 0


def epoch_log(path: Path, epochs: int) -> keras.callbacks.CSVLogger:
    """Returns a log of losses that keeps the lines of the epochs done; later ones, of no checkpoint, come again."""
    if epochs and path.is_file():
        formats.write_text(path, "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[: epochs + 1]))
    return keras.callbacks.CSVLogger(str(path), append=epochs > 0)
