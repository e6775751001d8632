"""The verdict on a world from its scores, by the rule of audit.py; and what a naive reader would have said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, InputError, Scores
from mint_keras.scorers import mint_plus
from mint_keras.stages.audit import dividing, measure, pixels, plus, text
from mint_keras.stages.validation.options import World
from mint_keras.stages.validation.scoring import NAIVE, NORM
from mint_keras.statistics import figures, findings, intervals, verdict
from mint_keras.statistics.intervals import Estimate

PIXELS = dividing.Scorer(pixels.STATISTICS, pixels.TAP)
PHOTO = dividing.Scorer(plus.SCORER, mint_plus.PHOTO)
_QUESTION = "does the audited model tell claimed members from externals, as in the paper"


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
    by_scorer: dict[dividing.Scorer, dict[str, Scores]] = {}
    for part in parts:
        by_scorer.setdefault(dividing.Scorer(part.scorer, part.tap), {})[part.model] = part
    naive, blind = (list(by_scorer.pop(scorer, {}).values()) for scorer in (NAIVE, PIXELS))
    if not naive or not blind or not {NORM, PHOTO} <= {s for s, of in by_scorer.items() if AUDITED in of}:
        raise InputError(
            f"Expected scores of {NAIVE}, {PIXELS}, {NORM} and {PHOTO} for {world.name}, received others: "
            f"{sorted({part.scorer for part in parts})}."
        )
    seed = naive[0].seed
    on_reference = {protocols.SAME_DATABASE: {pixels.STATISTICS: blind[0]}}
    comparisons = [
        measure.comparison(
            str(scorer), {name: [part] for name, part in of.items()}, findings.PERSON, on_reference, seed
        )
        for scorer, of in by_scorer.items()
    ]
    claim = findings.across("members and externals", _QUESTION, findings.CLAIM, naive, seed)
    verdicts = measure.by_rule(comparisons, {str(NORM): [claim]}, seed)
    return Decided(
        world=world.name,
        outcome=text.strongest(verdicts),
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
