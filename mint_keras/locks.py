"""An output folder is one process's alone while it writes there; the lock ends with its process."""

import contextlib
import contextvars
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mint_keras.records import InputError

PATIENCE = 10.0  # seconds: whoever only reads what a folder holds has it for no longer
# The output folders that this process has for itself.
_held: contextvars.ContextVar[frozenset] = contextvars.ContextVar("held", default=frozenset())


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Makes an output folder this process's alone for the time of the block, which may do so again inside.

    One that is made here and stays empty is removed.

    Raises:
        InputError: if another process has it, or if it is no longer there at the end.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"Expected a folder for the output, received the file {out}.")
    is_ours = not out.exists()
    out.resolve().mkdir(parents=True, exist_ok=True)
    status = out.stat()
    place, before = (status.st_dev, status.st_ino), _held.get()
    with contextlib.nullcontext() if place in before else _locked(out):
        token = _held.set(before | {place})
        try:
            yield
        finally:
            _held.reset(token)
            if is_ours:
                with contextlib.suppress(OSError):  # it holds something
                    out.resolve().rmdir()
        if not (out.is_dir() and os.path.samestat(status, out.stat())):
            raise InputError(f"Expected {out} to stay while this command writes into it; somebody removed it.")


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows, where folders have no locks
        yield
        return
    # The folder itself is locked: the system takes the lock away when a process ends, however it ends.
    folder = os.open(out, os.O_RDONLY)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() <= deadline:
                    time.sleep(0.05)
                    continue
                raise InputError(
                    f"Expected {out} for this command alone, received one that another run{_holder(folder)} writes "
                    "into. Wait for it, or choose another --out."
                ) from error
            except OSError:  # a network disk without locks
                pass
            break
        yield
    finally:
        os.close(folder)


def _holder(folder: int) -> str:
    """Says which process has the lock on a folder, where the system tells."""
    number = str(os.fstat(folder).st_ino)
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{number}"):
                return f" (process {fields[4]})"
    return ""
