"""Loads TensorFlow and LiteRT without the notices of their C++ libraries."""

import contextlib
import os
import tempfile
from collections.abc import Iterator


def import_tensorflow() -> None:
    """Loads TensorFlow without what its C++ libraries print, unless loading fails."""
    with hidden_notices():
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")  # each new head is traced anew, which it would warn of
        tensorflow.config.list_physical_devices("GPU")  # the search prints too, on its first use


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
