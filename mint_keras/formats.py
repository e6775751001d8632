"""The one on-disk contract: file names, manifests, fingerprints, atomic writes, strict reads."""

import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mint_keras import __version__
from mint_keras.borders import inert, named, read_text, reading
from mint_keras.locks import alone as alone
from mint_keras.records import InputError, RefusedError, Rejected, SampleTable

SCHEMA = 1
MANIFEST = "manifest.json"
SCORES = "scores.csv"  # see `score_files`
RESULTS = "results.jsonl"
REJECTED = "rejected.csv"
MODEL = "model.keras"
PARITY = "parity.json"
VERIFICATION = "verification.json"
EVALUATION = "evaluation.json"
HEAD = "head.keras"
MEMBERS = "members.parquet"
HELD_OUT = "held_out.parquet"
FACE_DETECTOR = "face_detector"
PREPARED_FACES = "prepared_faces"
SAMPLES = "samples.parquet"
OVERLAP = "overlap"
OVERLAP_REPORT = "overlap.json"
EXCLUDED_SAMPLES = "excluded_samples.csv"
EXCLUDED_PEOPLE = "excluded_identities.csv"

_MAX_JSON = 2**26  # bytes; a calibration with 360,000 people has 8 million
_BLOCK = 2**16  # rows of a table that are written out at once
_WHERE, _OURS = ("--out", "--workers"), ("mint", "cli")
# Names of temporary files and folders, see `atomic_path`; the manifest is the first file that a folder gets.
_UNFINISHED = re.compile(r"\.[^.].*\.[a-z0-9_]{8}(\.\w+)?")
_UNFINISHED_MANIFEST = ".manifest.????????.json"
_VERSIONED = (
    "numpy", "tensorflow", "keras", "opencv-python", "opencv-python-headless", "ai-edge-litert", "litert-quantizer",
    "onnx", "onnxruntime",
)  # fmt: skip


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: if there is no such file.
    """
    if not path.is_file():
        raise InputError(f"Expected the file {path}, which is not there.")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Returns the SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256_table(table: SampleTable) -> str:
    """Returns the SHA-256 of a sample table's rows, except where the files lie: a moved folder stays the same."""
    # As `sha256_json` of the columns would give it, without all of the text at once.
    digest, mark = hashlib.sha256(), "{"
    for name, column in sorted(table.columns().items()):
        if name == "location":
            continue
        digest.update(f'{mark}"{name}": ['.encode())
        for start in range(0, len(table), _BLOCK):
            some = json.dumps(column[start : start + _BLOCK].tolist())[1:-1]
            digest.update(f"{', ' if start else ''}{some}".encode())
        digest.update(b"]")
        mark = ", "
    digest.update(b"}")
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is flushed and renamed, on failure removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays the same because some writers (Keras, OpenCV) choose the format by it.
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:  # a full disk does not say which one
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


Kept = TypeVar("Kept")


def kept(
    path: Path, make: Callable[[], Kept], write: Callable[[Path, Kept], object], read: Callable[[Path], Kept]
) -> Kept:
    """Returns what a file holds; if there is none, makes and writes it first.

    What was just made is read back, so that a run and its continuation go on with the same digits. The file's folder is
    made if necessary; `write` is to be atomic.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> kept(folder / "a" / "sum.json", lambda: {"sum": 1 + 1}, write_json, read_json)
        {'sum': 2}
        >>> kept(folder / "a" / "sum.json", lambda: {"sum": 0}, write_json, read_json)
        {'sum': 2}
    """
    if not path.is_file():
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, value)
    return read(path)


def flush_files(paths: Sequence[Path]) -> None:
    """Makes sure that files have reached the disk."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(_flush, paths))


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def save_model(path: Path, model: Any) -> None:
    """Saves a Keras model atomically, without time of day and memory addresses: equal models are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        raw = Path(folder) / path.name
        model.save(raw)
        with atomic_path(path) as plain, zipfile.ZipFile(raw) as source, zipfile.ZipFile(plain, "w") as target:
            for name in source.namelist():
                entry = zipfile.ZipInfo(name)  # dated 1980
                if name.endswith(".json"):
                    target.writestr(entry, _without_accidents(source.read(name).decode()))
                else:
                    with source.open(name) as content, target.open(entry, "w", force_zip64=True) as copy:
                        shutil.copyfileobj(content, copy, 2**20)


