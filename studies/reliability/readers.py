"""Gives hostile files to the readers, in processes with limits of memory and time, and notes what went wrong."""

import contextlib
import dataclasses
import functools
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from mint_keras import formats, shelf
from mint_keras.borders import read_yaml
from mint_keras.data import images, sample_tables, samples
from mint_keras.edge import bundle, report
from mint_keras.records import InputError, RefusedError
from studies.reliability import folders, inputs

MEMORY = 2**30  # bytes beside what the libraries take themselves
SECONDS = 10  # of processor time for one file
_PATIENCE = 60  # of processor time, where a reader no longer listens; imports take some as well
_AGES = 1800  # of the wall clock
_WAITED = 0.5  # of the wall clock, for an answer to half a request
# What a file of a stranger never does: run a program, ask the network, write elsewhere.
_DEEDS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
)


@dataclasses.dataclass(frozen=True)
class Target:
    """A format: the suffix, its valid files, how they are damaged, and who reads it."""

    suffix: str
    seeds: Callable[[Path], list[bytes]]
    damage: Callable[[np.random.Generator, list[bytes]], bytes]
    read: Callable[[Path], object]
    share: float = 1.0  # of the files that others get; less where one takes seconds


def _whole_table(path: Path) -> None:
    table = samples.list_samples(str(path))
    reader = images.FaceReader()
    for _ in reader.batches(table, 4):
        pass


def _cifar(path: Path) -> None:
    folder = path.parent / "cifar"
    folder.mkdir(exist_ok=True)
    train, meta = inputs.cifar()
    # One of the two is hostile.
    is_meta = len(path.read_bytes()) < 1000
    (folder / "train").write_bytes(train if is_meta else path.read_bytes())
    (folder / "meta").write_bytes(path.read_bytes() if is_meta else meta)
    _whole_table(folder)


def _bundle(path: Path) -> None:
    """Reads a bundle whose manifest is hostile and sealed anew, and renders the page that shows it."""
    folder = path.parent / "bundle"
    if not folder.is_dir():
        shutil.copytree(shelf.path("bundles/lab"), folder)
    content = path.read_bytes()
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        value = json.loads(content)
        if "head" in value:  # else damage would be found by the seal alone
            value["seal"] = bundle._seal_of(value)
            content = json.dumps(value).encode()
    (folder / "manifest.json").write_bytes(content)
    opened = bundle.read_bundle(folder)
    opened.calibration()
    report.environment().get_template("page.html").render(
        manifest=opened.manifest, limits={"bytes": 1, "photos": 1}, messages={}
    )


def _calibration(path: Path) -> None:
    bundle.FieldCalibration.from_dict(formats.read_json(path))


def _manifest(path: Path) -> None:
    """Reads the manifest of an audited model, whose model is there, or of a run."""
    from mint_keras.audited import zoo
    from mint_keras.runs import spec

    folder = path.parent / "artefact"
    if not folder.is_dir():
        folder.mkdir()
        shutil.copyfile(shelf.path("lab") / formats.MODEL, folder / formats.MODEL)
    content = path.read_bytes()
    (folder / formats.MANIFEST).write_bytes(content)
    if b'"mint_run"' in content:
        found = spec.read_spec(folder)
        found.check()
        _ = found.groups, found.keys
        return
    zoo.framing(folder)
    formats.read_checked_manifest(folder, zoo.KIND, formats.MODEL)


def _manifests(folder: Path) -> list[bytes]:
    from mint_keras.runs import spec

    run = formats.make_manifest(spec.KIND, {}, spec.RunSpec("vanilla", externals=("a", "b")).stored(folder))
    return [(shelf.path("lab") / formats.MANIFEST).read_bytes(), json.dumps(run).encode()]


def _config(path: Path) -> None:
    from mint_keras import options
    from mint_keras.commands.score import Score

    with contextlib.redirect_stderr(open(os.devnull, "w")), contextlib.suppress(SystemExit):
        options.parse(Score, "", ["--config", str(path), "--bundle", "x"])


def _card(path: Path) -> None:
    from mint_keras.audited import cards

    cards.load_card(str(path))


def _convert(path: Path) -> None:
    from mint_keras.audited.convert import sources

    source = sources.open_source(path)
    scaling, _ = source.usual_preprocessing()
    converted = source.to_keras(scaling, None, "hostile")
    converted.tap_rows(converted.choose_taps(()))


def _torch(path: Path) -> None:
    from mint_keras.audited.convert import torch_file

    torch_file.read_checkpoint(path)


def _detector(path: Path) -> None:
    from mint_keras.faces import detectors

    detectors.open_detector(str(path))(np.zeros((64, 64, 3), np.uint8))


