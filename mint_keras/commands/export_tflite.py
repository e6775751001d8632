"""Export one head of a run, with the part of the audited model it needs, to a TFLite bundle for a laptop.

Whatever is exported is compared with Keras on held-out faces: logits, decisions, and what membership they show (AUC
and TPR at 1% FPR, with paired intervals). If the AUC may have dropped, nothing is written.

Example:
    python scripts/export_tflite.py --run runs/lab-vanilla --tap combination --out export/lab
    python scripts/export_tflite.py --run runs/lab-vanilla --sweep --out export/lab-sweep
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mint_keras import formats, languages
from mint_keras.commands import Result
from mint_keras.edge import bundle, parity
from mint_keras.options import Common
from mint_keras.records import AUDITED, InputError, RefusedError

if TYPE_CHECKING:
    from mint_keras.edge.export import TrainedHead
    from mint_keras.runs.spec import RunSpec
    from mint_keras.training.batches import LabelledAad

SWEEP, SWEEP_TABLE = "sweep.json", "sweep.md"


@dataclasses.dataclass(frozen=True)
class ExportTflite(Common):
    """Options of export_tflite.py.

    Attributes:
        run: The folder that train_mint.py wrote.
        out: The folder for the bundle: scorer.tflite and its manifest.
        tap: The tap of the head to export: a tap of the run, combination, or combination+outcome.
        head_seed: The seed of the head's training, in a run of several; 0 is the run's own --seed.
        precision: fp32 changes nothing. fp16 rounds the weights. int8_dynamic rounds weights, and activations by the
            range of the face at hand; int8 takes the range of 100 training faces of the run. mixed is int8 with the
            first convolution and the head in float32. qat is int8 with the head fine-tuned for it on the run's training
            AAD. pruned is int8_dynamic with nine tenths of the head's weights 0, which makes it smaller when zipped.
        sweep: Export and measure all precisions, and keep the fastest that is accepted on two fifths of the people; the
            figures are of the others. --precision has no effect then.
        tolerance: A precision is refused if the AUC of an evaluation may drop by more than this, at the lower end of
            the paired 95% interval.
        force: Take what the checks refuse.
        num_test: The largest number of faces of each kind to compare on: test members, test externals, held-out people.
        detector: An SCRFD file (.onnx) to put into the bundle, for photos that are not aligned faces.
        photos: A folder of photos on which that detector must agree with ONNX Runtime, as on drawn ones in any case.
        samples: Copy so many of the run's test members, and test externals, into the bundle, to try it on. They are
            photos of people: leave it at 0 unless everybody may see them.
        language: Of the bundle's card: en, de, es or fr.
    """

    run: Path
    out: Path
    tap: str = "combination"
    head_seed: int = 0
    precision: Literal["fp32", "fp16", "int8_dynamic", "int8", "mixed", "qat", "pruned"] = "fp32"
    sweep: bool = False
    tolerance: float = parity.TOLERANCE
    force: bool = False
    num_test: int = 500
    detector: str = ""
    photos: str = ""
    samples: int = 0
    language: str = languages.ENGLISH


@dataclasses.dataclass(frozen=True)
class Exported(Result):
    """The bundle that was made in a folder, its precision, and what was measured of each precision by its name."""

    out: Path
    exported_as: str
    artefacts: dict[str, dict[str, Any]]


def export_tflite(config: ExportTflite) -> Exported:
    """Fuses, converts, compares with Keras on held-out faces, and writes the bundle."""
    if not 0 <= config.tolerance <= 1 or config.num_test < 1:
        raise InputError(
            f"Expected --tolerance from 0 to 1 and --num-test of at least 1, received {config.tolerance} and "
            f"{config.num_test}."
        )
    languages.of(config.language)  # one that there is none of shows before anything takes long
    from mint_keras.edge import bundle_calibration, detector, export
    from mint_keras.faces import detectors
    from mint_keras.runs.run import choose_samples
    from mint_keras.statistics import division

    head, spec, inputs = _open(config)
    content = ("tap", "head_seed", "tolerance", "force", "num_test", "samples")
    settings = {name: getattr(config, name) for name in content}
    settings["precision"] = "sweep" if config.sweep else config.precision
    if config.detector:
        inputs["detector"] = formats.sha256_file(detectors.find_file(config.detector))
    manifest = formats.make_manifest(bundle.KIND, inputs, settings)
    with formats.output_folder(config.out, manifest, config.overwrite), tempfile.TemporaryDirectory() as scratch:
        found = detector.export(config.detector, config.photos, config.out) if config.detector else None
        protocol = choose_samples(spec)
        faces = export.read_faces(protocol, config.num_test, spec.seed)
        reference = export.keras_scores(head, faces)
        if not config.force:
            parity.check_alive(reference)
        names = head.sweep() if config.sweep else (config.precision,)
        files = export.make(
            head, names, faces.representative, lambda: _training_aad(config.run, head.tap), Path(scratch)
        )
        divided = division.of_all(reference, spec.seed) if config.sweep else None
        records = export.measure(head, files, faces, reference, config.tolerance, divided)
        chosen = parity.recommend(records, config.force)
        table = parity.table(records, chosen)
        if config.sweep:
            formats.write_json(config.out / SWEEP, {"recommended": chosen, "artefacts": records})
            formats.write_text(config.out / SWEEP_TABLE, table + "\n")
        export.fill(config.out, files[chosen], protocol, config.samples)
        facts = {
            "head": head.scorer,
            "seed": head.seed,
            "input": "faces: RGB, uint8, (n, 112, 112, 3), aligned to the ArcFace template",
            "exported_as": chosen,
            "parity": {**records[chosen], "auc_tolerance": config.tolerance, "reference": "Keras, float32"},
            **bundle_calibration.write(config.out, protocol, spec.model_folder),
            **({"detector": found} if found else {}),
        }
        bundle.seal(config.out, {**manifest, **facts}, config.language)
    size = records[chosen]["bytes"] / 2**20
    made = f"{config.out / bundle.SCORER}: {head.scorer} head on {config.tap}, {size:.2f} MiB, {chosen}."
    if divided:
        table += f"\nChosen on {len(divided.validation)} people; the figures are of the others."
    text = "\n".join([table, f"Calibration: {facts['calibration']['photos']}", made])
    return Exported(text, config.out, chosen, records)


def _open(config: ExportTflite) -> tuple[TrainedHead, RunSpec, dict[str, str]]:
    """Returns the head, what its run is, and the SHA-256 of head and audited model."""
    from mint_keras.aad import pooling
    from mint_keras.audited import taps, zoo
    from mint_keras.data import images
    from mint_keras.edge.export import TrainedHead
    from mint_keras.heads import specs
    from mint_keras.runs.spec import KIND, HeadKey, read_spec
    from mint_keras.scorers.head import load_model

    made_from, spec = formats.read_manifest(config.run, KIND)["inputs"], read_spec(config.run)
    key = HeadKey(AUDITED, config.tap, config.head_seed or spec.seed)
    path = key.path(config.run, spec.seed)
    if config.tap not in spec.groups or not path.is_file():
        given = f"received {config.tap!r} of seed {key.seed}."
        raise InputError(f"Expected a trained head of {list(spec.groups)} in {config.run}, {given}")
    model = formats.sha256_file(spec.model_folder / formats.MODEL)
    if model != made_from["audited"]:
        raise RefusedError(
            f"{spec.audited} is no longer the model this run was made with: its SHA-256 is {model}, the run's is "
            f"{made_from['audited']}."
        )
    if not spec.framing.is_face or spec.framing.native or spec.framing.size < images.IMAGE_SIZE:
        raise InputError(
            f"Expected a run on faces as they are, received {config.run}, on a classifier of pictures, on faces of "
            f"less than {images.IMAGE_SIZE} pixels or with --native-resolution: a bundle cannot hold these."
        )
    extractor = taps.extractor(zoo.load_audited(spec.audited), spec.groups[config.tap])
    if not specs.find(spec.head).takes_maps:
        extractor = pooling.pooled_by_tap(extractor, spec.pooling)
    head = TrainedHead(spec.head, config.tap, key.seed, load_model(path), extractor)
    return head, spec, {"audited": model, "head": formats.sha256_file(path)}


def _training_aad(folder: Path, tap: str) -> LabelledAad:
    """Opens the AAD that trained a head; only fine-tuned heads need it."""
    from mint_keras.runs import run as runs
    from mint_keras.training.batches import LabelledAad

    run = runs.reopen(folder)
    if run.aad.fronts:
        raise InputError(f"Expected a run with stored AAD to train its head on, received {folder} with --aad live.")
    inputs = runs.heads_of(run.spec)[tap].inputs(run.aad.seen(AUDITED))
    return LabelledAad(inputs, *run.protocol.training_rows())
