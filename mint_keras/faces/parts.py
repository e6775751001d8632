"""From a sample table to crops on disk, by many processes, part by part; a killed run goes on where it was."""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats, progress
from mint_keras.borders import shown
from mint_keras.data import sample_tables
from mint_keras.faces import align, crops
from mint_keras.records import InputError, Rejected, SampleTable

# What an interruption can cost. A part is a JSON list beside the crops, and stays there: a finished command that is
# given again reads it.
PART_SIZE = 64
# From where crops are counted as odd; nothing is done to them. Pixels of the photo, degrees, pixels of the crop.
_SMALL, _TURNED, _ASKEW = 32, 45, 8


def write_parts(table: SampleTable, settings: crops.CropSettings, out: Path, num_workers: int) -> list[crops.Crop]:
    """Makes the crops of all samples whose part is not there yet; returns what became of every sample, in order.

    It takes `num_workers` processes, or with 0 one for each processor.

    Raises:
        InputError: If a worker was killed, or the folder holds parts of other samples.
    """
    starts = [start for start in range(0, len(table), PART_SIZE) if not _path(out, start).is_file()]
    num_workers = min(num_workers or os.cpu_count() or 1, max(len(starts), 1))
    context = multiprocessing.get_context("spawn")  # TensorFlow, where it is loaded, does not survive a fork
    done = len(table) - sum(min(PART_SIZE, len(table) - start) for start in starts)
    with _inherited_block():  # also of the process that clears up behind workers
        pool = concurrent.futures.ProcessPoolExecutor(num_workers, context, _end_with_parent, (os.getpid(),))
    with pool, progress.bar(total=len(table), initial=done, desc="faces", unit="photo") as bar:
        waiting: dict[concurrent.futures.Future[list[crops.Crop]], int] = {}
        remaining = iter(starts)
        try:
            while True:
                # A few parts ahead, so that memory does not grow with the database.
                while len(waiting) < 2 * num_workers and (start := next(remaining, None)) is not None:
                    part = table.take(np.arange(start, min(start + PART_SIZE, len(table))))
                    with _inherited_block():
                        waiting[pool.submit(crops.write_part, part, start, settings, out)] = start
                if not waiting:
                    break
                finished, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    start = waiting.pop(future)
                    made = future.result()
                    formats.write_json(_path(out, start), {"crops": [dataclasses.asdict(crop) for crop in made]})
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
    contents = [formats.read_json(_path(out, start))["crops"] for start in range(0, len(table), PART_SIZE)]
    everything = [crops.Crop(**row) for content in contents for row in content]
    if [crop.row for crop in everything] != list(range(len(table))):
        raise InputError(f"Expected every sample once in {out / 'parts'}, received others; use --overwrite.")
    return everything


def write_table(out: Path, table: SampleTable, made: list[crops.Crop], left_out: Sequence[Rejected] = ()) -> None:
    """Writes the sample table of the crops, and the list of samples that gave none and of files that are no samples."""
    files = np.array([crop.file for crop in made])
    # Boxes and landmarks are of the photos.
    faces = dataclasses.replace(table, location=files, box=None, landmarks=None).take(files != "")
    lines = zip(table.sample_id.tolist(), table.location.tolist(), made, strict=True)
    rejected = [Rejected(shown(name, location), crop.reason) for name, location, crop in lines if crop.reason]
    assert len(table) == len(faces) + len(rejected)  # noqa: S101 # every sample is kept or rejected
    kept = [crop for crop in made if crop.file]
    fits = np.array([crop.fit or (np.nan,) * len(align.Fit._fields) for crop in kept], np.float32)
    extra = {name: fits[:, k] for k, name in enumerate(align.Fit._fields)}
    extra["detector_score"] = np.array([crop.score for crop in kept], np.float32)
    sample_tables.write_samples(out / formats.SAMPLES, faces, extra)
    formats.write_rejected(out / formats.REJECTED, [*rejected, *left_out])


def count(table: SampleTable, made: list[crops.Crop]) -> dict[str, dict[str, int]]:
    """Counts by database: faces lost, or odd, on one side only would bias an audit."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for database, crop in zip(table.database.tolist(), made, strict=True):
        counts[database]["seen"] += 1
        counts[database]["kept" if crop.file else "rejected"] += 1
        counts[database]["with several faces"] += crop.num_faces > 1
        if crop.fit:
            fit = align.Fit(*crop.fit)
            counts[database]["small"] += fit.size < _SMALL
            counts[database]["turned"] += abs(fit.turn) > _TURNED
            counts[database]["from the side, or wrong landmarks"] += fit.residual > _ASKEW
    return {database: {key: int(n) for key, n in counter.items()} for database, counter in counts.items()}


def _path(out: Path, start: int) -> Path:
    return out / "parts" / f"{start:09d}.json"


@contextlib.contextmanager
def _inherited_block() -> Iterator[None]:
    """Starts workers that never see Ctrl-C or a closed terminal: these are the parent's business, who waits meanwhile.

    A worker that is told so by its initialiser has imported for a second before, and would say so in 80 lines.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(parent: int) -> None:
    """Ends a worker whose parent was killed, which would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
