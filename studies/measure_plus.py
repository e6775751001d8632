r"""Measure MINT+ on audited models that are trained for it: by photo, by person, by truth, with an ablation.

Half of each world's people were trained on. A calibration half of all of them fits the scorer, the others are reported
on. These models have memorised their members: --epochs, --photos and --flips say how the numbers fall where they have
not. An interrupted command continues.

Examples:
    python scripts/measure_plus.py --config scripts/configs/measure_plus.yaml --out runs/goal
    python scripts/measure_plus.py --audited models/lab2 models/lab3 --reference models/lab --out runs/plus-lab
    python scripts/measure_plus.py --arch mini --resolution 48 --epochs 5 --out runs/goal-mini-5
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mint_keras import formats, progress, score_files
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError, Scores
from mint_keras.statistics import figures, intervals

if TYPE_CHECKING:
    from studies.plus.known import KnownPhotos

KIND = "mint_plus_worlds"
RESULTS, TEXT = "mint_plus.json", "mint_plus.md"
FEATURES = "features.npz"
_AUC = figures.AUC
# The options that decide what is trained, and so what --out holds.
_TRAINING = ("people", "photos", "arch", "resolution", "loss", "epochs", "flips", "seed")


@dataclasses.dataclass(frozen=True)
class MeasurePlus(Common):
    """Options of measure_plus.py.

    Attributes:
        out: Folder for mint_plus.json and mint_plus.md, and the worlds behind them: an audited model, features and
            scores each.
        audited: Folders of models that were trained on lab faces, in place of training some, so that the options of
            training have no effect. As many more photos of their members as they were trained on are drawn.
        num_worlds: Audited models to train, each on other drawn people, with other seeds.
        people: People of each world; half of them are trained on, at random.
        photos: Photos of each person: so many are trained on, and as many more of the same people are not.
        arch: Architecture of the audited models, see train_audited.py.
        resolution: Side of the faces in pixels.
        loss: Margin of the training.
        epochs: Passes of the training.
        flips: Mirror half of the photos at random in training; without it nothing is augmented.
        reference: Folder of an audited model that was not trained on these people: the outcome is compared with its.
        ablate: Also leave out every ingredient in turn, add every other one, and take each alone. Takes ten times as
            long.
        seed: Seed of everything.
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


@dataclasses.dataclass(frozen=True)
class PlusFigures(Result):
    """What MINT+ finds.

    Attributes:
        content: The content of mint_plus.json.
    """

    content: dict[str, Any]


def measure_plus(options: MeasurePlus) -> PlusFigures:
    """Trains the worlds that are missing, and measures MINT+ on people of theirs whom nothing was fitted on.

    Raises:
        InputError: for options that make no world.
        RefusedError: if --out was made with others.
    """
    if (num := len(options.audited) or options.num_worlds) < 1:
        raise InputError("Expected at least one world, received none.")
    from mint_keras.scorers import mint_plus
    from mint_keras.scorers.baselines import EMBEDDING_NORM
    from studies.plus import measures, report

    # Half are kept out, half of these claimed to be members, and half of either calibrated on (`measures.NOBODY`).
    if not options.audited and (options.people < (least := 8 * mint_plus.MIN_PEOPLE) or options.photos < 2):
        raise InputError(
            f"Expected at least {least} people of two photos, so that all measures have enough to calibrate on, "
            f"received {options.people} of {options.photos}."
        )

    settings = {name: getattr(options, name) for name in _TRAINING}
    named = {f"audited {folder}": folder for folder in options.audited}
    named |= {} if options.reference is None else {"reference": options.reference}
    inputs = {name: formats.sha256_file(folder / formats.MODEL) for name, folder in named.items()}
    with formats.output_folder(options.out, formats.make_manifest(KIND, inputs, settings), options.overwrite):
        worlds = []
        for number in progress.bar(range(1, num + 1), desc="worlds"):

            def score(number: int = number) -> list[Scores]:
                return measures.score(_look(options, number), number, options.seed)

            path = _folder(options, number) / "scores.parquet"
            parts = formats.kept(path, score, score_files.write_scores, score_files.read_scores)
            worlds.append({part.evaluation: part for part in parts})
        rows = {one.name: [world[one.name] for world in worlds] for one in measures.MEASURES}
        norms = {one.name: [world[one.name_of_norm] for world in worlds] for one in measures.MEASURES}
        content = {
            "mint_plus": {name: _estimate(parts, options.seed) for name, parts in rows.items()},
            EMBEDDING_NORM: {name: _estimate(parts, options.seed) for name, parts in norms.items()},
            "by_world": {
                name: [intervals.plain_figures(part, [_AUC])[_AUC] for part in parts] for name, parts in rows.items()
            },
            "several_photos": measures.several_photos([world[measures.ALL_PHOTOS] for world in worlds], options.seed),
            "ablation": _ablation(options, num) if options.ablate else {},
        }
        said = report.render(content)
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, said)
    return PlusFigures(f"{said}\nWritten: {options.out / RESULTS}, {TEXT}", content)


def _folder(options: MeasurePlus, number: int) -> Path:
    return options.out / f"world_{number}"


def _look(options: MeasurePlus, number: int) -> KnownPhotos:
    """Returns what the photos of a world show; trains its audited model if it has to be."""
    from studies.plus import known

    folder = _folder(options, number)
    if options.audited:
        model = options.audited[number - 1]
    else:
        model = known.train(
            1000 * options.seed + number,
            options.people,
            options.photos,
            folder / "model",
            arch=options.arch,
            resolution=options.resolution,
            loss=options.loss,
            epochs=options.epochs,
            no_flips=not options.flips,
            seed=options.seed + number,
        )
    return known.look(model, options.reference, folder / FEATURES)


def _ablation(options: MeasurePlus, num_worlds: int) -> dict[str, dict[str, list[float]]]:
    """Returns by measure and set of ingredients the AUC of the evaluation in each world."""
    from studies.plus import ablation, measures

    found: dict[str, dict[str, list[float]]] = {}
    for measure in (one for one in measures.MEASURES if one.truth != measures.NOBODY):
        of_measure = found.setdefault(measure.name, {})
        for number in range(1, num_worlds + 1):

            def ablate(measure: measures.Measure = measure, number: int = number) -> dict[str, Any]:
                halves = measures.halves(measure, _look(options, number), options.seed + number)
                calibration, evaluation = ((half.seen, is_member) for half, is_member in halves)
                sets = ablation.ablate(calibration, evaluation, measure.recipe, options.seed)
                return {name: one.evaluation_auc for name, one in sets.items()}

            path = _folder(options, number) / f"ablation_{measure.name}.json"
            for name, auc in formats.kept(path, ablate, formats.write_json, formats.read_json).items():
                of_measure.setdefault(name, []).append(auc)
    return found


def _estimate(parts: Sequence[Scores], seed: int) -> dict[str, float]:
    """Returns the mean over worlds, with the interval in which one world would lie."""
    # Percentiles come out short: 93.5% in place of 95%, and less near an AUC of 1 (docs/method.md).
    found = intervals.estimate(parts, seed=seed, names=[_AUC], method="student")[_AUC]
    return dataclasses.asdict(found)
