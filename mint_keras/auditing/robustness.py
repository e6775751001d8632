"""Photos that were changed after the training: what a re-upload does to a scorer, or a developer who hides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from mint_keras import formats, progress, score_files, streams
from mint_keras.auditing import frozen, plus
from mint_keras.auditing.opened import Opened
from mint_keras.auditing.report import MAX_FPR, Changed
from mint_keras.data import images, splits
from mint_keras.data import protocol as protocols
from mint_keras.data.changes import CHANGES
from mint_keras.records import Labelled, Observations, SampleTable, Scores
from mint_keras.scorers import mint_plus
from mint_keras.scorers.protocol import Fitted
from mint_keras.statistics import division, figures, findings, intervals
from mint_keras.statistics.selection import Candidate

_THRESHOLD = "threshold"  # how the scores name these photos
_PLUS = "mint plus on photo"


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A scorer that never changes.

    Attributes:
        name: How the report calls it.
        scorer: How its scores name it.
        open: Makes it.
        table: All photos.
        scored: Rows of people who are reported on.
        others: Rows of people who are no members and are neither fitted to nor reported on: they fix the threshold.
    """

    name: str
    scorer: Candidate
    open: Callable[[], Fitted]
    table: SampleTable
    scored: Labelled
    others: np.ndarray


def measure(opened: Opened, tasks: plus.Tasks) -> tuple[list[Changed], list[str]]:
    """Returns how the run's scorer and MINT+ do on changed photos, and what was not measured."""
    if not opened.spec.robustness:
        return [], ["Photos that were changed: not asked for (--robustness)."]
    asked = [_of_run(opened), *_of_plus(opened, tasks)]
    with progress.bar(total=len(asked) * len(CHANGES), desc="changes") as bar:
        found = [one for single in asked for one in _measure(opened, single, bar.update)]
    made = {one.scorer for one in found}
    lacking = [name for name in (str(opened.scorer), _PLUS) if name not in made]
    return found, [f"Photos that were changed, {name}: too few people to fix a threshold on." for name in lacking]


def _of_run(opened: Opened) -> _Asked:
    protocol = opened.run.protocol
    name = protocols.SAME_DATABASE if opened.has_reference else protocol.main_evaluation
    compared = protocol.evaluations()[name]
    is_chooser = np.isin(protocol.table.people()[compared.rows], opened.division.validation)
    return _Asked(
        str(opened.scorer),
        opened.scorer,
        lambda: frozen.open_scorer(opened.run, opened.scorer),
        protocol.table,
        division.limited(compared.where(~is_chooser), opened.spec.seed),
        compared.rows[is_chooser & ~compared.is_member][: division.MOST_IN_MEMORY],
    )


def _of_plus(opened: Opened, tasks: plus.Tasks) -> Iterator[_Asked]:
    """Yields MINT+ for single photos of persons, fitted without half of the others, who fix its threshold."""
    single = [task for task in tasks.tasks if (task.level, task.truth) == (mint_plus.PHOTO, findings.PERSON)]
    for task in single:  # there is one, or none
        rows, is_member = task.fitted_on
        people = tasks.table.people()[rows]
        if len(np.unique(people[~is_member])) < 2 * mint_plus.MIN_PEOPLE:
            return
        aside = np.zeros(len(rows), bool)
        rng = streams.stream(opened.spec.seed, streams.THRESHOLD)
        aside[~is_member] = splits.split_people(people[~is_member], 0.5, rng)
        fewer = dataclasses.replace(task, fitted_on=task.fitted_on.where(~aside))
        yield _Asked(
            _PLUS,
            Candidate(mint_plus.NAME, task.level),
            lambda asked=fewer: plus.open_scorer(opened, tasks, asked),  # type: ignore[misc]
            tasks.table,
            division.limited(task.scored, opened.spec.seed),
            rows[aside][: division.MOST_IN_MEMORY],
        )


def _measure(opened: Opened, asked: _Asked, on_change: Callable[[int], object]) -> list[Changed]:
    path = opened.folder / "robustness" / f"{asked.scorer.name}_{asked.scorer.tap}.csv"
    scores = formats.kept(
        path, lambda: _score(opened, asked, on_change), score_files.write_scores, score_files.read_scores
    )
    parts = {part.evaluation: part for part in scores}
    if _THRESHOLD not in parts:  # none of these photos could be scored
        return []
    others = np.sort(parts.pop(_THRESHOLD).logit)
    threshold = others[len(others) - 1 - int(MAX_FPR * len(others))]
    found = []
    for change, part in parts.items():
        is_member = figures.membership(part)
        auc = intervals.estimate([part], seed=opened.spec.seed, names=[figures.AUC], method="student")[figures.AUC]
        accused = part.logit > threshold
        found.append(
            Changed(asked.name, change, auc, float(accused[~is_member].mean()), float(accused[is_member].mean()))
        )
    return found


def _score(opened: Opened, asked: _Asked, on_change: Callable[[int], object]) -> list[Scores]:
    scorer, seed, framing = asked.open(), opened.spec.seed, opened.run.spec.framing

    def scores(name: str, table: SampleTable, is_member: np.ndarray, faces: np.ndarray) -> Scores:
        logit = scorer(Observations(table, {images.PIXELS: faces}))
        kept = np.flatnonzero(np.isfinite(logit))  # some baselines cannot score everybody
        return Scores(asked.scorer.name, asked.scorer.tap, name, seed, table.take(kept), is_member[kept], logit[kept])

    others, table = asked.table.take(asked.others), asked.table.take(asked.scored.rows)
    nobody = np.zeros(len(others), bool)
    found = [scores(_THRESHOLD, others, nobody, images.read_faces(others, framing)[1])]
    faces = images.read_faces(table, framing)[1]
    for change, function in CHANGES.items():
        changed = function(faces, streams.stream(seed, streams.CHANGES))
        found.append(scores(change, table, asked.scored.is_member, changed))
        on_change(1)
    return found
