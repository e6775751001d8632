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
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mint_keras import formats, paper, progress, score_files
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError

if TYPE_CHECKING:
    from mint_keras.runs.paper import PaperRun, Plan

KIND = "paper_tables"
# Which drawn database stands for which of the paper's.
_LAB_STAND_INS = ("news=ijbc", "phone=fddb", "webcam=gandiffface", "scan=adience")


@dataclasses.dataclass(frozen=True)
class MakeTables(Common):
    """Options of make_tables.py.

    Attributes:
        out: folder for the tables, the figure, and the runs, protocols and classifiers behind them.
        table: numbers of the paper's tables: 1 to 9.
        figure: 5, the ROC curves.
        poolings: the table behind a sentence of the paper: vanilla heads on the mean, the standard deviation or the
            mean of the ten largest values of every channel, in place of the maximum.
        all: every table and the figure; 8 and 9 only with --pictures.
        scale: lab: three small committed models whose members are known, drawn faces, 192 training samples of each
            class in place of 50,000 (Table 7: 64); paper: your audited models and protocols at full size.
        audited: the audited models as NAME=FOLDER, for example fr1=models/fr1; a column each. The lab has its own.
        protocol: of the paper's scale: a folder that has a protocol of make_protocol.py for every model, case and size,
            for example PROTOCOL/fr1/baseline-100k.
        pictures: folder of CIFAR-100, for tables 8 and 9: its part train trains the classifiers. In the lab these have
            a quarter of their width (the ViT an eighth) and 6 epochs, heads 256 pictures of each class in place of
            40,000, and Table 8 has 32 pixels.
        picture_externals: folders of Tiny-ImageNet and COCO; the heads of tables 8 and 9 train on these.
        picture_evaluate: folders of Caltech, which evaluate them.
        num_seeds: trainings of every head; intervals hold how much they differ.
        plan: say what would run, and what it costs, and do nothing.
        rebuild: read the scores.csv of finished runs in --out and run nothing.
        seed: seed of the first training, the others follow; and of the resampling.
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
    num_seeds: int = 3
    plan: bool = False
    rebuild: bool = False
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Tables(Result):
    """The tables that were made.

    Attributes:
        out: The folder of their files; nothing new lies in it after --plan.
        keys: Numbers of tables, and "poolings".
    """

    out: Path
    keys: Sequence[int | str]


def make_tables(options: MakeTables) -> Tables:
    """Runs what the tables need and is not there yet, and renders them from the scores of the runs.

    Raises:
        InputError: for an unknown table, a missing model or protocol, or, with --rebuild, a missing run.
        RefusedError: if a run in --out was made from other inputs.
    """
    from mint_keras.report import paper_files, paper_tables
    from mint_keras.runs import paper as paper_runs

    keys, has_figure, plan = _wanted(options), options.all or bool(options.figure), _plan(options)
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
                return Tables("\n\n".join([_describe(plan, runs), *left_out]), options.out, keys)
            _finish(plan, runs)
    scores = {run: score_files.read_scores(plan.folder(run) / formats.SCORES) for run in runs}
    seeds = range(plan.seed, plan.seed + plan.num_seeds)

    def scores_of(cell: paper_tables.Source) -> Any:
        return scores[paper_runs.run_of(cell)]

    said = paper_files.write_tables(options.out, keys, plan.scale, models, scores_of, seeds)
    if has_figure:
        paths = paper_files.write_figure(options.out, models, scores_of, seeds)
        said.append(f"Figure {paper_files.FIGURE}: {', '.join(map(str, paths))}")
    return Tables("\n".join([*said, *left_out]), options.out, keys)


def _wanted(options: MakeTables) -> tuple[int | str, ...]:
    """Returns the keys of the wanted tables."""
    from mint_keras.report import paper_files, paper_tables

    paper_files.check_wanted(options.table, options.figure, paper.TABLES)
    keys: dict[int | str, None] = dict.fromkeys(paper_tables.KEYS if options.all else options.table)
    if options.poolings:
        keys[paper_tables.POOLINGS] = None
    if not keys and not options.figure:
        raise InputError("Expected --table N, --figure 5, --poolings or --all, received none.")
    of_pictures = set(keys) & set(paper_tables.OF_PICTURES)
    if of_pictures and not options.pictures and not options.all:
        raise InputError(
            f"Expected for tables {sorted(of_pictures)} --pictures CIFAR100 --picture-externals TINY_IMAGENET COCO "
            "--picture-evaluate CALTECH, received none."
        )
    return tuple(key for key in keys if options.pictures or key not in of_pictures)


def _plan(options: MakeTables) -> Plan:
    from mint_keras.report import paper_tables
    from mint_keras.runs import paper as paper_runs

    models = dict(paper_runs.LAB_MODELS)
    if options.audited or options.scale == paper_runs.PAPER:
        pairs = [entry.partition("=") for entry in options.audited]
        wants_models = options.all or options.figure or set(options.table) - set(paper_tables.OF_PICTURES)
        if (wants_models and not pairs) or not all(name and folder for name, _, folder in pairs):
            raise InputError(f"Expected --audited NAME=FOLDER ..., received {list(options.audited)}.")
        models = {name: Path(folder) for name, _, folder in pairs}
    if (options.protocol is not None) != (options.scale == paper_runs.PAPER and bool(models)):
        raise InputError("Expected --protocol FOLDER with --scale paper, and only there: the lab makes its own.")
    given = (options.pictures, options.picture_externals, options.picture_evaluate)
    if any(given) and not all(given):
        raise InputError(
            "Expected --pictures, --picture-externals and --picture-evaluate together, received only some of them."
        )
    return paper_runs.Plan(
        out=options.out,
        models=models,
        protocols=options.protocol or options.out / "protocols",
        pictures=paper_runs.Pictures(*given) if options.pictures else None,
        scale=options.scale,
        num_seeds=options.num_seeds,
        seed=options.seed,
    )


def _make_protocols(plan: Plan, runs: Sequence[PaperRun]) -> None:
    """Makes the lab's protocols, or checks that those of the paper's scale are there."""
    from mint_keras import shelf
    from mint_keras.commands.make_protocol import MakeProtocol, make_protocol
    from mint_keras.data import protocol_files
    from mint_keras.runs import paper as paper_runs
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


def _finish(plan: Plan, runs: Sequence[PaperRun]) -> None:
    """Trains classifiers and runs what is not finished."""
    import keras

    from mint_keras.heads import specs
    from mint_keras.runs import paper as paper_runs
    from mint_keras.runs import report
    from mint_keras.training import classification

    for name in progress.bar(paper_runs.classifiers(runs), desc="classifiers"):
        spec, folder = plan.classifier(name), plan.classifier_folder(name)
        if not classification.is_finished(spec, folder):
            classification.train_classifier(spec, folder)
            keras.utils.clear_session()  # else its graphs stay in memory
    for run in progress.bar(runs, desc="runs", unit="run"):
        if plan.is_finished(run):
            continue
        report.train(plan.spec(run), plan.folder(run))
        keras.utils.clear_session()
        if specs.find(run.head).takes_maps:
            # Maps fill the disk, and nothing but the scores is needed again.
            shutil.rmtree(plan.folder(run) / "aad")


def _describe(plan: Plan, runs: Sequence[PaperRun]) -> str:
    """Says what would run, and what it costs."""
    from mint_keras.report import tables
    from mint_keras.runs import paper as paper_runs
    from mint_keras.training import classification

    rows, costs = [["run", "state", "heads", "GFLOP"]], []
    for name in paper_runs.classifiers(runs):
        is_there = classification.is_finished(plan.classifier(name), plan.classifier_folder(name))
        costs.append(0.0 if is_there else plan.classifier_gigaflops(name))
        rows.append([f"training of {name}", "to do" if costs[-1] else "finished", "", f"{costs[-1]:,.0f}"])
    for run in runs:
        costs.append(0.0 if plan.is_finished(run) else plan.gigaflops(run))
        num_heads = str(len(plan.spec(run).keys))
        rows.append([run.name, "to do" if costs[-1] else "finished", num_heads, f"{costs[-1]:,.0f}"])
    hours = [f"{sum(costs) / rate / 3600:.1f} h at {rate:,} GFLOP/s" for rate in (100, 5000)]
    return (
        f"{tables.format_table(rows)}\n\nTo do: {sum(costs):,.0f} GFLOP, {', '.join(hours)} (two CPU cores, one GPU)."
    )
