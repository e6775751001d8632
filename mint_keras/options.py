"""Command-line options from a dataclass: its fields are the options, its docstring their help.

Only `commands` and studies use this: below them nobody knows that there is a command line.
"""

import argparse
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import docstring_parser
import jsonargparse
from jsonargparse.typing import restricted_number_type

from mint_keras.borders import nearest, one_line, read_yaml
from mint_keras.records import InputError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writing:
    """Options of all commands.

    Attributes:
        overwrite: Replace what --out holds instead of continuing or refusing.
        absolute_paths: Write where files lie on this machine. Without it, whatever is written holds names, or paths
            relative to its own folder, which may be moved together with them.
    """

    overwrite: bool = False
    absolute_paths: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common(Writing):
    """Options of all commands that show progress.

    Attributes:
        quiet: Show no progress bars.
    """

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
WRONG_USAGE = 2  # exit code
# What a seed may be; counts and sizes fit as well.
_Whole = restricted_number_type("Whole", int, [(">=", 0), ("<", 2**32)])
# What is no number is neither, and what float32 cannot hold becomes infinite later.
_Finite = restricted_number_type("Finite", float, [(">", -3.4e38), ("<", 3.4e38)])


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
    parser = make_parser(config_class, description, program)
    fields = dataclasses.fields(config_class)  # type: ignore[arg-type] # a dataclass
    words = parser.words = _with_config(parser, sys.argv[1:] if arguments is None else arguments, list(fields))
    given = [argument.split("=")[0] for argument in words]
    for option in WITHOUT_EFFECT.get(config_class.__name__, ()):
        if f"--{option}" in given:
            parser.error(f"--{option} has no effect since 0.2 (it never had one here): leave it out.")
    values = parser.parse_args(words).as_dict()
    del values["config"]
    names = {_flag_name(field): field.name for field in fields}
    return config_class(**{names[name]: _plain(value) for name, value in values.items()})


def make_parser(config_class: type[Config], description: str, program: str | None = None) -> "_Parser":
    """Returns what parses the options of a command; see `parse`."""
    parser = _Parser(prog=program, description=description, formatter_class=_HelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file of any of these options (underscores for dashes)")
    parser.kinds = types = typing.get_type_hints(config_class)
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
    return parser


def _with_config(parser: "_Parser", words: list[str], fields: list[dataclasses.Field]) -> list[str]:
    """Puts the options of a file in the place where a command line names it, so that both are checked alike."""
    found: list[str] = []
    rest = iter(words)
    by_name = {_flag_name(field): field for field in fields}
    for word in rest:
        flag, equals, path = word.partition("=")
        if flag != "--config":
            found.append(word)
            continue
        path = path if equals else next(rest, "")
        try:
            content = read_yaml(Path(path))
        except InputError as error:
            parser.error(one_line(str(error)))
        for key, value in content.items():
            if (field := by_name.get(str(key).replace("-", "_"))) is None:
                hint = nearest(str(key), by_name) or f": one of {', '.join(sorted(by_name))}?"
                parser.error(one_line(f"Expected options of this command in {path}, received {key!r}{hint}"))
            try:
                found += _as_words(field, parser.kinds[field.name], value)
            except ValueError as error:
                parser.error(one_line(f"Expected {error} as {key} in {path}, received {value!r}."))
    return found


def _as_words(field: dataclasses.Field, kind: Any, value: Any) -> list[str]:
    """Returns what a command line would say for an option of a file; ValueError with what is expected instead."""
    flag = "--" + _flag_name(field).replace("_", "-")
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false, without quotes,")
        return [flag] if value else []
    is_list, may_be_none = typing.get_origin(kind) is tuple, type(None) in typing.get_args(kind)
    if value is None and may_be_none:
        return []
    values = value if isinstance(value, list) and is_list else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values) or not values:
        raise ValueError("a list of texts or numbers" if is_list else "a text or a number")
    texts = list(map(str, values))
    if field.metadata.get("positional"):
        return texts
    return [flag, *texts] if is_list else [f"{flag}={texts[0]}"]


def _flag_name(field: dataclasses.Field) -> str:
    """Returns how an option is called; one whose name Python has for itself, such as from, has an underscore behind."""
    return field.name.rstrip("_")


