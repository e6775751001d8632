"""What every script shares: options from a dataclass, one line for every error, exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Scripts run from a clone, without installing the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# TensorFlow's notices would bury the one line that matters to the user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import docstring_parser  # noqa: E402
import jsonargparse  # noqa: E402

from mint_keras.records import InputError, RefusedError  # noqa: E402

DONE, BAD_INPUT, REFUSED, INTERRUPTED = 0, 1, 3, 130  # 2, wrong usage, is argparse's


def run(config_class: type, stage: Callable[[Any], str]) -> int:
    """Parses the command line into a config, runs a stage, prints what it returns.

    Args:
        config_class: a dataclass; its fields are the options, its docstring their help.
        stage: takes the config; returns the text to print.

    Returns:
        The exit code: 0 done, 1 bad input, 3 refused by a check, 130 interrupted. Wrong usage exits with 2.
    """
    options = _parser(config_class).parse_args().as_dict()
    del options["config"]
    try:
        print(stage(config_class(**options)))
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


def _parser(config_class: type) -> jsonargparse.ArgumentParser:
    main = sys.modules["__main__"].__doc__
    parser = jsonargparse.ArgumentParser(description=main, formatter_class=_HelpFormatter)
    parser.add_argument("--config", action="config", help="YAML file with any of these options (underscores for dashes)")
    types = typing.get_type_hints(config_class)
    documentation = docstring_parser.parse(config_class.__doc__ or "")
    help_of = {param.arg_name: param.description for param in documentation.params}
    for field in dataclasses.fields(config_class):
        _add_option(parser, field, types[field.name], help_of[field.name])
    return parser


def _add_option(parser: jsonargparse.ArgumentParser, field: dataclasses.Field, kind: Any, description: str) -> None:
    flag = "--" + field.name.replace("_", "-")
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=description)
        return
    settings: dict[str, Any] = {"type": kind, "help": description}
    if typing.get_origin(kind) is tuple:
        settings |= {"type": typing.get_args(kind)[0], "nargs": "+"}
    if field.metadata.get("positional"):
        parser.add_argument(field.name, **settings)
    elif field.default is dataclasses.MISSING:
        parser.add_argument(flag, required=True, **settings)
    else:
        parser.add_argument(flag, default=field.default, **settings)


class _HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of the scripts' docstrings."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))