def _without_accidents(text: str) -> str:
    """Takes the date out of a part of a `.keras` file, and numbers what Keras names by its address in memory."""
    numbers: dict[str, int] = {}
    text = re.sub(r'"date_saved": "[^"]*"', '"date_saved": ""', text)
    return re.sub(
        r'"shared_object_id": (\d+)',
        lambda match: f'"shared_object_id": {numbers.setdefault(match[1], len(numbers) + 1)}',
        text,
    )


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        InputError: if the file is missing or not a JSON object.
    """
    with reading(f"a JSON file at {path}"):  # depth and huge numbers too: files are strangers'
        value = json.loads(read_text(Path(path), _MAX_JSON))
    if not isinstance(value, dict):
        raise InputError(f"Expected a JSON object in {path}, received {type(value).__name__}.")
    return value


# --- manifests -------------------------------------------------------------------------------------------------------


def make_manifest(kind: str, inputs: dict[str, str], config: dict[str, Any]) -> dict[str, Any]:
    """Describes an artefact.

    Args:
        kind: What it is, for example "mint_run".
        inputs: SHA-256 of everything it is made from, by name.
        config: The resolved settings that decide its content.

    Returns:
        The manifest; `fingerprint` covers kind, inputs and config, so equal fingerprints mean the same artefact.
    """
    made_from = {"kind": kind, "inputs": inputs, "config": named(json.loads(json.dumps(config, default=str)))}
    # Without --out and --workers: the same work gives the same manifest everywhere.
    script, *arguments = sys.argv
    kept = [argument for before, argument in zip([script, *arguments], arguments, strict=False) if before not in _WHERE]
    kept = [argument for argument in kept if argument.split("=")[0] not in _WHERE]
    is_below = not (program := os.path.relpath(script)).startswith(os.pardir)
    words = ["python", program if is_below else Path(script).name] if Path(script).stem not in _OURS else ["mint"]
    versions = {}
    for package in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "schema": SCHEMA,
        **made_from,
        "fingerprint": sha256_json(made_from),
        "command": shlex.join([*words, *named(kept)]),
        "versions": {"mint_keras": __version__, **versions},
    }


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Reads the manifest of an artefact of the expected kind.

    Raises:
        InputError: if there is none, or it is of another kind or schema.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"Expected a folder with {MANIFEST} ({kind}), received {folder}, which has none.")
    manifest = read_json(folder / MANIFEST)
    received = (manifest.get("kind"), manifest.get("schema"))
    if received != (kind, SCHEMA):
        raise InputError(
            f"Expected {kind!r} of schema {SCHEMA} in {folder}, received {received[0]!r} of {received[1]}."
        )
    if not isinstance(manifest.get("config"), dict) or not isinstance(manifest.get("inputs"), dict):
        raise InputError(f"Expected config and inputs in {folder / MANIFEST}, received a manifest without.")
    parts = {part: _Fields(manifest[part], folder / MANIFEST) for part in ("config", "inputs")}
    return _Fields(manifest | parts, folder / MANIFEST)


class _Fields(dict):
    """What a manifest says. It may be a stranger's, so what it lacks is bad input, whoever asks for it."""

    def __init__(self, fields: dict[str, Any], path: Path) -> None:
        super().__init__(fields)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise InputError(f"Expected {name!r} in {self._path}, received a manifest without.")


def read_checked_manifest(folder: Path, kind: str, model: str) -> dict[str, Any]:
    """Reads the manifest of an artefact and checks that its model file is the one it describes (`model_sha256`).

    Raises:
        InputError: as `read_manifest`, or if the model file is missing.
        RefusedError: if the model file was changed.
    """
    manifest = read_manifest(folder, kind)
    file = folder / model
    if not file.is_file():
        raise InputError(
            f"Expected {model} in {folder}, received none: the command that makes it has not finished there."
        )
    check_sha256(file, manifest.get("model_sha256"))
    return manifest


