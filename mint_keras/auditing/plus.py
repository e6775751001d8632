"""MINT+ in an audit: fitted where only membership differs, on people who are not reported on; it scores the others.

It is asked at several levels (`mint_plus.LEVELS`), about the person and, where there are unseen photos of the members'
own people, about the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats, score_files
from mint_keras.aad import views
from mint_keras.aad.observe import observe, run
from mint_keras.audited import zoo
from mint_keras.auditing.opened import Opened
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, Labelled, Observations, SampleTable, Scores
from mint_keras.scorers import mint_plus
from mint_keras.scorers.protocol import Fitted
from mint_keras.statistics import division, findings, verdict
from mint_keras.statistics.rule import UNSEEN_PHOTOS

_TRUTHS = {findings.PERSON: mint_plus.IDENTITY, findings.IMAGE: mint_plus.IMAGE}
_LEVELS = {mint_plus.PHOTO: "photo", mint_plus.WITH_OTHERS: "photo with others", mint_plus.OF_PERSON: "person"}


@dataclasses.dataclass(frozen=True)
class Task:
    """One way to ask MINT+.

    Attributes:
        level: a key of `mint_plus.LEVELS`.
        truth: a key of `findings.TRUTHS`.
        num_photos: of every person on a side; 0 if it does not matter.
        fitted_on: rows of `Tasks.table`, and membership.
        scored: likewise, of other people.
    """

    level: str
    truth: str
    num_photos: int
    fitted_on: Labelled
    scored: Labelled

    @property
    def evaluation(self) -> str:
        """How its scores name their samples."""
        return UNSEEN_PHOTOS if self.truth == findings.IMAGE else protocols.SAME_DATABASE

    @property
    def name(self) -> str:
        """How a verdict names it."""
        seen = f", {self.num_photos} photos each" if self.level != mint_plus.PHOTO else ""
        whose = ", image" if self.truth == findings.IMAGE else ""
        return f"mint plus on {_LEVELS[self.level]}{seen}{whose}"


@dataclasses.dataclass(frozen=True)
class Tasks:
    """What is asked of MINT+.

    Attributes:
        table: of the run, and unseen photos of members' people.
        tasks: what can be asked.
        not_measured: what cannot, and why.
    """

    table: SampleTable
    tasks: Sequence[Task]
    not_measured: Sequence[str]


def plan(opened: Opened) -> Tasks:
    """Returns what there are enough people for."""
    table, unseen = _with_unseen_photos(opened)
    found, missing = [], []
    asked = [_of_image(opened, table, unseen)]
    if opened.has_reference:
        asked.insert(0, tasks_of_person(opened.run.protocol, opened.division, opened.spec.seed))
    for tasks, why in asked:
        found += tasks
        missing += why
    return Tasks(table, found, missing)


def score(opened: Opened, tasks: Tasks, model: str, audited: Path) -> dict[str, Scores]:
    """Returns the scores of every task through a model, by the task's name; what is there is read.

    Args:
        opened: The audit.
        tasks: What is asked.
        model: The name of the model, for its folder.
        audited: The folder of the model.
    """
    folder = opened.folder / "mint_plus" / model
    paths = {task.name: folder / f"{task.truth}_{task.level}.csv" for task in tasks.tasks}
    missing = [task for task in tasks.tasks if not paths[task.name].is_file()]
    if missing:
        rows = np.unique(np.concatenate([rows for task in missing for rows in (task.fitted_on[0], task.scored[0])]))
        seen = look(opened, tasks.table.take(rows), audited)
        folder.mkdir(parents=True, exist_ok=True)
        for task in missing:
            part = dataclasses.replace(fit_and_score(task, rows, seen, opened.spec.seed), model=model)
            score_files.write_scores(paths[task.name], [part])
    return {name: score_files.read_scores(path)[0] for name, path in paths.items()}


def fit_and_score(task: Task, rows: np.ndarray, seen: Observations, seed: int) -> Scores:
    """Fits MINT+ for a task, and scores whom it asks about.

    Args:
        task: The task.
        rows: Sorted rows of the tasks' table, those of the task among them.
        seen: What a model gave for these rows.
        seed: Seeds the folds.
    """
    shown = seen.take(np.searchsorted(rows, task.scored.rows))
    logit = fit(task, rows, seen, seed)(shown)
    return Scores(mint_plus.NAME, task.level, task.evaluation, seed, shown.table, task.scored.is_member, logit)


def fit(task: Task, rows: np.ndarray, seen: Observations, seed: int) -> mint_plus.FittedMintPlus:
    """Fits MINT+ for a task; see `fit_and_score`."""
    known, is_member = task.fitted_on
    recipe = mint_plus.MintPlus(_TRUTHS[task.truth], task.level)
    return recipe.fit(seen.take(np.searchsorted(rows, known)), is_member, seed)


def open_scorer(opened: Opened, tasks: Tasks, task: Task) -> Fitted:
    """Returns MINT+ as a function of faces, through the audited model."""
    rows, audited = np.unique(task.fitted_on.rows), opened.run.spec.audited
    fitted = fit(task, rows, look(opened, tasks.table.take(rows), audited), opened.spec.seed)
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))
    return lambda shown: fitted(Observations(shown.table, run(function, shown[images.PIXELS])))


def look(opened: Opened, table: SampleTable, audited: Path) -> Observations:
    """Returns what a model gives MINT+ for samples, all of which must be readable."""
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))
    seen = observe(table, function, opened.run.spec.framing)
    if len(seen) < len(table):
        raise InputError(f"Expected {len(table)} photos that can be read, received {len(seen)}.")
    return seen


def tasks_of_person(
    protocol: protocols.Protocol, divided: division.Division, seed: int
) -> tuple[list[Task], list[str]]:
    """Returns the tasks about persons, members against other people of their database, and what cannot be asked.

    Args:
        protocol: A protocol with such people.
        divided: Who of them is reported on.
        seed: Seeds the choice of photos.
    """
    people, sample_id = protocol.table.people(), protocol.table.sample_id
    fitted_on = division.calibration(protocol, divided)
    num = min(len(np.unique(people[fitted_on.rows[side]])) for side in (fitted_on.is_member, ~fitted_on.is_member))
    if num < mint_plus.MIN_PEOPLE:
        return [], [f"MINT+: {num} people of a side are not reported on, and it wants {mint_plus.MIN_PEOPLE}."]
    evaluated = protocol.evaluations()[protocols.SAME_DATABASE]
    # The same photos as the other scorers'.
    reported = evaluated.where(~np.isin(people[evaluated.rows], divided.validation))
    single = Task(mint_plus.PHOTO, findings.PERSON, 0, fitted_on, reported)
    several = _equal(fitted_on, division.reported(protocol, divided), people, sample_id, seed)
    if several is None:
        return [single], ["MINT+ at the level of persons: too few people on a side have two photos in the run."]
    levels = (mint_plus.WITH_OTHERS, mint_plus.OF_PERSON)
    return [single, *(Task(level, findings.PERSON, *several) for level in levels)], []


def _of_image(opened: Opened, table: SampleTable, unseen: np.ndarray) -> tuple[list[Task], list[str]]:
    """Returns the tasks about images: members' photos against unseen ones of the same people."""
    if not len(unseen):
        return [], ["Image membership: no unseen photos of the members' people (--unseen-photos)."]
    part, people = opened.run.protocol.part, table.people()
    used = np.flatnonzero(np.isin(part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)))
    both = np.concatenate([used, unseen])
    is_member = np.arange(len(both)) < len(used)
    on_both = np.isin(people[both], np.intersect1d(people[used], people[unseen]))
    both, is_member = both[on_both], is_member[on_both]
    tested = people[: len(part)][part == protocols.TEST_MEMBERS]
    is_reported = np.isin(people[both], np.setdiff1d(tested, opened.division.validation))
    sides = [Labelled(both, is_member).where(mask) for mask in (~is_reported, is_reported)]
    several = _equal(sides[0], sides[1], people, table.sample_id, opened.spec.seed)
    if several is None:
        return [], [
            f"Image membership: {len(np.unique(people[both]))} people have photos on both sides in the run, too few of "
            "them two of each."
        ]
    return [Task(level, findings.IMAGE, *several) for level in (mint_plus.PHOTO, mint_plus.WITH_OTHERS)], []


