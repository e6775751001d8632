"""From files to faces: reading RecordIO, detecting and aligning, finding copies, and the memory that all this takes."""

from __future__ import annotations

import math
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mint_keras import progress
from mint_keras.commands.prepare_faces import PrepareFaces, prepare_faces
from mint_keras.data import images, overlap, recordio, registration, sample_tables, samples, synthetic
from mint_keras.faces import align, crops, detectors
from mint_keras.faces.parts import PART_SIZE
from mint_keras.records import InputError, Sample, SampleTable, tabulate
from studies.benchmarks.measurement import Bench, Measurement, best_rate, in_turns, peak_memory

_DISTINCT = 100


def reader(bench: Bench) -> Iterator[Measurement]:
    """RecordIO in order and at random, against decoding the same bytes."""
    num = 5_000 if bench.quick else 50_000
    path = write_records(bench.folder / "reader", num)
    records = recordio.RecordFile(path)
    encoded = [records.read(key)[1] for key in range(1, _DISTINCT + 1)]

    def decode() -> int:
        for _ in range(5):
            for image in encoded:
                images.decode(image)
        return 5 * len(encoded)

    decoding = best_rate(decode)
    shuffled = np.random.default_rng(1).permutation(np.arange(1, num + 1)).tolist()
    for name, keys in (("in order", range(1, num + 1)), ("at random", shuffled)):

        def read(keys: range | list[int] = keys) -> int:
            for key in keys:
                records.read(key)
            return len(keys)

        rate = best_rate(read)
        yield Measurement(f"RecordIO read {name}", rate, decoding, "images/s", "decoding the same JPEGs", "5")


def faces(bench: Bench) -> Iterator[Measurement]:
    """Detection and alignment, against insightface's own loop with the same file and as many threads: one."""
    if not bench.detector or not bench.photos:
        return
    table = samples.list_samples(bench.photos)
    settings = crops.CropSettings("detect", bench.detector, "largest", 0.3, 0.5, 0.0, "png")

    detect, photos = detectors.open_detector(bench.detector), images.FaceReader()

    def write() -> int:
        return len(crops.write_part(table, 0, settings, Path(tempfile.mkdtemp(dir=bench.folder))))

    def align_only() -> int:
        for location in table.location.tolist():
            image = photos.image(location)
            found = detect(image)
            if found.landmarks is not None and len(found):
                align.align(image, found.landmarks[0])
        return len(table)

    works = {"align": align_only, "write": write, "peer": _insightface_loop(bench.detector, table)}
    rates = in_turns(works, 2 if bench.quick else 10)
    loop = "insightface: read, detect, norm_crop"
    yield Measurement("read, detect, align", rates["align"], rates["peer"], "photos/s", loop, "1.0")
    yield Measurement(
        "the same, and PNG on the disk", rates["write"], rates["peer"], "photos/s", f"{loop}; not written"
    )
    two = _prepare(bench, table)
    yield Measurement("prepare_faces, two processes, once started", two, rates["peer"], "photos/s", loop, "1.8")


def copies(bench: Bench) -> Iterator[Measurement]:
    """The search for copies: ten times as many photos take how many times as long?"""
    small = 1_000 if bench.quick else 10_000
    seconds = []
    for num in (small, 10 * small):
        rough = _rough(num)
        rows, prints = np.arange(num), overlap.Fingerprints(np.arange(num, dtype=np.uint64), rough)
        start = time.perf_counter()
        index = overlap.Index(rows, prints, registration.Scale.of(rough[:512]), 1.0)
        found = list(index.search(rows, prints, lambda first, second: True))
        seconds.append(time.perf_counter() - start)
        if len(found) < num // 20:
            raise InputError(f"Expected {num // 20} planted pairs, received {len(found)}.")
    growth = 10 * math.log(10 * small) / math.log(small)
    name, peer = f"search for copies, {10 * small:,} photos", f"{small:,} photos (n log n: {growth:.1f}, n²: 100)"
    yield Measurement(name, seconds[1], seconds[0], "s", peer)


def memory(bench: Bench) -> Iterator[Measurement]:
    """Peak memory of prepare_faces.py, of its largest process, as the database grows."""
    small, large = (1_000, 5_000) if bench.quick else (1_000, 100_000)
    peaks = []
    for num in (small, large):
        path = write_records(bench.folder / f"memory-{num}", num)
        out = bench.folder / f"memory-{num}-out"
        arguments = ("--input", path, "--out", out, "--treatment", "stored", "--encoding", "jpg", "--quiet")
        peaks.append(peak_memory("scripts/prepare_faces.py", *arguments)[0])
    yield Measurement(f"memory, {large:,} photos", peaks[1], peaks[0], "MiB", f"{small:,} photos", "<1.2")


def write_records(folder: Path, num: int) -> Path:
    """Writes a RecordIO database of drawn faces, some of them again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = []
    for i in range(_DISTINCT):
        face = synthetic.render(f"synthetic:1/web/{i}/0")
        encoded.append(cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    with open(folder / "train.rec", "wb") as file, open(folder / "train.idx", "w", encoding="ascii") as index:
        for key in range(num + 1):
            body = encoded[key % _DISTINCT] if key else b""
            labels = b"" if key else struct.pack("<2f", num + 1, num + 1)
            payload = struct.pack("<IfQQ", 0 if key else 2, key % _DISTINCT, key, 0) + labels + body
            index.write(f"{key}\t{file.tell()}\n")
            file.write(struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4))
    return folder / "train.rec"


def _insightface_loop(detector: str, table: SampleTable):  # type: ignore[no-untyped-def] # returns a closure
    from insightface.model_zoo.scrfd import SCRFD
    from insightface.utils.face_align import norm_crop

    model = SCRFD(session=detectors.open_session(detectors.find_file(detector)))

    def loop() -> int:
        for location in table.location.tolist():
            image = cv2.imread(location)
            boxes, points = model.detect(image, input_size=(640, 640))
            if len(boxes):
                norm_crop(image, points[0])
        return len(table)

    return loop


def _prepare(bench: Bench, table: SampleTable) -> float:
    """Returns the photos per second of two processes, without their start."""
    seconds = []
    # Two runs of different length: what both have in common is the start.
    sizes = [2 * PART_SIZE * parts for parts in ((1, 3) if bench.quick else (2, 10))]
    for num in sizes:
        source = bench.folder / f"{num}.parquet"
        rows = (divmod(number, len(table)) for number in range(num))
        repeated = tabulate(
            Sample(f"photos/{turn}/{row}", "photos", f"{turn}/{row}", str(table.location[row])) for turn, row in rows
        )
        sample_tables.write_samples(source, repeated)
        out = bench.folder / f"prepared-{num}"
        start = time.perf_counter()
        with progress.hidden():
            prepare_faces(PrepareFaces((str(source),), out, bench.detector, workers=2))
        seconds.append(time.perf_counter() - start)
    return (sizes[1] - sizes[0]) / (seconds[1] - seconds[0])


def _rough(num: int) -> np.ndarray:
    """Returns small pictures of random photos, of which every twentieth is a copy of the one before."""
    rough = np.random.default_rng(1).integers(0, 256, (num, 12, 12), dtype=np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    rough[1::20] = rough[::20][: len(rough[1::20])]
    return rough
