"""What a scorer has to beat: the same scorer through another model or on other sides, and what sees pixels only."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats, score_files, shelf, streams
from mint_keras.aad import signals
from mint_keras.aad.observe import observe
from mint_keras.audited import engines, recalibration, taps, zoo
from mint_keras.auditing.opened import Opened, needed
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, UNTRAINED, InputError, Labelled, RefusedError, SampleTable, Scores
from mint_keras.runs import aad as run_aad
from mint_keras.runs.run import fit_and_score
from mint_keras.runs.spec import PLACES, RunSpec
from mint_keras.scorers import blind
from mint_keras.scorers.contract import NUM_FOLDS, Scorer, cross_fit
from mint_keras.training import batches

KIND = "audit_control"
FOLDER = "controls"
_RECALIBRATION = 1024  # faces at most


def through(opened: Opened, audited: Path, name: str, native: int = 0) -> list[Scores]:
    """Fits the chosen scorer on what another model gives, and scores all evaluations of the run.

    Args:
        opened: The audit with its run and people.
        audited: The folder of the other model.
        name: The name of the control, for its folder; what is there is continued.
        native: The side to which larger images are shrunk first, in pixels; 0 for what the run does.

    Raises:
        InputError: if the scorer cannot look at the other model.
        RefusedError: if the folder holds scores of something else.
    """
    run, recipe, folder = opened.run, opened.recipe, opened.folder / FOLDER / name
    # A control is not a run of its own: one head on one tap is trained, without an untrained copy beside it.
    native = native or run.spec.native_resolution
    # The run's engine, too, where it gives Keras' numbers of the other model.
    given = {"audited": audited, "store": None, "native_resolution": native, **run.aad.engine._asdict()}
    spec = dataclasses.replace(run.spec, num_seeds=1, **given)
    inputs = _inputs(spec, run.protocol)

    def score() -> list[Scores]:
        needs = needed(spec, recipe)
        if needs.signals:
            given = signals.available(zoo.load_audited(audited, zoo.kind_of(audited)), needs.taps)
            if lacking := sorted(set(needs.signals) - set(given)):
                raise InputError(
                    f"Expected models with {lacking}, which the run's best scorer looks at, received {audited} "
                    "without. Leave it out, or train the run without --baselines."
                )
        try:
            aad = run_aad.open_aad(spec, needs, folder, inputs, run.protocol.table)
        except RefusedError:
            by_keras = dataclasses.replace(spec, **engines.KERAS._asdict())
            aad = run_aad.open_aad(by_keras, needs, folder, inputs, run.protocol.table)
        return fit_and_score(recipe, aad, AUDITED, run.protocol, spec.seed, folder)

    return _kept(spec, recipe, folder, inputs, score)


def refitted(opened: Opened, protocol: protocols.Protocol, name: str) -> list[Scores]:
    """Fits the chosen scorer again on the run's own AAD, where the same samples play other parts; see `through`."""
    run, recipe, folder = opened.run, opened.recipe, opened.folder / FOLDER / name
    spec = dataclasses.replace(run.spec, num_seeds=1)
    inputs = {**_inputs(spec, protocol), "parts": formats.sha256_json(protocol.part.tolist())}
    return _kept(
        spec, recipe, folder, inputs, lambda: fit_and_score(recipe, run.aad, AUDITED, protocol, spec.seed, folder)
    )


def _kept(
    spec: RunSpec, recipe: Scorer, folder: Path, inputs: dict[str, str], score: Callable[[], list[Scores]]
) -> list[Scores]:
    """Returns the scores in the folder of a control; makes them if they are not there."""
    settings = {name: value for name, value in spec.settings().items() if name not in PLACES}
    settings["scorer"] = {"name": recipe.name, "tap": recipe.tap}
    with formats.output_folder(folder, formats.make_manifest(KIND, inputs, settings)):
        return formats.kept(folder / formats.SCORES, score, score_files.write_scores, score_files.read_scores)


def _inputs(spec: RunSpec, protocol: protocols.Protocol) -> dict[str, str]:
    audited = formats.sha256_file(spec.model_folder / formats.MODEL)
    return {"audited": audited, "samples": samples.fingerprint(protocol.table)}


def check(scorer: Scorer, audited: Path, also: Sequence[str] = ()) -> None:
    """Raises InputError if a model does not have what the scorer looks at, or the taps that are named besides."""
    model = zoo.load_audited(audited, zoo.kind_of(audited))
    taps.extractor(model, [*dict.fromkeys([*scorer.needs.taps, *also])])


def untrained(opened: Opened, audited: Path, name: str, number: int) -> Path:
    """Saves a copy of a model with random weights, normalised to the heads' training samples; returns its folder."""
    # Every copy has weights of its own: what an architecture sees by chance differs from copy to copy.
    folder, run, seed = opened.folder / "models" / name, opened.run, opened.spec.seed + number
    if (folder / formats.MODEL).is_file():
        return folder
    rows = run.protocol.training_rows().rows
    rows = streams.stream(seed, streams.RECALIBRATION).permutation(rows)[:_RECALIBRATION]
    framing, kind = zoo.framing(audited, run.spec.native_resolution), zoo.kind_of(audited)
    _, faces = images.read_faces(run.protocol.table.take(np.sort(rows)), framing, batch_size=256)
    # Running statistics of a plain untrained copy are 0 and 1: its activations would have other scales than a model's.
    copy = recalibration.recalibrated_copy(zoo.load_audited(audited, kind), faces, seed)
    source = formats.read_manifest(shelf.find(audited), kind)
    manifest = formats.make_manifest(kind, {"audited": source["model_sha256"]}, {**source["config"], "untrained": seed})
    with formats.output_folder(folder, manifest, overwrite=False):
        zoo.save_audited(folder, copy, {}, kind)
    return folder


def untrained_copies(opened: Opened) -> tuple[dict[str, Path], str]:
    """Returns the folders of the untrained copies by name, and why there are fewer than were asked for."""
    found, why = {}, ""
    for number in range(1, opened.spec.num_untrained + 1):
        name = f"{UNTRAINED}_{number}"
        try:
            found[name] = untrained(opened, opened.run.spec.audited, name, number)
        except InputError as error:  # a copy that has collapsed is no control, and must not look like one
            why = f"{name.replace('_', ' ')}: {error}"
    return found, why


def by_pixels(opened: Opened, table: SampleTable, evaluation: str, photos: Labelled) -> dict[str, Scores]:
    """Returns what sees pixels only makes of some rows of a table, cross-fitted, by the scorer's name.

    The scores have a folder of the evaluation's name; what is there is read.
    """
    folder, seed = opened.folder / "pixels" / evaluation, opened.spec.seed

    def make() -> list[Scores]:
        seen = observe(
            table.take(photos.rows), blind.features, opened.run.spec.framing, blind.BATCH_SIZE, is_filled=False
        )
        recipes: list[Scorer] = [blind.PixelStatistics()]
        # The network is trained on batches of as many of each side.
        if photos.smaller_side * (NUM_FOLDS - 1) // NUM_FOLDS >= batches.CLASS_BATCH:
            recipes.append(blind.PixelNetwork())
        return [cross_fit(recipe, seen, photos.is_member, evaluation, seed) for recipe in recipes]

    kept = formats.kept(folder / formats.SCORES, make, score_files.write_scores, score_files.read_scores)
    return {part.scorer: part for part in kept}