def _equal(
    fitted_on: Labelled, scored: Labelled, people: np.ndarray, sample_id: np.ndarray, seed: int
) -> tuple[int, Labelled, Labelled] | None:
    """Returns as many photos of every person on every side, with their number; None if there are too few people."""
    sides = {"fitted on": fitted_on, "scored": scored}
    for num_people in (verdict.MIN_PEOPLE, 2):  # rather few photos of enough people than many of too few
        least = {"fitted on": mint_plus.MIN_PEOPLE, "scored": num_people}
        num, kept = division.equal_photos(sides, least, people, sample_id, seed)
        if num:
            return num, kept["fitted on"], kept["scored"]
    return None


def _with_unseen_photos(opened: Opened) -> tuple[SampleTable, np.ndarray]:
    """Returns the run's table with the unseen photos of its members' people behind it, and their rows.

    Raises:
        InputError: if none of the photos shows one of these people.
    """
    table, source = opened.run.protocol.table, opened.spec.unseen_photos
    if not source:
        return table, np.empty(0, int)
    given = samples.list_samples(source)
    members = np.isin(opened.run.protocol.part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS))
    is_usable = np.isin(given.people(), table.people()[members]) & ~np.isin(given.sample_id, _used(opened))
    if not is_usable.any():
        raise InputError(
            f"Expected unseen photos of the members' people, such as {str(table.people()[members][0])!r}, in {source}, "
            f"received only photos that were used, or of people such as {str(given.people()[0])!r}."
        )
    wanted = given.take(is_usable)
    rows, _ = images.read_faces(wanted, opened.run.spec.framing)
    if not len(rows):
        raise InputError(f"Expected unseen photos that are square faces in {source}, received {len(wanted)} others.")
    whole = samples.join([table, wanted.take(rows)])
    return whole, np.arange(len(table), len(whole))


def _used(opened: Opened) -> np.ndarray:
    """Returns the samples that were used, as far as is known: of the run, and of the list beside the model."""
    listed = opened.run.spec.model_folder / formats.MEMBERS
    known = [opened.run.protocol.table.sample_id]
    if listed.is_file():
        known.append(samples.list_samples(str(listed)).sample_id)
    return np.concatenate(known)
