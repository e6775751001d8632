"""Measures every reference and every control of an audit, and decides by the rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from mint_keras.aad.models import UNTRAINED
from mint_keras.audit import findings, paired, selection, verdict
from mint_keras.audit.findings import Finding
from mint_keras.data import protocol as protocols
from mint_keras.records import Scores
from mint_keras.stages.audit import controls, dividing, pixels, plus
from mint_keras.stages.audit.opened import Opened
from mint_keras.stages.progress import pace

_AUDITED = "audited"
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


def decide(opened: Opened) -> dict[str, verdict.Verdict]:
    """Returns the verdict on every scorer, by its name."""
    across = _across(opened)
    if not opened.has_reference:
        return {str(opened.scorer): verdict.decide(across)}
    blind = pixels.on_reference(opened.run, opened.division, opened.config.seed, opened.folder("pixels"))
    scored = {str(opened.scorer): _by_model(opened)}
    if plus.is_possible(opened.run, opened.division):
        scored[str(plus.SCORER)] = _plus_by_model(opened)
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
    add("nobody a member", findings.NULL, dividing.without_membership(audited, seed), audited)
    return found


def _role(name: str) -> str:
    """Returns the role of a model that takes the audited one's place."""
    return findings.UNTRAINED if name.startswith(UNTRAINED) else findings.OTHER


def _other_models(opened: Opened) -> Iterator[tuple[str, Path]]:
    """Yields name and folder of every model that takes the audited one's place."""
    for number in range(1, opened.config.num_untrained + 1):
        name = f"{UNTRAINED}_{number}"
        folder = opened.folder("models") / name
        yield name, controls.save_untrained(opened.run, folder, opened.config.seed + number)
    for folder in opened.config.foreign:
        yield f"foreign_{folder.name}", folder


def _by_model(opened: Opened) -> dict[str, list[Scores]]:
    """Returns the chosen scorer's scores of the reported people, through the audited model and through others."""
    division, scorer = opened.division, opened.scorer
    found = {_AUDITED: division.reported(scorer.parts(opened.scores, protocols.SAME_DATABASE))}
    for name, folder in _other_models(opened):
        scores = controls.through(opened.run, folder, opened.folder("controls") / name, scorer)
        found[name] = division.reported(scorer.parts(scores, protocols.SAME_DATABASE))
    return found


def _plus_by_model(opened: Opened) -> dict[str, list[Scores]]:
    """Returns the scores of MINT+ likewise."""
    models = {_AUDITED: opened.run.config.audited, **dict(_other_models(opened))}
    return {
        name: [plus.score(opened.run, folder, opened.division, opened.config.seed, opened.folder("mint_plus") / name)]
        for name, folder in tqdm(models.items(), desc="MINT+", unit="model", disable=opened.config.quiet, **pace())
    }


def _across(opened: Opened) -> list[Finding]:
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
    for name, part in pixels.across(run, seed, opened.folder("pixels")).items():
        found.append(
            findings.across(f"{name}, members and externals", _ACROSS["blind"], findings.CONTEXT, [part], seed)
        )
    return found
