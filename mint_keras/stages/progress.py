"""How progress bars move."""

from __future__ import annotations

import sys


def pace() -> dict[str, float]:
    """Returns tqdm's settings: a bar that moves on a terminal, one line a minute in a log."""
    return {} if sys.stderr.isatty() else {"mininterval": 60.0}
