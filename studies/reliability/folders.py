"""Hostile folders by number: stores, runs, protocols, audits and bundles of which one file is damaged; hostile tables.

A folder travels as an archive that is always whole. What its own seals would find is sealed anew in half of the cases,
so that damage also reaches what comes behind them.
"""

import contextlib
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from mint_keras import formats, score_files, shelf
from mint_keras.aad import store
from mint_keras.borders import reading
from mint_keras.data import identity_list, overlap_files, protocol_files, samples
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle
from mint_keras.records import ResultRow, Sample, SampleTable, Scores, tabulate
from studies.reliability import inputs

_NUM_ROWS = 5  # of every table here
_AUDIT = Path(__file__).resolve().parents[2] / "docs" / "runs" / "audit-mobilefacenet.json"
_TEXTS: tuple[Any, ...] = (
    "", "\0", "\x1b[2J", "=cmd()", "../../etc/passwd", "/dev/zero", "/proc/self/environ", "a" * 100_000, "\ud7ff",
    "synthetic:1/web/0-999999999/9", "web=x", "a/b", "unknown", "-1", None, '{"a": ' * 500, "[1]", "\n", "x.tfrecord#5",
)  # fmt: skip
_NUMBERS: tuple[Any, ...] = (
    None,
    [],
    [1.0],
    [float("nan")] * 4,
    [float("inf")] * 4,
    [1e38] * 4,
    [-1.0] * 4,
    [0.0] * 10,
)
_ODD = (
    pyarrow.array([1] * 5), pyarrow.array([b"\xff"] * 5), pyarrow.array([{"a": 1}] * 5), pyarrow.array([True] * 5),
    pyarrow.array([[["x"]]] * 5), pyarrow.nulls(5), pyarrow.array([10**18] * 5, pyarrow.timestamp("us")),
)  # fmt: skip


def hostile_table(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns a whole Parquet table of samples with cells, columns or types that nobody expects."""
    table = pyarrow.parquet.read_table(io.BytesIO(seeds[0]))
    columns: dict[str, Any] = dict(zip(table.column_names, table.columns, strict=True))
    for _ in range(rng.integers(1, 4)):
        names = list(columns)
        name = names[rng.integers(len(names))]
        what = rng.integers(8)
        if what == 0 and len(columns) > 1:
            del columns[name]
        elif what == 1:
            columns[name] = _ODD[rng.integers(len(_ODD))]
        elif what == 2:
            columns[name] = pyarrow.array([_TEXTS[rng.integers(len(_TEXTS))]] * 5, pyarrow.string()).dictionary_encode()
        elif not pyarrow.types.is_timestamp(columns[name].type):  # Python knows no such date
            old = columns[name].to_pylist()
            values = _NUMBERS if isinstance(old[0], list) else _TEXTS
            old[rng.integers(5)] = values[rng.integers(len(values))]
            with contextlib.suppress(pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
                columns[name] = pyarrow.array(old, columns[name].type)
    target = io.BytesIO()
    settings: dict[str, Any] = {"compression": ("none", "snappy", "zstd")[rng.integers(3)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), target, row_group_size=int(rng.integers(1, 6)), **settings)
    return target.getvalue()


_DAMAGE: dict[str, Callable[[np.random.Generator, list[bytes]], bytes]] = {
    ".json": inputs.damaged_json,
    ".jsonl": inputs.damaged_text,
    ".csv": inputs.damaged_text,
    ".md": inputs.damaged_text,
}


def damaged_folder(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns the archive of a folder in which one or two files are damaged, missing or something else."""
    content = _content(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 3)):
        names = sorted(content)
        name, other = names[rng.integers(len(names))], names[rng.integers(len(names))]
        if (what := rng.random()) < 0.05:
            del content[name]
        elif what < 0.1:
            content[name] = content[other]
        elif name.endswith(".parquet"):
            content[name] = _damaged_table(rng, content[name])
        else:
            try:
                content[name] = _DAMAGE.get(Path(name).suffix, inputs.damaged)(rng, [content[name]])
            except (ValueError, RecursionError):  # it was damaged before
                content[name] = inputs.damaged(rng, [content[name]])
        if not content:
            break
    if rng.random() < 0.7:
        _seal_again(content)
    return _archive(content)


def _damaged_table(rng: np.random.Generator, content: bytes) -> bytes:
    with contextlib.suppress(pyarrow.ArrowException, OSError):  # it was damaged before, or never was a table
        if rng.random() < 0.6 and pyarrow.parquet.read_metadata(io.BytesIO(content)).num_rows == _NUM_ROWS:
            return hostile_table(rng, [content])
    return inputs.damaged(rng, [content])


