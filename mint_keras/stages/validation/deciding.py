"""The verdict on a world from its scores, by the rule of audit.py; and what a naive reader would have said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mint_keras.aad.models import AUDITED
from mint_keras.audit import figures, findings, intervals, verdict
from mint_keras.audit.intervals import Estimate
from mint_keras.records import InputError, Scores
from mint_keras.stages.audit import measure, pixels, plus, text
from mint_keras.stages.validation.options import World
from mint_keras.stages.validation.scoring import NAIVE, NORM, SEPARATOR

_CLAIM = "members and externals"


@dataclasses.dataclass(frozen=True)
class Decided:
    """What is said about one world.

    Attributes:
        world: its name.
        outcome: of the audit.
        without_reference: outcome of the same audit if nobody had been kept out.
        headlines: of the verdict on every scorer.
        reference: by scorer, the AUC on the reference.
        raw: by figure, accuracy and AUC of raw MINT between claimed members and externals.
    """

    world: str
    outcome: str
    without_reference: str
    headlines: dict[str, str]
    reference: dict[str, Estimate]
    raw: dict[str, Estimate]

    @property
    def is_accused(self) -> bool:
        """Whether the auditor says that the model was trained on the claimed members."""
        return self.outcome == verdict.EVIDENCE

    def is_accused_naively(self, figure: str) -> bool:
        """Whether somebody who takes raw MINT for membership says so: the interval of the figure lies above chance."""
        return self.raw[figure].low > 0.5


def decide(world: World, parts: Sequence[Scores]) -> Decided:
    """Decides on a world; a pure function of its scores.

    Args:
        world: in question.
        parts: from `scoring.score`.

    Raises:
        InputError: if a scorer is missing.
    """
    by_name = {part.scorer: part for part in parts}
    needed = {NAIVE.name, pixels.STATISTICS, *(f"{s.name}{SEPARATOR}{AUDITED}" for s in (NORM, plus.SCORER))}
    if missing := sorted(needed - set(by_name)):
        raise InputError(f"Expected scores of {sorted(needed)} for {world.name}, received none of {missing}.")
    scored = {
        str(scorer): {
            name.partition(SEPARATOR)[2]: [part]
            for name, part in by_name.items()
            if name.startswith(f"{scorer.name}{SEPARATOR}")
        }
        for scorer in (NORM, plus.SCORER)
    }
    naive, seed = [by_name[NAIVE.name]], by_name[NAIVE.name].seed
    claim = findings.across(_CLAIM, measure.ACROSS[_CLAIM], findings.CLAIM, naive, seed)
    verdicts = measure.by_rule(scored, {pixels.STATISTICS: by_name[pixels.STATISTICS]}, [claim], seed)
    return Decided(
        world=world.name,
        outcome=text.Results(verdicts, curve=(), accusations="", not_measured=()).outcome,
        without_reference=verdict.decide([claim]).outcome,
        headlines={name: decided.headline for name, decided in verdicts.items()},
        reference={name: _reference(decided) for name, decided in verdicts.items()},
        raw=intervals.estimate(naive, seed=seed, names=(figures.ACCURACY, figures.AUC)),
    )


def from_json(content: dict) -> Decided:
    """Reads what `dataclasses.asdict` made of it."""
    estimates = {
        name: {key: Estimate(**value) for key, value in content[name].items()} for name in ("reference", "raw")
    }
    return Decided(**{**content, **estimates})


def _reference(decided: verdict.Verdict) -> Estimate:
    return next(one.auc for one in decided.findings if one.role == findings.REFERENCE)
