"""MINT+ in an audit: fitted where only membership differs, fold by fold, so that everybody is reported on.

Nobody is scored by what was fitted on that person (`scorers.contract.cross_fit`). MINT+ is asked at several levels
(`mint_plus.LEVELS`), about the person and, where there are unseen photos of the members' own people, about the image.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from mint_keras import formats, score_files, shelf
from mint_keras.aad import views
from mint_keras.aad.observe import observe, run
from mint_keras.audited import engines, zoo
from mint_keras.auditing import look as looks
from mint_keras.auditing.opened import Opened
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, REFERENCE, InputError, Labelled, Observations, SampleTable, Scores
from mint_keras.report import states
from mint_keras.report.states import NOT_POSSIBLE, NOT_RUN, Gap
from mint_keras.scorers import direction, log_odds, mint_plus
from mint_keras.scorers.contract import NUM_FOLDS, Fitted, cross_fit
from mint_keras.statistics import division, findings, verdict
from mint_keras.statistics.rule import UNSEEN_PHOTOS

_TRUTHS = {findings.PERSON: mint_plus.IDENTITY, findings.IMAGE: mint_plus.IMAGE}
_MIN_PEOPLE = math.ceil(mint_plus.MIN_PEOPLE * NUM_FOLDS / (NUM_FOLDS - 1))  # of a side: a fold is not fitted on
_IDS = "sample_id"
_LEVELS = {
    mint_plus.PHOTO: "photo",
    mint_plus.WITH_OTHERS: "photo with others",
    mint_plus.OF_PERSON: "person",
    direction.NAME: "known signs",
    log_odds.NAME: "log-odds",
}


@dataclasses.dataclass(frozen=True)
class Task:
    """One way to ask MINT+: a key of `mint_plus.LEVELS`, a key of `findings.TRUTHS`, and rows of `Tasks.table`.

    Every person has `num_photos` on a side; it is 0 where the number does not matter. Two levels ask no MINT+:
    `direction.NAME` asks for the side that was used, by statistics whose sign no label set, and `log_odds.NAME` for
    what the audited model says beyond its references, with nothing fitted.
    """

    level: str
    truth: str
    num_photos: int
    photos: Labelled

    @property
    def recipe(self) -> mint_plus.MintPlus | direction.Direction | log_odds.LogOdds:
        """MINT+, the known signs or the log-odds, unfitted."""
        if self.level == direction.NAME:
            return direction.Direction()
        is_odds = self.level == log_odds.NAME
        return log_odds.LogOdds() if is_odds else mint_plus.MintPlus(_TRUTHS[self.truth], self.level)

    @property
    def evaluation(self) -> str:
        """How its scores name their samples."""
        return UNSEEN_PHOTOS if self.truth == findings.IMAGE else protocols.SAME_DATABASE

    @property
    def name(self) -> str:
        """How a verdict names it."""
        name = _LEVELS[self.level] if self.level == log_odds.NAME else f"mint plus on {_LEVELS[self.level]}"
        if self.level != mint_plus.PHOTO:
            name = f"{name}, {self.num_photos} photos each"
        return f"{name}, image" if self.truth == findings.IMAGE else name


@dataclasses.dataclass(frozen=True)
class Tasks:
    """What can be asked of MINT+, and what cannot.

    The table has the samples of the run, and behind them the unseen photos of the members' people.
    """

    table: SampleTable
    tasks: Sequence[Task]
    gaps: Sequence[Gap]

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
        samples.check_databases([("", table), (source, wanted)])
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
        of_person, why = tasks_of_person(run.protocol, opened.spec.seed)
        tasks, missing = [*of_person, *tasks], [*why, *missing]
    # One direction for all levels, from the photos of which most can be said: those of several, if there are any.
    last = {task.truth: task for task in tasks}
    tasks += [dataclasses.replace(task, level=direction.NAME) for task in last.values()]
    if opened.spec.reference:
        tasks += [dataclasses.replace(x, level=log_odds.NAME) for x in last.values() if x.level != mint_plus.PHOTO]
    return Tasks(table, tasks, missing)


def score(opened: Opened, tasks: Tasks, model: str, audited: Path) -> dict[str, Scores]:
    """Returns the scores of every task by its name, through a model in a folder; what is there is read.

    Only the audited model is asked for a direction.
    """
    folder, seed = opened.folder / "mint_plus" / model, opened.spec.seed
    asked = [task for task in tasks.tasks if task.level != direction.NAME or model == AUDITED]
    paths = {task.name: folder / f"{task.truth}_{task.level}.csv" for task in asked}
    missing = [task for task in asked if not paths[task.name].is_file()]
    if missing:
        # All tasks share photos, so every photo passes through the model once.
        rows = np.unique(np.concatenate([task.photos.rows for task in missing]))
        seen = _look(opened, tasks, rows, model, audited)
        folder.mkdir(parents=True, exist_ok=True)
        for task in missing:
            shown = seen.take(np.searchsorted(rows, task.photos.rows))
            part = cross_fit(task.recipe, shown, task.photos.is_member, task.evaluation, seed, model)
            score_files.write_scores(paths[task.name], [part])
    return {name: score_files.read_scores(path)[0] for name, path in paths.items()}


def open_scorer(opened: Opened, tasks: Tasks, task: Task, fitted_on: Labelled) -> Fitted:
    """Returns MINT+, fitted for a task on some rows of the table, as a function of faces, through the audited model."""
    audited = opened.run.spec.audited
    known = _look(opened, tasks, fitted_on.rows, AUDITED, audited)
    fitted = task.recipe.fit(known, fitted_on.is_member, opened.spec.seed)
    # References see faces of the run's size, see `check_references`.
    references = _references(opened)
    beside = {name: looks.embedder(path, len(references) == 1) for name, path in references.items()}
    own = views.face_function(_network(audited), opener=engines.opener([opened.run.aad.engine]))

    def score_faces(shown: Observations) -> np.ndarray:
        faces = shown[images.PIXELS]
        seen = Observations(shown.table, run(own, faces))
        for name, function in beside.items():
            seen = seen.adding(**looks.as_reference(name, run(function, faces)))
        return fitted(seen)

    return score_faces


def check_references(opened: Opened) -> None:
    """Raises InputError if a reference is the audited model, or sees faces of another size."""
    run = opened.run.spec
    for folder in opened.spec.reference:
        same = (formats.sha256_file(shelf.find(path) / formats.MODEL) for path in (folder, run.audited))
        if len(set(same)) == 1:
            raise InputError(f"Expected --reference to be other networks than the audited one, received {folder}.")
        if (framing := zoo.framing(folder, run.native_resolution)) != run.framing:
            raise InputError(
                f"Expected --reference {folder} to see {run.framing}, as the run does, received {framing}."
            )


def _network(folder: Path) -> keras.Model:
    return zoo.load_audited(folder, zoo.kind_of(folder))


def _references(opened: Opened) -> dict[str, Path]:
    return {f"{REFERENCE}_{path.name}": path for path in opened.spec.reference}


def _look(opened: Opened, tasks: Tasks, rows: np.ndarray, model: str, folder: Path) -> Observations:
    """Returns what a model gives MINT+ for rows of the table, beside the references' embeddings.

    Each sees faces of its own size. Of a reference there is what `_embedded` gives.

    Raises:
        InputError: if a photo cannot be read, because rows are found by their place.
    """
    table, native = tasks.table.take(rows), opened.run.spec.native_resolution
    if model.startswith(REFERENCE):
        return Observations(table, _embedded(opened, tasks, rows, model))
    function = views.face_function(_network(folder), opener=engines.opener([opened.run.aad.engine]))
    seen = observe(table, function, zoo.framing(folder, native))
    if len(seen) < len(table):
        raise InputError(f"Expected {len(table)} photos that can be read, received {len(seen)}.")
    for name in _references(opened):
        seen = seen.adding(**looks.as_reference(name, _embedded(opened, tasks, rows, name)))
    return seen


def _embedded(opened: Opened, tasks: Tasks, rows: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Returns a reference's embeddings of rows of the table that tasks ask for; what is there is read.

    The audited model and every control are looked at beside all references. A single one is shown views, too: of
    several shadows the embeddings say enough.
    """
    asked = np.unique(np.concatenate([task.photos.rows for task in tasks.tasks]))
    references, native = _references(opened), opened.run.spec.native_resolution

    def make() -> dict[str, np.ndarray]:
        seen = looks.embed(references[name], tasks.table.take(asked), native, len(references) == 1)
        return {**seen.arrays, _IDS: np.asarray(seen.table.sample_id.tolist())}

    def write(path: Path, found: dict[str, np.ndarray]) -> None:
        with formats.atomic_path(path) as temporary:
            np.savez(temporary, **found)  # type: ignore[arg-type]

    def read(path: Path) -> dict[str, np.ndarray]:
        with np.load(path, allow_pickle=False) as found:
            place = {sample_id: k for k, sample_id in enumerate(found[_IDS].tolist())}
            chosen = [place[sample_id] for sample_id in tasks.table.sample_id[rows].tolist()]
            return {key: found[key][chosen] for key in found.files if key != _IDS}

    return formats.kept(opened.folder / "mint_plus" / name / "embeddings.npz", make, write, read)


