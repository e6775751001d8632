"""Stage: from photos to aligned faces, with account of every photo that gave none."""

from __future__ import annotations

import collections
import concurrent.futures
import concurrent.futures.process
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.data import samples, tables
from mint_keras.faces import crops, detectors, policies, scrfd
from mint_keras.records import InputError, Rejected, SampleTable
from mint_keras.stages.progress import pace

PART_SIZE = 64


@dataclasses.dataclass(frozen=True)
class PrepareFaces:
    """Options of prepare_faces.py.

    Attributes:
        input: databases: folders, .rec files, sample tables.
        out: folder for crops/, samples.parquet, rejected.csv and the manifest.
        detector: SCRFD with landmarks (.onnx), or insightface:buffalo_l for a pack that insightface has installed.
            A folder from convert_fr.py runs in Keras. Needed for --treatment detect only.
        policy: which face of a photo with several: the largest, the most central (insightface's weighing), or only:
            such photos are rejected. Where the database says which face is meant (IJB-C, FDDB, a table with boxes), it
            is the one found there.
        min_overlap: of a face with the box that the database gives (intersection over union); below it the sample is
            rejected.
        treatment: detect looks for the face in every photo, also in crops that are aligned already, as the paper does;
            annotated aligns by the landmarks that the database gives; stored takes square images as they are. Members
            and externals should be treated alike.
        encoding: of the crops. png loses nothing; jpg has quality 95. Encoding again is a difference between databases
            that heads can see, so take the same for all.
        min_score: below it a face does not count.
        border: black border around every photo while its face is sought, as a share of its sides. SCRFD finds hardly
            any face that fills its picture, as in UTKFace or in crops that are aligned already; 0.5 helps. Insightface
            and the paper have none.
        workers: processes; all processors by default.
        seed: no effect: nothing here is random.
        overwrite: replace what --out holds instead of continuing or refusing.
        quiet: no progress bar.
    """

    input: tuple[str, ...]
    out: Path
    detector: str = ""
    policy: Literal["largest", "central", "only"] = "largest"
    min_overlap: float = policies.MIN_OVERLAP
    treatment: Literal["detect", "annotated", "stored"] = "detect"
    encoding: Literal["png", "jpg"] = "png"
    min_score: float = scrfd.MIN_SCORE
    border: float = 0.0
    workers: int = 0
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def prepare_faces(config: PrepareFaces) -> str:
    """Finds, aligns and writes the faces, part by part; parts that are there already are not made again."""
    if (config.treatment == "detect") != bool(config.detector):
        raise InputError("Expected --detector, or else --treatment annotated or stored, received both or neither.")
    if not 0 < config.min_score < 1 or not 0 <= config.border <= 2 or not 0 < config.min_overlap <= 1:
        raise InputError(
            "Expected --min-score between 0 and 1, --border from 0 to 2, --min-overlap up to 1, received "
            f"{config.min_score}, {config.border}, {config.min_overlap}."
        )
    table = samples.list_all(config.input)
    inputs = {"samples": samples.fingerprint(table)}
    if config.detector:
        detectors.open_detector(config.detector)  # shows early whether it is one
        inputs["detector"] = formats.sha256_file(detectors.find_file(config.detector))
    settings = crops.CropSettings(
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(crops.CropSettings)}
    )
    manifest = formats.make_manifest(formats.PREPARED_FACES, inputs, dataclasses.asdict(settings))
    with formats.output_folder(config.out, manifest, config.overwrite):
        _write_parts(config, table, settings)
        made = _read_parts(config.out, table)
        kept = [crop for crop in made if crop.file]
        if not kept:
            raise InputError(f"Expected faces in {list(config.input)}, received none: {made[0].reason}")
        counts = _count(table, made)
        _write_table(config.out, table, made)
        formats.write_json(config.out / formats.MANIFEST, {**manifest, "counts": counts})
    return _text(config, counts)


