"""Kills commands, fails their writes and starts them twice; then the same command must end in the same bytes."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mint_keras.formats import _UNFINISHED
from mint_keras.records import InputError
from studies.reliability import inputs, readers, warm

EVENTS = Path(__file__).with_name("events.c")
_TUNED = ("--data", "{}/people", "--from", "{}/first", "--trainable", "gemm_001", "--epochs", "1", "--batch-size", "32",
          "--num-pairs", "20")  # fmt: skip
# By the word behind `mint`: what it is given beside --out; {} is the folder of what all of them need. These are the
# smallest works that still pass every step, through a network of two layers.
COMMANDS: dict[str, tuple[str, ...]] = {
    "score": ("--bundle", "lab", "--anyway", "{}/photos"),
    "prepare": ("--input", "{}/photos", "--treatment", "stored", "--workers", "2"),
    "overlap": ("--samples", "{}/photos", "again={}/photos", "--audited", "{}/model", "--plant", "1"),
    "extract": ("--audited", "{}/model", "--samples", "{}/people", "--taps", "conv1", "--batch-size", "32",
                "--shard-size", "64", "--backend", "keras"),
    "convert": ("--weights", "{}/network.onnx", "--taps", "conv1=r"),
    "train-audited": _TUNED,
    "train": ("--head", "vanilla", "--audited", "{}/model", "--externals", "{}/others", "--taps", "conv1",
              "--num-train", "64", "--num-test", "16", "--backend", "keras"),
    "export": ("--run", "{}/run", "--samples", "2", "--tap", "conv1", "--force"),
    "audit": ("--run", "{}/run", "--num-untrained", "1", "--look", "{}/look"),
}  # fmt: skip
# What these read that others write, in the order in which it is made.
_MADE = {
    "first": ("convert", *COMMANDS["convert"]),
    "model": ("train-audited", *_TUNED),
    "look": ("train-audited", *_TUNED, "--seed", "2"),
    "run": ("train", *COMMANDS["train"]),
}
# What the promise leaves out: logs that say when something happened.
_LOGS = re.compile(r"events\.out\.tfevents|measured|seconds|audit.*/(case\.json|report\.(html|pdf))$")
_MEASURED = ("latency_ms", "rss_mib", "seal")  # the last is of the others
_SECONDS = 1800
_COLD_EVERY = 2  # rounds of all ways: in one of them, what ends at a moment starts as a user does, with its imports
_BEGUN = 0.15  # seconds of processor time after which Python has begun, and our first lines have run
_ASKED = 4  # tens: a clock goes back at one of the first 10,000 questions for the time of day
_THREADS = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
WAYS = ("moment", "event", "signal", "error", "twice", "clock")


@dataclasses.dataclass(frozen=True)
class World:
    """Where commands are tried: the folder of their inputs, the library that counts file events, and a warm process."""

    folder: Path
    library: Path
    server: warm.Server

    def start(self, words: Sequence[str], out: Path, is_cold: bool = False, **event: str) -> warm.Process:
        """Starts a command in a process group of its own, from a warm process or as a user does."""
        words = [*(option.replace("{}", str(self.folder)) for option in words), "--out", str(out)]
        settings = {"MINT_UNDER": str(out), **event} if event else {}
        if not is_cold:
            return self.server.start(words, Path(f"{out}.said"), settings)
        preload = {"LD_PRELOAD": str(self.library)} if event else {}
        command = ["env", *(f"{name}={value}" for name, value in {**_THREADS, **preload, **settings}.items())]
        with open(f"{out}.said", "w") as said:
            return subprocess.Popen(  # noqa: S603
                [*command, sys.executable, "-m", "mint_keras.cli", *words],
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip


@contextlib.contextmanager
def prepare(folder: Path) -> Iterator[World]:
    """Makes what the commands need: a library, photos, people, a network, and a run for those that read one."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "events.so"
    compiled = subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(EVENTS), "-ldl"])  # noqa: S603, S607
    if compiled.returncode:
        raise InputError("Expected a C compiler (cc), received none that works: kills at file events need it.")
    names = [f"photos/{k:02d}.png" for k in range(70)]
    names += [f"{side}/{side[0]}{k // 4:02d}/{k % 4}.png" for side in ("people", "others") for k in range(160)]
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 255, (112, 112, 3), np.uint8))
        os.utime(path, (0, 0))  # fingerprints know when a file was changed
    (folder / "network.onnx").write_bytes(inputs.network(1, 112))
    server = warm.Server({**_THREADS, "LD_PRELOAD": str(library)})
    try:
        world = World(folder, library, server)
        for name, words in _MADE.items():
            if not (made := folder / f"{name}.made").is_file():
                _complete(world, words, folder / name)
                made.touch()
        yield world
    finally:
        server.close()


def _complete(world: World, words: Sequence[str], out: Path, **settings: Any) -> None:
    if code := world.start(words, out, **settings).wait(_SECONDS):
        said = Path(f"{out}.said").read_text()[-300:]
        raise InputError(f"Expected mint {words[0]} to end well, received {code}: {said}")


def content(out: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of a folder but logs, without figures that say how long something took."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and not _LOGS.search(str(path))):
        value = path.read_bytes()
        if path.suffix == ".json":
            value = json.dumps(_timeless(json.loads(value))).encode()
        found[path.relative_to(out).as_posix()] = hashlib.sha256(value).hexdigest()
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in _MEASURED}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True)
class Known:
    """An undisturbed run: its seconds, cold and warm, how many file events it has, and the SHA-256 of what it wrote."""

    seconds: tuple[float, float]
    num_events: int
    content: dict[str, str]


