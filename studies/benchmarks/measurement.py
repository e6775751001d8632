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
_ROOT = Path(__file__).resolve().parents[2]
# Prints the peak of memory in KiB of the largest process that a command starts. A process's peak begins with the memory
# of the one that started it, so a small one starts the command.
_START = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """How much is measured, on what, and where files may be written.

    Attributes:
        folder: An empty folder, removed afterwards.
        quick: Whether a tenth of the work is done, with smaller networks.
        detector: An SCRFD file, or "".
        photos: A folder of photos, or "".
        audited: Folders of converted models.
    """

    folder: Path
    quick: bool
    detector: str
    photos: str
    audited: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Ours and a peer's figure.

    Attributes:
        name: What was measured.
        ours: Our figure.
        peer: The peer's figure.
        unit: The unit of both.
        against: Who the peer is.
        target: The ratio ours / peer that is wanted: "5" is at least five, "<1.2" at most 1.2, "" none.
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
        # The first run compiles and fills caches.
        work()
    rates = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, work in works.items():
            rates[name] = max(rates[name], best_rate(work, 1))
    return rates


def peak_memory(*arguments: object) -> tuple[float, list[str]]:
    """Runs Python in processes of its own and measures the largest of them.

    Args:
        arguments: The command line behind "python": a script of this repository and its options, or -c and a program.

    Returns:
        The peak of memory in MiB, on Linux, and the lines that were printed.
    """
    command = [sys.executable, "-c", _START, sys.executable, *map(str, arguments)]
    environment = {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment)  # noqa: S603 # our own
    if done.returncode:
        raise RuntimeError(f"A measurement failed: {done.stderr[-2000:]}")
    *lines, kibibytes = done.stdout.splitlines()
    return int(kibibytes) / 1024, lines
