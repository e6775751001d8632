"""Measures every reference with every control that it has to beat; `statistics.rule` decides on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mint_keras import progress
from mint_keras.audited import taps
from mint_keras.auditing import across, controls, pixels, plus, swap
from mint_keras.auditing.opened import Opened
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, UNTRAINED, Scores
from mint_keras.scorers import mint_plus
from mint_keras.statistics import division, findings, rule, verdict
from mint_keras.statistics.rule import Comparison


def decide(opened: Opened, tasks: plus.Tasks) -> tuple[dict[str, verdict.Verdict], list[str]]:
    """Returns the verdict on every scorer by its name, the run's own first, and what could not be measured."""
    comparisons, not_measured = _compare(opened, tasks)
    found, missing = across.measure(opened)
    verdicts = rule.by_rule(comparisons, {str(opened.scorer): found}, opened.spec.seed)
    return verdicts, [*not_measured, *missing]


def _compare(opened: Opened, tasks: plus.Tasks) -> tuple[list[Comparison], list[str]]:
    """Scores the samples of every reference."""
    seed, other, has_plus = opened.spec.seed, opened.spec.swap, bool(tasks.tasks)
    # What cannot be used must show before anything takes long.
    photos = swap.choose(opened, other) if other else None
    across.null_databases(opened)
    for folder in opened.spec.foreign:
        controls.check(opened.recipe, folder, [taps.OUTCOME] if has_plus else [])
    models = list(_other_models(opened)) if opened.has_reference or has_plus else []
    blind = _blind(opened, tasks)
    found = []
    if opened.has_reference:
        parts = {AUDITED: opened.scorer.parts(opened.scores, protocols.SAME_DATABASE)}
        for name, folder in models:
            scores = controls.through(opened.run, opened.recipe, folder, opened.folder / "controls" / name)
            parts[name] = opened.scorer.parts(scores, protocols.SAME_DATABASE)
        reported = {name: opened.division.reported(of_model) for name, of_model in parts.items()}
        found.append(rule.comparison(str(opened.scorer), reported, findings.PERSON, blind, seed))
    if has_plus:
        everybody = [(AUDITED, opened.run.spec.audited), *models]
        by_model = {
            name: plus.score(opened, tasks, name, folder)
            for name, folder in progress.bar(everybody, desc="MINT+", unit="model")
        }
        for task in tasks.tasks:
            reported = {name: [scores[task.name]] for name, scores in by_model.items()}
            is_of_persons = task.level in (mint_plus.WITH_OTHERS, mint_plus.OF_PERSON)
            found.append(rule.comparison(task.name, reported, task.truth, blind, seed, is_of_persons))
    if other and photos:
        found.append(swap.score(opened, other, photos))
    return found, [*tasks.not_measured, *_not_given(opened)]


def _blind(opened: Opened, tasks: plus.Tasks) -> dict[str, dict[str, Scores]]:
    """Returns what pixels say of the samples of each reference, by name."""
    protocol, divided = opened.run.protocol, opened.division
    wanted = {task.evaluation: (task.fitted_on, task.scored) for task in tasks.tasks if task.truth == findings.IMAGE}
    if opened.has_reference:
        sides = (division.calibration(protocol, divided), division.reported(protocol, divided))
        wanted[protocols.SAME_DATABASE] = sides
    framing, seed, folder = opened.run.spec.framing, opened.spec.seed, opened.folder / "pixels"
    return {
        name: pixels.score(tasks.table, fitted_on, scored, name, framing, seed, folder / name)
        for name, (fitted_on, scored) in wanted.items()
    }


def _other_models(opened: Opened) -> Iterator[tuple[str, Path]]:
    """Yields name and folder of every model that takes the audited one's place."""
    for number in range(1, opened.spec.num_untrained + 1):
        name = f"{UNTRAINED}_{number}"
        folder, seed = opened.folder / "models" / name, opened.spec.seed + number
        yield name, controls.save_untrained(opened.run, opened.run.spec.audited, folder, seed)
    for folder in opened.spec.foreign:
        yield f"foreign_{folder.name}", folder


def _not_given(opened: Opened) -> list[str]:
    found = []
    if not opened.has_reference:
        found.append("Same database: no people of the members' own database who were kept out of the training.")
    if not opened.spec.foreign:
        found.append("Foreign model: none was given (--foreign).")
    if not opened.spec.swap:
        found.append("Cross-model swap: no other model of the members' database (--swap).")
    return found
