"""Measures every reference and every control of an audit, and decides by the rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from mint_keras.audited import taps
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, UNTRAINED, Scores
from mint_keras.scorers import mint_plus
from mint_keras.stages import mint_options
from mint_keras.stages.audit import context, controls, dividing, pixels, plus, swap
from mint_keras.stages.audit.opened import Opened
from mint_keras.stages.progress import pace
from mint_keras.statistics import findings, paired, selection, verdict
from mint_keras.statistics.findings import Finding

_REFERENCES = {
    protocols.SAME_DATABASE: (
        "same database",
        "does the audited model tell its members from other people of their database whom it never saw",
    ),
    plus.UNSEEN_PHOTOS: (
        "own unseen photos",
        "does the audited model tell photos that it was trained on from other photos of the same people",
    ),
    protocols.CROSS_MODEL: (
        "cross-model swap",
        "does it make a difference to the same photos which of two models was trained on them",
    ),
}
_QUESTIONS = {
    findings.BLIND: "can pixels alone tell the two sides apart",
    findings.NULL: "does the scorer see a difference where neither side was used",
    findings.UNTRAINED: "does a network that was never trained tell the two sides apart",
    findings.OTHER: "does a model that was trained on other people tell the two sides apart",
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A scorer in a reference, with everything that it has to beat.

    Attributes:
        scorer: its name.
        evaluation: a key of `_REFERENCES`.
        truth: a key of `findings.TRUTHS`.
        parts: its scores through the audited model and through others, by the model's name.
        blind: scores of pixels on these samples and perhaps more, by name.
        is_of_persons: whether the unit is the person: pixels are then averaged over a person's photos.
        null: its scores of two sides neither of which was used; none if there are none.
    """

    scorer: str
    evaluation: str
    truth: str
    parts: Mapping[str, Sequence[Scores]]
    blind: Mapping[str, Scores]
    is_of_persons: bool
    null: Sequence[Scores]


def decide(opened: Opened, tasks: plus.Tasks) -> tuple[dict[str, verdict.Verdict], list[str]]:
    """Returns the verdict on every scorer by its name, the run's own first, and what could not be measured."""
    comparisons, not_measured = _compare(opened, tasks)
    across, missing = context.measure(opened)
    verdicts = by_rule(comparisons, {str(opened.scorer): across}, opened.config.seed)
    return verdicts, [*not_measured, *missing]


def by_rule(
    comparisons: Sequence[Comparison], across: Mapping[str, Sequence[Finding]], seed: int
) -> dict[str, verdict.Verdict]:
    """Decides on scores; a pure function of them.

    Args:
        comparisons: all that were tried.
        across: what was measured for the record, by scorer; these come first, also without any reference.
        seed: of the intervals.

    Returns:
        The verdict on every scorer, by its name.
    """
    # Several scorers were tried: one of them may exceed chance by luck.
    above = selection.holm({one.scorer: selection.p_above(one.parts[AUDITED], seed=seed) for one in comparisons})
    measured: dict[str, list[Finding]] = {name: [] for name in across}
    measured |= {one.scorer: _measure(one, above[one.scorer], seed) for one in comparisons}
    for name, found in across.items():
        measured[name] += found
    return {name: verdict.decide(found) for name, found in measured.items()}


def _compare(opened: Opened, tasks: plus.Tasks) -> tuple[list[Comparison], list[str]]:
    """Scores the samples of every reference."""
    seed, other = opened.config.seed, opened.config.swap
    photos = swap.choose(opened, other) if other else None
    context.null_databases(opened)
    for folder in opened.config.foreign:
        controls.check(opened.run, folder, opened.scorer, [taps.OUTCOME] if tasks.tasks else [])
    # What cannot be used has shown; from here on it takes long.
    models = list(_other_models(opened)) if opened.has_reference or tasks.tasks else []
    blind = _blind(opened, tasks)
    found = []
    if opened.has_reference:
        parts = {AUDITED: opened.scorer.parts(opened.scores, protocols.SAME_DATABASE)}
        for name, folder in models:
            scores = controls.through(opened.run, folder, opened.folder("controls") / name, opened.scorer)
            parts[name] = opened.scorer.parts(scores, protocols.SAME_DATABASE)
        reported = {name: opened.division.reported(of_model) for name, of_model in parts.items()}
        found.append(comparison(str(opened.scorer), reported, findings.PERSON, blind, seed))
    by_model = {
        name: plus.score(opened, tasks, name, folder)
        for name, folder in tqdm(
            [(AUDITED, opened.run.config.audited), *models] if tasks.tasks else [],
            desc="MINT+", unit="model", disable=opened.config.quiet or not tasks.tasks, **pace(),
        )
    }  # fmt: skip
    for task in tasks.tasks:
        reported = {name: [scores[task.name]] for name, scores in by_model.items()}
        found.append(comparison(task.name, reported, task.truth, blind, seed))
    if other and photos:
        swapped = swap.score(opened, other, photos)
        sides = (swapped.parts, swapped.blind, False, swapped.null)
        found.append(Comparison(swapped.scorer, protocols.CROSS_MODEL, findings.PERSON, *sides))
    return found, [*tasks.not_measured, *_not_given(opened)]


