"""Stage: what MINT+ finds on audited models that were trained for this, by level and truth, with an ablation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from mint_keras import formats, score_files
from mint_keras.aad import views
from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.commands.train_audited import TrainAudited, train_audited
from mint_keras.data import images, splits, synthetic, tables
from mint_keras.records import InputError, SampleTable, Scores, concatenate_tables
from mint_keras.report import tables as report_tables
from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import EMBEDDING_NORM, OUTCOME, PERSON
from mint_keras.scorers.ingredients import REFERENCE
from mint_keras.stages.progress import pace
from mint_keras.statistics import figures, intervals, paired, person
from mint_keras.statistics.intervals import Estimate

KIND = "mint_plus_worlds"
RESULTS, TEXT = "mint_plus.json", "mint_plus.md"
FEATURES = "features.npz"
_DATABASE = "web"
_NOT_CONTENT = ("out", "audited", "num_worlds", "reference", "ablate", "overwrite", "quiet")
ALL_PHOTOS = "all_photos"  # how scores of single photos name everybody's: used ones are the members
NOBODY = "nobody"  # a truth for control: half of those who were kept out are claimed to be members
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of the results.

    Attributes:
        truth: `mint_plus.IDENTITY`, `mint_plus.IMAGE` or `NOBODY`.
        level: a key of `mint_plus.LEVELS`.
        meaning: for the table.
    """

    truth: str
    level: str
    meaning: str

    @property
    def name(self) -> str:
        """Names its scores."""
        return f"{self.truth}_{self.level}"


MEASURES = (
    Measure(mint_plus.IDENTITY, mint_plus.PHOTO, "was this person used: one photo"),
    Measure(mint_plus.IDENTITY, mint_plus.WITH_OTHERS, "one photo, beside the person's others"),
    Measure(mint_plus.IDENTITY, mint_plus.OF_PERSON, "the person, by all photos"),
    Measure(mint_plus.IMAGE, mint_plus.PHOTO, "was this photo used, of a person who was: one photo"),
    Measure(mint_plus.IMAGE, mint_plus.WITH_OTHERS, "one photo, beside the person's others"),
    Measure(NOBODY, mint_plus.PHOTO, "nobody was used: one photo"),
    Measure(NOBODY, mint_plus.OF_PERSON, "nobody was used: the person"),
)


@dataclasses.dataclass(frozen=True)
class MeasurePlus:
    """Options of measure_plus.py.

    Attributes:
        out: folder for mint_plus.json and mint_plus.md, and the worlds behind them: an audited model, features and
            scores each.
        audited: folders of models that were trained on lab faces, in place of training some, so that the options of
            training have no effect. As many more photos of their members as they were trained on are drawn.
        num_worlds: audited models to train, each on other drawn people, with other seeds.
        people: of each world; half of them are trained on, at random.
        photos: of each person: so many are trained on, and as many more of the same people are not.
        arch: of the audited models, see train_audited.py.
        resolution: of the faces in pixels.
        loss: margin of the training.
        epochs: of the training.
        flips: mirror half of the photos at random in training; without it nothing is augmented.
        reference: folder of an audited model that was not trained on these people: the outcome is compared with its.
        ablate: also leave out every ingredient in turn, add every other one, and take each alone. Takes ten times as
            long.
        seed: of everything.
        overwrite: replace what --out holds.
        quiet: no progress bars.
    """

    out: Path
    audited: tuple[Path, ...] = ()
    num_worlds: int = 3
    people: int = 600
    photos: int = 8
    arch: str = "small"
    resolution: int = 112
    loss: Literal["arcface", "cosface"] = "arcface"
    epochs: int = 20
    flips: bool = False
    reference: Path | None = None
    ablate: bool = False
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def measure_plus(config: MeasurePlus) -> str:
    """Trains the worlds that are missing, and measures MINT+ on people of theirs whom nothing was fitted on.

    Raises:
        InputError: for options that make no world.
        RefusedError: if --out was made with others.
    """
    if (num := len(config.audited) or config.num_worlds) < 1:
        raise InputError("Expected at least one world, received none.")
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_CONTENT}
    named = {f"audited {folder}": folder for folder in config.audited}
    named |= {} if config.reference is None else {"reference": config.reference}
    inputs = {name: formats.sha256_file(folder / formats.MODEL) for name, folder in named.items()}
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        bar = tqdm(range(1, num + 1), desc="worlds", disable=config.quiet, **pace())
        worlds = [_world(config, number) for number in bar]
        rows = {measure.name: [world[measure.name] for world in worlds] for measure in MEASURES}
        norms = {measure.name: [world[_norm_of(measure)] for world in worlds] for measure in MEASURES}
        ablation = _ablation(config, num) if config.ablate else {}
        content = {
            "mint_plus": {name: _estimate(parts, config.seed) for name, parts in rows.items()},
            EMBEDDING_NORM: {name: _estimate(parts, config.seed) for name, parts in norms.items()},
            "by_world": {name: [_auc(part) for part in parts] for name, parts in rows.items()},
            "several_photos": _several_photos([world[ALL_PHOTOS] for world in worlds], config.seed),
            "ablation": ablation,
        }
        said = render(content)
        formats.write_json(config.out / RESULTS, content)
        formats.write_text(config.out / TEXT, said)
    return f"{said}\nWritten: {config.out / RESULTS}, {TEXT}"


