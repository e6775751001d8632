"""Stage: is it membership? References, controls and the verdict on a finished run of train_mint.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.aad.models import UNTRAINED
from mint_keras.audit import bounds, conformal, findings, paired, person, selection, verdict
from mint_keras.audit.findings import Finding
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, Scores
from mint_keras.report import plots
from mint_keras.stages import audit_blind, audit_plus, audit_scores, mint_run
from mint_keras.stages.audit_scores import Scorer
from mint_keras.stages.progress import pace

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
class _Opened:
    """A run that is audited.

    Attributes:
        config: of the audit.
        run: with its AAD.
        scores: of its heads and baselines.
        scorer: of these, chosen on people who are not reported on.
        division: of the people of its reference; of its main evaluation, if it has none.
    """

    config: Audit
    run: mint_run.Run
    scores: Sequence[Scores]
    scorer: Scorer
    division: audit_scores.Division

    @property
    def has_reference(self) -> bool:
        """Whether there are people of the members' database whom the audited model never saw."""
        return protocols.SAME_DATABASE in self.run.protocol.evaluations()

    def folder(self, name: str) -> Path:
        """Returns where something of the audit lies."""
        return self.config.out / name


def audit(config: Audit) -> str:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule.

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
        opened = _open(config, run, scores)
        verdicts = _decide(opened)
        people, photos = _people(opened), _photos(opened)
        text = _text(verdicts, people, photos)
        formats.write_json(config.out / AUDIT, _content(verdicts, people, photos))
        formats.write_text(config.out / VERDICT, text)
        panels = {
            f"{scorer}: {decided.outcome}": [
                (one.name.replace("_", " "), one.role, (one.auc.value, one.auc.low, one.auc.high))
                for one in decided.findings
            ]
            for scorer, decided in verdicts.items()
        }
        plots.save_findings(config.out / PLOT, panels, f"Verdict: {_outcome(verdicts)}")
    return f"{text}\nWritten: {config.out / AUDIT}, {VERDICT}, {PLOT}"


def _open(config: Audit, run: mint_run.Run, scores: Sequence[Scores]) -> _Opened:
    """Chooses among the run's heads and baselines by their AUC on people who are not reported on."""
    evaluations = run.protocol.evaluations()
    evaluation = protocols.SAME_DATABASE if protocols.SAME_DATABASE in evaluations else run.protocol.main_evaluation
    parts = {scorer: scorer.parts(scores, evaluation) for scorer in audit_scores.scorers(scores, evaluation)}
    of_heads = next(iter(parts.values()))
    division = audit_scores.divide(of_heads[0], config.seed)
    by_name = {str(scorer): scorer for scorer in parts}
    validation = {str(scorer): division.choosing(of_scorer) for scorer, of_scorer in parts.items()}
    scorer = by_name[selection.choose(validation, division.reported(of_heads))]
    return _Opened(config, run, scores, scorer, division)


def _decide(opened: _Opened) -> dict[str, verdict.Verdict]:
    """Returns the verdict on every scorer, by its name."""
    across = _across(opened)
    if not opened.has_reference:
        return {str(opened.scorer): verdict.decide(across)}
    blind = audit_blind.on_reference(opened.run, opened.division, opened.config.seed, opened.folder("pixels"))
    scored = {str(opened.scorer): _by_model(opened)}
    if audit_plus.is_possible(opened.run, opened.division):
        scored[str(audit_plus.SCORER)] = _plus_by_model(opened)
    # Two scorers were tried, and pixels looked at in two ways: one of several may exceed chance by luck.
    seed = opened.config.seed
    above = selection.holm({name: selection.p_above(of[_AUDITED], seed=seed) for name, of in scored.items()})
    apart = selection.holm({name: selection.p_differs([part], seed=seed) for name, part in blind.items()})
    found = {}
    for name, parts in scored.items():
        controls = _on_reference(parts, above[name], {key: ([part], apart[key]) for key, part in blind.items()}, seed)
        found[name] = verdict.decide([*controls, *(across if name == str(opened.scorer) else [])])
    return found