def comparison(
    scorer: str, parts: Mapping[str, Sequence[Scores]], truth: str, blind: Mapping[str, Mapping[str, Scores]], seed: int
) -> Comparison:
    """Returns what a scorer found in a reference, beside what it has to beat.

    Args:
        scorer: its name.
        parts: its scores of the reported people through the audited model (`AUDITED`), untrained copies (names that
            begin with `UNTRAINED`) and foreign models.
        truth: a key of `findings.TRUTHS`.
        blind: scores of pixels by evaluation and name.
        seed: of the null comparison.
    """
    first = parts[AUDITED][0]
    is_of_persons = truth == findings.PERSON and first.tap in (mint_plus.WITH_OTHERS, mint_plus.OF_PERSON)
    null = dividing.without_membership(parts[AUDITED], seed)
    return Comparison(scorer, first.evaluation, truth, parts, blind[first.evaluation], is_of_persons, null)


def _measure(one: Comparison, adjusted_p: float, seed: int) -> list[Finding]:
    """Measures the reference and every control on its samples."""
    audited = one.parts[AUDITED]
    name, question = _REFERENCES[one.evaluation]
    reference = findings.reference(name, question, one.truth, audited, adjusted_p, seed)
    found = [reference]

    def add(name: str, role: str, others: Sequence[Scores], of_parts: Sequence[Scores], p: float | None = None) -> None:
        found.append(findings.control((name, _QUESTIONS[role], role), others, reference, of_parts, p, seed))

    for model, parts in one.parts.items():
        if model != AUDITED:
            role = findings.UNTRAINED if model.startswith(UNTRAINED) else findings.OTHER
            add(model.replace("_", " "), role, *_shared(parts, audited))
    blind = {name: _shared([part], audited) for name, part in one.blind.items()}
    if one.is_of_persons:
        blind = {name: ([dividing.mean_of_persons(part) for part in parts], of) for name, (parts, of) in blind.items()}
    # Pixels were looked at in several ways: each would spoil a clean reference once in twenty times.
    apart = selection.holm({name: selection.p_differs(parts, seed=seed) for name, (parts, _) in blind.items()})
    for name, (parts, of_parts) in blind.items():
        add(name, findings.BLIND, parts, of_parts, apart[name])
    if one.null:
        add("nobody a member", findings.NULL, one.null, audited)
    return found


def _shared(parts: Sequence[Scores], of_parts: Sequence[Scores]) -> tuple[list[Scores], list[Scores]]:
    """Returns both on the samples that both have: some baselines cannot score everybody."""
    kept = paired.shared([*of_parts, *parts])
    return kept[len(of_parts) :], kept[: len(of_parts)]


def _blind(opened: Opened, tasks: plus.Tasks) -> dict[str, dict[str, Scores]]:
    """Returns what pixels say of the samples of each reference, by name."""
    framing, seed, folder = mint_options.framing(opened.run.config), opened.config.seed, opened.folder("pixels")
    wanted = {task.evaluation: (task.fitted_on, task.scored) for task in tasks.tasks if task.truth == findings.IMAGE}
    if opened.has_reference:
        division = opened.division
        sides = (
            dividing.calibration(opened.run.protocol, division),
            dividing.reported(opened.run.protocol, division),
        )
        wanted[protocols.SAME_DATABASE] = sides
    return {
        name: pixels.score(tasks.table, fitted_on, scored, name, framing, seed, folder / name)
        for name, (fitted_on, scored) in wanted.items()
    }


def _other_models(opened: Opened) -> Iterator[tuple[str, Path]]:
    """Yields name and folder of every model that takes the audited one's place."""
    for number in range(1, opened.config.num_untrained + 1):
        name = f"{UNTRAINED}_{number}"
        folder, seed = opened.folder("models") / name, opened.config.seed + number
        yield name, controls.save_untrained(opened.run, opened.run.config.audited, folder, seed)
    for folder in opened.config.foreign:
        yield f"foreign_{folder.name}", folder


def _not_given(opened: Opened) -> list[str]:
    found = []
    if not opened.has_reference:
        found.append("Same database: no people of the members' own database who were kept out of the training.")
    if not opened.config.foreign:
        found.append("Foreign model: none was given (--foreign).")
    if not opened.config.swap:
        found.append("Cross-model swap: no other model of the members' database (--swap).")
    return found
