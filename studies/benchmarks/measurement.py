"""A measurement: ours beside a peer, in the same run."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TypeVar

_Name = TypeVar("_Name", bound=Hashable)
_ROOT = Path(__file__).resolve().parents[3]


@dataclasses.dataclass(frozen=True)
class Setting:
    """How much to measure, on what, and where to write."""

    folder: Path
    quick: bool
    detector: str
    photos: str


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Ours and a peer's figure.

    Attributes:
        name: what was measured.
        ours: our figure.
        peer: theirs.
        unit: of both.
        against: who the peer is.
        target: the ratio ours / peer that is wanted: "5" is at least five, "<1.2" at most 1.2, "" none.
    """

    name: str
    ours: float
    peer: float
    unit: str
    against: str
    target: str = ""

    @property
    def ratio(self) -> float:
        """Ours over the peer's."""
        return self.ours / self.peer

    @property
    def verdict(self) -> str:
        """Whether the target is met; "" without one."""
        if not self.target:
            return ""
        met = self.ratio <= float(self.target[1:]) if self.target.startswith("<") else self.ratio >= float(self.target)
        return "met" if met else "missed"


def best_rate(work: Callable[[], int], repeats: int = 3) -> float:
    """Returns the units per second of the fastest run; `work` does some and returns how many."""
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        num = work()
        rates.append(num / (time.perf_counter() - start))
    return max(rates)


def in_turns(works: Mapping[_Name, Callable[[], int]], rounds: int) -> dict[_Name, float]:
    """Returns the best rate of each work; they take turns, so that all meet the same machine."""
    for work in works.values():
        work()  # compiles, fills caches
    rates = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, work in works.items():
            rates[name] = max(rates[name], best_rate(work, 1))
    return rates


def run_program(program: str, folder: Path, *arguments: object) -> list[float]:
    """Runs a program of ours in a process of its own and returns the numbers it prints last.

    Args:
        program: its text, kept in `folder` because the processes that it starts may import it.
        folder: exists.
        arguments: its command line.
    """
    script = folder / "measured.py"
    script.write_text(program, encoding="utf-8")
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment)  # noqa: S603 # our own
    if done.returncode:
        raise RuntimeError(f"A measurement failed: {done.stderr[-2000:]}")
    return [float(number) for number in done.stdout.split("\n")[-2].split()]


def peak_memory() -> float:
    """Returns the largest memory of this process in MiB, on Linux.

    Not what `getrusage` says: that begins with the memory of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
