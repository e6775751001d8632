"""What has to be said to other libraries before they load, and how they load without notices."""

import contextlib
import gc
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

_DEFAULTS = {
    # ONNX Runtime's wheel would look up a host that counts its users, and keep a database under ~/.cache.
    "ORT_DISABLE_TELEMETRY": "1",
    # A small file may claim to be a huge image: the limit is checked before decoding. What OpenCV cannot read we say.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(2**26),
    "OPENCV_LOG_LEVEL": "SILENT",
    # Notices would bury the one line that matters to the user.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # TensorFlow leaves oneDNN alone on processors without AVX-512, where trainings are a quarter shorter with it.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray would report its use over the network, and asks for tokens that a Ray of one's own needs not.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}


# Settings of Keras with which heads would be others, or nothing would run; here is a keras.json without them.
_KERAS_HOME = Path(__file__).with_name("keras_home")
_KERAS_JSON = "keras.json"
_KERAS_VARIABLES = {"KERAS_BACKEND": "tensorflow", "KERAS_MAX_EPOCHS": "", "KERAS_MAX_STEPS_PER_EPOCH": ""}


def prepare() -> None:
    """Sets the environment of this process, and so of its workers; whoever has said otherwise is left alone.

    But for Keras: its backend, types and order of channels are those that everything here is tried with.
    """
    os.environ.update({name: value for name, value in _DEFAULTS.items() if name not in os.environ})
    if "keras" in sys.modules:  # too late, and somebody else's
        return
    overruled = [f"{name}={os.environ[name]}" for name, value in _KERAS_VARIABLES.items()
                 if os.environ.get(name, value) != value]  # fmt: skip
    for name, value in _KERAS_VARIABLES.items():
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / _KERAS_JSON
    with contextlib.suppress(OSError):  # there is none
        theirs = path.read_text(encoding="utf-8", errors="replace")
        if changed := _changed(theirs):
            overruled.append(f"{path}: {changed}")
            os.environ["KERAS_HOME"] = str(_KERAS_HOME)
    if overruled:
        warnings.warn(f"mint_keras runs Keras with its own settings, not with {'; '.join(overruled)}.", stacklevel=3)


def use_backend(name: str) -> None:
    """Lets Keras run on JAX or PyTorch, for the layers of the package alone; too late once Keras is loaded."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = name


def _changed(theirs: str) -> str:
    """Returns what a keras.json says otherwise than ours, "" if nothing."""
    ours = json.loads((_KERAS_HOME / _KERAS_JSON).read_text(encoding="utf-8"))
    given = None
    with contextlib.suppress(ValueError, RecursionError):
        given = json.loads(theirs)
    if not isinstance(given, dict):
        return "no JSON object"
    # The backend is said by a variable, which goes first.
    return ", ".join(f"{key} {value}" for key, value in given.items() if value != ours.get(key) and key != "backend")


def import_tensorflow() -> None:
    """Loads TensorFlow and Keras without what C++ libraries print, unless loading fails."""
    is_new, collects = "tensorflow" not in sys.modules, gc.isenabled()
    gc.disable()
    try:
        with hidden_notices():
            import keras  # noqa: F401
            import tensorflow

            tensorflow.get_logger().setLevel("ERROR")  # each new head is traced anew, which it would warn of
            tensorflow.config.list_physical_devices("GPU")  # the search prints too, on its first use
    finally:
        if collects:
            gc.enable()
    if is_new:  # half a million objects that stay: whoever builds graphs collects garbage often, and would meet them
        gc.freeze()


@contextlib.contextmanager
def silenced_libraries() -> Iterator[None]:
    """Lets only Python write to the terminal's errors: image libraries say there what we say of a photo in a line."""
    if sys.stderr is None or sys.stderr is not sys.__stderr__:  # somebody has redirected it, and has a reason
        yield
        return
    terminal = os.dup(2)
    with open(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace") as ours:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        sys.stderr = ours
        try:
            yield
        finally:
            sys.stderr = sys.__stderr__
            os.dup2(terminal, 2)


@contextlib.contextmanager
def undated() -> Iterator[None]:
    """Lets libraries that date what they write take 1970, or what the environment says, as long as the block runs."""
    is_said = "SOURCE_DATE_EPOCH" in os.environ
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    try:
        yield
    finally:
        if not is_said:
            del os.environ["SOURCE_DATE_EPOCH"]


@contextlib.contextmanager
def hidden_notices() -> Iterator[None]:
    """Hides what C++ libraries print, for the whole process, unless the block fails."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(terminal, hidden.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