def _folder(config: MeasurePlus, number: int) -> Path:
    return config.out / f"world_{number}"


def _world(config: MeasurePlus, number: int) -> dict[str, Scores]:
    """Returns the scores of a world by the name of their measure; of the embedding's length as well."""
    path = _folder(config, number) / "scores.parquet"
    if not path.is_file():
        seen = _see(config, number)
        found = [part for measure in MEASURES for part in _score(config, number, measure, seen)]
        found.append(_score_all_photos(config, number, seen))
        score_files.write_scores(path, found)
    return {part.evaluation: part for part in score_files.read_scores(path)}


@dataclasses.dataclass(frozen=True)
class _Seen:
    """Photos of a world, n rows: what they show to MINT+, and who was trained on.

    Attributes:
        table: the photos: of those trained on as many that were used as were not, and of the others as many as used.
        features: (n, ...) by name, the people among them.
        is_member: the person was trained on, (n,).
        is_used: the photo was, (n,).
    """

    table: SampleTable
    features: dict[str, np.ndarray]
    is_member: np.ndarray
    is_used: np.ndarray

    def take(self, rows: np.ndarray) -> _Seen:
        """Returns the given rows."""
        features = {name: values[rows] for name, values in self.features.items()}
        return _Seen(self.table.take(rows), features, self.is_member[rows], self.is_used[rows])


def _model(config: MeasurePlus, number: int) -> Path:
    """Returns the folder of a world's audited model, trained if it has to be."""
    if config.audited:
        return config.audited[number - 1]
    out = _folder(config, number) / "model"
    train_audited(
        TrainAudited(
            f"{synthetic.PREFIX}{1000 * config.seed + number}/{_DATABASE}/0-{config.people - 1}/{config.photos}", out,
            arch=config.arch, resolution=config.resolution, loss=config.loss, epochs=config.epochs, batch_size=64,
            no_flips=not config.flips, seed=config.seed + number, quiet=True,
        )
    )  # fmt: skip
    return out


def _see(config: MeasurePlus, number: int) -> _Seen:
    model = _model(config, number)
    members, held_out = (tables.read_samples(model / name) for name in (formats.MEMBERS, formats.HELD_OUT))
    place, _, photos = str(formats.read_manifest(model, zoo.KIND)["config"].get("data")).rpartition("/")
    if not synthetic.is_synthetic(place):
        raise InputError(f"Expected a model trained on lab faces, of whom more can be drawn, received {model}.")
    everything = synthetic.sample_table(f"{place}/{2 * int(photos)}")
    is_of_member = np.isin(everything.people(), members.people())
    unseen = everything.take(is_of_member & ~np.isin(everything.sample_id, members.sample_id))
    table = concatenate_tables([members, unseen, held_out])
    is_used = np.arange(len(table)) < len(members)
    is_member = np.arange(len(table)) < len(members) + len(unseen)
    features = _features(config, model, _folder(config, number) / FEATURES, table)
    return _Seen(table, {**features, PERSON: table.people()}, is_member, is_used)


