"""Other models in the audited one's place: what the same scorer finds through them is not membership."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.aad import signals
from mint_keras.aad.models import AUDITED
from mint_keras.audited import recalibration, zoo
from mint_keras.data import images, samples
from mint_keras.records import InputError, Scores
from mint_keras.scorers.baselines import BASELINES, MAXIMA, OUTCOME, Baseline
from mint_keras.stages import mint_options, mint_run, run_aad, run_baselines
from mint_keras.stages.audit.dividing import Scorer

KIND = "audit_control"
_RECALIBRATION = 1024  # faces at most


def through(run: mint_run.Run, audited: Path, out: Path, scorer: Scorer) -> list[Scores]:
    """Scores the samples of a run through another model in the audited one's place; continues what is there.

    Only what the scorer needs is computed: its taps, and its one head, trained on the run's training samples.

    Args:
        run: that is audited.
        audited: folder of the other model.
        out: folder for AAD, head and scores.csv.
        scorer: of the run.

    Returns:
        The scorer's scores in every evaluation of the run.

    Raises:
        InputError: if the scorer cannot look at the other model.
        RefusedError: if the folder holds scores of something else.
    """
    config = dataclasses.replace(run.config, audited=audited, out=out, num_seeds=1, store=None)
    inputs = {
        "audited": formats.sha256_file(audited / formats.MODEL),
        "samples": samples.fingerprint(run.protocol.table),
    }
    settings = {name: value for name, value in mint_options.content(config).items() if name not in _PLACES}
    manifest = formats.make_manifest(KIND, inputs, {**settings, "scorer": dataclasses.asdict(scorer)})
    with formats.output_folder(out, manifest):
        path = out / formats.SCORES
        if not path.is_file():
            formats.write_scores(path, _score(run, config, scorer, inputs))
        return formats.read_scores(path)


_PLACES = (
    "audited",
    "members",
    "externals",
    "evaluate",
    "held_out",
    "protocol",
    "store",
)  # `inputs` says what is there


def _score(
    run: mint_run.Run, config: mint_options.TrainMint, scorer: Scorer, inputs: Mapping[str, str]
) -> list[Scores]:
    baseline = BASELINES.get(scorer.name)
    groups = _looked_at(config, scorer, baseline)
    taps = list(dict.fromkeys(tap for group in groups.values() for tap in group))
    needed: tuple[str, ...] = ()
    if baseline is not None and baseline.inputs != (MAXIMA,):
        taps = list(dict.fromkeys([*taps, OUTCOME]))
        needed = _signals(config, baseline, taps)
    options = mint_run.aad_options(config, taps, needed, untrained_seed=None)
    aad = run_aad.open_aad(options, inputs, run.protocol.table)
    if baseline is not None:
        return run_baselines.evaluate(run.protocol, aad, [scorer.name], groups, config.seed)
    other, key = mint_run.Run(config, run.protocol, aad), mint_options.HeadKey(AUDITED, scorer.tap, config.seed)
    mint_run.fit_heads(other, [key])
    return [scores for scores, _ in mint_run.evaluate_head(other, key, run.protocol.evaluations())]


def _looked_at(config: mint_options.TrainMint, scorer: Scorer, baseline: Baseline | None) -> dict[str, list[str]]:
    """Returns the taps that the scorer looks at, by the name of their head."""
    groups = mint_options.tap_groups(config)
    if baseline is None or baseline.tap is None:
        return {scorer.tap: groups[scorer.tap]}
    return dict([(name, group) for name, group in groups.items() if OUTCOME not in group][:1])


def _signals(config: mint_options.TrainMint, baseline: Baseline, taps: list[str]) -> tuple[str, ...]:
    needed = {signals.STABILITY, signals.BN_DISTANCE} & set(baseline.inputs)
    if not needed:
        return ()
    there = signals.available(zoo.load_audited(config.audited, zoo.kind_of(config.audited)), taps)
    if lacking := needed - set(there):
        raise InputError(
            f"Expected models with {sorted(lacking)}, which the run's best scorer looks at, received {config.audited} "
            "without. Leave it out, or train the run without --baselines."
        )
    return tuple(name for name in there if name in needed)


def save_untrained(run: mint_run.Run, folder: Path, seed: int) -> Path:
    """Saves a copy of the audited model with random weights, normalised to the head's training samples, as a model."""
    if (folder / formats.MODEL).is_file():
        return folder
    config = run.config
    rows = run.protocol.training_rows()[0]
    rows = np.random.default_rng([seed, 6]).permutation(rows)[:_RECALIBRATION]
    reader = images.FaceReader(mint_options.framing(config))
    table = run.protocol.table.take(np.sort(rows))
    faces = np.concatenate([batch for _, batch in reader.batches(table, 256)])
    kind = zoo.kind_of(config.audited)
    copy = recalibration.recalibrated_copy(zoo.load_audited(config.audited, kind), faces, seed)
    source = formats.read_manifest(config.audited, kind)
    manifest = formats.make_manifest(kind, {"audited": source["model_sha256"]}, {**source["config"], "untrained": seed})
    with formats.output_folder(folder, manifest, overwrite=False):
        zoo.save_audited(folder, copy, {}, kind)
    return folder
