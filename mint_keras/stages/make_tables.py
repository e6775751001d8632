"""Stage: the paper's tables and Figure 5, each cell with its interval, its controls and the published figure."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from mint_keras import formats
from mint_keras.audit import intervals
from mint_keras.data import protocol as protocols
from mint_keras.heads import specs
from mint_keras.records import InputError, Scores
from mint_keras.report import paper_tables, plots, tables
from mint_keras.stages import mint_options, mint_run, paper_runs, train_mint
from mint_keras.stages.progress import pace

KIND = "paper_tables"
FIGURE = 5


@dataclasses.dataclass(frozen=True)
class MakeTables:
    """Options of make_tables.py.

    Attributes:
        out: folder for the tables, the figure, and the runs and protocols behind them.
        table: numbers of the paper's tables: 1 to 7.
        figure: 5, the ROC curves.
        all: every table and the figure.
        scale: lab: three small committed models whose members are known, drawn faces, 192 training samples of each
            class in place of 50,000; paper: your audited models and protocols at full size.
        audited: the audited models as NAME=FOLDER, for example fr1=models/fr1; a column each. The lab has its own.
        protocol: of the paper's scale: a folder that has a protocol of make_protocol.py for every model, case and size,
            for example PROTOCOL/fr1/baseline-100k.
        num_seeds: trainings of every head; intervals hold how much they differ.
        plan: say what would run, and what it costs, and do nothing.
        rebuild: read the scores.csv of finished runs in --out and run nothing.
        seed: seed of the first training, the others follow; and of the resampling.
        overwrite: replace what --out holds, its runs included.
        quiet: no progress bars.
    """

    out: Path
    table: tuple[int, ...] = ()
    figure: tuple[int, ...] = ()
    all: bool = False
    scale: Literal["lab", "paper"] = "lab"
    audited: tuple[str, ...] = ()
    protocol: Path | None = None
    num_seeds: int = 3
    plan: bool = False
    rebuild: bool = False
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def make_tables(config: MakeTables) -> str:
    """Runs what the tables need and is not there yet, and renders them from the scores of the runs.

    Raises:
        InputError: for an unknown table, a missing model or protocol, or, with --rebuild, a missing run.
        RefusedError: if a run in --out was made from other inputs.
    """
    numbers, has_figure, setting = *_wanted(config), _setting(config)
    sources = [source for number in numbers for source in paper_tables.flat_sources(number, config.scale)]
    sources += paper_tables.figure_sources().values() if has_figure else []
    runs = sorted({paper_runs.run_of(model, source) for model in setting.models for source in sources})
    if config.rebuild:
        _check_scores(setting, runs)
    else:
        with formats.output_folder(config.out, _manifest(setting), config.overwrite):
            paper_runs.make_protocols(setting, runs)
            if config.plan:
                return _plan(setting, runs)
            for run in tqdm(runs, desc="runs", unit="run", disable=config.quiet, **pace()):
                _finish(setting.config(run))
    scores = {run: formats.read_scores(_scores_file(setting, run)) for run in runs}
    texts = _write_tables(config, setting, numbers, scores)
    return "\n".join([*texts, *(_write_figure(config, setting, scores) if has_figure else [])])


def _wanted(config: MakeTables) -> tuple[tuple[int, ...], bool]:
    """Returns the numbers of the wanted tables, and whether the figure is."""
    numbers = paper_tables.NUMBERS if config.all else tuple(dict.fromkeys(config.table))
    if unknown := sorted(set(numbers) - set(paper_tables.NUMBERS)) + sorted(set(config.figure) - {FIGURE}):
        raise InputError(
            f"Expected tables of {list(paper_tables.NUMBERS)} and figure {FIGURE}, received {unknown} among them."
        )
    if not numbers and not config.figure:
        raise InputError("Expected --table N, --figure 5 or --all, received none.")
    return numbers, config.all or bool(config.figure)


def _setting(config: MakeTables) -> paper_runs.Setting:
    models = dict(paper_runs.LAB_MODELS)
    if config.audited or config.scale == paper_runs.PAPER:
        pairs = [entry.partition("=") for entry in config.audited]
        if not pairs or not all(name and folder for name, _, folder in pairs):
            raise InputError(f"Expected --audited NAME=FOLDER ..., received {list(config.audited)}.")
        models = {name: Path(folder) for name, _, folder in pairs}
    if (config.protocol is None) != (config.scale == paper_runs.LAB):
        raise InputError("Expected --protocol FOLDER with --scale paper, and only there: the lab makes its own.")
    folder = config.protocol or config.out / "protocols"
    return paper_runs.Setting(
        config.out, models, folder, config.scale, config.num_seeds, config.seed, config.quiet
    )  # fmt: skip


def _plan(setting: paper_runs.Setting, runs: Iterable[paper_runs.PaperRun]) -> str:
    rows = [["run", "state", "heads", "GFLOP"]]
    total = 0.0
    for run in runs:
        config = setting.config(run)
        cost = 0.0 if mint_run.is_finished(config) else paper_runs.gigaflops(config)
        total += cost
        state = "to do" if cost else "finished"
        rows.append([run.name, state, str(len(mint_options.head_keys(config))), f"{cost:,.0f}"])
    hours = [f"{total / rate / 3600:.1f} h at {rate:,} GFLOP/s" for rate in (100, 5000)]
    return f"{tables.format_table(rows)}\n\nTo do: {total:,.0f} GFLOP, {', '.join(hours)} (two CPU cores, one GPU)."


def _manifest(setting: paper_runs.Setting) -> dict[str, Any]:
    """What all tables in a folder share; which tables they are does not matter."""
    inputs = {name: formats.sha256_file(folder / formats.MODEL) for name, folder in setting.models.items()}
    settings = {"scale": setting.scale, "num_seeds": setting.num_seeds, "seed": setting.seed}
    return formats.make_manifest(KIND, inputs, settings)


def _check_scores(setting: paper_runs.Setting, runs: Iterable[paper_runs.PaperRun]) -> None:
    if missing := [run.name for run in runs if not _scores_file(setting, run).is_file()]:
        raise InputError(f"Expected the runs {missing} in {setting.out / 'runs'}, received none. Leave out --rebuild.")


def _finish(options: mint_options.TrainMint) -> None:
    """Runs what is not finished; maps are deleted afterwards, since nothing but the scores is needed again."""
    if mint_run.is_finished(options):
        return
    train_mint.train_mint(options)
    if specs.find(options.head).takes_maps:
        shutil.rmtree(options.out / "aad")


def _scores_file(setting: paper_runs.Setting, run: paper_runs.PaperRun) -> Path:
    return setting.out / "runs" / run.name / formats.SCORES


def _parts(scores: Iterable[Scores], source: paper_tables.Source, suffix: str, evaluation: str) -> list[Scores]:
    key = (source.head + suffix, source.tap, evaluation)
    return [part for part in scores if (part.scorer, part.tap, part.evaluation) == key]


def _write_tables(
    config: MakeTables,
    setting: paper_runs.Setting,
    numbers: Iterable[int],
    scores: dict[paper_runs.PaperRun, list[Scores]],
) -> list[str]:
    models, texts = tuple(setting.models), []
    figures: dict[tuple[str, paper_tables.Source, str], dict[str, intervals.Estimate]] = {}
    for number in numbers:
        for source in paper_tables.flat_sources(number, config.scale):
            for model in models:
                for column, suffix, evaluation in tables.columns(protocols.UNSEEN_DATABASE):
                    key = (model, source, column)
                    parts = _parts(scores[paper_runs.run_of(model, source)], source, suffix, evaluation)
                    if parts and key not in figures:
                        figures[key] = intervals.estimate(parts, seed=config.seed)
        rows = paper_tables.fill(number, config.scale, models, figures)
        note = _note(setting)
        text = paper_tables.to_markdown(number, models, rows, note)
        for ending, content in (
            ("md", text),
            ("tex", paper_tables.to_latex(number, models, rows, note)),
            ("csv", paper_tables.to_csv(models, rows)),
        ):
            formats.write_text(setting.out / f"table_{number}.{ending}", content)
        texts.append(text)
    return texts


def _note(setting: paper_runs.Setting) -> str:
    where = {paper_runs.LAB: "Lab: drawn faces, small models", paper_runs.PAPER: "Full size"}[setting.scale]
    return (
        f"{where}. Cells: accuracy ± half of its 95% interval over identities and {setting.num_seeds} trainings (the "
        "paper's), AUC. One evaluation database: how much others would differ, the intervals do not say."
    )


def _write_figure(
    config: MakeTables, setting: paper_runs.Setting, scores: dict[paper_runs.PaperRun, list[Scores]]
) -> list[str]:
    panels = {}
    for model in setting.models:
        curves = {}
        for label, source in paper_tables.figure_sources().items():
            parts = _parts(scores[paper_runs.run_of(model, source)], source, "", protocols.UNSEEN_DATABASE)
            area = intervals.estimate(parts, seed=config.seed)["auc"]
            curves[f"{label}: AUC {area.value:.2f} ± {area.half_width:.2f}"] = train_mint.roc(parts[0])
        panels[model] = curves
    paths = [setting.out / f"figure_{FIGURE}.{ending}" for ending in ("png", "svg")]
    plots.save_roc_panels(paths, panels, f"ROC of the first of {setting.num_seeds} trainings; AUC: of all of them")
    return [f"Figure {FIGURE}: {', '.join(str(path) for path in paths)}"]
