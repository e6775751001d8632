"""Progress bars: one that moves on a terminal, one line a minute in a log, none where somebody asked for quiet."""

import contextlib
import contextvars
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

# Bars are drawn by one process. The lock that tqdm makes by itself is one of many processes and starts another, which
# prints a traceback where a terminal is closed.
tqdm.set_lock(threading.RLock())
# Whether bars are shown is no business of the functions that draw them, so it is no argument of theirs.
_is_hidden = contextvars.ContextVar("is_hidden", default=False)


@contextlib.contextmanager
def hidden(is_hidden: bool = True) -> Iterator[None]:
    """Shows no bars inside the block.

    Example:
        >>> with hidden():
        ...     [2 * number for number in bar([1, 2], desc="doubles")]
        [2, 4]
    """
    token = _is_hidden.set(is_hidden)
    try:
        yield
    finally:
        _is_hidden.reset(token)


def verbosity() -> int:
    """Returns what Keras is to print of a training: 0 nothing, 1 a bar that moves, 2 one line an epoch in a log."""
    if _is_hidden.get():
        return 0
    return 1 if sys.stderr.isatty() else 2


def say(text: str) -> None:
    """Shows what is to be known before something long begins, on the terminal's side of bars.

    Example:
        >>> with hidden():
        ...     say("This takes an hour.")
    """
    if not _is_hidden.get():
        tqdm.write(text, file=sys.stderr)


def bar(iterable: Iterable | None = None, **settings: Any) -> tqdm:
    """Returns a bar over an iterable, or one that is moved by hand.

    Args:
        iterable: What to go through; None for `with bar(total=n) as moved: moved.update()`.
        settings: Arguments of tqdm, such as desc, unit and total.
    """
    pace = {} if sys.stderr.isatty() else {"mininterval": 60.0}
    return tqdm(iterable, disable=_is_hidden.get(), **pace, **settings)
