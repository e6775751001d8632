"""The command `mint`: finds a command, parses its options, runs it; one line for every error, and the exit codes."""

import atexit
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from mint_keras import __version__

DONE, BAD_INPUT, WRONG_USAGE, REFUSED = 0, 1, 2, 3
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # which end a command with one line and 128 + their number
_HELP = """usage: mint COMMAND [options]

Is my data in your AI? Tell whether photos were used to train a face-recognition model.

{commands}

mint COMMAND --help says what a command does, with examples. mint --completion bash (or zsh, fish, tcsh)
prints what lets a shell complete all of it."""


def main(arguments: list[str] | None = None) -> int:
    """Runs `mint COMMAND ...`, by default with the words of this process; returns the exit code.

    The codes are 0 done, 1 bad input, 2 wrong usage, 3 refused by a check, 130, 143 or 129 interrupted.

    Example:
        >>> main(["--version"])
        mint 0.2.0
        0
    """
    given = sys.argv[1:] if arguments is None else arguments
    return _heard(lambda received: _main(given, received), arguments is None)


def script(path: str) -> int:
    """Runs the command that a file of `scripts` is named after; see `main`."""
    return _heard(lambda received: _of_script(Path(path).stem, received))


def run(module_name: str, has_keras: bool, arguments: list[str], program: str) -> int:
    """Parses options for the command that a module holds, runs it, and prints what it says.

    Args:
        module_name: The module, with a function of its own last name and a class of options (see `commands`).
        has_keras: Whether the command runs TensorFlow.
        arguments: The command line without the command's name.
        program: How its help calls it.
    """
    return _heard(lambda received: _command(module_name, has_keras, arguments, program, received))


def _heard(work: Callable[[list[int]], int], is_whole: bool = True) -> int:
    """Runs work that a signal ends with one line; the list that it is given holds the signals that came.

    Whoever calls this imports little before, as until then a signal ends the process without a line. If the work is the
    `whole` of a process, signals are ignored behind it, where they would be a failure of what is done, and the process
    waits for no thread of `workers.beside`.
    """
    received: list[int] = []
    ended: list[int] = []
    if is_whole:
        atexit.register(_end, ended)  # first of all, so that it runs behind what others clear up

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]  # Windows has no SIGHUP
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        code = work(received)
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        code = _interrupted(received)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("mint_keras"):
            raise
        said = "pip install -r requirements.txt (to score, -r requirements-edge.txt), or call a Python that has it."
        print(f"error: Expected the package {error.name}, which {sys.executable} lacks: {said}", file=sys.stderr)
        code = BAD_INPUT
    except Exception:
        ended.append(1)  # as Python ends whatever it prints a traceback of
        raise
    finally:
        for number, handler in () if is_whole else before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    ended.append(code)
    return code


def _main(given: list[str], received: list[int]) -> int:
    from mint_keras.commands import COMMANDS  # with NumPy

    word = given[0] if given else "--help"
    if word in ("-h", "--help"):
        width = max(map(len, COMMANDS)) + 2
        listed = "\n".join(f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items())
        _say(_HELP.format(commands=listed))
        return DONE
    if word == "--version":
        print(f"mint {__version__}")
        return DONE
    if word == "--completion":
        return _say_completion(given[1] if len(given) > 1 else "bash")
    if word not in COMMANDS:
        from mint_keras.borders import nearest, one_line

        said = f"Expected a command of {', '.join(COMMANDS)}, received {word!r}{nearest(word, COMMANDS) or '.'}"
        print("error:", one_line(said), file=sys.stderr)
        return WRONG_USAGE
    command = COMMANDS[word]
    return _command(f"mint_keras.commands.{command.module}", command.has_keras, given[1:], f"mint {word}", received)


def _say_completion(shell: str) -> int:
    """Prints the completion of every command and option, which jsonargparse makes with shtab."""
    import jsonargparse

    from mint_keras import options
    from mint_keras.commands import COMMANDS, options_class

    whole = jsonargparse.ArgumentParser(prog="mint")
    commands = whole.add_subcommands()
    for word, command in COMMANDS.items():
        module = importlib.import_module(f"mint_keras.commands.{command.module}")
        one = options.make_parser(getattr(module, options_class(command.module)), "")
        commands.add_subcommand(word, one, help=command.summary)
    try:
        _say(whole.get_completion_script(f"shtab-{shell}"))
    except ValueError:
        print(f"error: Expected bash, zsh, fish or tcsh, and the package shtab, received {shell}.", file=sys.stderr)
        return WRONG_USAGE
    return DONE


def _of_script(name: str, received: list[int]) -> int:
    from mint_keras.commands import COMMANDS

    has_keras = next(command.has_keras for command in COMMANDS.values() if command.module == name)
    return _command(f"mint_keras.commands.{name}", has_keras, sys.argv[1:], f"{name}.py", received)


def _command(module_name: str, has_keras: bool, arguments: list[str], program: str, received: list[int]) -> int:
    from mint_keras import environment

    with environment.silenced_libraries():
        return _run(module_name, has_keras, arguments, program, received)


def _run(module_name: str, has_keras: bool, arguments: list[str], program: str, received: list[int]) -> int:
    from mint_keras import environment, options, progress
    from mint_keras.borders import absolute_paths, one_line
    from mint_keras.commands import options_class
    from mint_keras.records import InputError, RefusedError

    module, name = importlib.import_module(module_name), module_name.rpartition(".")[2]
    config = options.parse(getattr(module, options_class(name)), module.__doc__ or "", arguments, program)
    try:
        if has_keras:
            environment.import_tensorflow()
        has_places = getattr(config, "absolute_paths", False)
        with progress.hidden(getattr(config, "quiet", False)), absolute_paths(has_places):
            found = getattr(module, name)(config)
            _report(found.text)
    except BaseException as error:
        # TensorFlow's C++ parts may turn the interruption into an error of their own, and workers that end with us too.
        if received or isinstance(error, KeyboardInterrupt):
            return _interrupted(received)
        if isinstance(error, RefusedError):
            print(f"refused: {one_line(str(error))}", file=sys.stderr)
            return REFUSED
        if not isinstance(error, InputError | OSError | MemoryError):
            raise
        if done := getattr(error, "done", ""):
            _report(done)
        reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            where = error.filename or getattr(config, "out", None) or "a file"
            kept = "What is there is kept, and the same command continues from it."
            reason = f"Expected to read and write {where}, received: {error.strerror}. Mend that; {kept}"
        print(f"error: {one_line(reason or 'Expected more memory, received too little.')}", file=sys.stderr)
        return BAD_INPUT
    return DONE if getattr(found, "is_passed", True) else REFUSED


def _report(text: str) -> None:
    """Prints a report; names in it are strangers', and steer no terminal."""
    from mint_keras.borders import without_controls

    _say("\n".join(map(without_controls, text.split("\n"))))


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head -1` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interrupted(received: list[int]) -> int:
    for name in filter(lambda name: hasattr(signal, name), _SIGNALS):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # the line is said, and what is left takes no time
    print("interrupted: the same command continues from here", file=sys.stderr)
    return 128 + (received[0] if received else signal.SIGINT)


def _end(codes: list[int]) -> None:
    """Ends this process with the code of its command if threads are at work, as libraries' may be that are interrupted.

    Python would stop a thread where it comes back from C++, whose libraries then end the process by a signal (SIGABRT).
    """
    workers = sys.modules.get("mint_keras.workers")  # which takes half a second to import
    if codes and (codes[-1] > 128 or (workers and workers.are_beside())):
        os._exit(codes[-1])  # what was said is flushed


if __name__ == "__main__":
    sys.exit(main())
