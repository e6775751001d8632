"""What every script shares: options from a dataclass, one line for every error, exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Scripts run from a clone, without installing the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# TensorFlow's notices would bury the one line that matters to the user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from mint_keras import options
from mint_keras.records import InputError, RefusedError

DONE, BAD_INPUT, REFUSED, INTERRUPTED = 0, 1, 3, 130  # 2, wrong usage, is argparse's


def run(config_class: type, stage: Callable[[Any], str]) -> int:
    """Parses the command line into a config, runs a stage, prints what it returns.

    Args:
        config_class: a dataclass; its fields are the options, its docstring their help.
        stage: takes the config; returns the text to print.

    Returns:
        The exit code: 0 done, 1 bad input, 3 refused by a check, 130 interrupted. Wrong usage exits with 2.
    """
    config = options.parse(config_class, description=sys.modules["__main__"].__doc__ or "")
    try:
        print(stage(config))
    except (InputError, OSError) as error:
        if done := getattr(error, "done", ""):
            print(done)
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted: the same command continues from here", file=sys.stderr)
        return INTERRUPTED
    return DONE


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Hides what TensorFlow's C++ libraries print while they load, unless loading fails."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
            _start_tensorflow()
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
