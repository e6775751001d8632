"""What photos say: single ones, several of one person, and photos that were changed after the training."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mint_keras import formats, progress, score_files, streams
from mint_keras.auditing import plus
from mint_keras.auditing.opened import Opened, open_scorer
from mint_keras.auditing.report import MAX_FPR, Changed
from mint_keras.data import images, splits
from mint_keras.data import protocol as protocols
from mint_keras.data.changes import CHANGES
from mint_keras.records import (
    AUDITED,
    InputError,
    Labelled,
    NoSamplesError,
    Observations,
    RefusedError,
    SampleTable,
    Scores,
)
from mint_keras.report.states import CHANGED, NOT_POSSIBLE, NOT_RUN, Gap
from mint_keras.scorers import mint_plus
from mint_keras.scorers.contract import Fitted
from mint_keras.statistics import bounds, conformal, division, figures, intervals, paired, person, verdict
from mint_keras.statistics.selection import Candidate

_MAX_PHOTOS = 8
_THRESHOLD = "threshold"  # how scores name the photos that fix it
_PLUS = "mint plus on photo"
_UNCHECKED = "no p-values without externals of another database and held-out people to check them on."


def power_curves(opened: Opened, tasks: plus.Tasks) -> dict[str, list[person.CurvePoint]]:
    """Returns by scorer of single photos what 1, 2, ... photos of a person say by their mean.

    Args:
        opened: The audit. Without other people of the members' database there is no curve.
        tasks: What `plus.plan` returned, scored through the audited model already.
    """
    if not opened.has_reference:
        return {}
    own = opened.scorer.parts(opened.scores, protocols.SAME_DATABASE)
    reported = {str(opened.scorer): opened.division.reported(own)}
    scores = plus.score(opened, tasks, AUDITED, opened.run.spec.audited)
    reported |= {task.name: [scores[task.name]] for task in tasks.photo_of_person}
    found = {}
    for name, parts in reported.items():
        people, num = parts[0].samples.people(), _MAX_PHOTOS
        # As many photos as enough people of both sides have.
        for side in (figures.membership(parts[0]), ~figures.membership(parts[0])):
            counts = np.sort(np.unique(people[side], return_counts=True)[1])[::-1]
            num = min(num, int(counts[verdict.MIN_PEOPLE - 1]) if len(counts) >= verdict.MIN_PEOPLE else 0)
        if num:
            found[name] = person.power_curve(parts, num, seed=opened.spec.seed)
    return found


def accusations(opened: Opened) -> str:
    """Says what may be said of single photos, calibrated on externals the head never saw, checked on other people."""
    main, scorer = opened.run.protocol.main_evaluation, opened.scorer
    claimed, familiar = scorer.parts(opened.scores, main), scorer.parts(opened.scores, protocols.FAMILIAR)
    if main == protocols.SAME_DATABASE or not claimed or not familiar:
        return f"Single photos: {_UNCHECKED}"
    part, others = claimed[0], familiar[0]
    externals, held_out = paired.take(part, ~figures.membership(part)), paired.take(others, figures.membership(others))
    # They were claimed to be members for the evaluation, and are none.
    held_out = dataclasses.replace(held_out, is_member=np.zeros(len(held_out.logit), bool))
    training = opened.run.protocol.table.take(opened.run.protocol.training_rows().rows).people()
    try:
        calibration = conformal.verify(conformal.calibrate(externals, training), held_out, training)
    except InputError as error:
        why = f"no p-values. {error}"
        return f"Single photos: {why}"
    assert calibration.validity is not None  # noqa: S101 # just measured
    said = [f"Single photos: {calibration.validity.describe()}"]
    if calibration.validity.is_valid:
        # Photos of one person are no independent trials, so that everybody counts with one of them.
        p = conformal.p_values(calibration, part.logit[figures.one_photo_each(part, figures.membership(part))])
        alpha, num_selected = calibration.validity.alpha, int(conformal.select(p).sum())
        found = bounds.exact_interval(int((p <= alpha).sum()), len(p))
        said += [
            f"Of {len(p)} claimed members, by one photo each (the first by name, whatever it scores), {num_selected} "
            f"stand out at a false discovery rate of {conformal.FDR:g}; a p-value of at most {alpha:g} has {found} of "
            "them (exact 95% interval over people).",
            conformal.MARGINAL,
            conformal.describe_floor(calibration, len(p)),
            conformal.describe_risk(opened.spec.prevalence, found.low, calibration.validity.high),
        ]
    return " ".join(said)


class _Asked(NamedTuple):
    """A scorer that never changes, `scored` rows of a table, and rows of others, who fix its threshold."""

    name: str
    scorer: Candidate
    open: Callable[[], Fitted]
    table: SampleTable
    scored: Labelled
    others: np.ndarray


def changed(opened: Opened, tasks: plus.Tasks) -> tuple[list[Changed], list[Gap]]:
    """Returns how the run's scorer and MINT+ do on photos that were changed, and what was not measured.

    A re-upload changes photos, and so does a developer who hides.
    """
    if not opened.spec.robustness:
        return [], [Gap(CHANGED, NOT_RUN, "not asked for (--robustness).")]
    asked = list(_asked(opened, tasks))
    found: list[Changed] = []
    refused: dict[str, str] = {}
    with progress.bar(total=len(asked) * len(CHANGES), desc="changes") as bar:
        for single in asked:
            try:
                found += _measure(opened, single, bar.update)
            except RefusedError as error:  # the run's engine is not here: that must not take the verdict with it
                refused[single.name] = str(error)
    made = {one.scorer for one in found}
    lacking = [name for name in (str(opened.scorer), _PLUS) if name not in made]
    why = {name: f"by {name}: too few people to fix a threshold on." for name in lacking}
    why |= {name: f"by {name}: {reason}" for name, reason in refused.items()}
    return found, [Gap(CHANGED, NOT_POSSIBLE, why[name]) for name in lacking]


def _asked(opened: Opened, tasks: plus.Tasks) -> Iterator[_Asked]:
    """Yields the run's scorer, and MINT+ for single photos of persons.

    Thresholds are fixed on people who are no members, and are neither fitted to nor reported on.
    """
    protocol, seed = opened.run.protocol, opened.spec.seed
    compared = protocol.evaluations()[protocols.SAME_DATABASE if opened.has_reference else protocol.main_evaluation]
    is_chooser = np.isin(protocol.table.people()[compared.rows], opened.division.validation)
    yield _Asked(
        str(opened.scorer),
        opened.scorer,
        lambda: open_scorer(opened.run, opened.scorer),
        protocol.table,
        division.limited(compared.where(~is_chooser), seed),
        compared.rows[is_chooser & ~compared.is_member][: division.MOST_IN_MEMORY],
    )
    for task in tasks.photo_of_person:
        people = tasks.table.people()[task.photos.rows]
        # Changed photos are scored by one fit, and not fold by fold: some people are fitted on, others are scored.
        known = splits.folds_of_people(people, task.photos.is_member, 2, seed)[0][0]
        is_known = np.isin(np.arange(len(people)), known)
        fitted_on, names = task.photos.where(is_known), people[is_known]
        if len(np.unique(names[~fitted_on.is_member])) < 2 * mint_plus.MIN_PEOPLE:
            return
        # Half of the externals who would be fitted on fix the threshold.
        aside = np.zeros(len(names), bool)
        others = ~fitted_on.is_member
        aside[others] = splits.split_people(names[others], 0.5, streams.stream(seed, streams.THRESHOLD))
        yield _Asked(
            _PLUS,
            Candidate(mint_plus.NAME, task.level),
            functools.partial(plus.open_scorer, opened, tasks, task, fitted_on.where(~aside)),
            tasks.table,
            division.limited(task.photos.where(~is_known), seed),
            fitted_on.rows[aside][: division.MOST_IN_MEMORY],
        )


def _measure(opened: Opened, asked: _Asked, on_change: Callable[[int], object]) -> Iterator[Changed]:
    """Yields how a scorer does on every change; what is there is read."""
    seed, framing = opened.spec.seed, opened.run.spec.framing

    def make() -> list[Scores]:
        scorer, others, table = asked.open(), asked.table.take(asked.others), asked.table.take(asked.scored.rows)
        logit = scorer(Observations(others, {images.PIXELS: images.read_faces(others, framing)[1]}))
        scores = [asked.scorer.scored(others, logit, np.zeros(len(others), bool), _THRESHOLD, seed)]
        faces = images.read_faces(table, framing)[1]
        for change, function in CHANGES.items():
            # Every change from the same stream, so that none depends on which others there are.
            shown = function(faces, streams.stream(seed, streams.CHANGES))
            logit = scorer(Observations(table, {images.PIXELS: shown}))
            scores.append(asked.scorer.scored(table, logit, asked.scored.is_member, change, seed))
            on_change(1)
        return scores

    path = opened.folder / "robustness" / f"{asked.scorer.name}_{asked.scorer.tap}.csv"
    try:
        kept = formats.kept(path, make, score_files.write_scores, score_files.read_scores)
    except NoSamplesError:
        return
    parts = {part.evaluation: part for part in kept}
    if _THRESHOLD not in parts:  # none of these photos could be scored
        return
    others = np.sort(parts.pop(_THRESHOLD).logit)
    threshold = others[len(others) - 1 - int(MAX_FPR * len(others))]
    for change, part in parts.items():
        is_member, accused = figures.membership(part), part.logit > threshold
        auc = intervals.estimate([part], seed=seed, names=[figures.AUC], method="student")[figures.AUC]
        yield Changed(asked.name, change, auc, float(accused[~is_member].mean()), float(accused[is_member].mean()))