def _features(config: MeasurePlus, model: Path, path: Path, table: SampleTable) -> dict[str, np.ndarray]:
    """Returns what the audited model, and the reference, make of the photos; reads the file again if it is there."""
    if not path.is_file():
        _, found = views.read(table, views.face_function(zoo.load_audited(model)), framing=zoo.framing(model))
        if config.reference is not None:
            found[REFERENCE] = _outcomes(config.reference, table)
        arrays: dict[str, Any] = dict(found)
        with formats.atomic_path(path) as temporary:
            np.savez(temporary, **arrays)
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def _outcomes(folder: Path, table: SampleTable) -> np.ndarray:
    forward = runtime.forward(taps.extractor(zoo.load_audited(folder), [taps.OUTCOME]))
    reader = images.FaceReader(zoo.framing(folder))
    parts = [runtime.predict(forward, iresnet.normalise(faces), _BATCH) for _, faces in reader.batches(table, _BATCH)]
    return np.concatenate([part[taps.OUTCOME] for part in parts])


def _sides(measure: Measure, seen: _Seen, seed: int) -> tuple[_Seen, np.ndarray]:
    """Returns the photos of a measure, and who, or which of them, is the member."""
    if measure.truth == mint_plus.IMAGE:
        chosen = seen.take(np.flatnonzero(seen.is_member))
        return chosen, chosen.is_used
    if measure.truth == mint_plus.IDENTITY:
        chosen = seen.take(np.flatnonzero(seen.is_used | ~seen.is_member))
        return chosen, chosen.is_member
    chosen = seen.take(np.flatnonzero(~seen.is_member))
    return chosen, splits.split_people(chosen.features[PERSON], 0.5, np.random.default_rng(seed))


def _halves(config: MeasurePlus, number: int, measure: Measure, seen: _Seen) -> tuple[tuple[_Seen, np.ndarray], ...]:
    """Returns calibration and evaluation."""
    seed = config.seed + number
    chosen, is_member = _sides(measure, seen, seed)
    first = mint_plus.split_calibration(chosen.features[PERSON], is_member, seed)
    return tuple((chosen.take(np.flatnonzero(half)), is_member[half]) for half in (first, ~first))


def _score(config: MeasurePlus, number: int, measure: Measure, seen: _Seen) -> list[Scores]:
    calibration, (shown, is_member) = _halves(config, number, measure, seen)
    fitted = _fit(config, measure, calibration)
    norm = views.log_norm(shown.features[OUTCOME]).astype(np.float32)
    return [
        Scores("mint_plus", measure.level, measure.name, number, shown.table, is_member, fitted(shown.features)),
        Scores(EMBEDDING_NORM, taps.OUTCOME, _norm_of(measure), number, shown.table, is_member, norm),
    ]


def _fit(config: MeasurePlus, measure: Measure, calibration: tuple[_Seen, np.ndarray]) -> mint_plus.MintPlus:
    truth = mint_plus.IMAGE if measure.truth == mint_plus.IMAGE else mint_plus.IDENTITY
    return mint_plus.fit(calibration[0].features, calibration[1], truth, measure.level, seed=config.seed)


def _score_all_photos(config: MeasurePlus, number: int, seen: _Seen) -> Scores:
    """Scores single photos of those who are reported on: members' used and unseen ones, and other people's."""
    measure = MEASURES[0]
    calibration, (evaluation, _) = _halves(config, number, measure, seen)
    rows = np.flatnonzero(np.isin(seen.features[PERSON], evaluation.features[PERSON]))
    shown = seen.take(rows)
    logit = _fit(config, measure, calibration)(shown.features)
    return Scores("mint_plus", measure.level, ALL_PHOTOS, number, shown.table, shown.is_used, logit)


