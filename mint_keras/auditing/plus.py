"""MINT+ in an audit: fitted where only membership differs, on people who are not reported on; it scores the others.

It is asked at several levels (`mint_plus.LEVELS`), about the person and, where there are unseen photos of the members'
own people, about the image.
"""

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
from mint_keras.scorers.contract import Fitted
from mint_keras.statistics import division, findings, verdict
from mint_keras.statistics.rule import UNSEEN_PHOTOS

_TRUTHS = {findings.PERSON: mint_plus.IDENTITY, findings.IMAGE: mint_plus.IMAGE}
_LEVELS = {mint_plus.PHOTO: "photo", mint_plus.WITH_OTHERS: "photo with others", mint_plus.OF_PERSON: "person"}


@dataclasses.dataclass(frozen=True)
class Task:
    """One way to ask MINT+: a key of `mint_plus.LEVELS`, a key of `findings.TRUTHS`, and rows of `Tasks.table`.

    Every person has `num_photos` on a side; it is 0 where the number does not matter.
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
    """What can be asked of MINT+, and sentences about what cannot.

    The table has the samples of the run, and behind them the unseen photos of the members' people.
    """

    table: SampleTable
    tasks: Sequence[Task]
    not_measured: Sequence[str]

    @property
    def photo_of_person(self) -> list[Task]:
        """The task about persons by single photos, if it can be asked."""
        return [task for task in self.tasks if (task.truth, task.level) == (findings.PERSON, mint_plus.PHOTO)]


def plan(opened: Opened) -> Tasks:
    """Returns what there are enough people for.

    Raises:
        InputError: if unseen photos were named, and none of them shows people of the members or is a face.
    """
    run, source = opened.run, opened.spec.unseen_photos
    table, unseen = run.protocol.table, np.empty(0, int)
    if source:
        given, listed = samples.list_samples(source), run.spec.model_folder / formats.MEMBERS
        members = table.people()[np.isin(run.protocol.part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS))]
        # What was used, as far as is known: the run's samples, and the list beside the model.
        used = [table.sample_id, *([samples.list_samples(str(listed)).sample_id] if listed.is_file() else [])]
        wanted = given.take(np.isin(given.people(), members) & ~np.isin(given.sample_id, np.concatenate(used)))
        if not len(wanted):
            raise InputError(
                f"Expected unseen photos of the members' people, such as {str(members[0])!r}, in {source}, received "
                f"only photos that were used, or of people such as {str(given.people()[0])!r}."
            )
        rows, _ = images.read_faces(wanted, run.spec.framing)
        if not len(rows):
            raise InputError(
                f"Expected unseen photos that are square faces in {source}, received {len(wanted)} others."
            )
        table = samples.join([table, wanted.take(rows)])
        unseen = np.arange(len(run.protocol.table), len(table))
    tasks, missing = _about_images(opened, table, unseen)
    if opened.has_reference:
        of_person, why = tasks_of_person(run.protocol, opened.division, opened.spec.seed)
        tasks, missing = [*of_person, *tasks], [*why, *missing]
    return Tasks(table, tasks, missing)


def score(opened: Opened, tasks: Tasks, model: str, audited: Path) -> dict[str, Scores]:
    """Returns the scores of every task by its name, through a model in a folder; what is there is read."""
    folder, seed = opened.folder / "mint_plus" / model, opened.spec.seed
    paths = {task.name: folder / f"{task.truth}_{task.level}.csv" for task in tasks.tasks}
    missing = [task for task in tasks.tasks if not paths[task.name].is_file()]
    if missing:
        # All tasks share photos, so every photo passes through the model once.
        rows = np.unique(np.concatenate([rows for task in missing for rows in (task.fitted_on.rows, task.scored.rows)]))
        seen = _look(opened, tasks.table.take(rows), audited)
        folder.mkdir(parents=True, exist_ok=True)
        for task in missing:
            shown = seen.take(np.searchsorted(rows, task.scored.rows))
            logit = _fit(task, rows, seen, seed)(shown)
            named = (mint_plus.NAME, task.level, task.evaluation, seed)
            part = Scores(*named, shown.table, task.scored.is_member, logit, model)
            score_files.write_scores(paths[task.name], [part])
    return {name: score_files.read_scores(path)[0] for name, path in paths.items()}


def open_scorer(opened: Opened, tasks: Tasks, task: Task) -> Fitted:
    """Returns MINT+ as a function of faces, through the audited model."""
    rows, audited = np.unique(task.fitted_on.rows), opened.run.spec.audited
    fitted = _fit(task, rows, _look(opened, tasks.table.take(rows), audited), opened.spec.seed)
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))
    return lambda shown: fitted(Observations(shown.table, run(function, shown[images.PIXELS])))


def _fit(task: Task, rows: np.ndarray, seen: Observations, seed: int) -> mint_plus.FittedMintPlus:
    """Fits MINT+ for a task, on observations of these sorted rows of the tasks' table."""
    recipe = mint_plus.MintPlus(_TRUTHS[task.truth], task.level)
    return recipe.fit(seen.take(np.searchsorted(rows, task.fitted_on.rows)), task.fitted_on.is_member, seed)


def _look(opened: Opened, table: SampleTable, audited: Path) -> Observations:
    """Returns what a model gives MINT+ for samples."""
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))
    seen = observe(table, function, opened.run.spec.framing)
    # Rows are found by their place, so none may be missing.
    if len(seen) < len(table):
        raise InputError(f"Expected {len(table)} photos that can be read, received {len(seen)}.")
    return seen


def tasks_of_person(
    protocol: protocols.Protocol, divided: division.Division, seed: int
) -> tuple[list[Task], list[str]]:
    """Returns the tasks about persons, members against other people of their database, and what cannot be asked.

    Args:
        protocol: A protocol with such people.
        divided: The division that says who of them is reported on.
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


def _about_images(opened: Opened, table: SampleTable, unseen: np.ndarray) -> tuple[list[Task], list[str]]:
    """Returns the tasks about images: members' photos against unseen ones of the same people."""
    if not len(unseen):
        return [], ["Image membership: no unseen photos of the members' people (--unseen-photos)."]
    part, people = opened.run.protocol.part, table.people()
    used = np.flatnonzero(np.isin(part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)))
    photos = Labelled(np.concatenate([used, unseen]), np.arange(len(used) + len(unseen)) < len(used))
    # A person on one side only would make it a question about persons.
    photos = photos.where(np.isin(people[photos.rows], np.intersect1d(people[used], people[unseen])))
    tested = people[: len(part)][part == protocols.TEST_MEMBERS]
    is_reported = np.isin(people[photos.rows], np.setdiff1d(tested, opened.division.validation))
    several = _equal(photos.where(~is_reported), photos.where(is_reported), people, table.sample_id, opened.spec.seed)
    if several is None:
        num = len(np.unique(people[photos.rows]))
        return [], [
            f"Image membership: {num} people have photos on both sides in the run, too few of them two of each."
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
