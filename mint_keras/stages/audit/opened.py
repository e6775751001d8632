"""What is audited: the options of audit.py, and the run that they name with the scorer that was chosen from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mint_keras import formats, score_files
from mint_keras.data import protocol as protocols
from mint_keras.records import Scores
from mint_keras.stages import mint_run
from mint_keras.stages.audit import dividing
from mint_keras.stages.audit.dividing import Scorer
from mint_keras.statistics import selection


@dataclasses.dataclass(frozen=True)
class Audit:
    """Options of audit.py.

    Attributes:
        run: folder that train_mint.py wrote. Its held-out people of the members' database are the reference, without
            which nothing can be decided; with --baselines there is more than heads to choose from.
        out: folder for report.html, audit.json and verdict.txt, and the scores through other models behind them.
        foreign: folders of other audited models of the same task that were not trained on these members: whatever
            they find is not membership.
        unseen_photos: other photos of the members' people that the audited model was not trained on: a folder with a
            subfolder per identity (or whatever train_mint.py takes) under the name of the members' database, NAME=PATH.
            With them the verdict also speaks of the image.
        swap: folder of another audited model, trained on other people of the members' own database, with its
            members.parquet: the same photos with opposite labels, by the length of the embedding.
        nulls: further databases of which nobody is a member: how much they differ from one another is what a
            comparison of databases has to exceed.
        robustness: also score photos that were compressed, shrunk or made noisy: what a re-upload does, or a developer
            who hides.
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
    unseen_photos: str = ""
    swap: Path | None = None
    nulls: tuple[str, ...] = ()
    robustness: bool = False
    num_untrained: int = 3
    prevalence: float = 0.01
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class Opened:
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
    division: dividing.Division

    @property
    def has_reference(self) -> bool:
        """Whether there are people of the members' database whom the audited model never saw."""
        return protocols.SAME_DATABASE in self.run.protocol.evaluations()

    def folder(self, name: str) -> Path:
        """Returns where something of the audit lies."""
        return self.config.out / name


def open_audit(config: Audit, run: mint_run.Run) -> Opened:
    """Chooses among the run's heads and baselines by their AUC on people who are not reported on.

    Args:
        config: of the audit.
        run: that is audited.
    """
    scores = score_files.read_scores(config.run / formats.SCORES)
    evaluations = run.protocol.evaluations()
    evaluation = protocols.SAME_DATABASE if protocols.SAME_DATABASE in evaluations else run.protocol.main_evaluation
    parts = {scorer: scorer.parts(scores, evaluation) for scorer in dividing.scorers(scores, evaluation)}
    of_heads = next(iter(parts.values()))
    division = dividing.divide(of_heads[0], config.seed)
    by_name = {str(scorer): scorer for scorer in parts}
    validation = {str(scorer): division.choosing(of_scorer) for scorer, of_scorer in parts.items()}
    scorer = by_name[selection.choose(validation, division.reported(of_heads))]
    return Opened(config, run, scores, scorer, division)