def _several_photos(worlds: Sequence[Scores], seed: int) -> dict[str, list[list[float]]]:
    """Returns what the mean of several photos' scores says: AUC over people by number of photos, in each world.

    Returns:
        "used": of 1, 2, ... photos, a member's all used. "some_used": of as many as there are of everybody, where 0, 1,
        ... of a member's were used, and the others are unseen photos of the same person.
    """
    found: dict[str, list[list[float]]] = {"used": [], "some_used": []}
    for part in worlds:
        is_used = figures.membership(part)
        people = part.samples.people()
        of_members = np.isin(people, people[is_used])
        num = int(np.unique(people[is_used | ~of_members], return_counts=True)[1].min())
        used = person.power_curve([paired.take(part, is_used | ~of_members)], num, seed=seed)
        some = person.mixture_curve([part], num, seed=seed)
        for name, curve in (("used", used), ("some_used", some)):
            found[name].append([point.auc.value for point in curve])
    return found


def _norm_of(measure: Measure) -> str:
    return f"{measure.name}_{EMBEDDING_NORM}"


def _ablation(config: MeasurePlus, num_worlds: int) -> dict[str, dict[str, list[float]]]:
    """Returns by measure and set of ingredients the AUC of the evaluation in each world."""
    found: dict[str, dict[str, list[float]]] = {}
    for measure in (measure for measure in MEASURES if measure.truth != NOBODY):
        of_measure = found.setdefault(measure.name, {})
        for number in range(1, num_worlds + 1):
            path = _folder(config, number) / f"ablation_{measure.name}.json"
            if not path.is_file():
                halves = _halves(config, number, measure, _see(config, number))
                calibration, evaluation = ((half.features, is_member) for half, is_member in halves)
                sets = mint_plus.ablate(calibration, evaluation, measure.truth, measure.level, seed=config.seed)
                formats.write_json(path, {name: one.evaluation_auc for name, one in sets.items()})
            for name, auc in formats.read_json(path).items():
                of_measure.setdefault(name, []).append(auc)
    return found


def _estimate(parts: Sequence[Scores], seed: int) -> dict[str, float]:
    """Returns the mean over worlds, with the interval in which one world would lie."""
    scored = [paired.take(part, np.isfinite(part.logit)) for part in parts]
    found: Estimate = intervals.estimate(scored, seed=seed, names=[figures.AUC], method="student")[figures.AUC]
    return dataclasses.asdict(found)


def _auc(part: Scores) -> float:
    return intervals.plain_figures(paired.take(part, np.isfinite(part.logit)), [figures.AUC])[figures.AUC]


def render(content: dict[str, Any]) -> str:
    """Returns the content of mint_plus.json as Markdown tables."""
    rows = [["truth", "what is asked", "MINT+: AUC, mean of worlds", "each world", "embedding norm"]]
    for measure in MEASURES:
        ours, norm = content["mint_plus"][measure.name], content[EMBEDDING_NORM][measure.name]
        each = " ".join(f"{auc:.3f}" for auc in content["by_world"][measure.name])
        rows.append([measure.truth, measure.meaning, report_tables.interval(ours), each, report_tables.interval(norm)])
    lines = [report_tables.format_table(rows), "", _render_several(content["several_photos"]), ""]
    if content["ablation"]:
        lines += [_render_ablation(content["ablation"]), ""]
    return "\n".join(lines)


def _render_ablation(found: dict[str, dict[str, list[float]]]) -> str:
    """Renders a row for each set of ingredients, a column for each measure; means of the worlds."""
    labels = dict.fromkeys(label for sets in found.values() for label in sets)
    rows = [["ingredients: AUC, mean of worlds", *(name.replace("_", " ") for name in found)]]
    for label in sorted(labels, key=lambda label: label.split()[0]):  # default, only, with, without
        cells = [f"{np.mean(sets[label]):.3f}" if label in sets else "-" for sets in found.values()]
        rows.append([label, *cells])
    return report_tables.format_table(rows)


def _render_several(found: dict[str, list[list[float]]]) -> str:
    """Renders both curves as one table; means of the worlds."""
    used, some = (np.mean(found[name], axis=0) for name in ("used", "some_used"))
    rows = [["photos", "of so many, all used: AUC over people", f"of {len(used)}, so many used: AUC over people"]]
    shown = ["", *(f"{auc:.3f}" for auc in used)]
    rows += [[str(num), shown[num], f"{auc:.3f}"] for num, auc in enumerate(some)]
    return report_tables.format_table(rows)
