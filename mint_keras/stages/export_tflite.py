"""Stage: make a bundle of one head of a run and the part of the audited model it needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from mint_keras import formats
from mint_keras.aad import models, pooling
from mint_keras.audited import taps, zoo
from mint_keras.data import images
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle, export
from mint_keras.heads import specs
from mint_keras.records import InputError, RefusedError, SampleTable
from mint_keras.stages import mint_options, mint_run

_PARITY_FACES = 16


@dataclasses.dataclass(frozen=True)
class ExportTflite:
    """Options of export_tflite.py.

    Attributes:
        run: folder that train_mint.py wrote.
        out: folder for the bundle: scorer.tflite and its manifest.
        tap: the head to export: a tap of the run, combination, or combination+outcome.
        precision: fp32, or fp16 for half the size.
        samples: copy so many of the run's test members, and test externals, into the bundle, to try it on. They are
            photos of people: leave it at 0 unless everybody may see them.
        seed: no effect: the run's own seed chooses the faces for the comparison with Keras.
        overwrite: replace what --out holds.
        quiet: no progress bars.
    """

    run: Path
    out: Path
    tap: str = mint_options.COMBINATION
    precision: Literal["fp32", "fp16"] = "fp32"
    samples: int = 0
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def export_tflite(config: ExportTflite) -> str:
    """Fuses, converts, compares with Keras, and writes the bundle."""
    run = formats.read_manifest(config.run, mint_run.KIND)
    options = mint_options.config_of(run, config.run, config.quiet)
    groups = mint_options.tap_groups(options)
    path = mint_options.head_path(options, mint_options.HeadKey(models.AUDITED, config.tap, options.seed))
    if config.tap not in groups or not path.is_file():
        raise InputError(f"Expected a trained head of {list(groups)} in {config.run}, received {config.tap!r}.")
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
    head = mint_run.load_head(path)
    model = zoo.load_audited(options.audited)
    extractor = taps.extractor(model, groups[config.tap])
    if not specs.find(options.head).takes_maps:
        extractor = pooling.pooled_by_tap(extractor, options.pooling)
    fused = export.fuse(extractor, head)
    members, externals = _test_faces(options)
    settings = {"tap": config.tap, "precision": config.precision, "samples": config.samples}
    manifest = formats.make_manifest(bundle.KIND, inputs, settings)
    with formats.output_folder(config.out, manifest, config.overwrite):
        faces = np.concatenate([images.first_faces(side, _PARITY_FACES // 2) for side in (members, externals)])
        difference = export.write_scorer(config.out, fused, faces, config.precision)
        for name, table in (("member", members), ("external", externals)):
            for number, face in enumerate(images.first_faces(table, config.samples)):
                images.write_png(config.out / "samples" / f"{name}_{number}.png", face)
        facts = {
            "head": options.head,
            "seed": options.seed,
            "input": "RGB pixels 0..255 as float32, (1, 112, 112, 3), aligned to the ArcFace template",
            "largest_logit_difference_from_keras": difference,
        }
        bundle.seal(config.out, {**manifest, **facts})
    size = (config.out / bundle.SCORER).stat().st_size / 2**20
    return (
        f"{config.out / bundle.SCORER}: {options.head} head on {config.tap}, {size:.2f} MiB, {config.precision}; "
        f"logits differ from Keras by at most {difference:.1g} on {len(faces)} faces."
    )


def _test_faces(options: mint_options.TrainMint) -> tuple[SampleTable, SampleTable]:
    protocol = mint_run.make_protocol(options)
    table, part = protocol.table, protocol.part
    return table.take(part == protocols.TEST_MEMBERS), table.take(part == protocols.TEST_EXTERNALS)