def _keras(path: Path) -> None:
    from mint_keras.audited import zoo

    folder = path.parent / "model"
    folder.mkdir(exist_ok=True)
    (folder / "model.keras").write_bytes(path.read_bytes())
    manifest = formats.read_json(shelf.path("lab") / "manifest.json")
    manifest["model_sha256"] = formats.sha256_file(folder / "model.keras")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    zoo.load_audited(folder)


def _tflite(path: Path) -> None:
    from mint_keras.edge.scorer import TfliteScorer

    TfliteScorer(path).logits(np.zeros((1, 112, 112, 3), np.uint8))


@functools.cache
def _served() -> int:
    """Serves the page of a bundle in a thread, as `mint score --serve` does; returns its port."""
    import uvicorn

    from mint_keras.edge import page
    from mint_keras.edge.photos import Looking

    listener = socket.create_server((page.HOST, 0))
    port = listener.getsockname()[1]
    app = page.make_app(shelf.path("bundles/lab"), port, Looking(), threads=1)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    return port


def _http(path: Path) -> None:
    """Sends a request of hostile bytes; the page answers something, and goes on answering others."""
    batch = _answer(inputs.request("POST", "/batches")).rpartition(b'"batch":"')[2].partition(b'"')[0]
    answer = _answer(path.read_bytes().replace(b"BATCH", batch), _WAITED)
    for one in (answer, _answer(inputs.request("GET", "/"))):
        if one.startswith(b"HTTP/1.1 5") or (one is not answer and not one.startswith(b"HTTP/1.1 200")):
            raise RuntimeError(one[:200])


def _answer(request: bytes, seconds: float = _PATIENCE) -> bytes:
    """Returns what the page says to a request; nothing after so many seconds, if it waits for the rest of one."""
    port = _served()
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection,
        contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError),
    ):
        connection.sendall(request.replace(b"PORT", b"%d" % port))
        while part := connection.recv(2**16):
            answer += part
    return answer


