r"""Rank attacks: every test of membership here, and published ones, on members and others who are known.

All have one protocol: what is fitted is fitted on other people (five folds), and figures have intervals over people.
With references, which are networks that were not trained on these members (the checkpoint before fine-tuning, shadows),
there are more attacks, and better ones. For LiRA online a reference must have been trained on some of the people, and
say so in its members.parquet.

Examples:
    mint attacks --audited runs/tuned --reference models/before --out runs/attacks
    mint attacks --audited runs/tuned --reference runs/tuned/shadows/1 runs/tuned/shadows/2 --scores mine/scores.csv \
        --out runs/attacks-shadows
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mint_keras import formats, shelf
from mint_keras.commands import Result, spec_of
from mint_keras.options import Common

if TYPE_CHECKING:  # with SciPy, which the help has no need of
    from mint_keras.auditing.attacks import Ranked

KIND = "attacks"
TABLE, RESULTS = "attacks.md", "attacks.jsonl"


@dataclasses.dataclass(frozen=True)
class Attacks(Common):
    """Options of attacks.py.

    Attributes:
        audited: Folder of the model that is attacked.
        out: Folder for attacks.md, attacks.jsonl and scores.csv.
        members: What it was trained on, as train_mint.py takes it; by default its members.parquet.
        others: People of the same database who were kept out; by default its held_out.parquet. If they are other photos
            of the members' people, attacks are asked which photos were used, of people with photos on both sides.
        reference: Folders of references.
        scores: Files of scores of other attacks on the same samples, with the columns of scores.csv; what they say of
            membership is not used.
        seed: Seed of folds, fits and intervals.
    """

    audited: Path
    out: Path
    members: str = ""
    others: str = ""
    reference: tuple[Path, ...] = ()
    scores: tuple[Path, ...] = ()
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class RankedAttacks(Result):
    """What every attack finds, the best first."""

    out: Path
    ranked: tuple[Ranked, ...]


def attacks(options: Attacks) -> RankedAttacks:
    """Tries all attacks that have what they look at, and writes down what they find."""
    from mint_keras import score_files
    from mint_keras.auditing import attacks as attacking
    from mint_keras.report.tables import format_table

    models = {"audited": options.audited} | {f"reference {k}": path for k, path in enumerate(options.reference, 1)}
    inputs = {name: formats.sha256_file(shelf.find(path) / formats.MODEL) for name, path in models.items()}
    inputs |= {f"scores {path.name}": formats.sha256_file(path) for path in options.scores}
    settings = {name: getattr(options, name) for name in ("members", "others", "seed")}
    with formats.output_folder(options.out, formats.make_manifest(KIND, inputs, settings), options.overwrite):
        ranked, scores = attacking.measure(spec_of(attacking.AttackSpec, options))
        table = format_table(attacking.table_of(ranked))
        score_files.write_scores(options.out / formats.SCORES, scores)
        formats.write_text(options.out / RESULTS, attacking.to_json(ranked))
        formats.write_text(options.out / TABLE, f"{table}\n")
    written = f"Written: {options.out / TABLE}, {RESULTS}, {formats.SCORES}"
    return RankedAttacks(f"{table}\n{written}", options.out, tuple(ranked))
