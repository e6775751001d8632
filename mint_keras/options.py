"""Command-line options from a dataclass: its fields are the options, its docstring their help.

Only `commands` and studies use this: below them nobody knows that there is a command line.
"""

import dataclasses
import inspect
import sys
import typing
from typing import Any, TypeVar

import docstring_parser
import jsonargparse
from jsonargparse.typing import restricted_number_type

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Options that all commands share.

    Attributes:
        overwrite: Replace what --out holds instead of continuing or refusing.
        quiet: Show no progress bars.
    """

    overwrite: bool = False
    quiet: bool = False


# Options that never had an effect on a command, by the name of its class; whoever still gives one is told so until 0.3.
WITHOUT_EFFECT = {
    "Benchmark": ("seed",),
    "ConvertFr": ("quiet",),
    "EvaluateMint": ("seed",),
    "ExportTflite": ("seed",),
    "MakeProtocol": ("quiet",),
    "PrepareFaces": ("seed",),
    "Score": ("seed",),
    "VerifyFr": ("seed",),
}
# What a seed may be; counts and sizes fit as well.
_Whole = restricted_number_type("Whole", int, [(">=", 0), ("<", 2**32)])


def parse(
    config_class: type[Config], description: str, arguments: list[str] | None = None, program: str | None = None
) -> Config:
    """Parses a command line, and the YAML file that its --config names, into a config.

    Args:
        config_class: A dataclass. A bool is a switch, a tuple takes several values, metadata {"positional": True}
            makes an argument without a flag, with a default one that may be left out.
        description: What heads the help.
        arguments: The command line; the process's own by default.
        program: How the help calls it; the name of the script by default.

    Raises:
        SystemExit: with code 2 for wrong usage, 0 after --help.
    """
    parser = jsonargparse.ArgumentParser(prog=program, description=description, formatter_class=_HelpFormatter)
    parser.add_argument("--config", action="config", help="YAML file of any of these options (underscores for dashes)")
    types = typing.get_type_hints(config_class)
    help_of = {
        param.arg_name: param.description or ""
        for documented in reversed(config_class.__mro__)
        for param in docstring_parser.parse(documented.__doc__ or "").params
    }
    # Those of its own come first, whatever it inherits.
    shared, own = {field.name for field in dataclasses.fields(Common)}, inspect.get_annotations(config_class)
    fields = dataclasses.fields(config_class)  # type: ignore[arg-type] # a dataclass
    for field in sorted(fields, key=lambda field: (field.name in shared, field.name not in own)):
        _add_option(parser, field, types[field.name], help_of[field.name])
    given = [argument.split("=")[0] for argument in (sys.argv[1:] if arguments is None else arguments)]
    for option in WITHOUT_EFFECT.get(config_class.__name__, ()):
        if f"--{option}" in given:
            parser.error(f"--{option} has no effect since 0.2 (it never had one here): leave it out.")
    values = parser.parse_args(arguments).as_dict()
    del values["config"]
    names = {_flag_name(field): field.name for field in fields}
    return config_class(**{names[name]: _plain(value) for name, value in values.items()})


def _flag_name(field: dataclasses.Field) -> str:
    """Returns how an option is called; one whose name Python has for itself, such as from, has an underscore behind."""
    return field.name.rstrip("_")


def _plain(value: Any) -> Any:
    """Turns jsonargparse's own types into Python's, which other processes know too."""
    if isinstance(value, list):
        return tuple(_plain(entry) for entry in value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _add_option(parser: jsonargparse.ArgumentParser, field: dataclasses.Field, kind: Any, description: str) -> None:
    flag = "--" + _flag_name(field).replace("_", "-")
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=description)
        return
    settings: dict[str, Any] = {"type": _Whole if kind is int else kind, "help": description}
    if typing.get_origin(kind) is tuple:
        settings |= {"type": typing.get_args(kind)[0], "nargs": "+"}
    if field.metadata.get("positional"):
        if field.default is not dataclasses.MISSING:
            settings |= {"nargs": "*", "default": list(field.default)}
        parser.add_argument(field.name, **settings)
    elif field.default is dataclasses.MISSING:
        parser.add_argument(flag, required=True, **settings)
    else:
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        parser.add_argument(flag, default=default, **settings)


class _HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of the scripts' docstrings."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))