def _on_reference(
    parts: Mapping[str, Sequence[Scores]],
    adjusted_p: float,
    blind: Mapping[str, tuple[Sequence[Scores], float]],
    seed: int,
) -> list[Finding]:
    """Measures the reference and every control on its samples.

    Args:
        parts: of one scorer, through the audited model and others in its place, by their names.
        adjusted_p: of the reference.
        blind: scores of pixels, with their adjusted p-values, by name.
        seed: of the intervals.
    """
    audited = parts[_AUDITED]
    reference = findings.reference("same database", _REFERENCE, findings.PERSON, audited, adjusted_p, seed)
    found = [reference]

    def add(name: str, role: str, others: Sequence[Scores], of_parts: Sequence[Scores], p: float | None = None) -> None:
        found.append(findings.control((name, _QUESTIONS[role], role), others, reference, of_parts, p, seed))

    beside: dict[str, tuple[str, Sequence[Scores], float | None]]
    beside = {name: (_role(name), others, None) for name, others in parts.items() if name != _AUDITED}
    beside |= {name: (findings.BLIND, others, p) for name, (others, p) in blind.items()}
    for name, (role, others, p) in beside.items():
        kept = paired.shared([*audited, *others])  # some baselines cannot score everybody
        add(name, role, kept[len(audited) :], kept[: len(audited)], p)
    add("nobody a member", findings.NULL, audit_scores.without_membership(audited, seed), audited)
    return found


def _role(name: str) -> str:
    """Returns the role of a model that takes the audited one's place."""
    return findings.UNTRAINED if name.startswith(UNTRAINED) else findings.OTHER


def _other_models(opened: _Opened) -> Iterator[tuple[str, Path]]:
    """Yields name and folder of every model that takes the audited one's place."""
    for number in range(1, opened.config.num_untrained + 1):
        name = f"{UNTRAINED}_{number}"
        folder = opened.folder("models") / name
        yield name, audit_scores.save_untrained(opened.run, folder, opened.config.seed + number)
    for folder in opened.config.foreign:
        yield f"foreign_{folder.name}", folder


def _by_model(opened: _Opened) -> dict[str, list[Scores]]:
    """Returns the chosen scorer's scores of the reported people, through the audited model and through others."""
    division, scorer = opened.division, opened.scorer
    found = {_AUDITED: division.reported(scorer.parts(opened.scores, protocols.SAME_DATABASE))}
    for name, folder in _other_models(opened):
        scores = audit_scores.through(opened.run.config, folder, opened.folder("controls") / name, scorer)
        found[name] = division.reported(scorer.parts(scores, protocols.SAME_DATABASE))
    return found


def _plus_by_model(opened: _Opened) -> dict[str, list[Scores]]:
    """Returns the scores of MINT+ likewise."""
    models = {_AUDITED: opened.run.config.audited, **dict(_other_models(opened))}
    return {
        name: [
            audit_plus.score(opened.run, folder, opened.division, opened.config.seed, opened.folder("mint_plus") / name)
        ]
        for name, folder in tqdm(models.items(), desc="MINT+", unit="model", disable=opened.config.quiet, **pace())
    }


def _across(opened: _Opened) -> list[Finding]:
    """Measures what is compared across databases: the paper's own claim, and what else tells them apart."""
    run, scores, seed = opened.run, opened.scores, opened.config.seed
    main = run.protocol.main_evaluation
    if main == protocols.SAME_DATABASE:
        return []
    wanted = {
        ("members and externals", findings.CLAIM): opened.scorer.parts(scores, main),
        ("untrained copy, members and externals", findings.CONTEXT): opened.scorer.parts(scores, main, f"_{UNTRAINED}"),
        ("familiar", findings.CONTEXT): opened.scorer.parts(scores, protocols.FAMILIAR),
    }
    found = [
        findings.across(name, _ACROSS[name], role, parts, seed=seed) for (name, role), parts in wanted.items() if parts
    ]
    for name, part in audit_blind.across(run, seed, opened.folder("pixels")).items():
        found.append(
            findings.across(f"{name}, members and externals", _ACROSS["blind"], findings.CONTEXT, [part], seed)
        )
    return found


