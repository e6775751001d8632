"""Loads TensorFlow and LiteRT without the notices of their C++ libraries."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Hides what TensorFlow's C++ libraries print while they load, unless loading fails."""
    with hidden_notices():
        yield
        _start_tensorflow()


def import_tensorflow() -> None:
    """Loads TensorFlow without what its C++ libraries print."""
    with quiet_import():
        import tensorflow  # noqa: F401


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


def _start_tensorflow() -> None:
    """The search for GPUs prints too, on its first use; each new head is traced anew, which TensorFlow warns of."""
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    tensorflow.config.list_physical_devices("GPU")
