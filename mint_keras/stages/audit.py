"""Stage: is it membership? References, controls and the verdict on a finished run of train_mint.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.aad.models import UNTRAINED
from mint_keras.audit import bounds, conformal, findings, paired, person, selection, verdict
from mint_keras.audit.findings import Finding
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, Scores
from mint_keras.report import plots
from mint_keras.stages import audit_blind, audit_scores, mint_run
from mint_keras.stages.audit_scores import Scorer

KIND = "audit"
AUDIT = "audit.json"
VERDICT = "verdict.txt"
PLOT = "findings.png"


@dataclasses.dataclass(frozen=True)
class Audit:
    """Options of audit.py.

    Attributes:
        run: folder that train_mint.py wrote. Its held-out people of the members' database are the reference, without
            which nothing can be decided; with --baselines there is more than heads to choose from.
        out: folder for audit.json, verdict.txt, findings.png, and the runs through other models behind them.
        foreign: folders of other audited models of the same task that were not trained on these members: whatever
            they find is not membership.
        num_untrained: untrained copies of the audited model; the scorer must beat each of them.
        prevalence: share of members that you believe among photos like those tested, for the sentence about how many
            accusations would be right.
        seed: of the division of people, of copies and of intervals.
        overwrite: replace what --out holds.
        quiet: no progress bars.
    """

    run: Path
    out: Path
    foreign: tuple[Path, ...] = ()
    num_untrained: int = 3
    prevalence: float = 0.01
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class _Audited:
    """What was found on one scorer.

    Attributes:
        scorer: chosen on people who are not reported on.
        findings: all of them.
        verdict: by the rule.
        people: what several photos of a person say.
        photos: what may be said of single photos.
    """

    scorer: Scorer
    findings: list[Finding]
    verdict: verdict.Verdict
    people: list[person.CurvePoint]
    photos: str


def audit(config: Audit) -> str:
    """Chooses a scorer on people who are not reported on, measures it against every control, and decides by the rule.

    Raises:
        InputError: if the run cannot be used.
        RefusedError: if it, or what it was made from, has changed.
    """
    run = mint_run.reopen_run(config.run, config.quiet)
    scores = formats.read_scores(config.run / formats.SCORES)
    inputs = {
        "run": formats.sha256_file(config.run / formats.SCORES),
        **{f"foreign {folder}": formats.sha256_file(folder / formats.MODEL) for folder in config.foreign},
    }
    settings = {"num_untrained": config.num_untrained, "prevalence": config.prevalence, "seed": config.seed}
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        found = _audit_run(config, run, scores)
        content = {
            **found.verdict.to_dict(),
            "scorer": dataclasses.asdict(found.scorer),
            "people": [dataclasses.asdict(point) for point in found.people],
            "photos": found.photos,
        }
        formats.write_json(config.out / AUDIT, content)
        text = _text(found)
        formats.write_text(config.out / VERDICT, text)
        rows = [(one.name, one.role, (one.auc.value, one.auc.low, one.auc.high)) for one in found.findings]
        plots.save_findings(config.out / PLOT, rows, f"{found.scorer}: {found.verdict.outcome}")
    return f"{text}\nWritten: {config.out / AUDIT}, {VERDICT}, {PLOT}"


def _audit_run(config: Audit, run: mint_run.Run, scores: Sequence[Scores]) -> _Audited:
    """Does what `audit` says; without a reference the scorer is the run's first on all taps together."""
    main = run.protocol.main_evaluation
    has_reference = any(part.evaluation == protocols.SAME_DATABASE for part in scores)
    evaluation = protocols.SAME_DATABASE if has_reference else main
    candidates = audit_scores.scorers(scores, evaluation)
    parts = {scorer: scorer.parts(scores, evaluation) for scorer in candidates}
    division = audit_scores.divide(parts[candidates[0]][0], config.seed)
    validation = {str(scorer): division.choosing(of) for scorer, of in parts.items()}
    name = selection.choose(validation, division.reported(parts[candidates[0]]))
    scorer = next(candidate for candidate in candidates if str(candidate) == name)
    found = _across(config, run, scorer, scores)
    if has_reference:
        found = [*_on_reference(config, run, scorer, scores, division), *found]
    reported = division.reported(parts[scorer])
    return _Audited(
        scorer, found, verdict.decide(found), _people(reported, config.seed), _photos(config, run, scorer, scores)
    )


def _on_reference(
    config: Audit, run: mint_run.Run, scorer: Scorer, scores: Sequence[Scores], division: audit_scores.Division
) -> list[Finding]:
    """Measures the reference and every control on its samples."""
    parts = division.reported(scorer.parts(scores, protocols.SAME_DATABASE))
    reference = findings.reference(
        "same database",
        "does the audited model tell its members from other people of their database whom it never saw",
        findings.PERSON,
        parts,
        seed=config.seed,
    )
    found = [reference]

    def add(name: str, role: str, others: Sequence[Scores], adjusted_p: float | None = None) -> None:
        if role == findings.NULL:
            of_parts = parts
        else:  # some baselines cannot score everybody
            kept = paired.shared([*parts, *others])
            of_parts, others = kept[: len(parts)], kept[len(parts) :]
        what = (name, _QUESTIONS[role], role)
        found.append(findings.control(what, others, reference, of_parts, adjusted_p, config.seed))

    blind = audit_blind.on_reference(run, division, config.seed, config.out / "pixels")
    # One of several may see a difference by chance.
    adjusted = selection.holm({name: selection.p_differs([part], seed=config.seed) for name, part in blind.items()})
    for name, part in blind.items():
        add(name, findings.BLIND, [part], adjusted[name])
    add("nobody a member", findings.NULL, audit_scores.without_membership(parts, config.seed))
    for name, folder, role in _other_models(config, run):
        others = audit_scores.through(run.config, folder, config.out / "controls" / name, scorer)
        add(name, role, division.reported(scorer.parts(others, protocols.SAME_DATABASE)))
    return found


