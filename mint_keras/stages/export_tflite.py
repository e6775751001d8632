"""Stage: make a bundle of one head of a run and the part of the audited model it needs, in the precision that pays."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.aad import models, pooling
from mint_keras.audited import litert, taps, zoo
from mint_keras.data import images, splits
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle, compression, detector, export, parity
from mint_keras.edge.scorer import LOGIT, Scorer
from mint_keras.faces import detectors
from mint_keras.heads import specs
from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.report import tables
from mint_keras.stages import bundle_calibration, mint_options, mint_run
from mint_keras.stages.progress import pace
from mint_keras.training import batches

SWEEP, SWEEP_TABLE = "sweep.json", "sweep.md"
_REPRESENTATIVE = 100
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class ExportTflite:
    """Options of export_tflite.py.

    Attributes:
        run: folder that train_mint.py wrote.
        out: folder for the bundle: scorer.tflite and its manifest.
        tap: the head to export: a tap of the run, combination, or combination+outcome.
        head_seed: which training of the head, in a run of several; 0 is the run's own --seed.
        precision: fp32; fp16 (weights); int8_dynamic (weights; activations by the face at hand); int8 (activations by
            100 training faces of the run); mixed (int8, but the first convolution and the head float32); qat (int8,
            the head fine-tuned for it on the run's training AAD); pruned (int8_dynamic, nine tenths of the head's
            weights 0: smaller when zipped).
        sweep: export and measure all precisions, and keep the fastest that is accepted; --precision has no effect then.
        tolerance: by how much the AUC of an evaluation may drop, at the lower end of the paired 95% interval, before a
            precision is refused.
        force: take what the checks refuse.
        num_test: faces of each kind (test members, test externals, held-out people) to compare on at most.
        detector: an SCRFD file (.onnx) to put into the bundle, for photos that are not aligned faces.
        photos: a folder of photos on which that detector must agree with ONNX Runtime too; drawn ones in any case.
        samples: copy so many of the run's test members, and test externals, into the bundle, to try it on. They are
            photos of people: leave it at 0 unless everybody may see them.
        seed: no effect: the run's own seed chooses the faces for the comparison with Keras.
        overwrite: replace what --out holds.
        quiet: no progress bars.
    """

    run: Path
    out: Path
    tap: str = mint_options.COMBINATION
    head_seed: int = 0
    precision: Literal["fp32", "fp16", "int8_dynamic", "int8", "mixed", "qat", "pruned"] = "fp32"
    sweep: bool = False
    tolerance: float = parity.TOLERANCE
    force: bool = False
    num_test: int = 500
    detector: str = ""
    photos: str = ""
    samples: int = 0
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


PRECISIONS = {name: name for name in export.PRECISIONS} | {
    compression.QAT: litert.INT8,
    compression.PRUNED: litert.INT8_DYNAMIC,
}  # what is exported: in which precision


@dataclasses.dataclass(frozen=True)
class _Source:
    """What is exported.

    Attributes:
        options: of the run.
        key: of the head.
        head: trained.
        extractor: the part of the audited model that it needs.
        inputs: SHA-256 of both.
    """

    options: mint_options.TrainMint
    key: mint_options.HeadKey
    head: keras.Model
    extractor: keras.Model
    inputs: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _Faces:
    """Faces of a run: those to compare on, with their roles, and training ones that stand for all.

    Attributes:
        tested: roles of the n faces to compare on.
        pixels: their uint8 RGB, shape (n, 112, 112, 3), a memory-mapped file.
        representative: training faces, shape (k, 112, 112, 3).
    """

    tested: protocols.Protocol
    pixels: np.ndarray
    representative: np.ndarray


def export_tflite(config: ExportTflite) -> str:
    """Fuses, converts, compares with Keras on held-out faces, and writes the bundle.

    Raises:
        InputError: if the run, its inputs or the detector cannot be used.
        RefusedError: if they have changed, or a check refuses what was made; nothing is written then.
    """
    source = _open(config)
    names = _sweep(source.head) if config.sweep else (config.precision,)
    settings = {
        name: getattr(config, name) for name in ("tap", "head_seed", "tolerance", "force", "num_test", "samples")
    }
    settings["precision"] = "sweep" if config.sweep else config.precision
    inputs = dict(source.inputs)
    if config.detector:
        inputs["detector"] = formats.sha256_file(detectors.find_file(config.detector))
    manifest = formats.make_manifest(bundle.KIND, inputs, settings)
    with formats.output_folder(config.out, manifest, config.overwrite), tempfile.TemporaryDirectory() as folder:
        found = detector.export(config.detector, config.photos, config.out) if config.detector else None
        faces = _read_faces(source, config.num_test, Path(folder))
        files, records = _measure(config, source, faces, names, Path(folder))
        chosen = _choose(records, config.force)
        table = parity_table(records, chosen)
        if config.sweep:
            formats.write_json(config.out / SWEEP, {"recommended": chosen, "artefacts": records})
            formats.write_text(config.out / SWEEP_TABLE, table + "\n")
        _fill(config, source, files[chosen])
        facts = _facts(source, chosen, records[chosen], config.tolerance)
        facts |= bundle_calibration.write(config.out, source.options)
        bundle.seal(config.out, {**manifest, **facts, **({"detector": found} if found else {})})
    size = records[chosen]["bytes"] / 2**20
    made = f"{config.out / bundle.SCORER}: {source.options.head} head on {config.tap}, {size:.2f} MiB, {chosen}."
    return "\n".join([table, f"Calibration: {facts['calibration']['photos']}", made])


def _sweep(head: keras.Model) -> tuple[str, ...]:
    return tuple(PRECISIONS) if compression.is_supported(head) else export.PRECISIONS


def _open(config: ExportTflite) -> _Source:
    run = formats.read_manifest(config.run, mint_run.KIND)
    options = mint_options.config_of(run, config.run, config.quiet)
    groups = mint_options.tap_groups(options)
    key = mint_options.HeadKey(models.AUDITED, config.tap, config.head_seed or options.seed)
    path = mint_options.head_path(options, key)
    if config.tap not in groups or not path.is_file():
        raise InputError(
            f"Expected a trained head of {list(groups)} in {config.run}, received {config.tap!r} of seed {key.seed}."
        )
    inputs = {"audited": formats.sha256_file(options.audited / formats.MODEL), "head": formats.sha256_file(path)}
    if inputs["audited"] != run["inputs"]["audited"]:
        raise RefusedError(
            f"{options.audited} is no longer the model this run was made with: its SHA-256 is {inputs['audited']}, the "
            f"run's is {run['inputs']['audited']}."
        )
    if mint_options.framing(options) != images.FACE:
        raise InputError(
            f"Expected a run on faces as they are, received {config.run}, on a classifier of pictures, on faces of "
            "another resolution or with --native-resolution: a bundle cannot hold these."
        )
    extractor = taps.extractor(zoo.load_audited(options.audited), groups[config.tap])
    if not specs.find(options.head).takes_maps:
        extractor = pooling.pooled_by_tap(extractor, options.pooling)
    return _Source(options, key, mint_run.load_head(path), extractor, inputs)


def _read_faces(source: _Source, num_test: int, folder: Path) -> _Faces:
    protocol, rng = mint_run.make_protocol(source.options), np.random.default_rng(source.options.seed)

    def some(parts: tuple[int, ...], num: int) -> np.ndarray:
        rows = [np.flatnonzero(protocol.part == part) for part in parts]
        chosen = [side[splits.choose_evenly(protocol.table.database[side], num, rng)] for side in rows]
        return np.concatenate(chosen)

    tested = protocol.take(some((protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS, protocols.HELD_OUT), num_test))
    used, pixels = images.FaceReader().decode_to(folder / "faces.npy", tested.table)
    training = some((protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS), _REPRESENTATIVE // 2)
    representative = images.first_faces(protocol.table.take(training), _REPRESENTATIVE)
    return _Faces(tested.take(used), pixels, representative)


def _measure(
    config: ExportTflite, source: _Source, faces: _Faces, names: tuple[str, ...], folder: Path
) -> tuple[dict[str, Path], dict[str, dict[str, Any]]]:
    """Makes the artefacts, and measures each against the float32 Keras model that the run trained."""
    reference = _reference(source, faces, config.quiet)
    if not config.force:
        parity.check_alive(reference)
    files = {name: folder / f"{name}.tflite" for name in names}
    records: dict[str, dict[str, Any]] = {}
    for name, content in _artefacts(config, source, faces, names):
        files[name].write_bytes(content)
        scorer = Scorer(files[name])
        parts = (faces.pixels[start : start + 1] for start in range(len(faces.pixels)))
        shown = tqdm(parts, name, len(faces.pixels), unit="face", disable=config.quiet, **pace())
        received = _scores(source, faces, np.concatenate([scorer.logits(face) for face in shown]))
        records[name] = {**parity.describe(content), **parity.compare(reference, received)}
        records[name]["refused"] = parity.check(records[name], config.tolerance)
    few = folder / "few.npy"
    np.save(few, faces.representative)
    for name, cost in parity.costs(files, few).items():
        records[name] |= cost
    return files, records


def _artefacts(
    config: ExportTflite, source: _Source, faces: _Faces, names: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    plain = litert.to_tflite(export.fuse(source.extractor, source.head))
    for name in names:
        content = plain
        if name in (compression.QAT, compression.PRUNED):
            head = compression.compress(name, source.head, _training_aad(config, source), source.key.seed)
            content = litert.to_tflite(export.fuse(source.extractor, head))
        yield name, export.in_precision(content, PRECISIONS[name], source.head.name, faces.representative)


def _training_aad(config: ExportTflite, source: _Source) -> batches.LabelledAad:
    run = mint_run.reopen_run(config.run, config.quiet)
    if run.aad.live:
        raise InputError(f"Expected a run with stored AAD to train its head on, received {config.run} with --aad live.")
    chosen = mint_options.tap_groups(source.options)[source.key.name]
    return batches.LabelledAad(run.aad.features(source.key.model, chosen), *run.protocol.training_rows())


def _reference(source: _Source, faces: _Faces, quiet: bool) -> list[Scores]:
    model = export.fuse(source.extractor, source.head)
    starts = range(0, len(faces.pixels), _BATCH)
    shown = tqdm(starts, "Keras", unit="batch", disable=quiet, **pace())
    logits = [model.predict_on_batch(faces.pixels[start : start + _BATCH])[LOGIT][:, 0] for start in shown]
    return _scores(source, faces, np.concatenate(logits))


def _scores(source: _Source, faces: _Faces, logits: np.ndarray) -> list[Scores]:
    name, key, table = source.options.head, source.key, faces.tested.table
    return [
        Scores(name, key.name, evaluation, key.seed, table.take(rows), is_member, logits[rows])
        for evaluation, (rows, is_member) in faces.tested.evaluations().items()
    ]


def _choose(records: Mapping[str, Mapping[str, Any]], force: bool) -> str:
    return parity.recommend({name: {**record, "refused": ""} if force else record for name, record in records.items()})


def _facts(source: _Source, chosen: str, record: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    return {
        "head": source.options.head,
        "seed": source.key.seed,
        "input": "faces: RGB, uint8, (n, 112, 112, 3), aligned to the ArcFace template",
        "exported_as": chosen,
        "parity": {**record, "auc_tolerance": tolerance, "reference": "Keras, float32"},
    }


def _fill(config: ExportTflite, source: _Source, scorer: Path) -> None:
    with formats.atomic_path(config.out / bundle.SCORER) as temporary:
        shutil.copyfile(scorer, temporary)
    protocol = mint_run.make_protocol(source.options)
    for name, part in (("member", protocols.TEST_MEMBERS), ("external", protocols.TEST_EXTERNALS)):
        table = protocol.table.take(protocol.part == part)
        for number, face in enumerate(images.first_faces(table, config.samples)):
            images.write_png(config.out / "samples" / f"{name}_{number}.png", face)


def parity_table(records: Mapping[str, Mapping[str, Any]], chosen: str) -> str:
    """Returns what was measured of each artefact as a Markdown table, and why some were refused; a star is the choice.

    The manifest also has the changes on `familiar`, whose AUC is no evidence of membership.
    """
    names = [name for name in next(iter(records.values()))["evaluations"] if name != protocols.FAMILIAR]
    header = ["artefact", "MiB", "zipped", "logit, max", "mean", "flips"]
    header += [f"{name}: {figure}" for name in names for figure in ("AUC", "TPR at 1%")]
    header += ["ms p50/p95", "2 threads", "RSS MiB", "accepted"]
    rows = [header, *(_parity_row(name, record, names, name == chosen) for name, record in records.items())]
    reasons = [f"{name} is refused: {record['refused']}." for name, record in records.items() if record["refused"]]
    return "\n".join([tables.format_table(rows), *([""] if reasons else []), *reasons])


def _parity_row(name: str, record: Mapping[str, Any], evaluations: Sequence[str], is_chosen: bool) -> list[str]:
    found = [record["evaluations"][evaluation] for evaluation in evaluations]
    return [
        name + ("*" if is_chosen else ""),
        *(f"{record[size] / 2**20:.2f}" for size in ("bytes", "zipped_bytes")),
        *(f"{record[kind + '_logit_difference']:.2g}" for kind in ("max", "mean")),
        f"{record['decision_flips']}/{record['faces']}",
        *(_interval(entry[f"{figure}_change"]) for entry in found for figure in ("auc", "tpr_at_1_fpr")),
        *("{p50:.2f}/{p95:.2f}".format(**record["latency_ms"][threads]) for threads in ("1", "2")),
        f"{record['rss_mib']:.0f}" if record["rss_mib"] else "-",
        "no" if record["refused"] else "yes",
    ]


def _interval(change: Sequence[float]) -> str:
    value, low, high = change
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"
