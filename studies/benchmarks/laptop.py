"""How fast, how small and how hungry bundles are, beside the whole network in ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import onnxruntime

from mint_keras import shelf
from mint_keras.audited import litert, taps
from mint_keras.audited.convert import torch as torch_layout
from mint_keras.data import images, samples
from mint_keras.edge import detector, export
from mint_keras.edge.scorer import TfliteScorer
from mint_keras.faces import detectors, scrfd
from mint_keras.heads import cnn, vanilla
from studies.benchmarks import iresnets
from studies.benchmarks.measurement import Bench, Measurement, in_turns, peak_memory

# Of ours and of the peer's: what a small laptop has to spare.
_THREADS = 2
_LAB = shelf.path("bundles/lab")
_MIB = 2**20


def edge(bench: Bench) -> Iterator[Measurement]:
    """Scorers in all precisions, the detector, and the memory of the lab's bundle."""
    yield from _scorers(bench)
    if bench.detector and bench.photos:
        yield from _detector(bench)
    num, out = (100 if bench.quick else 1000), bench.folder / "scores"
    for number, face in enumerate(iresnets.faces(num)):
        images.write_png(bench.folder / "aligned" / f"{number:04d}.png", face)
    arguments = ("--bundle", _LAB, bench.folder / "aligned", "--out", out, "--quiet")
    peak, _ = peak_memory("scripts/score.py", *arguments)
    yield Measurement(f"memory, {num:,} faces scored by the lab's bundle", peak, 400, "MiB", "the limit", "<1")


def _scorers(bench: Bench) -> Iterator[Measurement]:
    """R100 (quick: R18) with random weights, cut behind conv1 under a cnn head, and whole under a vanilla one."""
    arch, rounds = ("r18", 5) if bench.quick else ("r100", 15)
    model, faces = iresnets.random_iresnet(arch), iresnets.faces(8)
    works = {"onnxruntime": _whole_network(model, faces)}
    sizes = {}
    fused = {
        "conv1, cnn": _fuse(model, ["conv1"], None),
        "combination, vanilla": _fuse(model, list(taps.CONV_TAPS), "max"),
    }
    for name, (joined, head) in fused.items():
        plain = litert.to_tflite(joined)
        for precision in export.PRECISIONS:
            content = export.in_precision(plain, precision, head, faces)
            path = bench.folder / f"{len(works)}.tflite"
            path.write_bytes(content)
            sizes[f"{name}, {precision}"] = len(content) / _MIB
            works[f"{name}, {precision}"] = _one_by_one(TfliteScorer(path, _THREADS).logits, faces)
    rates = in_turns(works, rounds)
    peer, against = rates.pop("onnxruntime"), f"ONNX Runtime, the whole {arch.upper()} in float32"
    targets = {} if bench.quick else {"conv1, cnn": "25", "combination, vanilla": "4.5"}
    for name in fused:
        best = max((key for key in rates if key.startswith(name)), key=lambda key: rates[key])
        for key in (key for key in rates if key.startswith(name)):
            title = f"{arch.upper()} {key}" + (" (the best)" if key == best else "")
            target = targets.get(name, "") if key == best else ""
            yield Measurement(title, rates[key], peer, "faces/s", against, target)
        if name == "conv1, cnn":
            yield Measurement(f"{arch.upper()} {best}: size", sizes[best], 4.0, "MiB", "the limit", "<1")


def _fuse(model: keras.Model, names: list[str], pooling: str | None) -> tuple[keras.Model, str]:
    extractor = taps.extractor(model, names, pooling)
    shapes = {tap: extractor.output[tap].shape[1:] for tap in names}
    head = (vanilla if pooling else cnn).build(shapes)
    return export.fuse(extractor, head), head.name


def _one_by_one(run: Callable[[np.ndarray], object], faces: np.ndarray) -> Callable[[], int]:
    def work() -> int:
        for face in faces:
            run(face[None])
        return len(faces)

    return work


def _whole_network(model: keras.Model, faces: np.ndarray) -> Callable[[], int]:
    content = torch_layout.to_onnx(iresnets.to_state(model)).SerializeToString()
    session = onnxruntime.InferenceSession(content, _session_options(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: np.ndarray) -> object:
        scaled = (batch.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / np.float32(127.5)
        return session.run(None, {name: scaled})

    return _one_by_one(run, faces)


def _detector(bench: Bench) -> Iterator[Measurement]:
    """SCRFD on photos, both runtimes on as many threads."""
    path = detectors.find_file(bench.detector)
    reader = images.FaceReader()
    table = samples.list_samples(bench.photos)
    pictures = [reader.image(str(location)) for location in table.location[:: 4 if bench.quick else 1]]
    session = onnxruntime.InferenceSession(path, _session_options(), providers=["CPUExecutionProvider"])
    (entry,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
    side = scrfd.INPUT_SIZE
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "detector.tflite"
        file.write_bytes(litert.to_tflite(detector.to_keras(path, side)))
        ours, _ = detectors.litert_network(file, _THREADS)

    def theirs(canvas: np.ndarray) -> list[np.ndarray]:
        return list(session.run(names, {entry.name: scrfd.to_blob(canvas)}))

    found = detector.compare_detections(pictures, side, ours, theirs)

    def work(network: scrfd.Network) -> Callable[[], int]:
        return lambda: len([scrfd.detect(picture, network, side) for picture in pictures])

    rates = in_turns({"ours": work(ours), "theirs": work(theirs)}, 3)
    name = f"{path.stem} in TFLite ({found['faces']} faces, boxes within {found['max_box_shift']:.1g} pixels, scores "
    name += f"within {found['max_score_difference']:.1g})"
    yield Measurement(name, rates["ours"], rates["theirs"], "photos/s", "ONNX Runtime", "0.9")


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    return options