def check_sha256(file: Path, expected: Any) -> None:
    """Raises RefusedError if a file is not the one whose SHA-256 a manifest has."""
    if (received := sha256_file(file)) != expected:
        raise RefusedError(f"{file} has SHA-256 {received}, its manifest says {expected}.")


@contextlib.contextmanager
def output_folder(out: Path, manifest: dict[str, Any], overwrite: bool = False) -> Iterator[None]:
    """Opens an output folder: new, or continued if it was begun from the same inputs with the same settings.

    Bad input or a failed check inside the block empties the folder again if it was new; an interruption leaves it, to
    be continued, and so does a disk that fails or memory that is full, even if that is met while something is read.

    Raises:
        RefusedError: if it holds something made from other inputs and `overwrite` is not set.
        InputError: if it holds files that are not ours.
    """
    with alone(out):
        is_new = _open_output(out, manifest, overwrite)
        try:
            yield
        except (InputError, RefusedError) as error:
            if is_new and not getattr(error, "done", ""):
                with contextlib.suppress(OSError):  # a folder that is gone, or a disk that fails again
                    there = list(out.iterdir())
                    for path in there if len(there) == 1 or not _is_passing(error) else ():
                        _remove(path)
            raise


def _is_passing(error: BaseException | None) -> bool:
    """Says whether an error comes of the machine, not of what was given to it: the same command may end well."""
    while error is not None and not isinstance(error, OSError | MemoryError):
        error = error.__cause__
    return error is not None


def _open_output(out: Path, manifest: dict[str, Any], overwrite: bool) -> bool:
    if set(out.iterdir()) - set(out.glob(_UNFINISHED_MANIFEST)):
        earlier = read_json(out / MANIFEST) if (out / MANIFEST).is_file() else {}
        existing = earlier.get("fingerprint")
        # --overwrite replaces a run by a run; it never deletes a model because --out named one by mistake.
        if existing is None or earlier.get("kind") != manifest["kind"]:
            raise InputError(
                f"Expected an empty folder or an earlier {manifest['kind']}, received {out} with other files. Choose "
                "another --out."
            )
        if not overwrite:
            if existing == manifest["fingerprint"]:
                _remove_unfinished(out)
                return False
            how = _differences(read_manifest(out, manifest["kind"]), manifest)
            raise RefusedError(
                f"{out} was made from other inputs or settings: {how}. Choose another --out, or replace it with "
                "--overwrite."
            )
        for path in out.iterdir():  # the folder itself stays: it is locked, and may be a link, as models/lab is
            _remove(path)
    _remove_unfinished(out)
    write_json(out / MANIFEST, manifest)
    return True


def _differences(earlier: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Says in what two manifests differ: up to three settings, with both values, or inputs."""
    before, now = ({name: json.dumps(v)[:100] for name, v in one["config"].items()} for one in (earlier, manifest))
    # Places come last: what lies there may be the same.
    names = sorted((name for name in now if now[name] != before.get(name)), key=lambda name: "/" in now[name])
    found = [f"{name} was {before.get(name, 'none')}, and is {now[name]}" for name in names]
    found += [f"other {name}" for name, digest in manifest["inputs"].items() if earlier["inputs"].get(name) != digest]
    return "; ".join(found[:3]) or "another version of mint_keras made it"


def _remove_unfinished(out: Path) -> None:
    """Removes what `atomic_path` and `save_model` leave when they are killed, at any depth."""
    for folder, folders, files in os.walk(out):
        for name in filter(_UNFINISHED.fullmatch, [*folders, *files]):
            _remove(Path(folder) / name)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


# --- tables ----------------------------------------------------------------------------------------------------------


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    """Writes the list of files that could not be used; with none, removes the list of an earlier run."""
    if not rejected:
        path.unlink(missing_ok=True)
        return
    write_csv(path, ("location", "reason"), (dataclasses.astuple(row) for row in rejected))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV table atomically; strangers' names are no formulas for a spreadsheet there."""
    known = functools.lru_cache(2**16)(inert)  # most texts of a table are there many times
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([known(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
