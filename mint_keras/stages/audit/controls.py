"""Other models in the audited one's place: what the same scorer finds through them is not membership."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, score_files
from mint_keras.aad import signals
from mint_keras.audited import recalibration, zoo
from mint_keras.audited import taps as taps_module
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, InputError, Scores
from mint_keras.scorers.baselines import BASELINES, MAXIMA, OUTCOME
from mint_keras.stages import mint_options, mint_run, run_aad, run_baselines
from mint_keras.stages.audit.dividing import Scorer

KIND = "audit_control"
_RECALIBRATION = 1024  # faces at most
# Options that say where inputs are; the manifest's inputs say what is there.
_PLACES = ("audited", "members", "externals", "evaluate", "held_out", "protocol", "store")


def through(run: mint_run.Run, audited: Path, out: Path, scorer: Scorer, native: int = 0) -> list[Scores]:
    """Scores the samples of a run through another model in the audited one's place; continues what is there.

    Only what the scorer needs is computed: its taps, and its one head, trained on the run's training samples.

    Args:
        run: that is audited.
        audited: folder of the other model.
        out: folder for AAD, head and scores.csv.
        scorer: of the run.
        native: side to which larger images are shrunk first; 0 for what the run does.

    Returns:
        The scorer's scores in every evaluation of the run.

    Raises:
        InputError: if the scorer cannot look at the other model.
        RefusedError: if the folder holds scores of something else.
    """
    native = native or run.config.native_resolution
    config = dataclasses.replace(
        run.config, audited=audited, out=out, num_seeds=1, store=None, native_resolution=native
    )
    inputs = _inputs(config, run.protocol)

    def score() -> list[Scores]:
        groups, taps, wanted = needed(config, scorer)
        options = mint_run.aad_options(config, taps, wanted, untrained_seed=None)
        aad = run_aad.open_aad(options, inputs, run.protocol.table)
        return _fit_and_score(mint_run.Run(config, run.protocol, aad), scorer, groups)

    return _kept(config, inputs, scorer, score)


def _fit_and_score(run: mint_run.Run, scorer: Scorer, groups: Mapping[str, list[str]]) -> list[Scores]:
    if scorer.name in BASELINES:
        found = run_baselines.evaluate(run.protocol, run.aad, [scorer.name], groups, run.config.seed)
        return [scores for scores in found if scores.scorer == scorer.name]
    key = mint_options.HeadKey(AUDITED, scorer.tap, run.config.seed)
    mint_run.fit_heads(run, [key])
    return [scores for scores, _ in mint_run.evaluate_head(run, key, run.protocol.evaluations())]


def refitted(run: mint_run.Run, protocol: protocols.Protocol, out: Path, scorer: Scorer) -> list[Scores]:
    """Fits the scorer again on the run's own AAD, where the same samples play other parts, and scores them.

    See `through`; the evaluations are those of the protocol.
    """
    config = dataclasses.replace(run.config, out=out, num_seeds=1)
    inputs = {**_inputs(config, protocol), "parts": formats.sha256_json(protocol.part.tolist())}
    refit = mint_run.Run(config, protocol, run.aad)
    return _kept(config, inputs, scorer, lambda: _fit_and_score(refit, scorer, needed(config, scorer)[0]))


def _kept(
    config: mint_options.TrainMint, inputs: dict[str, str], scorer: Scorer, score: Callable[[], list[Scores]]
) -> list[Scores]:
    """Returns the scores in the folder of a control; makes them if they are not there."""
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, _settings(config, scorer))):
        path = config.out / formats.SCORES
        if not path.is_file():
            score_files.write_scores(path, score())
        return score_files.read_scores(path)


def _inputs(config: mint_options.TrainMint, protocol: protocols.Protocol) -> dict[str, str]:
    return {
        "audited": formats.sha256_file(config.audited / formats.MODEL),
        "samples": samples.fingerprint(protocol.table),
    }


def check(run: mint_run.Run, audited: Path, scorer: Scorer, also: Sequence[str] = ()) -> None:
    """Raises InputError if a model does not have what the scorer looks at, or the taps that are named besides."""
    taps = needed(dataclasses.replace(run.config, audited=audited), scorer)[1]
    taps_module.extractor(zoo.load_audited(audited, zoo.kind_of(audited)), [*dict.fromkeys([*taps, *also])])


def needed(config: mint_options.TrainMint, scorer: Scorer) -> tuple[dict[str, list[str]], list[str], tuple[str, ...]]:
    """Returns what a scorer looks at.

    Args:
        config: of its run, or the same with another audited model.
        scorer: of the run.

    Returns:
        The taps by the name of their head; these taps, and the outcome if it is wanted; the signals.

    Raises:
        InputError: if the audited model cannot give it.
    """
    baseline, groups = BASELINES.get(scorer.name), mint_options.tap_groups(config)
    if baseline is None or baseline.tap is None:
        groups = {scorer.tap: groups[scorer.tap]}
    else:
        groups = dict([(name, group) for name, group in groups.items() if OUTCOME not in group][:1])
    taps = [tap for group in groups.values() for tap in group]
    if baseline is None or baseline.inputs == (MAXIMA,):
        return groups, taps, ()
    taps = list(dict.fromkeys([*taps, OUTCOME]))
    return groups, taps, _signals(config, set(baseline.inputs), taps)


def _signals(config: mint_options.TrainMint, inputs: set[str], taps: list[str]) -> tuple[str, ...]:
    if not (wanted := {signals.STABILITY, signals.BN_DISTANCE} & inputs):
        return ()
    there = signals.available(zoo.load_audited(config.audited, zoo.kind_of(config.audited)), taps)
    if lacking := wanted - set(there):
        raise InputError(
            f"Expected models with {sorted(lacking)}, which the run's best scorer looks at, received {config.audited} "
            "without. Leave it out, or train the run without --baselines."
        )
    return tuple(name for name in there if name in wanted)


def _settings(config: mint_options.TrainMint, scorer: Scorer) -> dict[str, Any]:
    """Returns what decides the content of a control, without paths: it can be moved with all that is in it."""
    content = {name: value for name, value in mint_options.content(config).items() if name not in _PLACES}
    return {**content, "scorer": dataclasses.asdict(scorer)}


def save_untrained(run: mint_run.Run, audited: Path, folder: Path, seed: int) -> Path:
    """Saves a copy of a model with random weights, normalised to the head's training samples of a run, as a model."""
    if (folder / formats.MODEL).is_file():
        return folder
    rows = run.protocol.training_rows()[0]
    rows = np.random.default_rng([seed, 6]).permutation(rows)[:_RECALIBRATION]
    reader = images.FaceReader(zoo.framing(audited, run.config.native_resolution))
    table = run.protocol.table.take(np.sort(rows))
    faces = np.concatenate([batch for _, batch in reader.batches(table, 256)])
    kind = zoo.kind_of(audited)
    copy = recalibration.recalibrated_copy(zoo.load_audited(audited, kind), faces, seed)
    source = formats.read_manifest(audited, kind)
    manifest = formats.make_manifest(kind, {"audited": source["model_sha256"]}, {**source["config"], "untrained": seed})
    with formats.output_folder(folder, manifest, overwrite=False):
        zoo.save_audited(folder, copy, {}, kind)
    return folder
