"""Work beside other work."""

import functools
import subprocess
import sys
import threading

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


def test_results_come_in_order_and_no_more_is_begun_than_asked_for() -> None:
    begun: list[int] = []
    last = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            last.wait(60)  # the first ends last
        return number

    works = (functools.partial(work, number) for number in range(9))
    results = workers.in_order(works, 3)
    threading.Timer(0.2, last.set).start()
    assert next(results) == 0
    assert len(begun) <= 4
    assert list(results) == list(range(1, 9))


def test_an_error_in_a_thread_is_the_one_of_who_asks() -> None:
    def fails() -> int:
        raise ValueError("no")

    results = workers.in_order([lambda: 1, fails], 2)
    assert next(results) == 1
    with pytest.raises(ValueError, match="no"):
        next(results)