def reference(world: World, word: str, out: Path) -> Known:
    """Runs a command undisturbed, as a user does and from a warm process; what is found stays in a file beside `out`.

    Raises:
        InputError: If it does not end well, or if a warm process writes other bytes.
    """
    path, tally = out.with_suffix(".known.json"), out.with_suffix(".events")
    if not path.is_file():
        seconds, found = [], []
        settings: dict[str, Any]
        for settings in ({"is_cold": True}, {"MINT_COUNT": str(tally)}):
            _remove(out.parent)
            begun = time.monotonic()
            _complete(world, (word, *COMMANDS[word]), out, **settings)
            seconds.append(time.monotonic() - begun)
            found.append(content(out))
        if wrong := [name for name in {**found[0], **found[1]} if found[0].get(name) != found[1].get(name)]:
            raise InputError(f"Expected the same of {word} from a warm process, received other {wrong[:5]}.")
        num_events = tally.stat().st_size if tally.is_file() else 1
        path.write_text(json.dumps([seconds, num_events, found[0]]))
    return Known(*json.loads(path.read_text()))


def disturb(world: World, word: str, out: Path, number: int, known: Known) -> dict[str, Any]:
    """Disturbs a command in the way of a number, gives it again, and returns what went wrong."""
    rng = np.random.default_rng([zlib.crc32(word.encode()), number])
    way = WAYS[number % len(WAYS)]
    is_cold = way in ("moment", "signal") and number // len(WAYS) % _COLD_EVERY == 0
    wait, event = float(rng.uniform(0, known.seconds[not is_cold])), str(int(rng.integers(1, known.num_events + 1)))
    start = functools.partial(world.start, (word, *COMMANDS[word]), out, is_cold)
    faults: list[str] = []
    if way == "moment":
        _end(start(), wait, signal.SIGKILL)
    elif way == "event":
        _end(start(MINT_EVENT=event, MINT_DEED="kill"), _SECONDS, signal.SIGKILL)
    elif way == "signal":
        chosen = list(_SIGNALS)[rng.integers(3)]
        process = start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        # Before Python has begun there is nobody to say anything.
        silent = [-chosen] if readers.spent(process.pid) < _BEGUN else []
        faults += _complaints(out, _end(process, 0, chosen), {0, _SIGNALS[chosen], *silent})
    elif way == "error":
        failed = str(_ERRORS[rng.integers(3)])
        code = _end(start(MINT_EVENT=event, MINT_DEED=failed), _SECONDS, signal.SIGKILL)
        faults += _complaints(out, code, {0, 1})
    elif way == "twice":
        first, second = start(), start()
        codes = {_end(first, _SECONDS, signal.SIGKILL), _end(second, _SECONDS, signal.SIGKILL)}
        faults += [] if 0 in codes and codes <= {0, 1} else [f"two at once ended with {sorted(codes)}"]
    else:
        code = _end(start(MINT_CLOCK=str(int(10 ** rng.uniform(0, _ASKED)))), _SECONDS, signal.SIGKILL)
        faults += _complaints(out, code, {0})
    code = _end(world.start((word, *COMMANDS[word]), out), _SECONDS, signal.SIGKILL)
    faults += _complaints(out, code, {0})
    found = content(out) if out.is_dir() else {}
    faults += [f"leftover {name}" for name in found if any(map(_UNFINISHED.fullmatch, Path(name).parts))]
    wrong = [name for name in sorted({*found, *known.content}) if found.get(name) != known.content.get(name)]
    faults += [f"differs {name}" for name in wrong[:5]]
    at = {"at": round(wait, 2), "event": event, "cold": is_cold}
    return {"command": word, "number": number, "way": way, **at, "faults": faults}


def _end(process: warm.Process, seconds: float, number: int) -> int:
    """Waits for a command, sends it and its workers a signal after so long, and returns its exit code."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
    try:
        return process.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(120)
        return -999


def _complaints(out: Path, code: int, expected: set[int]) -> list[str]:
    """Returns what is wrong with the way in which a command ended."""
    said = Path(f"{out}.said").read_text(errors="replace")
    lines = [line for line in said.splitlines() if line.strip()]
    faults = []
    if code not in expected:
        faults.append(f"exit {code}, expected {sorted(expected)}: {lines[-1][:120] if lines else ''}")
    if "Traceback" in said:
        faults.append(f"traceback: {lines[-1][:120]}")
    if "leaked" in said:
        faults.append("leaked semaphores")
    if any(len(line) > 510 for line in lines if line.startswith(("error:", "refused:"))):
        faults.append("a message of more than 500 characters")
    return faults


def run(
    world: World, out: Path, words: list[str], num: int, is_done: Callable[[str, int], bool]
) -> Iterator[dict[str, Any]]:
    """Disturbs each command so many times, in every way in turn; yields what became of it."""
    known: dict[str, Known] = {}
    for number, word in itertools.product(range(num), words):
        if not is_done(word, number):
            folder = out / word
            folder.mkdir(parents=True, exist_ok=True)
            # Always in the same place: a path is part of what some of them write.
            known[word] = known.get(word) or reference(world, word, folder / "out")
            _remove(folder)
            yield disturb(world, word, folder / "out", number, known[word])


def _remove(folder: Path) -> None:
    for path in sorted(set(folder.rglob("*")) - set(folder.glob("*.known.json")), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
