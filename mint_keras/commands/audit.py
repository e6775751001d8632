r"""Say whether a finished run of train_mint.py is evidence of training use: references, controls, a verdict by a rule.

The accuracy that train_mint.py prints compares different databases, which a network tells apart without any membership.
Evidence needs a comparison in which only membership differs (other people of the members' own database), and the score
must beat everything that knows nothing of the members. Without such people the verdict is "cannot decide".

Examples:
    python scripts/train_mint.py --head vanilla --baselines --out runs/mint
    python scripts/audit.py --run runs/mint --out runs/audit
    python scripts/audit.py --run runs/mint --foreign models/lab2 --out runs/audit-foreign
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.statistics.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Audit(Common):
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


@dataclasses.dataclass(frozen=True)
class Audited(Result):
    """What an audit found.

    Attributes:
        out: The folder with report.html, audit.json and verdict.txt.
        outcome: The strongest of the verdicts.
        verdicts: By scorer, the run's own first.
    """

    out: Path
    outcome: str
    verdicts: Mapping[str, Verdict]


def audit(options: Audit) -> Audited:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule.

    Raises:
        InputError: if the run cannot be used.
        RefusedError: if it, or what it was made from, has changed.
    """
    from mint_keras.auditing import procedure, report
    from mint_keras.auditing.opened import AuditSpec

    spec = AuditSpec(
        run=options.run,
        foreign=options.foreign,
        unseen_photos=options.unseen_photos,
        swap=options.swap,
        nulls=options.nulls,
        robustness=options.robustness,
        num_untrained=options.num_untrained,
        prevalence=options.prevalence,
        seed=options.seed,
    )
    found = procedure.audit(spec, options.out, options.overwrite)
    written = f"Written: {options.out / report.REPORT}, {report.AUDIT}, {report.VERDICT}, {report.FINDINGS}.png"
    return Audited(f"{report.text(found)}\n{written}", options.out, found.outcome, found.verdicts)