def tasks_of_person(protocol: protocols.Protocol, seed: int) -> tuple[list[Task], list[Gap]]:
    """Returns the tasks about persons, members against other people of their database, and what cannot be asked.

    Args:
        protocol: A protocol with such people.
        seed: Seeds the choice of photos.
    """
    people, photos = protocol.table.people(), division.of_reference(protocol)
    num = min(len(np.unique(people[photos.rows[side]])) for side in (photos.is_member, ~photos.is_member))
    if num < _MIN_PEOPLE:
        why = f"there are {num} people of a side, and it wants {_MIN_PEOPLE}."
        return [], [Gap(states.PLUS, NOT_POSSIBLE, why)]
    single = Task(mint_plus.PHOTO, findings.PERSON, 0, photos)
    several = _equal(photos, people, protocol.table.sample_id, seed)
    if several is None:
        why = "too few people on a side have two photos in the run."
        return [single], [Gap(states.PERSONS, NOT_POSSIBLE, why)]
    return [single, Task(mint_plus.OF_PERSON, findings.PERSON, *several)], []  # beside others is the same


def _about_images(opened: Opened, table: SampleTable, unseen: np.ndarray) -> tuple[list[Task], list[Gap]]:
    """Returns the tasks about images: members' photos against unseen ones of the same people."""
    if not len(unseen):
        why = "no unseen photos of the members' people (--unseen-photos)."
        return [], [Gap(states.UNSEEN, NOT_RUN, why)]
    part, people = opened.run.protocol.part, table.people()
    used = np.flatnonzero(np.isin(part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)))
    photos = Labelled(np.concatenate([used, unseen]), np.arange(len(used) + len(unseen)) < len(used))
    # A person on one side only would make it a question about persons.
    photos = photos.where(np.isin(people[photos.rows], np.intersect1d(people[used], people[unseen])))
    several = _equal(photos, people, table.sample_id, opened.spec.seed)
    if several is None:
        num = len(np.unique(people[photos.rows]))
        why = f"{num} people have photos on both sides in the run, too few of them two of each."
        return [], [Gap(states.UNSEEN, NOT_POSSIBLE, why)]
    return [Task(level, findings.IMAGE, *several) for level in (mint_plus.PHOTO, mint_plus.WITH_OTHERS)], []


def _equal(photos: Labelled, people: np.ndarray, sample_id: np.ndarray, seed: int) -> tuple[int, Labelled] | None:
    """Returns as many photos of every person on every side, with their number; None if there are too few people."""
    for least in (verdict.MIN_PEOPLE, _MIN_PEOPLE):  # rather few photos of enough people than many of too few
        num, chosen = division.equal_photos(photos, least, people, sample_id, seed)
        if num:
            return num, chosen
    return None
