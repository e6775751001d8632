"""Kills commands, fails their writes and starts them twice; then the same command must end in the same bytes."""

import dataclasses
import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mint_keras.formats import _UNFINISHED
from mint_keras.records import InputError
from studies.reliability import inputs

EVENTS = Path(__file__).with_name("events.c")
_TINY = ("--arch", "tiny", "--resolution", "32", "--epochs", "1", "--batch-size", "32", "--num-pairs", "20")
# By the word behind `mint`: what it is given beside --out; {} is the folder of what all of them need. These are the
# smallest works that still pass every step.
COMMANDS: dict[str, tuple[str, ...]] = {
    "score": ("--bundle", "lab", "--anyway", "{}/photos"),
    "prepare": ("--input", "{}/photos", "--treatment", "stored", "--workers", "2"),
    "overlap": ("--samples", "{}/photos", "again={}/photos", "--audited", "lab", "--plant", "1"),
    "extract": ("--audited", "{}/model", "--samples", "{}/people", "--taps", "conv4", "--batch-size", "32"),
    "convert": ("--weights", "{}/network.onnx"),
    "train-audited": ("--data", "{}/people", *_TINY),
    "train": ("--head", "vanilla", "--audited", "{}/model", "--externals", "{}/others", "--taps", "conv4",
              "--num-train", "64", "--num-test", "16"),
    "export": ("--run", "{}/run", "--samples", "2", "--tap", "conv4", "--force"),
    "audit": ("--run", "{}/run", "--num-untrained", "1", "--look", "{}/look"),
}  # fmt: skip
# What those read that others write, in the order in which it is made.
_MADE = {
    "model": ("train-audited", *COMMANDS["train-audited"]),
    "look": ("train-audited", *COMMANDS["train-audited"], "--seed", "2"),
    "run": ("train", *COMMANDS["train"]),
}
# What the promise leaves out: logs that say when something happened.
_LOGS = re.compile(r"events\.out\.tfevents|measured|seconds|audit.*/(case\.json|report\.(html|pdf))$")
_SECONDS = 1800
_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
WAYS = ("moment", "event", "signal", "error", "twice", "clock")


@dataclasses.dataclass(frozen=True)
class World:
    """Where commands are tried: the folder of their inputs, and the library that counts their file events."""

    folder: Path
    library: Path

    def start(self, word: str, out: Path, **event: str) -> subprocess.Popen:
        """Starts a command in a process group of its own."""
        options = [option.replace("{}", str(self.folder)) for option in COMMANDS[word]]
        preload = {"LD_PRELOAD": str(self.library), "MINT_UNDER": str(out), **event} if event else {}
        settings = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", **preload}
        command = ["env", *(f"{name}={value}" for name, value in settings.items()), sys.executable]
        command += ["-m", "mint_keras.cli", word, *options, "--out", str(out)]
        with open(f"{out}.said", "w") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)  # noqa: S603


def prepare(folder: Path) -> World:
    """Makes what the commands need: a library, photos, a network, and a run for those that read one."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder, folder / "events.so")
    compiled = subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(world.library), str(EVENTS), "-ldl"])  # noqa: S603, S607
    if compiled.returncode:
        raise InputError("Expected a C compiler (cc), received none that works: kills at file events need it.")
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for k in range(70):
        picture = np.random.default_rng(k).integers(0, 255, (112, 112, 3), np.uint8)
        cv2.imwrite(str(photos / f"{k:02d}.png"), picture)
        os.utime(photos / f"{k:02d}.png", (0, 0))  # fingerprints know when a file was changed
    (folder / "network.onnx").write_bytes(inputs.network(1, 32))
    return world


def make_ready(world: World, word: str) -> None:
    """Makes the run that a command reads, if it reads one."""
    run = world.folder / "run"
    if any("{}/run" in option for option in COMMANDS[word]) and not (run / "results.jsonl").is_file():
        reference(world, "train", run)


def content(out: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of a folder but logs."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and not _LOGS.search(str(path)))
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def reference(world: World, word: str, out: Path) -> tuple[float, int, dict[str, str]]:
    """Runs a command undisturbed; returns its seconds, how many file events it has, and what it wrote."""
    tally, begun = Path(f"{out}.events"), time.monotonic()
    tally.unlink(missing_ok=True)
    code = world.start(word, out, MINT_COUNT=str(tally)).wait(_SECONDS)
    if code:
        raise InputError(f"Expected mint {word} to end well, received {code}: {Path(f'{out}.said').read_text()[-300:]}")
    return time.monotonic() - begun, tally.stat().st_size if tally.is_file() else 1, content(out)


def disturb(
    world: World, word: str, out: Path, number: int, known: tuple[float, int, dict[str, str]]
) -> dict[str, Any]:
    """Disturbs a command in the way of a number, gives it again, and returns what went wrong."""
    seconds, num_events, expected = known
    rng = np.random.default_rng([list(COMMANDS).index(word), number])
    way = WAYS[number % len(WAYS)]
    wait, event = float(rng.uniform(0, seconds)), str(int(rng.integers(1, num_events + 1)))
    faults: list[str] = []
    if way == "moment":
        _end(world.start(word, out), wait, signal.SIGKILL)
    elif way == "event":
        _end(world.start(word, out, MINT_EVENT=event, MINT_DEED="kill"), _SECONDS, signal.SIGKILL)
    elif way == "signal":
        chosen = list(_SIGNALS)[rng.integers(3)]
        code = _end(world.start(word, out), wait, chosen)
        # Before Python has begun there is nobody to say anything.
        faults += _complaints(out, code, {0, _SIGNALS[chosen], *([-chosen] if wait < 1 else [])})
    elif way == "error":
        failed = str(_ERRORS[rng.integers(3)])
        code = _end(world.start(word, out, MINT_EVENT=event, MINT_DEED=failed), _SECONDS, signal.SIGKILL)
        faults += _complaints(out, code, {0, 1})
    elif way == "twice":
        first, second = world.start(word, out), world.start(word, out)
        codes = {_end(first, _SECONDS, signal.SIGKILL), _end(second, _SECONDS, signal.SIGKILL)}
        faults += [] if 0 in codes and codes <= {0, 1} else [f"two at once ended with {sorted(codes)}"]
    else:
        _end(world.start(word, out, MINT_CLOCK="1"), _SECONDS, signal.SIGKILL)
    code = _end(world.start(word, out), _SECONDS, signal.SIGKILL)
    faults += _complaints(out, code, {0})
    found = content(out) if out.is_dir() else {}
    faults += [f"leftover {name}" for name in found if any(map(_UNFINISHED.fullmatch, Path(name).parts))]
    wrong = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    faults += [f"differs {name}" for name in wrong[:5]]
    return {"command": word, "number": number, "way": way, "at": round(wait, 2), "event": event, "faults": faults}


def _end(process: subprocess.Popen, seconds: float, number: int) -> int:
    """Waits for a command, sends it and its workers a signal after so long, and returns its exit code."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
    try:
        return process.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
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
    for word in words:
        if all(is_done(word, number) for number in range(num)):
            continue
        make_ready(world, word)
        folder = out / word
        folder.mkdir(parents=True, exist_ok=True)
        _remove(folder)
        # Always in the same place: a path is part of what some of them write.
        known = reference(world, word, folder / "out")
        for number in range(num):
            if not is_done(word, number):
                _remove(folder)
                yield disturb(world, word, folder / "out", number, known)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
