"""How fast is it here? Every figure stands beside a peer's in the same run.

Reading RecordIO against decoding, faces against insightface's own loop, the search for copies and memory as databases
grow.

Example:
    python scripts/benchmark.py --quick --out runs/benchmark
    python scripts/benchmark.py --edge --out runs/benchmark-edge
    python scripts/benchmark.py --detector scrfd_500m_bnkps.onnx --photos photos --out runs/benchmark
"""

from __future__ import annotations

import dataclasses
import os
import pkgutil
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError
from mint_keras.report import tables
from studies.benchmarks.measurement import Bench

KIND = "benchmark"
RESULTS = "benchmark.json"
# Where each part is measured: by name, because the modules load everything that is compared.
PARTS = {
    "reader": "studies.benchmarks.reading:reader",
    "faces": "studies.benchmarks.reading:faces",
    "copies": "studies.benchmarks.reading:copies",
    "memory": "studies.benchmarks.reading:memory",
    "extraction": "studies.benchmarks.extraction:extraction",
    "engines": "studies.benchmarks.engines:engines",
    "heads": "studies.benchmarks.head_training:heads",
    "stores": "studies.benchmarks.stores:stores",
    "extraction-memory": "studies.benchmarks.stores:extraction_memory",
    "workers": "studies.benchmarks.stores:ray_workers",
    "streaming": "studies.benchmarks.head_training:streaming",
    "edge": "studies.benchmarks.laptop:edge",
}


@dataclasses.dataclass(frozen=True)
class Benchmark(Common):
    """Options of benchmark.py.

    Attributes:
        out: Folder for benchmark.json.
        only: reader (RecordIO), faces (detection and alignment; needs --detector and --photos), copies (find_overlap's
            search), memory (of prepare_faces), extraction (of AAD, by an R100), engines (each of them on the lab's
            model, an R18, an R100 and --audited), heads (their training), stores (writing and reading AAD),
            extraction-memory, workers (needs Ray), streaming (100,000 samples; 45 GB of disk unless quick), edge
            (TFLite scorers of an R100, the detector if one is named, memory of a bundle); all by default.
        edge: The same as --only edge.
        detector: An SCRFD file.
        photos: A folder of photos.
        audited: Folders of converted models whose engines are measured, too.
        quick: Do a tenth of the work, with smaller networks.
    """

    out: Path
    only: tuple[str, ...] = ()
    edge: bool = False
    detector: str = ""
    photos: str = ""
    audited: tuple[str, ...] = ()
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Benchmarked(Result):
    """What was measured.

    Attributes:
        measurements: The rows of benchmark.json: each measurement with its ratio and verdict.
    """

    measurements: Sequence[Mapping[str, Any]]


def benchmark(options: Benchmark) -> Benchmarked:
    """Measures the parts one after the other, and returns the table."""
    only = tuple(dict.fromkeys((*options.only, "edge"))) if options.edge else options.only
    if unknown := sorted(set(only) - set(PARTS)):
        raise InputError(f"Expected --only of {sorted(PARTS)}, received {unknown}.")
    has_photos = bool(options.detector and options.photos)
    if "faces" in only and not has_photos:
        raise InputError("Expected --detector and --photos to measure faces, received none.")
    start = time.perf_counter()
    chosen = {name: getattr(options, name) for name in ("quick", "detector", "photos", "audited")}
    settings = {"only": only, **chosen}
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, settings), options.overwrite):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), **chosen)
            names = progress.bar(only or PARTS, desc="benchmark", unit="part")
            found = [row for name in names for row in pkgutil.resolve_name(PARTS[name])(bench)]
        rows = [{**dataclasses.asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in found]
        machine = {"processors": os.cpu_count(), "machine": platform.machine(), "system": platform.system()}
        seconds = round(time.perf_counter() - start)
        formats.write_json(options.out / RESULTS, {"machine": machine, "seconds": seconds, "measurements": rows})
    skipped = [] if has_photos else ["faces: not measured without --detector and --photos"]
    written = f"Measured in {seconds} seconds: {options.out / RESULTS}"
    return Benchmarked("\n".join([render(rows), *skipped, written]), rows)


def render(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of what benchmark.json calls measurements."""
    table = [["what", "ours", "peer", "unit", "peer is", "ratio", "target", ""]]
    for row in measurements:
        figures = (f"{row['ours']:,.4g}", f"{row['peer']:,.4g}", row["unit"], row["against"], f"{row['ratio']:.2f}")
        table.append([row["name"], *figures, row["target"], row["verdict"]])
    return tables.format_table(table)