def _other_models(config: Audit, run: mint_run.Run) -> Iterator[tuple[str, Path, str]]:
    """Yields name, folder and role of every model that takes the audited one's place."""
    for number in range(1, config.num_untrained + 1):
        name = f"untrained_{number}"
        folder = config.out / "models" / name
        yield name, audit_scores.save_untrained(run, folder, config.seed + number), findings.UNTRAINED
    for folder in config.foreign:
        yield f"foreign_{folder.name}", folder, findings.OTHER


def _across(config: Audit, run: mint_run.Run, scorer: Scorer, scores: Sequence[Scores]) -> list[Finding]:
    """Measures what is compared across databases: the paper's own claim, and what else tells them apart."""
    main = run.protocol.main_evaluation
    if main == protocols.SAME_DATABASE:
        return []
    wanted = {
        ("members and externals", findings.CLAIM): scorer.parts(scores, main),
        ("untrained copy, members and externals", findings.CONTEXT): scorer.parts(scores, main, f"_{UNTRAINED}"),
        ("familiar", findings.CONTEXT): scorer.parts(scores, protocols.FAMILIAR),
    }
    found = [
        findings.across(name, _ACROSS[name], role, parts, seed=config.seed)
        for (name, role), parts in wanted.items()
        if parts
    ]
    for name, part in audit_blind.across(run, config.seed, config.out / "pixels").items():
        name = f"{name}, members and externals"
        found.append(findings.across(name, _ACROSS["blind"], findings.CONTEXT, [part], config.seed))
    return found


def _people(reported: Sequence[Scores], seed: int) -> list[person.CurvePoint]:
    """Returns what 1, 2, ... photos of a person say, as far as enough people on both sides have so many."""
    smallest = []
    for is_member in (True, False):
        people = reported[0].samples.people()[reported[0].is_member == is_member]
        smallest.append(np.sort(np.unique(people, return_counts=True)[1])[::-1])
    enough = [counts[verdict.MIN_PEOPLE - 1] if len(counts) >= verdict.MIN_PEOPLE else 0 for counts in smallest]
    num = min(int(min(enough)), _MAX_PHOTOS)
    return person.power_curve(reported, num, seed=seed) if num else []


def _photos(config: Audit, run: mint_run.Run, scorer: Scorer, scores: Sequence[Scores]) -> str:
    """Says what may be said of single photos, calibrated on externals the head never saw, checked on other people."""
    main = run.protocol.main_evaluation
    claimed, familiar = scorer.parts(scores, main), scorer.parts(scores, protocols.FAMILIAR)
    if main == protocols.SAME_DATABASE or not claimed or not familiar:
        return (
            "Single photos: no externals of another database and held-out people to calibrate and check p-values with."
        )
    part, others = claimed[0], familiar[0]
    externals, held_out = paired.take(part, ~_members(part)), paired.take(others, _members(others))
    held_out = dataclasses.replace(held_out, is_member=np.zeros(len(held_out.logit), bool))
    training = run.protocol.table.take(run.protocol.training_rows()[0]).people()
    try:
        calibration = conformal.verify(conformal.calibrate(externals, training), held_out, training)
    except InputError as error:
        return f"Single photos: no p-values. {error}"
    assert calibration.validity is not None  # noqa: S101 # just measured
    said = [f"Single photos: {calibration.validity.describe()}"]
    if calibration.validity.is_valid:
        members = paired.take(part, _members(part))
        p = conformal.p_values(calibration, members.logit)
        said += [
            f"Of {len(p)} photos of claimed members {int(conformal.select(p).sum())} stand out.",
            conformal.describe_floor(calibration, len(p)),
            conformal.describe_risk(config.prevalence, *_rates(p, calibration)),
        ]
    return " ".join(said)


def _rates(p: np.ndarray, calibration: conformal.Calibration) -> tuple[float, float]:
    """Returns a low estimate of how many members, and a high one of how many others, get a small p-value."""
    assert calibration.validity is not None  # noqa: S101
    alpha = calibration.validity.alpha
    return bounds.exact_interval(int((p <= alpha).sum()), len(p)).low, calibration.validity.high


def _members(part: Scores) -> np.ndarray:
    assert part.is_member is not None  # noqa: S101 # of a run
    return part.is_member


def _text(found: _Audited) -> str:
    lines = [f"Scorer: {found.scorer}, chosen on people who are not reported on.", "", found.verdict.text(), ""]
    for point in found.people:
        area = f"{point.auc.value:.3f} [{point.auc.low:.3f}, {point.auc.high:.3f}]"
        lines.append(f"{point.num_photos} photos of each person: AUC {area} between people of the same database.")
    return "\n".join([*lines, "", found.photos, ""])


_MAX_PHOTOS = 8
_QUESTIONS = {
    findings.BLIND: "can pixels alone tell the two sides apart",
    findings.NULL: "does the scorer see a difference between people none of whom is a member",
    findings.UNTRAINED: "does a network that was never trained tell the two sides apart",
    findings.OTHER: "does a model that was trained on other people tell the two sides apart",
}
_ACROSS = {
    "members and externals": "does the audited model tell members from externals of another database, as in the paper",
    "untrained copy, members and externals": "does a network that was never trained tell the databases apart",
    "familiar": "are people of the members' database whom the model never saw told from externals",
    "blind": "do pixels alone tell the databases apart",
}
