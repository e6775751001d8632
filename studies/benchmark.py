"""Stage: how fast, how much memory? Every figure beside a peer's in the same run, because machines differ."""

from __future__ import annotations

import dataclasses
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mint_keras import formats
from mint_keras.records import InputError
from mint_keras.report import tables
from mint_keras.stages.benchmarks import data, edge, extraction, stores, training
from mint_keras.stages.benchmarks.measure import Setting

KIND = "benchmark"
RESULTS = "benchmark.json"
PARTS = {
    "reader": data.reader, "faces": data.faces, "copies": data.copies, "memory": data.memory,
    "extraction": extraction.extraction, "heads": training.heads, "stores": stores.stores,
    "extraction-memory": stores.extraction_memory, "workers": stores.ray_workers, "streaming": training.streaming,
    "edge": edge.edge,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Options of benchmark.py.

    Attributes:
        out: folder for benchmark.json.
        only: reader (RecordIO), faces (detection and alignment; needs --detector and --photos), copies (find_overlap's
            search), memory (of prepare_faces), extraction (of AAD, by an R100), heads (their training), stores (writing
            and reading AAD), extraction-memory, workers (needs Ray), streaming (100,000 samples; 45 GB of disk unless
            quick), edge (TFLite scorers of an R100, the detector if one is named, memory of a bundle); all by default.
        edge: the same as --only edge.
        detector: an SCRFD file.
        photos: a folder of photos.
        quick: a tenth of the work, and smaller networks.
        seed: no effect: the work is always the same.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    out: Path
    only: tuple[str, ...] = ()
    edge: bool = False
    detector: str = ""
    photos: str = ""
    quick: bool = False
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def benchmark(config: Benchmark) -> str:
    """Measures the parts one after the other, and returns the table."""
    if config.edge:
        config = dataclasses.replace(config, only=tuple(dict.fromkeys((*config.only, "edge"))))
    if unknown := sorted(set(config.only) - set(PARTS)):
        raise InputError(f"Expected --only of {sorted(PARTS)}, received {unknown}.")
    if "faces" in config.only and not (config.detector and config.photos):
        raise InputError("Expected --detector and --photos to measure faces, received none.")
    start = time.perf_counter()
    settings = {"only": config.only, "quick": config.quick, "detector": config.detector, "photos": config.photos}
    with formats.output_folder(config.out, formats.make_manifest(KIND, {}, settings), config.overwrite):
        with tempfile.TemporaryDirectory() as folder:
            setting = Setting(Path(folder), config.quick, config.detector, config.photos)
            names = tqdm(config.only or PARTS, desc="benchmark", unit="part", disable=config.quiet)
            found = [row for name in names for row in PARTS[name](setting)]
        rows = [{**dataclasses.asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in found]
        machine = {"processors": os.cpu_count(), "machine": platform.machine(), "system": platform.system()}
        seconds = round(time.perf_counter() - start)
        formats.write_json(config.out / RESULTS, {"machine": machine, "seconds": seconds, "measurements": rows})
    skipped = [] if config.detector and config.photos else ["faces: not measured without --detector and --photos"]
    return "\n".join([render(rows), *skipped, f"Measured in {seconds} seconds: {config.out / RESULTS}"])


def render(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of what benchmark.json calls measurements."""
    table = [["what", "ours", "peer", "unit", "peer is", "ratio", "target", ""]]
    for row in measurements:
        figures = (f"{row['ours']:,.4g}", f"{row['peer']:,.4g}", row["unit"], row["against"], f"{row['ratio']:.2f}")
        table.append([row["name"], *figures, row["target"], row["verdict"]])
    return tables.format_table(table)
