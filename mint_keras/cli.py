"""The command `mint`: finds a command, parses its options, runs it; one line for every error, and the exit codes."""

import importlib
import signal
import sys
from pathlib import Path
from types import FrameType

from mint_keras import __version__
from mint_keras.commands import COMMANDS, options_class

DONE, BAD_INPUT, WRONG_USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130
_HELP = """usage: mint COMMAND [options]

Is my data in your AI? Tell whether photos were used to train a face-recognition model.

{commands}

mint COMMAND --help says what a command does, with examples."""


def main(arguments: list[str] | None = None) -> int:
    """Runs `mint COMMAND ...`, by default with the words of this process; returns the exit code.

    The codes are 0 done, 1 bad input, 2 wrong usage, 3 refused by a check, 130 interrupted.

    Example:
        >>> main(["--version"])
        mint 0.2.0
        0
    """
    given = sys.argv[1:] if arguments is None else arguments
    word = given[0] if given else "--help"
    if word in ("-h", "--help"):
        width = max(map(len, COMMANDS)) + 2
        listed = "\n".join(f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items())
        print(_HELP.format(commands=listed))
        return DONE
    if word == "--version":
        print(f"mint {__version__}")
        return DONE
    if word not in COMMANDS:
        print(f"error: Expected a command of {', '.join(COMMANDS)}, received {word!r}.", file=sys.stderr)
        return WRONG_USAGE
    command = COMMANDS[word]
    return run(f"mint_keras.commands.{command.module}", command.has_keras, given[1:], f"mint {word}")


def script(path: str) -> int:
    """Runs the command that a file of `scripts` is named after; see `main`."""
    name = Path(path).stem
    command = next(command for command in COMMANDS.values() if command.module == name)
    return run(f"mint_keras.commands.{name}", command.has_keras, sys.argv[1:], f"{name}.py")


def run(module_name: str, has_keras: bool, arguments: list[str], program: str) -> int:
    """Parses options for the command that a module holds, runs it, and prints what it says.

    Args:
        module_name: The module, with a function of its own last name and a class of options (see `commands`).
        has_keras: Whether the command runs TensorFlow.
        arguments: The command line without the command's name.
        program: How its help calls it.
    """
    from mint_keras import environment, options, progress  # what `mint --help` has no need of
    from mint_keras.records import InputError, RefusedError

    module, name = importlib.import_module(module_name), module_name.rpartition(".")[2]
    config = options.parse(getattr(module, options_class(name)), module.__doc__ or "", arguments, program)
    interruptions: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interruptions.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        if has_keras:
            environment.import_tensorflow()
        with progress.hidden(getattr(config, "quiet", False)):
            print(getattr(module, name)(config).text)
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


if __name__ == "__main__":
    sys.exit(main())
