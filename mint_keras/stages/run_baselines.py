"""The baselines of a MINT run: on the samples, and in the evaluations, of its heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mint_keras.aad import signals
from mint_keras.audited import taps
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.records import AUDITED, UNTRAINED, ResultRow, Scores
from mint_keras.scorers.baselines import BASELINES, EMBEDDING_NORM, FIRST_MAXIMA, MAXIMA, PERSON, Baseline, Scorer
from mint_keras.stages import run_aad


def choose(aad: run_aad.RunAad, all_of_them: bool) -> list[str]:
    """Returns the baselines of a run: all that the audited model allows, or the one that costs nothing."""
    if not all_of_them:
        return [EMBEDDING_NORM] if taps.OUTCOME in aad.taps else []
    lacking = {signals.STABILITY, signals.BN_DISTANCE} - set(aad.arrays[AUDITED])
    return [name for name, baseline in BASELINES.items() if not lacking & set(baseline.inputs)]


def evaluate(
    protocol: protocols.Protocol, aad: run_aad.RunAad, names: Sequence[str], groups: Mapping[str, list[str]], seed: int
) -> list[Scores]:
    """Fits baselines on the heads' training samples and scores every evaluation, through every model of the AAD.

    Args:
        protocol: of the run.
        aad: its AAD.
        names: keys of `BASELINES`.
        groups: the taps of each head by its name.
        seed: of the run.

    Returns:
        Scores of what could be scored, as many members as externals; nothing for an evaluation without any.
    """
    evaluations = protocol.evaluations()
    found = []
    for name in names:
        for tap, group in _looked_at(BASELINES[name], groups).items():
            for model in filter(aad.arrays.__contains__, (AUDITED, UNTRAINED)):
                features = _features(protocol, aad, model, name, group)
                score = _fit(protocol, features, name)
                for evaluation, (rows, is_member) in evaluations.items():
                    table = protocol.table.take(rows)
                    logit = score(_take(features, rows))
                    found.append(Scores(name, tap, evaluation, seed, table, is_member, logit, model))
    balanced = [_without_unscored(scores) for scores in found]
    return [scores for scores in balanced if len(scores.logit)]


def fit(protocol: protocols.Protocol, aad: run_aad.RunAad, name: str, group: list[str]) -> Scorer:
    """Returns a baseline on some taps, fitted on the heads' training samples through the audited model."""
    return _fit(protocol, _features(protocol, aad, AUDITED, name, group), name)


def _fit(protocol: protocols.Protocol, features: Mapping[str, Any], name: str) -> Scorer:
    rows, is_member = protocol.training_rows()
    return BASELINES[name].fit(_take(features, rows), is_member)


def _features(
    protocol: protocols.Protocol, aad: run_aad.RunAad, model: str, name: str, group: list[str]
) -> dict[str, Any]:
    return {key: _feature(protocol, aad, model, key, group) for key in BASELINES[name].inputs}


def notes(
    protocol: protocols.Protocol, aad: run_aad.RunAad, results: Sequence[ResultRow], names: Sequence[str]
) -> list[str]:
    """Says what the baselines of a run are, and what could not be scored, if there are any that the README has not."""
    if not set(names) - {EMBEDDING_NORM}:
        return []
    lines = ["Baselines, fitted on the heads' training samples (the paper's, MIA, is the head on outcome):"]
    lines += [f"  {name.replace('_', ' '):14} {BASELINES[name].meaning}" for name in names]
    if signals.BN_DISTANCE not in aad.arrays[AUDITED]:
        lines.append(signals.NO_NORMALISATION)
    scored = {
        (row.scorer, row.evaluation): row.num_members + row.num_externals for row in results if row.model == AUDITED
    }
    for name in names:
        for evaluation, (rows, _) in protocol.evaluations().items():
            if (num := scored.get((name, evaluation), 0)) < len(rows):
                where = f"{name.replace('_', ' ')}, {evaluation.replace('_', ' ')}"
                lines.append(f"{where}: {num} of {len(rows)} samples scored, in balance; {BASELINES[name].unscored}.")
    return ["\n".join(lines)]


def _looked_at(baseline: Baseline, groups: Mapping[str, list[str]]) -> dict[str, list[str]]:
    maps = {name: group for name, group in groups.items() if taps.OUTCOME not in group}
    return maps if baseline.tap is None else {baseline.tap: next(iter(maps.values()), [])}


def _feature(protocol: protocols.Protocol, aad: run_aad.RunAad, model: str, name: str, group: list[str]) -> Any:
    """Returns one feature of all samples of a run."""
    if name == PERSON:
        return protocol.table.people()
    if name in (MAXIMA, FIRST_MAXIMA):
        return np.concatenate([values[:] for values in aad.features(model, group).values()], axis=1)
    return aad.arrays[model][name]


def _take(features: Mapping[str, Any], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in features.items()}


def _without_unscored(scores: Scores) -> Scores:
    """Leaves out samples without a score, and as many of the larger class that both stay equal."""
    is_scored = np.isfinite(scores.logit)
    if is_scored.all():
        return scores
    assert scores.is_member is not None  # noqa: S101
    sides = (np.flatnonzero(is_scored & scores.is_member), np.flatnonzero(is_scored & ~scores.is_member))
    rows = np.concatenate(splits.balance(*sides, np.random.default_rng([scores.seed, 3])))
    taken = {"samples": scores.samples.take(rows), "is_member": scores.is_member[rows], "logit": scores.logit[rows]}
    return dataclasses.replace(scores, **taken)
