"""Starts commands from a process that has imported everything already, so that a kill costs seconds, not a minute.

A copy of that process runs the command as `mint` would; only its imports are missing, so some tries start cold.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol


class Process(Protocol):
    """A command that was started: what the harness asks of a `subprocess.Popen`."""

    pid: int

    def wait(self, timeout: float) -> int:
        """Returns the exit code; raises `subprocess.TimeoutExpired` after so many seconds."""


class Copy:
    """A command that a server has started."""

    def __init__(self, server: "Server", pid: int) -> None:
        self._server, self.pid = server, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, or None while the command runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Returns the exit code; raises `subprocess.TimeoutExpired` after so many seconds."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return code


class Server:
    """A process that has imported everything, and starts commands as copies of itself."""

    def __init__(self, settings: dict[str, str]) -> None:
        command = ["env", *(f"{name}={value}" for name, value in settings.items()), sys.executable]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, "-m", "studies.reliability.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: dict[str, Any]) -> Any:
        """Sends a question, and returns what is answered."""
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None and pipes[1] is not None  # noqa: S101, PT018
        pipes[0].write(json.dumps(question) + "\n")
        pipes[0].flush()
        return json.loads(pipes[1].readline())

    def start(self, words: list[str], said: Path, settings: dict[str, str]) -> Copy:
        """Starts `mint` with these words in a process group of its own; what it prints goes into a file."""
        return Copy(self, self.ask({"start": words, "said": str(said), "settings": settings}))

    def close(self) -> None:
        """Ends the server."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Answers questions from the standard input until it ends."""
    from mint_keras import cli, environment
    from mint_keras.commands import COMMANDS

    environment.import_tensorflow()
    for command in COMMANDS.values():
        __import__(f"mint_keras.commands.{command.module}")
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        question = json.loads(line)
        if "poll" in question:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif answer := os.fork():
            while os.getpgid(answer) != answer:  # until it is in a group of its own
                time.sleep(0.001)
        else:
            _become(question)
            sys.exit(cli.main())
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _become(question: dict[str, Any]) -> None:
    """Makes a copy of this process look like one that `mint` was started in."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, value in question["settings"].items():
        os.putenv(name, value)
    sys.argv = ["mint", *question["start"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(question["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)


if __name__ == "__main__":
    main()