def _write_parts(config: PrepareFaces, table: SampleTable, settings: crops.CropSettings) -> None:
    for unfinished in [*config.out.glob("crops/*/.*"), *config.out.glob("parts/.*")]:
        unfinished.unlink()
    starts = [start for start in range(0, len(table), PART_SIZE) if not _part_path(config.out, start).is_file()]
    workers = min(config.workers or os.cpu_count() or 1, max(len(starts), 1))
    context = multiprocessing.get_context("spawn")  # TensorFlow, where it is loaded, does not survive a fork
    done = len(table) - sum(min(PART_SIZE, len(table) - start) for start in starts)
    with (
        concurrent.futures.ProcessPoolExecutor(workers, context, _end_with_parent, (os.getpid(),)) as pool,
        tqdm(total=len(table), initial=done, desc="faces", unit="photo", disable=config.quiet, **pace()) as bar,
    ):
        waiting: dict[concurrent.futures.Future[list[crops.Crop]], int] = {}
        remaining = iter(starts)
        try:
            while True:
                # A few parts ahead, so that memory does not grow with the database.
                while len(waiting) < 2 * workers and (start := next(remaining, None)) is not None:
                    part = table.take(np.arange(start, min(start + PART_SIZE, len(table))))
                    waiting[pool.submit(crops.write_part, part, start, settings, config.out)] = start
                if not waiting:
                    return
                finished, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    start = waiting.pop(future)
                    made = future.result()
                    formats.write_json(_part_path(config.out, start), {"crops": [dataclasses.asdict(c) for c in made]})
                    bar.update(len(made))
                    done += len(made)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise InputError(
                "A worker process was killed, perhaps because memory ran out. Give the same command again: it "
                "continues from here. If it ends so again, try --workers 1.",
                done=f"{done} of {len(table)} photos are done.",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent(parent: int) -> None:
    """Ends a worker whose parent was killed, which would wait for work for ever; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _part_path(out: Path, start: int) -> Path:
    return out / "parts" / f"{start:09d}.json"


def _read_parts(out: Path, table: SampleTable) -> list[crops.Crop]:
    made = []
    for start in range(0, len(table), PART_SIZE):
        made += [crops.Crop(**row) for row in formats.read_json(_part_path(out, start))["crops"]]
    if [crop.row for crop in made] != list(range(len(table))):
        raise InputError(f"Expected every sample once in {out / 'parts'}, received others; use --overwrite.")
    return made


def _count(table: SampleTable, made: list[crops.Crop]) -> dict[str, dict[str, int]]:
    """Counts by database: a detector that finds fewer externals than members would bias an audit."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for database, crop in zip(table.database.tolist(), made, strict=True):
        counts[database]["seen"] += 1
        counts[database]["kept" if crop.file else "rejected"] += 1
        counts[database]["with several faces"] += crop.num_faces > 1
    return {database: {key: int(n) for key, n in counter.items()} for database, counter in counts.items()}


def _write_table(out: Path, table: SampleTable, made: list[crops.Crop]) -> None:
    kept = np.array([bool(crop.file) for crop in made])
    files = np.array([crop.file for crop in made])
    # Boxes and landmarks are of the photos.
    faces = dataclasses.replace(table, location=files, box=None, landmarks=None).take(kept)
    pairs = zip(table.location.tolist(), made, strict=True)
    rejected = [Rejected(location, crop.reason) for location, crop in pairs if crop.reason]
    assert len(table) == len(faces) + len(rejected)  # noqa: S101 # every sample is kept or rejected
    tables.write_samples(out / formats.SAMPLES, faces)
    formats.write_rejected(out / formats.REJECTED, rejected)


def _text(config: PrepareFaces, counts: dict[str, dict[str, Any]]) -> str:
    lines = []
    for database, count in counts.items():
        rejected = count.get("rejected", 0)
        lines.append(
            f"{database}: {count['seen']} photos, {count.get('kept', 0)} faces, {rejected} rejected "
            f"({rejected / count['seen']:.1%}), {count['with several faces']} with several faces"
        )
    if any(count.get("rejected") for count in counts.values()):
        lines.append(f"Why: {config.out / formats.REJECTED}")
    return "\n".join([*lines, str(config.out / formats.SAMPLES)])
