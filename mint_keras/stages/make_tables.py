"""Stage: the paper's tables and Figure 5, each cell with its interval, its controls and the published figure."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats, paper, score_files
from mint_keras.data import protocol as protocols
from mint_keras.heads import specs
from mint_keras.records import AUDITED, InputError, Scores
from mint_keras.report import paper_tables, plots, tables
from mint_keras.stages import mint_options, mint_run, paper_runs, train_classifier, train_mint
from mint_keras.stages.progress import pace
from mint_keras.statistics import intervals

KIND = "paper_tables"
FIGURE = 5


@dataclasses.dataclass(frozen=True)
class MakeTables:
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
        overwrite: replace what --out holds, its runs included.
        quiet: no progress bars.
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
    overwrite: bool = False
    quiet: bool = False


def make_tables(config: MakeTables) -> str:
    """Runs what the tables need and is not there yet, and renders them from the scores of the runs.

    Raises:
        InputError: for an unknown table, a missing model or protocol, or, with --rebuild, a missing run.
        RefusedError: if a run in --out was made from other inputs.
    """
    keys, has_figure, setting = _wanted(config), config.all or bool(config.figure), _setting(config)
    models = tuple(setting.models)
    sources = [source for key in keys for source in paper_tables.all_sources(key, config.scale, models)]
    sources += [s for model in models for s in paper_tables.figure_sources(model).values() if has_figure]
    runs = sorted({paper_runs.run_of(source) for source in sources})
    if config.rebuild:
        _check_scores(setting, runs)
    else:
        with formats.output_folder(config.out, _manifest(setting), config.overwrite):
            paper_runs.make_protocols(setting, runs)
            if config.plan:
                return "\n\n".join([_plan(setting, runs), *_left_out(config)])
            for name in tqdm(paper_runs.classifiers(runs), desc="classifiers", disable=config.quiet, **pace()):
                _finish_classifier(setting.classifier(name))
            for run in tqdm(runs, desc="runs", unit="run", disable=config.quiet, **pace()):
                _finish(setting.config(run))
    scores = {run: score_files.read_scores(_scores_file(setting, run)) for run in runs}
    texts = _write_tables(config, setting, keys, scores)
    figure = _write_figure(config, setting, scores) if has_figure else []
    return "\n".join([*texts, *figure, *_left_out(config)])


def _wanted(config: MakeTables) -> tuple[int | str, ...]:
    """Returns the keys of the wanted tables."""
    numbers = tuple(paper.TABLES)
    if unknown := sorted(set(config.table) - set(numbers)) + sorted(set(config.figure) - {FIGURE}):
        raise InputError(f"Expected tables of {list(numbers)} and figure {FIGURE}, received {unknown} among them.")
    keys: dict[int | str, None] = dict.fromkeys(paper_tables.KEYS if config.all else config.table)
    if config.poolings:
        keys[paper_tables.POOLINGS] = None
    if not keys and not config.figure:
        raise InputError("Expected --table N, --figure 5, --poolings or --all, received none.")
    of_pictures = set(keys) & set(paper_tables.OF_PICTURES)
    if of_pictures and not config.pictures and not config.all:
        raise InputError(
            f"Expected for tables {sorted(of_pictures)} --pictures CIFAR100 --picture-externals TINY_IMAGENET COCO "
            "--picture-evaluate CALTECH, received none."
        )
    return tuple(key for key in keys if config.pictures or key not in of_pictures)


def _left_out(config: MakeTables) -> list[str]:
    """Says what --all has not made."""
    if not config.all or config.pictures:
        return []
    return ["Tables 8 and 9 are left out: they want --pictures, --picture-externals and --picture-evaluate."]


def _setting(config: MakeTables) -> paper_runs.Setting:
    models = dict(paper_runs.LAB_MODELS)
    if config.audited or config.scale == paper_runs.PAPER:
        pairs = [entry.partition("=") for entry in config.audited]
        wants_models = config.all or config.figure or set(config.table) - set(paper_tables.OF_PICTURES)
        if (wants_models and not pairs) or not all(name and folder for name, _, folder in pairs):
            raise InputError(f"Expected --audited NAME=FOLDER ..., received {list(config.audited)}.")
        models = {name: Path(folder) for name, _, folder in pairs}
    if (config.protocol is not None) != (config.scale == paper_runs.PAPER and bool(models)):
        raise InputError("Expected --protocol FOLDER with --scale paper, and only there: the lab makes its own.")
    return paper_runs.Setting(
        out=config.out,
        models=models,
        protocols=config.protocol or config.out / "protocols",
        pictures=_pictures(config),
        scale=config.scale,
        num_seeds=config.num_seeds,
        seed=config.seed,
        quiet=config.quiet,
    )


def _pictures(config: MakeTables) -> paper_runs.Pictures | None:
    given = (config.pictures, config.picture_externals, config.picture_evaluate)
    if any(given) and not all(given):
        raise InputError(
            "Expected --pictures, --picture-externals and --picture-evaluate together, received only some of them."
        )
    return paper_runs.Pictures(*given) if config.pictures else None


def _plan(setting: paper_runs.Setting, runs: Sequence[paper_runs.PaperRun]) -> str:
    rows = [["run", "state", "heads", "GFLOP"]]
    costs = []
    for name in paper_runs.classifiers(runs):
        classifier = setting.classifier(name)
        costs.append(0.0 if train_classifier.is_finished(classifier) else paper_runs.classifier_gigaflops(classifier))
        rows.append([f"training of {name}", *_state(costs[-1], "")])
    for run in runs:
        config = setting.config(run)
        costs.append(0.0 if _is_finished(config) else paper_runs.gigaflops(setting, run))
        rows.append([run.name, *_state(costs[-1], str(len(mint_options.head_keys(config))))])
    hours = [f"{sum(costs) / rate / 3600:.1f} h at {rate:,} GFLOP/s" for rate in (100, 5000)]
    return (
        f"{tables.format_table(rows)}\n\nTo do: {sum(costs):,.0f} GFLOP, {', '.join(hours)} (two CPU cores, one GPU)."
    )


def _state(cost: float, num_heads: str) -> tuple[str, str, str]:
    return "to do" if cost else "finished", num_heads, f"{cost:,.0f}"


def _manifest(setting: paper_runs.Setting) -> dict[str, Any]:
    """What all tables in a folder share; runs and classifiers say themselves which models and samples they are of."""
    settings = {"scale": setting.scale, "num_seeds": setting.num_seeds, "seed": setting.seed}
    return formats.make_manifest(KIND, {}, settings)


def _check_scores(setting: paper_runs.Setting, runs: Iterable[paper_runs.PaperRun]) -> None:
    if missing := [run.name for run in runs if not _scores_file(setting, run).is_file()]:
        raise InputError(f"Expected the runs {missing} in {setting.out / 'runs'}, received none. Leave out --rebuild.")


def _finish_classifier(options: train_classifier.TrainClassifier) -> None:
    if not train_classifier.is_finished(options):
        train_classifier.train_classifier(options)
        keras.utils.clear_session()  # else its graphs stay in memory


def _is_finished(options: mint_options.TrainMint) -> bool:
    return options.audited.is_dir() and mint_run.is_finished(options)


def _finish(options: mint_options.TrainMint) -> None:
    """Runs what is not finished; maps are deleted afterwards, since nothing but the scores is needed again."""
    if _is_finished(options):
        return
    train_mint.train_mint(options)
    keras.utils.clear_session()
    if specs.find(options.head).takes_maps:
        shutil.rmtree(options.out / "aad")


def _scores_file(setting: paper_runs.Setting, run: paper_runs.PaperRun) -> Path:
    return setting.out / "runs" / run.name / formats.SCORES


def _parts(scores: Iterable[Scores], source: paper_tables.Source, model: str, evaluation: str) -> list[Scores]:
    key = (source.head, model, source.tap, evaluation)
    return [part for part in scores if (part.scorer, part.model, part.tap, part.evaluation) == key]


def _write_tables(
    config: MakeTables,
    setting: paper_runs.Setting,
    keys: Iterable[int | str],
    scores: dict[paper_runs.PaperRun, list[Scores]],
) -> list[str]:
    models, texts = tuple(setting.models), []
    for key in keys:
        parts = _parts_of_table(key, config.scale, models, scores)
        figures = {place: intervals.estimate(of_place, seed=config.seed) for place, of_place in parts.items()}
        rows = paper_tables.fill(key, config.scale, models, figures)
        columns = paper_tables.columns(key, config.scale, models)
        note = " ".join([_note(setting, key), *_dead(parts)])
        text = paper_tables.to_markdown(key, columns, rows, note)
        for ending, content in (
            ("md", text),
            ("tex", paper_tables.to_latex(key, columns, rows, note)),
            ("csv", paper_tables.to_csv(columns, rows)),
        ):
            formats.write_text(setting.out / f"table_{key}.{ending}", content)
        texts.append(text)
    return texts


def _parts_of_table(
    key: int | str, scale: str, models: tuple[str, ...], scores: dict[paper_runs.PaperRun, list[Scores]]
) -> dict[tuple[paper_tables.Source, str, str], list[Scores]]:
    """Returns the scores behind every cell of a table that has any, one entry for each training seed."""
    found = {}
    for source in paper_tables.all_sources(key, scale, models):
        for control in paper_tables.controls(key):
            parts = _parts(scores[paper_runs.run_of(source)], source, control.model, control.evaluation)
            if parts:
                found[source, control.model, control.evaluation] = parts
    return found


def _dead(parts: Mapping[tuple[paper_tables.Source, str, str], Sequence[Scores]]) -> list[str]:
    """Names heads that score all samples alike: failed trainings, not findings."""
    dead = sorted({
        f"{source.model} {_through(part)} {source.tap} {source.size} seed {part.seed}"
        for (source, _, _), of_source in parts.items() for part in of_source if np.ptp(part.logit) == 0
    })  # fmt: skip
    return [f"Failed trainings, the same score for everybody: {', '.join(dead)}."] if dead else []


def _through(part: Scores) -> str:
    return part.scorer.replace("_", " ") + ("" if part.model == AUDITED else f" {part.model}")


def _note(setting: paper_runs.Setting, key: int | str) -> str:
    in_lab = "small classifiers, few pictures" if key in paper_tables.OF_PICTURES else "drawn faces, small models"
    where = f"Lab: {in_lab}" if setting.scale == paper_runs.LAB else "Full size"
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
        for label, source in paper_tables.figure_sources(model).items():
            parts = _parts(scores[paper_runs.run_of(source)], source, AUDITED, protocols.UNSEEN_DATABASE)
            area = intervals.estimate(parts, seed=config.seed)["auc"]
            curves[f"{label}: AUC {area.value:.2f} ± {area.half_width:.2f}"] = train_mint.roc(parts[0])
        panels[model] = curves
    paths = [setting.out / f"figure_{FIGURE}.{ending}" for ending in ("png", "svg")]
    plots.save_roc_panels(paths, panels, f"ROC of the first of {setting.num_seeds} trainings; AUC: of all of them")
    return [f"Figure {FIGURE}: {', '.join(str(path) for path in paths)}"]