def _seal_again(content: dict[str, bytes]) -> None:
    """Writes into manifests what a store and a bundle know their files by, as whoever wants to deceive would."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError, KeyError, TypeError):
        manifest = json.loads(content[formats.MANIFEST])
        if "shards_sha256" in manifest:
            names = sorted(name for name in content if name.endswith(store.RECORD))
            manifest["index_sha256"] = _sha256(content.get(store.INDEX, b""))
            manifest["shards_sha256"] = formats.sha256_json([json.loads(content[name]) for name in names])
        elif "seal" in manifest:
            manifest["files"] = {name: _sha256(value) for name, value in content.items() if name != formats.MANIFEST}
            manifest["seal"] = bundle._seal_of(manifest)
        content[formats.MANIFEST] = json.dumps(manifest).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return {name: source.read(name) for name in source.namelist()}


def _archive(content: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return target.getvalue()


def _packed(folder: Path) -> bytes:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return _archive({path.relative_to(folder).as_posix(): path.read_bytes() for path in found})


def _unpacked(path: Path) -> Path:
    folder = path.with_suffix(".folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, value in _content(path.read_bytes()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(value)
    return folder


# --- valid folders, and who reads them -------------------------------------------------------------------------------


def _samples(database: str) -> SampleTable:
    rows = [Sample(f"{database}/{k}", database, f"p{k}", f"{k}.png", box=(1, 2, 3, 4)) for k in range(5)]
    return tabulate(rows)


def stores(folder: Path) -> list[bytes]:
    """Returns a store of five samples in two shards, of maps and of vectors."""
    out, table = folder / "store", _samples("d")
    store.begin(out, table, 3)
    for shard, rows in enumerate((3, 2)):
        with store.ShardWriter(out, shard, rows) as writer:
            writer.append("audited", "conv1", np.ones((rows, 2, 2, 3), np.float16))
            writer.append("audited", "outcome", np.ones((rows, 4), np.float32))
            used = list(range(rows))
            writer.commit({"used": used, "rejected": [], "resized": {}, "pixels_sha256": "0" * 64})
    store.finish(out, formats.make_manifest(store.KIND, {}, {"taps": ["conv1"]}), table, 3)
    return [_packed(out)]


def read_store(path: Path) -> None:
    """Opens a store, reads what it holds, and checks it."""
    folder = _unpacked(path)
    if opened := store.open_store(folder):
        for arrays in opened.arrays.values():
            for array in arrays.values():
                _ = array[:], array.take(np.arange(len(array))[::-1])[: len(array)]
    store.verify(folder)


def runs(folder: Path) -> list[bytes]:
    """Returns a run with its scores and results, a protocol, a search for copies with a list of people, an audit."""
    from mint_keras.report import dossier  # with SciPy and matplotlib
    from mint_keras.runs import spec  # with TensorFlow

    run = folder / "run"
    manifest = formats.make_manifest(spec.KIND, {}, spec.RunSpec("vanilla", externals=("a", "b")).stored(run))
    formats.write_json(run / formats.MANIFEST, manifest)
    truth, logit = np.array([True, False, True, False, True]), np.arange(5.0)
    score_files.write_scores(run / formats.SCORES, [Scores("vanilla", "conv1", "e", 1, _samples("d"), truth, logit)])
    score_files.write_results(run / formats.RESULTS, [ResultRow("vanilla", "conv1", "e", 1, 3, 2, 0.5, 1, 1, 0.5, 0.1)])
    made = protocols.Protocol(samples.join([_samples(name) for name in "abcde"]), np.repeat(range(5), 5), "mixed", 1)
    formats.write_json(folder / "protocol" / formats.MANIFEST, formats.make_manifest(protocol_files.KIND, {}, {}))
    protocol_files.write_protocol(folder / "protocol", made, {"evaluation": "mixed", "seed": 1})
    scan = folder / "scan"
    formats.write_json(scan / formats.MANIFEST, formats.make_manifest(formats.OVERLAP, {}, {}))
    formats.write_json(scan / formats.OVERLAP_REPORT, {"databases": {formats.sha256_table(_samples("d")): "d"}})
    formats.write_csv(scan / formats.EXCLUDED_SAMPLES, ("sample_id", "why"), [("d/1", "x")])
    formats.write_csv(scan / formats.EXCLUDED_PEOPLE, ("identity", "why"), [("d/p1", "x")])
    identity_list.write(scan / identity_list.FILE, [identity_list.Line("drop", "d/p1", "", "", 0.5, 0)])
    formats.write_json(folder / "audit" / dossier.AUDIT, formats.read_json(_AUDIT))
    return [_packed(folder / name) for name in ("run", "protocol", "scan", "audit")]


def read_run(path: Path) -> None:
    """Reads whichever of the folders of `runs` it is, as the commands do that are given one."""
    from mint_keras import languages
    from mint_keras.report import dossier
    from mint_keras.runs import spec

    folder = _unpacked(path)
    if (folder / dossier.AUDIT).is_file():
        found = dossier.read(folder)
        case, english = {"case": "", "author": "", "release": "", "time": ""}, languages.of(languages.ENGLISH)
        pictures = dict.fromkeys((dossier.FINDINGS, dossier.POWER, dossier.ROBUSTNESS), b"")
        with reading("an audit"):  # as `dossier.write` does, which also draws
            _ = dossier.text(found), dossier.render(found, {}, case, {dossier.AUDIT: ""}, pictures, english)
    elif (folder / protocol_files.SUMMARY).is_file():
        protocol_files.read_protocol(folder)
    elif (folder / formats.OVERLAP_REPORT).is_file():
        overlap_files.read_scan(folder, [_samples("d")])
        identity_list.read(folder / identity_list.FILE)
    else:
        found_spec = spec.read_spec(folder)
        found_spec.check()
        _ = found_spec.keys
        score_files.read_results(folder / formats.RESULTS)
        score_files.read_scores(folder / formats.SCORES)


def bundles(folder: Path) -> list[bytes]:
    """Returns the bundle of the shelf."""
    return [_packed(shelf.path("bundles/lab"))]


def read_bundle(path: Path) -> None:
    """Opens a bundle and scores two pictures with it."""
    from mint_keras.edge.scorer import TfliteScorer

    opened = bundle.read_bundle(_unpacked(path))
    opened.calibration()
    TfliteScorer(opened.path / bundle.SCORER).logits(np.zeros((2, 112, 112, 3), np.uint8))
