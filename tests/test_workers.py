"""Work beside other work."""

import subprocess
import sys

import pytest

from mint_keras import workers


def test_works_are_done_in_turn_and_whoever_asks_is_told_of_errors() -> None:
    done: list[int] = []

    def fails() -> None:
        raise ValueError("no")

    first, second, third = workers.beside(lambda: done.append(1), fails, lambda: [*done])
    assert third.result() == [1]
    assert first.result() is None
    with pytest.raises(ValueError, match="no"):
        second.result()


def test_a_process_ends_without_waiting_for_them() -> None:
    code = "import time; from mint_keras import workers; workers.beside(lambda: time.sleep(600))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
