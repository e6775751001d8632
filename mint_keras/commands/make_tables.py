r"""Make the paper's tables and Figure 5: ours with intervals, beside the published figure, above the controls.

Runs the heads that are missing, evaluates them with model.evaluate, and writes table_N.md, .csv and .tex, and
figure_5.png and .svg. An interrupted command continues; tables share runs, and a table can be rebuilt from the
scores.csv files of its runs alone.

Examples:
    python scripts/make_tables.py --table 1 --out runs/tables
    python scripts/make_tables.py --all --plan --out runs/tables
    python scripts/make_tables.py --table 1 4 --figure 5 --scale paper --audited fr1=models/fr1 fr2=models/fr2 \
        fr3=models/fr3 --protocol runs/protocols --out runs/tables-paper
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mint_keras import formats, paper, score_files
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError

if TYPE_CHECKING:
    from mint_keras.runs.paper_runs import PaperRun, Plan

KIND = "paper_tables"
# Which drawn database stands for which of the paper's.
_LAB_STAND_INS = (
    *(f"camera{k}={'ijbc' if k < 5 else 'fddb' if k < 9 else 'gandiffface'}" for k in range(1, 13)),
    "scan=adience",
)


@dataclasses.dataclass(frozen=True)
class MakeTables(Common):
    """Options of make_tables.py.

    Attributes:
        out: Folder for the tables, the figure, and the runs, protocols and classifiers behind them.
        table: Numbers of the paper's tables: 1 to 9.
        figure: Number of the paper's figure: 5, the ROC curves.
        poolings: Make the table behind a sentence of the paper: vanilla heads on the mean, the standard deviation or
            the mean of the ten largest values of every channel, in place of the maximum.
        all: Make every table and the figure; 8 and 9 only with --pictures.
        scale: lab takes three small committed models whose members are known, drawn faces, and 192 training samples of
            each class in place of 50,000 (Table 7: 64). paper takes your audited models and protocols at full size.
        audited: Audited models as NAME=FOLDER, for example fr1=models/fr1; each has a column. The lab has its own.
        protocol: Folder that has a protocol of make_protocol.py for every model, case and size, for example
            PROTOCOL/fr1/baseline-100k; for the paper's scale.
        pictures: Folder of CIFAR-100, for tables 8 and 9: its part train trains the classifiers. In the lab these have
            a quarter of their width (the ViT an eighth) and 6 epochs, heads 256 pictures of each class in place of
            40,000, and Table 8 has 32 pixels.
        picture_externals: Folders of Tiny-ImageNet and COCO; the heads of tables 8 and 9 train on these.
        picture_evaluate: Folders of Caltech, which evaluate them.
        num_seeds: How often every head is trained; intervals hold how much the trainings differ.
        plan: Say what would run, and what it costs, and do nothing.
        rebuild: Read the scores.csv of finished runs in --out and run nothing.
        seed: Seed of the first training, which the others follow, and of the resampling.
    """

    out: Path
    table: tuple[int, ...] = ()
    figure: tuple[int, ...] = ()
    poolings: bool = False
    all: bool = False
    scale: Literal["lab", "paper"] = "lab"
    audited: tuple[str, ...] = ()
    protocol: Path | None = None
    pictures: str = ""
    picture_externals: tuple[str, ...] = ()
    picture_evaluate: tuple[str, ...] = ()
    # One training says nothing of how much trainings differ.
    num_seeds: int = 3
    plan: bool = False
    rebuild: bool = False
    seed: int = 1

    def keys(self) -> tuple[int | str, ...]:
        """Returns the keys of the wanted tables in `report.paper_tables`."""
        from mint_keras.report import paper_files, paper_tables

        numbers, figure = list(paper.TABLES), paper_files.FIGURE
        if unknown := sorted(set(self.table) - set(numbers)) + sorted(set(self.figure) - {figure}):
            raise InputError(f"Expected tables of {numbers} and figure {figure}, received {unknown} among them.")
        keys: dict[int | str, None] = dict.fromkeys(paper_tables.KEYS if self.all else self.table)
        if self.poolings:
            keys[paper_tables.POOLINGS] = None
        if not keys and not self.figure:
            raise InputError("Expected --table N, --figure 5, --poolings or --all, received none.")
        of_pictures = set(keys) & set(paper_tables.OF_PICTURES)
        if of_pictures and not self.pictures and not self.all:
            raise InputError(
                f"Expected for tables {sorted(of_pictures)} --pictures CIFAR100 --picture-externals TINY_IMAGENET COCO "
                "--picture-evaluate CALTECH, received none."
            )
        return tuple(key for key in keys if self.pictures or key not in of_pictures)

    def runs_plan(self) -> Plan:
        """Returns where the runs behind the tables lie, and what all of them share."""
        from mint_keras.report import paper_tables
        from mint_keras.runs import paper_runs

        if self.num_seeds < 1:
            raise InputError(f"Expected at least one seed, received --num-seeds {self.num_seeds}.")
        models = dict(paper_runs.LAB_MODELS)
        if self.audited or self.scale == paper_runs.PAPER:
            pairs = [entry.partition("=") for entry in self.audited]
            wants_models = self.all or self.figure or set(self.table) - set(paper_tables.OF_PICTURES)
            if (wants_models and not pairs) or not all(name and folder for name, _, folder in pairs):
                raise InputError(f"Expected --audited NAME=FOLDER ..., received {list(self.audited)}.")
            models = {name: Path(folder) for name, _, folder in pairs}
        if (self.protocol is not None) != (self.scale == paper_runs.PAPER and bool(models)):
            raise InputError("Expected --protocol FOLDER with --scale paper, and only there: the lab makes its own.")
        given = (self.pictures, self.picture_externals, self.picture_evaluate)
        if any(given) and not all(given):
            raise InputError(
                "Expected --pictures, --picture-externals and --picture-evaluate together, received only some of them."
            )
        pictures = paper_runs.Pictures(*given) if self.pictures else None
        protocols = self.protocol or self.out / "protocols"
        return paper_runs.Plan(self.out, models, protocols, pictures, self.scale, self.num_seeds, self.seed)


@dataclasses.dataclass(frozen=True)
class Tables(Result):
    """The tables that were made, by number or "poolings", and their folder; with --plan nothing new lies in it."""

    out: Path
    keys: Sequence[int | str]


def make_tables(options: MakeTables) -> Tables:
    """Runs what the tables need and is not there yet, and renders them from the scores of the runs."""
    from mint_keras.report import paper_files, paper_tables
    from mint_keras.runs import paper_runs

    keys, has_figure, plan = options.keys(), options.all or bool(options.figure), options.runs_plan()
    models = tuple(plan.models)
    cells = [cell for key in keys for cell in paper_tables.all_sources(key, plan.scale, models)]
    cells += [cell for model in models for cell in paper_tables.figure_sources(model).values() if has_figure]
    runs = sorted({paper_runs.run_of(cell) for cell in cells})
    left_out = []
    if options.all and not options.pictures:
        left_out = ["Tables 8 and 9 are left out: they want --pictures, --picture-externals and --picture-evaluate."]
    if options.rebuild:
        if missing := [run.name for run in runs if not (plan.folder(run) / formats.SCORES).is_file()]:
            raise InputError(f"Expected the runs {missing} in {plan.out / 'runs'}, received none. Leave out --rebuild.")
    else:
        # Runs and classifiers say themselves which models and samples they are of.
        settings = {"scale": plan.scale, "num_seeds": plan.num_seeds, "seed": plan.seed}
        with formats.output_folder(options.out, formats.make_manifest(KIND, {}, settings), options.overwrite):
            _make_protocols(plan, runs)
            if options.plan:
                return Tables("\n\n".join([plan.describe(runs), *left_out]), options.out, keys)
            plan.finish(runs)
    scores = {run: score_files.read_scores(plan.folder(run) / formats.SCORES) for run in runs}
    seeds = range(plan.seed, plan.seed + plan.num_seeds)

    def scores_of(cell: paper_tables.CellSource) -> Any:
        return scores[paper_runs.run_of(cell)]

    said = paper_files.write_tables(options.out, keys, plan.scale, models, scores_of, seeds)
    if has_figure:
        paths = paper_files.write_figure(options.out, models, scores_of, seeds)
        said.append(f"Figure {paper_files.FIGURE}: {', '.join(map(str, paths))}")
    return Tables("\n".join([*said, *left_out]), options.out, keys)


def _make_protocols(plan: Plan, runs: Sequence[PaperRun]) -> None:
    """Makes the lab's protocols, or checks that those of the paper's scale are there."""
    from mint_keras import shelf
    from mint_keras.commands.make_protocol import MakeProtocol, make_protocol
    from mint_keras.data import protocol_files
    from mint_keras.runs import paper_runs
    from mint_keras.runs import run as mint_runs

    wanted = {(run.model, run.case, run.size, run.protocol_name) for run in runs if not run.is_of_pictures}
    for model, case, size, name in sorted(wanted):
        folder, audited = plan.protocols / name, shelf.find(plan.models[model])
        if plan.scale == paper_runs.LAB:
            make_protocol(
                MakeProtocol(
                    case=case,  # type: ignore[arg-type] # a name of `cases.PAPER_CASES`
                    members=(str(audited / formats.MEMBERS),),
                    externals=(*mint_runs.LAB_EXTERNALS, *mint_runs.LAB_EVALUATE),
                    held_out=(str(audited / formats.HELD_OUT),),
                    stand_in=_LAB_STAND_INS,
                    unscanned=True,  # of drawn people everything is known
                    num_train=paper_runs.LAB_SIZES[size],
                    num_test=paper_runs.LAB_TEST,
                    out=folder,
                )
            )
        elif not (folder / protocol_files.SUMMARY).is_file():
            raise InputError(
                f"Expected {model}'s protocol in {folder}, received none. Make it: python scripts/make_protocol.py "
                f"--case {case} --size {size} --members ... --externals ... --out {folder}"
            )
