"""What has to be said to other libraries before they load, and how they load without notices."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_DEFAULTS = {
    # ONNX Runtime's wheel would look up a host that counts its users, and keep a database under ~/.cache.
    "ORT_DISABLE_TELEMETRY": "1",
    # A small file may claim to be a huge image: the limit is checked before decoding. What OpenCV cannot read we say.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(2**26),
    "OPENCV_LOG_LEVEL": "SILENT",
    # Notices would bury the one line that matters to the user.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray would report its use over the network, and asks for tokens that a Ray of one's own needs not.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}


def prepare() -> None:
    """Sets the environment of this process, and so of its workers; whoever has said otherwise is left alone."""
    os.environ.update({name: value for name, value in _DEFAULTS.items() if name not in os.environ})


def import_tensorflow() -> None:
    """Loads TensorFlow without what its C++ libraries print, unless loading fails."""
    with hidden_notices():
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")  # each new head is traced anew, which it would warn of
        tensorflow.config.list_physical_devices("GPU")  # the search prints too, on its first use


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