def _plain(value: Any) -> Any:
    """Turns jsonargparse's own types into Python's, which other processes know too."""
    if isinstance(value, list):
        return tuple(_plain(entry) for entry in value)
    for kind in (int, float):
        if isinstance(value, kind) and not isinstance(value, bool):
            return kind(value)
    return value


def _add_option(parser: jsonargparse.ArgumentParser, field: dataclasses.Field, kind: Any, description: str) -> None:
    flag = "--" + _flag_name(field).replace("_", "-")
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=description)
        return
    settings: dict[str, Any] = {"type": {int: _Whole, float: _Finite}.get(kind, kind), "help": description}
    if typing.get_origin(kind) is tuple:
        settings |= {"type": _Finite if (inner := typing.get_args(kind)[0]) is float else inner, "nargs": "+"}
    if field.metadata.get("positional"):
        if field.default is not dataclasses.MISSING:
            settings |= {"nargs": "*", "default": list(field.default)}
        parser.add_argument(field.name, **settings)
    elif field.default is dataclasses.MISSING:
        parser.add_argument(flag, required=True, **settings)
    else:
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        parser.add_argument(flag, default=default, **settings)


def _expected(kind: Any) -> str:
    """Says what an option of a kind takes."""
    inner = [one for one in typing.get_args(kind) if one is not type(None)]
    if typing.get_origin(kind) is Literal:
        return " or ".join(filter(None, (", ".join(inner[:-1]), inner[-1])))
    kinds = {int: "a whole number from 0 to 4294967295", float: "a finite number", bool: "true or false"}
    return _expected(inner[0]) if inner else kinds.get(kind, "a text")


class _Parser(jsonargparse.ArgumentParser):
    """Says in one line what is wrong, as the commands do: what an option takes, and what it was given."""

    kinds: Mapping[str, Any] = {}  # types of the options, by the names of their fields
    words: Sequence[str] = ()  # what is parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        flags = {"--" + name.rstrip("_").replace("_", "-"): kind for name, kind in self.kinds.items()}
        if found := re.match(r'Parser key "(\w+)"(?: element (\d+))?', message):
            flag = "--" + found[1].replace("_", "-")
            given = (list(self._given(flag)) or ["another"])[int(found[2] or 0) - 1]
            choices = [one for one in typing.get_args(flags[flag]) if isinstance(one, str)]
            message = f"Expected {_expected(flags[flag])} as {flag}, received {given!r}{nearest(given, choices) or '.'}"
        elif found := re.match(r"unrecognized arguments: ([^\s=]+)", message):
            hint = nearest(found[1], [*flags, "--config", "--help"]) or "."
            message = f"Expected options of this command, received {found[1]}{hint}"
        elif found := re.match(r"argument (--[\w-]+): (?:expected|ignored explicit argument '(.*)')", message):
            wanted = f"{found[1]} without a value" if found[2] else f"{_expected(flags[found[1]])} as {found[1]}"
            message = f"Expected {wanted}, received {found[2] or 'none'}."
        elif found := re.match("the following arguments are required: (.+)", message):
            names = {action.dest: (*action.option_strings, action.dest)[0] for action in self._actions}
            message = f"Expected {', '.join(names.get(name, name) for name in found[1].split(', '))}, received none."
        sys.stderr.write(f"error: {one_line(message)} ({self.prog} --help says more)\n")
        self.exit(WRONG_USAGE)

    def _given(self, flag: str) -> Iterator[str]:
        """Yields the words that a command line gives an option."""
        current = ""
        for word in self.words:
            name, equals, value = word.partition("=")
            current = name if word.startswith("--") else current
            if current == flag and (equals or word != flag):
                yield value if word.startswith("--") else word


class _HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of the scripts' docstrings."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))

    def _get_help_string(self, action: argparse.Action) -> str:
        """Adds that an option must be given, or its default if there is one; what it takes stands beside its name."""
        default = " ".join(map(str, action.default)) if isinstance(action.default, list) else action.default
        is_said = default is not False and default not in (None, "", argparse.SUPPRESS)
        added = " (required)" if action.required else f" (default: {default})" if is_said else ""
        return f"{action.help}{added}"
