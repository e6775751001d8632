"""The same scorer through another model, or on other sides: what it finds there is not membership."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, score_files, shelf, streams
from mint_keras.aad import signals
from mint_keras.audited import recalibration, zoo
from mint_keras.audited import taps as taps_module
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.heads import specs
from mint_keras.records import AUDITED, InputError, Scores
from mint_keras.runs import aad as run_aad
from mint_keras.runs.run import Run, fit_and_score
from mint_keras.runs.spec import RunSpec
from mint_keras.scorers.protocol import Needs, Scorer

KIND = "audit_control"
_RECALIBRATION = 1024  # faces at most
# What of a run says where inputs are; the manifest's inputs say what is there, so that a control can be moved.
_PLACES = ("audited", "members", "externals", "evaluate", "held_out", "protocol", "store")


def through(run: Run, scorer: Scorer, audited: Path, folder: Path, native: int = 0) -> list[Scores]:
    """Fits and scores through another model in the audited one's place; continues what is there.

    Only what the scorer needs is computed.

    Args:
        run: The run that is audited.
        scorer: The scorer.
        audited: The folder of the other model.
        folder: Where its AAD and scores are kept.
        native: The side to which larger images are shrunk first; 0 for what the run does.

    Returns:
        The scorer's scores in every evaluation of the run.

    Raises:
        InputError: if the scorer cannot look at the other model.
        RefusedError: if the folder holds scores of something else.
    """
    native = native or run.spec.native_resolution
    spec = dataclasses.replace(run.spec, audited=audited, num_seeds=1, store=None, native_resolution=native)
    inputs = _inputs(spec, run.protocol)

    def score() -> list[Scores]:
        needs = needed(spec, scorer)
        if lacking := set(needs.signals) - set(_signals_of(audited, needs)):
            raise InputError(
                f"Expected models with {sorted(lacking)}, which the run's best scorer looks at, received {audited} "
                "without. Leave it out, or train the run without --baselines."
            )
        aad = run_aad.open_aad(spec, needs, folder, inputs, run.protocol.table)
        return fit_and_score(scorer, aad, AUDITED, run.protocol, spec.seed, folder)

    return _kept(spec, scorer, folder, inputs, score)


def _signals_of(audited: Path, needs: Needs) -> tuple[str, ...]:
    if not needs.signals:
        return ()
    return signals.available(zoo.load_audited(audited, zoo.kind_of(audited)), needs.taps)


def refitted(run: Run, scorer: Scorer, protocol: protocols.Protocol, folder: Path) -> list[Scores]:
    """Fits the scorer again on the run's own AAD, where the same samples play other parts, and scores them.

    See `through`; the evaluations are those of the protocol.
    """
    spec = dataclasses.replace(run.spec, num_seeds=1)
    inputs = {**_inputs(spec, protocol), "parts": formats.sha256_json(protocol.part.tolist())}
    return _kept(
        spec, scorer, folder, inputs, lambda: fit_and_score(scorer, run.aad, AUDITED, protocol, spec.seed, folder)
    )


def _kept(spec: RunSpec, scorer: Scorer, folder: Path, inputs: dict[str, str], score: Any) -> list[Scores]:
    """Returns the scores in the folder of a control; makes them if they are not there."""
    settings = {name: value for name, value in spec.settings().items() if name not in _PLACES}
    settings["scorer"] = {"name": scorer.name, "tap": scorer.tap}
    with formats.output_folder(folder, formats.make_manifest(KIND, inputs, settings)):
        path = folder / formats.SCORES
        return formats.kept(path, score, score_files.write_scores, score_files.read_scores)


def _inputs(spec: RunSpec, protocol: protocols.Protocol) -> dict[str, str]:
    return {
        "audited": formats.sha256_file(spec.model_folder / formats.MODEL),
        "samples": samples.fingerprint(protocol.table),
    }


def needed(spec: RunSpec, scorer: Scorer) -> Needs:
    """Returns what a scorer of a run must see: taps are kept as the run's heads take them."""
    return dataclasses.replace(scorer.needs, pooling="" if specs.find(spec.head).takes_maps else spec.pooling)


def check(scorer: Scorer, audited: Path, also: Sequence[str] = ()) -> None:
    """Raises InputError if a model does not have what the scorer looks at, or the taps that are named besides."""
    model = zoo.load_audited(audited, zoo.kind_of(audited))
    taps_module.extractor(model, [*dict.fromkeys([*scorer.needs.taps, *also])])


def save_untrained(run: Run, audited: Path, folder: Path, seed: int) -> Path:
    """Saves a copy of a model with random weights, normalised to the training samples of a run's heads, as a model."""
    if (folder / formats.MODEL).is_file():
        return folder
    rows = run.protocol.training_rows()[0]
    rows = streams.stream(seed, streams.RECALIBRATION).permutation(rows)[:_RECALIBRATION]
    framing, kind = zoo.framing(audited, run.spec.native_resolution), zoo.kind_of(audited)
    _, faces = images.read_faces(run.protocol.table.take(np.sort(rows)), framing, batch_size=256)
    copy = recalibration.recalibrated_copy(zoo.load_audited(audited, kind), faces, seed)
    source = formats.read_manifest(shelf.find(audited), kind)
    manifest = formats.make_manifest(kind, {"audited": source["model_sha256"]}, {**source["config"], "untrained": seed})
    with formats.output_folder(folder, manifest, overwrite=False):
        zoo.save_audited(folder, copy, {}, kind)
    return folder
