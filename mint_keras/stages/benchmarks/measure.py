"""A measurement: ours beside a peer, in the same run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable


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