def _shelf(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda _: [(shelf.path(names[0]) / name).read_bytes() for name in names[1:]]


TARGETS = {
    "image": Target(".png", lambda _: inputs.pictures(), inputs.damaged, lambda p: images.decode(images.read_bytes(p))),
    "recordio": Target(".rec", lambda _: [inputs.record_file()], inputs.damaged, _whole_table),
    "verification": Target(".bin", lambda _: inputs.verification(), inputs.random_pickle, _whole_table),
    "cifar": Target(".cifar", lambda _: inputs.cifar(), inputs.random_pickle, _cifar),
    "csv": Target(".csv", lambda f: [inputs.tables(f)[1]], inputs.damaged_text, _whole_table),
    "parquet": Target(".parquet", lambda f: [inputs.tables(f)[0]], inputs.damaged, sample_tables.read_samples),
    "bundle": Target(".json", _shelf("bundles/lab", "manifest.json"), inputs.damaged_json, _bundle),
    "calibration": Target(".json", _shelf("bundles/lab", "calibration.json"), inputs.damaged_json, _calibration),
    "card": Target(".yaml", _shelf("cards", "fr1.yaml", "buffalo_l.yaml"), inputs.damaged_text, _card),
    "config": Target(
        ".yaml", lambda _: [b"albums: true\npaths: [a, b]\nmin_score: 0.5\n"], inputs.damaged_text, _config
    ),
    "yaml": Target(".yaml", lambda _: [b"a: [1, {b: c}]\nd: !!str e\n"], inputs.damaged_text, read_yaml),
    "http": Target(".http", lambda _: inputs.requests(), inputs.damaged_text, _http, 0.2),
    "manifest": Target(".json", _manifests, inputs.damaged_json, _manifest),
    "torch": Target(
        ".pth", lambda _: [inputs.checkpoint(False)], functools.partial(inputs.in_zip, inputs.random_pickle), _torch
    ),
    "torch_legacy": Target(".pth", lambda _: [inputs.checkpoint(True)], inputs.random_pickle, _torch),
    "onnx": Target(".onnx", lambda _: [inputs.network(1, 32)], inputs.damaged_onnx, _convert, 0.2),
    "detector": Target(".onnx", lambda _: [inputs.network(9, 64)], inputs.damaged_onnx, _detector),
    "keras": Target(
        ".keras",
        _shelf("lab", "model.keras"),
        functools.partial(inputs.in_zip, inputs.damaged_json_or_bytes),
        _keras,
        0.05,
    ),
    "table": Target(".parquet", lambda f: [inputs.tables(f)[0]], folders.hostile_table, _whole_table),
    "store": Target(".store", folders.stores, folders.damaged_folder, folders.read_store),
    "run": Target(".run", folders.runs, folders.damaged_folder, folders.read_run),
    "bundle_folder": Target(".bundle", folders.bundles, folders.damaged_folder, folders.read_bundle, 0.2),
    "tflite": Target(".tflite", _shelf("bundles/lab", "scorer.tflite"), inputs.damaged, _tflite),
}


class SlowError(BaseException):
    """A reader took longer than it may."""


def look(name: str, number: int, folder: Path, seeds: list[bytes] | None = None) -> dict[str, Any] | None:
    """Gives file `number` of a target to its reader; returns what went wrong, None if nothing did."""
    target = TARGETS[name]
    rng = np.random.default_rng([zlib.crc32(name.encode()), number])  # whatever other targets there are
    path = folder / f"hostile{target.suffix}"
    path.write_bytes(target.damage(rng, seeds or target.seeds(folder)))
    kind = ""
    error: BaseException | None = None
    try:
        target.read(path)
    except SlowError as slow:
        kind, error = "hang", slow
    except MemoryError as full:
        kind, error = "memory", full
    except (InputError, RefusedError, OSError) as said:
        causes: list[BaseException | None] = [said]
        while causes[-1] is not None:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        if any(isinstance(cause, MemoryError) for cause in causes):
            kind, error = "memory", said
    except Exception as raised:
        kind, error = "crash", raised
    if error is None:
        return None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mint_keras" in frame.filename]
    site = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return {"target": name, "number": number, "kind": kind, "site": site, "error": repr(error)[:200]}


def main(name: str, first: int, end: int, folder: Path) -> None:
    """Looks at files from `first` to before `end`; what went wrong is printed, a JSON object a line."""
    deeds: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event in _DEEDS and not _is_ours(event, arguments):
            deeds.append(f"{event} {str(arguments)[:100]}")
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            place = os.path.abspath(arguments[0])
            if not place.startswith((str(folder), "/tmp", "/dev/", "/proc/self")):  # noqa: S108
                deeds.append(f"write {place}")

    def slow(number: int, frame: FrameType | None) -> None:
        raise SlowError

    seeds = TARGETS[name].seeds(folder)
    path = folder / f"valid{TARGETS[name].suffix}"
    for seed in seeds:  # which raises if one is refused: nothing behind that would be tried. Imports are not counted.
        path.write_bytes(seed)
        TARGETS[name].read(path)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    used = int(status.partition("VmData:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGPROF, slow)
    sys.addaudithook(watch)
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for number in range(first, end):
        os.pwrite(3, f"{number:12d}".encode(), 0)
        del deeds[:]
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        found = look(name, number, folder, seeds)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for one in [found] if found else [{"kind": "deed", "site": deed, "error": ""} for deed in deeds]:
            os.write(out, (json.dumps({"target": name, "number": number, **one}) + "\n").encode())


def _is_ours(event: str, arguments: tuple) -> bool:
    """Says whether a deed is our own: it asks the page, on this machine."""
    return event in ("socket.connect", "socket.getaddrinfo") and "127.0.0.1" in str(arguments)


def run(name: str, first: int, end: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yields what goes wrong with files from `first` to before `end`; after a death or a hang it goes on behind it."""
    folder.mkdir(parents=True, exist_ok=True)
    at = folder / "at"
    while first < end:
        at.write_text(f"{first:12d}")
        command = f'exec 3<>"{at}"; exec "$0" "$@"'
        words = [sys.executable, "-m", "studies.reliability.readers", name, str(first), str(end), str(folder)]
        words = ["env", f"HOME={folder}", "OMP_NUM_THREADS=1", "TF_NUM_INTRAOP_THREADS=1", *words]
        with open(folder / "stdout", "w+") as said, open(folder / "stderr", "w") as errors:
            process = subprocess.Popen(["bash", "-c", command, *words], stdout=said, stderr=errors)  # noqa: S603, S607
            before, moved, number = 0.0, time.monotonic(), first
            while process.poll() is None:
                time.sleep(0.2)
                now = int(at.read_text() or first)
                if now != number:
                    before, moved, number = spent(process.pid), time.monotonic(), now
                if spent(process.pid) - before > _PATIENCE or time.monotonic() - moved > _AGES:
                    process.kill()
            number = int(at.read_text() or first)
            said.seek(0)
            yield from map(json.loads, said)
        if process.returncode:
            kind = "hang" if process.returncode == -signal.SIGKILL else "crash"
            last = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-1:] or [""]
            yield {
                "target": name,
                "number": number,
                "kind": kind,
                "site": f"exit {process.returncode}",
                "error": last[0][:200],
            }
            first = number + 1
        else:
            first = end


def spent(process: int) -> float:
    """Returns the seconds of processor time of a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]).resolve())