def _people(opened: _Opened) -> list[person.CurvePoint]:
    """Returns what 1, 2, ... photos of a person say, as far as enough people on both sides have so many."""
    if not opened.has_reference:
        return []
    reported = opened.division.reported(opened.scorer.parts(opened.scores, protocols.SAME_DATABASE))
    enough = []
    for is_member in (True, False):
        people = reported[0].samples.people()[reported[0].is_member == is_member]
        counts = np.sort(np.unique(people, return_counts=True)[1])[::-1]
        enough.append(int(counts[verdict.MIN_PEOPLE - 1]) if len(counts) >= verdict.MIN_PEOPLE else 0)
    num = min(*enough, _MAX_PHOTOS)
    return person.power_curve(reported, num, seed=opened.config.seed) if num else []


def _photos(opened: _Opened) -> str:
    """Says what may be said of single photos, calibrated on externals the head never saw, checked on other people."""
    main, scorer = opened.run.protocol.main_evaluation, opened.scorer
    claimed, familiar = scorer.parts(opened.scores, main), scorer.parts(opened.scores, protocols.FAMILIAR)
    if main == protocols.SAME_DATABASE or not claimed or not familiar:
        return "Single photos: no p-values without externals of another database and held-out people to check them on."
    part, others = claimed[0], familiar[0]
    externals, held_out = paired.take(part, ~_members(part)), paired.take(others, _members(others))
    held_out = dataclasses.replace(held_out, is_member=np.zeros(len(held_out.logit), bool))
    training = opened.run.protocol.table.take(opened.run.protocol.training_rows()[0]).people()
    try:
        calibration = conformal.verify(conformal.calibrate(externals, training), held_out, training)
    except InputError as error:
        return f"Single photos: no p-values. {error}"
    assert calibration.validity is not None  # noqa: S101 # just measured
    said = [f"Single photos: {calibration.validity.describe()}"]
    if calibration.validity.is_valid:
        p = conformal.p_values(calibration, paired.take(part, _members(part)).logit)
        low = bounds.exact_interval(int((p <= calibration.validity.alpha).sum()), len(p)).low
        said += [
            f"Of {len(p)} photos of claimed members {int(conformal.select(p).sum())} stand out.",
            conformal.describe_floor(calibration, len(p)),
            conformal.describe_risk(opened.config.prevalence, low, calibration.validity.high),
        ]
    return " ".join(said)


def _members(part: Scores) -> np.ndarray:
    assert part.is_member is not None  # noqa: S101 # of a run
    return part.is_member


def _outcome(verdicts: Mapping[str, verdict.Verdict]) -> str:
    """Returns the strongest outcome: that one scorer finds nothing does not take back what another found."""
    outcomes = {decided.outcome for decided in verdicts.values()}
    order = (verdict.EVIDENCE, verdict.NO_EVIDENCE, verdict.CANNOT_DECIDE)
    return next(outcome for outcome in order if outcome in outcomes)


def _content(verdicts: Mapping[str, verdict.Verdict], people: Sequence[person.CurvePoint], photos: str) -> dict:
    return {
        "outcome": _outcome(verdicts),
        "verdicts": {name: decided.to_dict() for name, decided in verdicts.items()},
        "people": [dataclasses.asdict(point) for point in people],
        "photos": photos,
    }


def _text(verdicts: Mapping[str, verdict.Verdict], people: Sequence[person.CurvePoint], photos: str) -> str:
    lines = [f"Verdict: {_outcome(verdicts)}"]
    for name, decided in verdicts.items():
        lines += ["", f"== {name} ==", "", decided.text()]
    lines += ["", *(
        f"{point.num_photos} photos of each person, {next(iter(verdicts))}: AUC {point.auc.value:.3f} "
        f"[{point.auc.low:.3f}, {point.auc.high:.3f}]."
        for point in people
    )]  # fmt: skip
    return "\n".join([*lines, photos, ""])


_AUDITED = "audited"
_MAX_PHOTOS = 8
_REFERENCE = "does the audited model tell its members from other people of their database whom it never saw"
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
