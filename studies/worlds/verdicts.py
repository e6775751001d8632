"""The verdict on a world from its scores, by the rule of audit.py; and what a naive reader would have said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mint_keras.audited import taps
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, InputError, Scores
from mint_keras.runs.spec import COMBINATION
from mint_keras.scorers import baselines, blind, mint_plus
from mint_keras.scorers.direction import Direction
from mint_keras.scorers.look import Look
from mint_keras.statistics import figures, findings, intervals, rule, verdict
from mint_keras.statistics.intervals import Estimate
from mint_keras.statistics.selection import Candidate
from studies.worlds.spec import World

NAIVE = Candidate("vanilla", COMBINATION)
NORM = Candidate(baselines.EMBEDDING_NORM, taps.OUTCOME)
PIXELS = Candidate(blind.PixelStatistics.name, blind.TAP)
SIGNS = Candidate(Direction.name, Direction.tap)
LOOK = Candidate(Look.name, Look.tap)
PHOTO = Candidate(mint_plus.NAME, mint_plus.PHOTO)
_QUESTION = "does the audited model tell claimed members from externals, as in the paper"


@dataclasses.dataclass(frozen=True)
class WorldVerdict:
    """What is said about one world.

    Attributes:
        world: The name of the world.
        outcome: The outcome of the audit.
        without_reference: The outcome of the same audit if nobody had been kept out.
        headlines: The headline of the verdict on every scorer.
        reference: By scorer, its AUC on the reference.
        raw: By figure, accuracy and AUC of raw MINT between claimed members and externals; empty without externals.
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
        return figure in self.raw and self.raw[figure].low > 0.5


def decide(world: World, parts: Sequence[Scores]) -> WorldVerdict:
    """Decides on a world; a pure function of its scores.

    Args:
        world: The world in question.
        parts: What `scores.score` gave.

    Raises:
        InputError: if a scorer is missing.
    """
    by_scorer: dict[Candidate, dict[str, Scores]] = {}
    for part in parts:
        by_scorer.setdefault(Candidate(part.scorer, part.tap), {})[part.model] = part
    naive, pixels, signs, look = (list(by_scorer.pop(one, {}).values()) for one in (NAIVE, PIXELS, SIGNS, LOOK))
    if not pixels or not signs or AUDITED not in by_scorer.get(PHOTO, {}):
        raise InputError(
            f"Expected scores of {PIXELS}, {SIGNS} and {PHOTO} for {world.name}, received others: "
            f"{sorted({part.scorer for part in parts})}."
        )
    # Scores carry the seed of their world, so that committed ones are decided as on the first day.
    seed = pixels[0].seed
    without_model = {PIXELS.name: pixels[0]} | ({findings.LOOK: look[0]} if look else {})
    comparisons = [
        rule.comparison(
            str(scorer), {name: [part] for name, part in of.items()}, findings.PERSON,
            {protocols.SAME_DATABASE: without_model}, seed, scorer.tap in (mint_plus.WITH_OTHERS, mint_plus.OF_PERSON),
        )
        for scorer, of in by_scorer.items()
    ]  # fmt: skip
    claims = [findings.across("members and externals", _QUESTION, findings.CLAIM, naive, seed)] if naive else []
    # Raw MINT decides nothing: it is on the record of a scorer, as in an audit of a run.
    across = {str(NORM): claims} if naive else {}
    verdicts = rule.by_rule(comparisons, across, seed, {protocols.SAME_DATABASE: signs[0]})
    return WorldVerdict(
        world=world.name,
        outcome=verdict.strongest(decided.outcome for decided in verdicts.values()),
        without_reference=verdict.decide(claims).outcome,
        headlines={name: decided.headline for name, decided in verdicts.items()},
        reference={
            name: next(one.auc for one in decided.findings if one.role == findings.REFERENCE)
            for name, decided in verdicts.items()
        },
        raw=intervals.estimate(naive, seed=seed, names=(figures.ACCURACY, figures.AUC)) if naive else {},
    )


def hangs_on_networks(world: World, parts: Sequence[Scores]) -> bool:
    """Returns whether only MINT+ through untrained copies and other networks can keep these scores from evidence."""
    return any("untrained control" in headline for headline in decide(world, parts).headlines.values())


def from_json(content: dict) -> WorldVerdict:
    """Reads what `dataclasses.asdict` made of a verdict."""
    estimates = {
        name: {key: Estimate(**value) for key, value in content[name].items()} for name in ("reference", "raw")
    }
    return WorldVerdict(**{**content, **estimates})
