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
from mint_keras.audited import zoo
from mint_keras.data import protocol as protocols
from mint_keras.data import samples
from mint_keras.records import InputError, SampleTable, Scores
from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import PERSON, Features
from mint_keras.stages import mint_options
from mint_keras.stages.audit import dividing, frozen
from mint_keras.stages.audit.dividing import Side
from mint_keras.stages.audit.opened import Opened
from mint_keras.statistics import findings, verdict

SCORER = "mint_plus"
UNSEEN_PHOTOS = "unseen_photos"  # how scores name the comparison of members' photos with unseen ones of the same people
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
    fitted_on: Side
    scored: Side

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
    division, seed = opened.division, opened.config.seed
    of_person = tasks_of_person(opened.run.protocol, division, seed) if opened.has_reference else ([], [])
    for tasks, why in (of_person, _of_image(opened, table, unseen)):
        found += tasks
        missing += why
    return Tasks(table, found, missing)


def score(opened: Opened, tasks: Tasks, model: str, audited: Path) -> dict[str, Scores]:
    """Returns the scores of every task through a model, by the task's name; what is there is read.

    Args:
        opened: the audit.
        tasks: of `plan`.
        model: name of the model, for its folder.
        audited: its folder.
    """
    folder = opened.folder("mint_plus") / model
    paths = {task.name: folder / f"{task.truth}_{task.level}.csv" for task in tasks.tasks}
    missing = [task for task in tasks.tasks if not paths[task.name].is_file()]
    if missing:
        rows = np.unique(np.concatenate([rows for task in missing for rows in (task.fitted_on[0], task.scored[0])]))
        features = _read(opened, tasks.table.take(rows), audited)
        for task in missing:
            part = score_features(task, tasks.table, rows, features, opened.config.seed)
            folder.mkdir(parents=True, exist_ok=True)
            score_files.write_scores(paths[task.name], [part])
    return {name: score_files.read_scores(path)[0] for name, path in paths.items()}


def score_features(task: Task, table: SampleTable, rows: np.ndarray, features: Features, seed: int) -> Scores:
    """Fits MINT+ for a task, and scores whom it asks about.

    Args:
        task: of `plan`.
        table: all samples.
        rows: of the table, sorted, those of the task among them.
        features: of these rows.
        seed: of the folds.
    """
    scored, is_member = task.scored
    logit = fit(task, rows, features, seed)(_take(features, rows, scored))
    return Scores(SCORER, task.level, task.evaluation, seed, table.take(scored), is_member, logit)


def fit(task: Task, rows: np.ndarray, features: Features, seed: int) -> mint_plus.MintPlus:
    """Fits MINT+ for a task.

    Args:
        task: of `plan`.
        rows: of the table, sorted, those of `task.fitted_on` among them.
        features: of these rows.
        seed: of the folds.
    """
    known, is_member = task.fitted_on
    return mint_plus.fit(_take(features, rows, known), is_member, _TRUTHS[task.truth], task.level, seed=seed)


def open_scorer(opened: Opened, tasks: Tasks, task: Task) -> frozen.FaceScorer:
    """Returns MINT+ as a function of faces, through the audited model."""
    rows = np.unique(task.fitted_on[0])
    audited = opened.run.config.audited
    fitted = fit(task, rows, _read(opened, tasks.table.take(rows), audited), opened.config.seed)
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))
    return lambda faces, people: fitted({**views.run(function, faces), PERSON: people})


def _take(features: Features, there: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    places = np.searchsorted(there, wanted)
    return {name: values[places] for name, values in features.items()}


def _read(opened: Opened, table: SampleTable, audited: Path) -> dict[str, np.ndarray]:
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))
    rows, features = views.read(table, function, framing=mint_options.framing(opened.run.config))
    if len(rows) < len(table):
        raise InputError(f"Expected {len(table)} photos that can be read, received {len(rows)}.")
    return {**features, PERSON: table.people()}


def tasks_of_person(
    protocol: protocols.Protocol, division: dividing.Division, seed: int
) -> tuple[list[Task], list[str]]:
    """Returns the tasks about persons, members against other people of their database, and what cannot be asked.

    Args:
        protocol: with such people.
        division: of them.
        seed: of the choice of photos.
    """
    people, sample_id = protocol.table.people(), protocol.table.sample_id
    known, is_member = dividing.calibration(protocol, division)
    num = min(len(np.unique(people[known[side]])) for side in (is_member, ~is_member))
    if num < mint_plus.MIN_PEOPLE:
        return [], [f"MINT+: {num} people of a side are not reported on, and it wants {mint_plus.MIN_PEOPLE}."]
    rows, truth = protocol.evaluations()[protocols.SAME_DATABASE]
    is_reported = ~np.isin(people[rows], division.validation)
    single = Task(
        mint_plus.PHOTO, findings.PERSON, 0, (known, is_member), (rows[is_reported], truth[is_reported])
    )  # the same photos as the other scorers'
    scored, of_members = dividing.reported(protocol, division)
    several = _equal((known, is_member), (scored, of_members), people, sample_id, seed)
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
    sides = [(both[mask], is_member[mask]) for mask in (~is_reported, is_reported)]
    several = _equal(sides[0], sides[1], people, table.sample_id, opened.config.seed)
    if several is None:
        return [], [
            f"Image membership: {len(np.unique(people[both]))} people have photos on both sides in the run, too few of "
            "them two of each."
        ]
    return [Task(level, findings.IMAGE, *several) for level in (mint_plus.PHOTO, mint_plus.WITH_OTHERS)], []


def _equal(
    fitted_on: Side, scored: Side, people: np.ndarray, sample_id: np.ndarray, seed: int
) -> tuple[int, Side, Side] | None:
    """Returns as many photos of every person on every side, with their number; None if there are too few people."""
    sides = {"fitted on": fitted_on, "scored": scored}
    for num_people in (verdict.MIN_PEOPLE, 2):  # rather few photos of enough people than many of too few
        least = {"fitted on": mint_plus.MIN_PEOPLE, "scored": num_people}
        num, kept = dividing.equal_photos(sides, least, people, sample_id, seed)
        if num:
            return num, kept["fitted on"], kept["scored"]
    return None


def _with_unseen_photos(opened: Opened) -> tuple[SampleTable, np.ndarray]:
    """Returns the run's table with the unseen photos of its members' people behind it, and their rows.

    Raises:
        InputError: if none of the photos shows one of these people.
    """
    table, source = opened.run.protocol.table, opened.config.unseen_photos
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
    rows, _ = frozen.read(opened.run, wanted)
    if not len(rows):
        raise InputError(f"Expected unseen photos that are square faces in {source}, received {len(wanted)} others.")
    whole = samples.join([table, wanted.take(rows)])
    return whole, np.arange(len(table), len(whole))


def _used(opened: Opened) -> np.ndarray:
    """Returns the samples that were used, as far as is known: of the run, and of the list beside the model."""
    listed = opened.run.config.audited / formats.MEMBERS
    known = [opened.run.protocol.table.sample_id]
    if listed.is_file():
        known.append(samples.list_samples(str(listed)).sample_id)
    return np.concatenate(known)
