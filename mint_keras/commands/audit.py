r"""Say whether a finished run of train_mint.py is evidence of training use: references, controls, a verdict by a rule.

The accuracy that train_mint.py prints compares different databases, which a network tells apart without any membership.
Evidence needs a comparison in which only membership differs (other people of the members' own database), and the score
must beat everything that knows nothing of the members. Without such people the verdict is "cannot decide".

Examples:
    python scripts/train_mint.py --head vanilla --baselines --out runs/mint
    python scripts/audit.py --run runs/mint --out runs/audit
    python scripts/audit.py --run runs/mint --look models/lab3 --foreign models/lab2 --out runs/audit-foreign
    python scripts/audit.py --run runs/tuned --reference models/before --look models/before --out runs/audit-tuned
    python scripts/audit.py --render --run runs/audit --out runs/audit --case "AZ 12/2026" --author "A. Auditor"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mint_keras import environment, formats, languages
from mint_keras.commands import Result, spec_of
from mint_keras.options import Common

if TYPE_CHECKING:  # with SciPy, which the help has no need of
    from mint_keras.statistics.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Audit(Common):
    """Options of audit.py.

    Attributes:
        run: Folder that train_mint.py wrote. Its held-out people of the members' database are the reference, without
            which nothing can be decided; with --baselines there is more than heads to choose from. With --render, the
            folder of a finished audit.
        out: Folder for report.pdf (with mint_keras[pdf]), report.html, audit.json and verdict.txt, and for the scores
            through other models behind them.
        look: Folder of a face network other than the audited one that knows such faces: the checkpoint before
            fine-tuning is best. If it tells the two groups apart they look different, and nothing can be decided. It is
            also asked who is who. Left out, that network of the shelf is taken which knows the faces at hand best;
            without one that does there is no evidence.
        reference: Folders of networks that look at the same faces and were not trained on these members: the checkpoint
            before fine-tuning, or shadows of train_audited.py --shadows. What the audited model says beyond them finds
            more. Each is a control too, and the one before fine-tuning can be given to --look as well.
        foreign: Folders of other audited models of the same task that were not trained on these members. Whatever they
            find is not membership.
        unseen_photos: Other photos of the members' people that the audited model was not trained on: a folder with a
            subfolder per identity (or whatever train_mint.py takes) under the name of the members' database, NAME=PATH.
            With them the verdict also speaks of the image.
        swap: Folder of another audited model, trained on other people of the members' own database, with its
            members.parquet. The length of the embedding scores the same photos with opposite labels.
        nulls: Further databases of which nobody is a member. How much they differ from one another is what a comparison
            of databases has to exceed.
        robustness: Score photos also after they were compressed, shrunk or made noisy, as by a re-upload, or by a
            developer who hides.
        render: Measure nothing, and make the report of a finished audit again from its audit.json.
        case: Number of the case, for the first page and every foot.
        author: Who makes the audit.
        release: How the model is released, in your words, such as "weights for anybody to download" or "answers to
            customers only". What tests it should stand depends on that; it is never guessed.
        language: Of the report: en, de, es or fr; of its text too. audit.json is English.
        num_untrained: How many untrained copies of the audited model the scorer must beat.
        prevalence: Share of members that you believe among photos like those tested, for the sentence about how many
            accusations would be right.
        seed: Seed of the division of people, of copies and of intervals.
    """

    run: Path
    out: Path
    reference: tuple[Path, ...] = ()
    foreign: tuple[Path, ...] = ()
    look: Path | None = None
    unseen_photos: str = ""
    swap: Path | None = None
    nulls: tuple[str, ...] = ()
    # A switch: every photo is changed and scored anew in each of several ways.
    robustness: bool = False
    # Several, because how well an untrained network tells databases apart depends on its first weights.
    num_untrained: int = 3
    prevalence: float = 0.01
    seed: int = 1
    render: bool = False
    case: str = ""
    author: str = ""
    release: str = ""
    language: str = ""


@dataclasses.dataclass(frozen=True)
class Audited(Result):
    """What an audit found: the strongest verdict's outcome, and the verdicts by scorer, the run's own first."""

    out: Path
    outcome: str
    verdicts: Mapping[str, Verdict]


def audit(options: Audit) -> Audited:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule."""
    from mint_keras.report import dossier

    case = dossier.Case(options.case, options.author, options.release, options.language)
    if options.render:
        written = dossier.copy(options.run, options.out, case)
    else:
        environment.import_tensorflow()  # which a report that is made again has no need of
        from mint_keras.auditing import procedure
        from mint_keras.auditing.opened import AuditSpec

        written = procedure.audit(spec_of(AuditSpec, options), options.out, options.overwrite, case)[1]
    found = dossier.read(options.out)
    text = (options.out / dossier.VERDICT).read_text("utf-8")
    spoken = languages.of(formats.read_json(options.out / dossier.CASE)["language"] or languages.ENGLISH)
    said = text + spoken.plain("Written: {0}").format(f"{options.out / dossier.AUDIT}, {', '.join(written)}")
    if dossier.PDF not in written:
        lacking = "No {0}: it takes WeasyPrint (pip install mint_keras[pdf]) and Pango (libpangoft2-1.0-0)."
        said += "\n" + spoken.plain(lacking).format(dossier.PDF)
    return Audited(said, options.out, found.outcome, found.verdicts)
