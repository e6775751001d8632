"""Photos that were changed after the training: what a re-upload does to a scorer, or a developer who hides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from mint_keras import score_files
from mint_keras.data import protocol as protocols
from mint_keras.data import splits
from mint_keras.data.changes import CHANGES
from mint_keras.records import SampleTable, Scores
from mint_keras.scorers import mint_plus
from mint_keras.stages.audit import dividing, frozen, plus
from mint_keras.stages.audit.dividing import Scorer, Side
from mint_keras.stages.audit.opened import Opened
from mint_keras.stages.progress import pace
from mint_keras.statistics import figures, findings, intervals
from mint_keras.statistics.intervals import Estimate

MAX_FPR = 0.05  # of the photos that the threshold is fixed on
_THRESHOLD = "threshold"  # how the scores name these photos
_PLUS = "mint plus on photo"


@dataclasses.dataclass(frozen=True)
class Changed:
    """How a scorer does on photos that were changed.

    Attributes:
        scorer: its name.
        change: a key of `CHANGES`.
        auc: with its interval.
        false_positives: share of the others' photos above a threshold that was fixed on other people's, unchanged.
        true_positives: share of the members' photos above it.
    """

    scorer: str
    change: str
    auc: Estimate
    false_positives: float
    true_positives: float


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A scorer that never changes.

    Attributes:
        name: of the scorer.
        scorer: how its scores name it.
        open: makes it.
        table: with all photos.
        scored: rows of people who are reported on, and membership.
        others: rows of people who are no members and are neither fitted to nor reported on: for the threshold.
    """

    name: str
    scorer: Scorer
    open: Callable[[], frozen.FaceScorer]
    table: SampleTable
    scored: Side
    others: np.ndarray


def measure(opened: Opened, tasks: plus.Tasks) -> tuple[list[Changed], list[str]]:
    """Returns how the run's scorer and MINT+ do on changed photos, and what was not measured."""
    if not opened.config.robustness:
        return [], ["Photos that were changed: not asked for (--robustness)."]
    asked = [_of_run(opened), *_of_plus(opened, tasks)]
    bar = tqdm(total=len(asked) * len(CHANGES), desc="changes", disable=opened.config.quiet, **pace())
    with bar:
        found = [one for single in asked for one in _measure(opened, single, bar.update)]
    wanted, made = [str(opened.scorer), _PLUS], {one.scorer for one in found}
    return found, [
        f"Photos that were changed, {name}: too few people to fix a threshold on."
        for name in wanted
        if name not in made
    ]


def _of_run(opened: Opened) -> _Asked:
    protocol = opened.run.protocol
    name = protocols.SAME_DATABASE if opened.has_reference else protocol.main_evaluation
    rows, is_member = protocol.evaluations()[name]
    is_chooser = np.isin(protocol.table.people()[rows], opened.division.validation)
    return _Asked(
        str(opened.scorer),
        opened.scorer,
        lambda: frozen.open_scorer(opened.run, opened.scorer),
        protocol.table,
        dividing.some((rows[~is_chooser], is_member[~is_chooser]), opened.config.seed),
        rows[is_chooser & ~is_member][: dividing.MOST_IN_MEMORY],
    )


def _of_plus(opened: Opened, tasks: plus.Tasks) -> Iterator[_Asked]:
    """Yields MINT+ for single photos of persons, fitted without half of the others, who fix its threshold."""
    for task in tasks.tasks:
        if (task.level, task.truth) != (mint_plus.PHOTO, findings.PERSON):
            continue
        rows, is_member = task.fitted_on
        people = tasks.table.people()[rows]
        if len(np.unique(people[~is_member])) < 2 * mint_plus.MIN_PEOPLE:
            return
        aside = np.zeros(len(rows), bool)
        rng = np.random.default_rng([opened.config.seed, 12])
        aside[~is_member] = splits.split_people(people[~is_member], 0.5, rng)
        fewer = dataclasses.replace(task, fitted_on=(rows[~aside], is_member[~aside]))
        yield _Asked(
            _PLUS,
            Scorer(plus.SCORER, task.level),
            lambda: plus.open_scorer(opened, tasks, fewer),  # noqa: B023 # there is one such task
            tasks.table,
            dividing.some(task.scored, opened.config.seed),
            rows[aside][: dividing.MOST_IN_MEMORY],
        )


def _measure(opened: Opened, asked: _Asked, on_change: Callable[[int], object]) -> list[Changed]:
    path = opened.folder("robustness") / f"{asked.scorer.name}_{asked.scorer.tap}.csv"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        score_files.write_scores(path, _score(opened, asked, on_change))
    parts = {part.evaluation: part for part in score_files.read_scores(path)}
    if _THRESHOLD not in parts:  # none of these photos could be scored
        return []
    others = np.sort(parts.pop(_THRESHOLD).logit)
    threshold = others[len(others) - 1 - int(MAX_FPR * len(others))]
    found = []
    for change, part in parts.items():
        is_member = figures.membership(part)
        auc = intervals.estimate([part], seed=opened.config.seed, names=[figures.AUC], method="student")[figures.AUC]
        accused = part.logit > threshold
        found.append(
            Changed(asked.name, change, auc, float(accused[~is_member].mean()), float(accused[is_member].mean()))
        )
    return found


def _score(opened: Opened, asked: _Asked, on_change: Callable[[int], object]) -> list[Scores]:
    scorer, seed = asked.open(), opened.config.seed

    def scores(name: str, table: SampleTable, is_member: np.ndarray, faces: np.ndarray) -> Scores:
        logit = scorer(faces, table.people())
        kept = np.flatnonzero(np.isfinite(logit))  # some baselines cannot score everybody
        return Scores(asked.scorer.name, asked.scorer.tap, name, seed, table.take(kept), is_member[kept], logit[kept])

    others = asked.table.take(asked.others)
    found = [scores(_THRESHOLD, others, np.zeros(len(others), bool), frozen.read(opened.run, others)[1])]
    table = asked.table.take(asked.scored[0])
    faces = frozen.read(opened.run, table)[1]
    for change, function in CHANGES.items():
        changed = function(faces, np.random.default_rng([seed, 13]))
        found.append(scores(change, table, asked.scored[1], changed))
        on_change(1)
    return found
