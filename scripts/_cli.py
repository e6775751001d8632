"""What every script shares: options from a dataclass, one line for every error, exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import _environment  # noqa: F401 # before anything that reads it

from mint_keras import options, progress
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
    interruptions: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: _interrupt(interruptions))
    config = options.parse(config_class, description=sys.modules["__main__"].__doc__ or "")
    try:
        with progress.hidden(getattr(config, "quiet", False)):
            print(stage(config))
    except (InputError, OSError) as error:
        if done := getattr(error, "done", ""):
            print(done)
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except BaseException as error:
        # TensorFlow's C++ parts may turn the interruption into an error of their own.
        if not interruptions and not isinstance(error, KeyboardInterrupt):
            raise
        print("interrupted: the same command continues from here", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _interrupt(interruptions: list[int]) -> None:
    interruptions.append(signal.SIGINT)
    raise KeyboardInterrupt
