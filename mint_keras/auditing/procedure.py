"""The whole audit of a run: measured, decided by the rule, and written down."""

from pathlib import Path

import numpy as np

from mint_keras import formats, progress, shelf
from mint_keras.audited import taps, zoo
from mint_keras.auditing import across, changed_photos, controls, facts, plus, report, swap
from mint_keras.auditing import look as looks
from mint_keras.auditing.opened import AuditSpec, Opened, manifest, open_audit
from mint_keras.data import protocol as protocols
from mint_keras.data import samples
from mint_keras.records import AUDITED, REFERENCE, Scores
from mint_keras.report import dossier, preflight, states
from mint_keras.report.states import NOT_POSSIBLE, NOT_RUN, Gap
from mint_keras.runs import face_quality
from mint_keras.runs import run as runs
from mint_keras.scorers import direction, mint_plus
from mint_keras.statistics import division, findings, rule
from mint_keras.statistics.rule import Comparison


def audit(
    spec: AuditSpec, folder: Path, overwrite: bool = False, case: dossier.Case | None = None
) -> tuple[report.Results, list[str]]:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule.

    Args:
        spec: What to look at.
        folder: The folder for report.html, audit.json and verdict.txt, and the scores behind them. An audit that was
            interrupted there continues.
        overwrite: Whether to replace another audit there.
        case: Whose audit it is, for the report.

    Returns:
        What was found, and the names of the report's files.

    Raises:
        InputError: if the run cannot be used.
        RefusedError: if it, or what it was made from, has changed.
    """
    for path in (*spec.reference, *spec.foreign, *filter(None, (spec.look, spec.swap))):
        zoo.kind_of(path)  # shows early whether it is a model
    run = runs.reopen(spec.run)
    with formats.output_folder(folder, manifest(spec), overwrite):
        # What cannot be read of them must show before anything is measured.
        audited = {"model": facts.model(run.spec.audited), "photos": facts.photos(run)}
        of = {"audited": audited, "steps": facts.steps(run)}
        progress.say(preflight.describe(_material(spec, run)))
        opened = open_audit(spec, run, folder)
        tasks = plus.plan(opened)
        # What an audit did not measure is part of its result, and no error: most auditors have no second model and no
        # unseen photos.
        missing = list(tasks.gaps)
        if not opened.has_reference:
            why = "no people of the members' own database who were kept out of the training."
            missing.append(Gap(states.KEPT_OUT, NOT_POSSIBLE, why))
        for given, name, why in (
            (spec.reference, states.BESIDE, "no network beside it that was not trained on them (--reference)."),
            (spec.foreign, states.FOREIGN, "none was given (--foreign)."),
            (spec.swap, states.SWAP, "no other model of the members' database (--swap)."),
            (spec.num_untrained, states.OF_ROLE[findings.UNTRAINED], "none was asked for (--num-untrained)."),
        ):
            if not given:
                missing.append(Gap(name, NOT_RUN, why))
        comparisons, directions, lacking = _compare(opened, tasks)
        missing += [Gap(states.OF_ROLE[role], NOT_POSSIBLE, why) for role, why in lacking.items()]
        found, not_found = across.measure(opened)
        verdicts = rule.by_rule(comparisons, {str(opened.scorer): found}, spec.seed, directions, lacking)
        changed, not_changed = changed_photos.changed(opened, tasks)
        curves, accusations = changed_photos.power_curves(opened, tasks), changed_photos.accusations(opened)
        said = [*opened.said, *face_quality.compare(opened.run.protocol)]
        results = report.Results(verdicts, curves, accusations, changed, [*missing, *not_found, *not_changed], said)
        written = report.write(results, of, folder, case or dossier.Case())
    return results, written


def _material(spec: AuditSpec, run: runs.Run) -> preflight.Material:
    """Returns the people that there are for an audit, before anything is computed."""
    table, part = run.protocol.table, run.protocol.part
    members = table.take(np.isin(part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)))
    others = shelf.find(spec.swap) / formats.MEMBERS if spec.swap else None
    return preflight.with_options(
        preflight.of_protocol(run.protocol, zoo.kind_of(run.spec.audited) == zoo.KIND),
        members,
        samples.list_samples(spec.unseen_photos) if spec.unseen_photos else None,
        samples.list_samples(str(others)) if others and others.is_file() else None,
    )


def _compare(opened: Opened, tasks: plus.Tasks) -> tuple[list[Comparison], dict[str, Scores], dict[str, str]]:
    """Scores the samples of every reference, by the run's scorer and MINT+, through every model, by pixels and look.

    Returns the comparisons, by evaluation the scores whose sign no label set, and by role why a control was not run.
    """
    spec, seed, has_plus = opened.spec, opened.spec.seed, bool(tasks.tasks)
    # What cannot be used must show before anything takes long.
    swapped = swap.choose(opened, spec.swap) if spec.swap else None
    across.null_databases(opened)
    for folder in spec.foreign:
        controls.check(opened.recipe, folder, [taps.OUTCOME] if has_plus else [])
    plus.check_references(opened)
    models: dict[str, Path] = {}
    lacking: dict[str, str] = {}
    if opened.has_reference or has_plus:
        models, why = controls.untrained_copies(opened)
        models |= {f"foreign_{folder.name}": folder for folder in spec.foreign}
        lacking |= {findings.UNTRAINED: why} if why else {}
    if not opened.knows_looks:
        has_people = opened.look is not None
        lacking[findings.LOOK] = " ".join(opened.said) if has_people else "There is no reference to try a network on."
    blind = _without_the_model(opened, tasks)
    found = []
    if opened.has_reference:
        of_models = {AUDITED: opened.scores}
        of_models |= {name: controls.through(opened, folder, name) for name, folder in models.items()}
        parts = {
            name: opened.division.reported(opened.scorer.parts(scores, protocols.SAME_DATABASE))
            for name, scores in of_models.items()
        }
        found.append(rule.comparison(str(opened.scorer), parts, findings.PERSON, blind, seed))
    everybody = {AUDITED: opened.run.spec.audited, **models}
    if opened.look is not None and opened.look.folder is not None:
        everybody[findings.LOOK] = opened.look.folder
    everybody |= {f"{REFERENCE}_{folder.name}": folder for folder in spec.reference}
    by_model = {
        name: plus.score(opened, tasks, name, folder)
        for name, folder in progress.bar(list(everybody.items() if has_plus else ()), desc="MINT+", unit="model")
    }
    directions = {}
    for task in tasks.tasks:
        if task.level == direction.NAME:
            directions[task.evaluation] = by_model[AUDITED][task.name]
            continue
        parts = {name: [scores[task.name]] for name, scores in by_model.items()}
        is_of_persons = task.level != mint_plus.PHOTO
        found.append(rule.comparison(task.name, parts, task.truth, blind, seed, is_of_persons))
    if spec.swap and swapped:
        found.append(swap.score(opened, spec.swap, *swapped))
        directions[protocols.CROSS_MODEL] = swap.known_signs(opened, *swapped)
    return found, directions, lacking


def _without_the_model(opened: Opened, tasks: plus.Tasks) -> dict[str, dict[str, Scores]]:
    """Returns by evaluation what pixels and the look network make of the people whom MINT+ is fitted on and scores."""
    photos = {task.evaluation: task.photos for task in tasks.tasks if task.truth == findings.IMAGE}
    if opened.has_reference:
        photos[protocols.SAME_DATABASE] = division.of_reference(opened.run.protocol)
    found = {name: controls.by_pixels(opened, tasks.table, name, rows) for name, rows in photos.items()}
    if opened.look is not None and opened.look.folder is not None:
        for name, rows in photos.items():
            where = (name, opened.run.spec.seed, opened.folder)
            found[name][findings.LOOK] = looks.by_look(opened.look, tasks.table, rows, *where)
    return found
