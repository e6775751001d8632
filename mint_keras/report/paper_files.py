"""The paper's tables and Figure 5 as files, from the scores of the runs that fill their cells."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, Scores
from mint_keras.report import paper_tables, plots
from mint_keras.report.paper_tables import CellSource
from mint_keras.statistics import figures, intervals, metrics

FIGURE = 5
# From a cell of a table to the scores of the run that fills it.
ScoresOf = Callable[[CellSource], Sequence[Scores]]


def write_tables(
    out: Path, keys: Iterable[int | str], scale: str, models: tuple[str, ...], scores_of: ScoresOf, seeds: range
) -> list[str]:
    """Writes table_N.md, .tex and .csv for every table into a folder; returns the Markdown.

    See `paper_tables.sources` for keys, scale and models. The first of the trainings' seeds is that of intervals too.
    """
    texts = []
    for key in keys:
        parts: dict[tuple[CellSource, str, str], list[Scores]] = {}
        for cell in paper_tables.all_sources(key, scale, models):
            for control in paper_tables.controls(key):
                if found := _parts(scores_of(cell), cell, control.model, control.evaluation):
                    parts[cell, control.model, control.evaluation] = found
        estimates = {place: intervals.estimate(of_place, seed=seeds[0]) for place, of_place in parts.items()}
        rows = paper_tables.fill(key, scale, models, estimates)
        columns = paper_tables.columns(key, scale, models)
        in_lab = "small classifiers, few pictures" if key in paper_tables.OF_PICTURES else "drawn faces, small models"
        where = f"Lab: {in_lab}" if scale == paper_tables.LAB else "Full size"
        note = (
            f"{where}. Cells: accuracy ± half of its 95% interval over identities and {len(seeds)} trainings (the "
            "paper's), AUC. One evaluation database: how much others would differ, the intervals do not say."
        )
        # Heads that score all samples alike are failed trainings, not findings.
        dead = {
            f"{cell.model} {part.scorer.replace('_', ' ')}{'' if part.model == AUDITED else f' {part.model}'} "
            f"{cell.tap} {cell.size} seed {part.seed}"
            for (cell, _, _), of_cell in parts.items()
            for part in of_cell
            if np.ptp(part.logit) == 0
        }
        if dead:
            note += f" Failed trainings, the same score for everybody: {', '.join(sorted(dead))}."
        text = paper_tables.to_markdown(key, columns, rows, note)
        formats.write_text(out / f"table_{key}.md", text)
        formats.write_text(out / f"table_{key}.tex", paper_tables.to_latex(key, columns, rows, note))
        header, *lines = paper_tables.to_csv(columns, rows)
        formats.write_csv(out / f"table_{key}.csv", header, lines)
        texts.append(text)
    return texts


def _parts(scores: Iterable[Scores], cell: CellSource, model: str, evaluation: str) -> list[Scores]:
    """Returns the scores behind a cell, one entry for each training seed."""
    key = (cell.head, model, cell.tap, evaluation)
    return [part for part in scores if (part.scorer, part.model, part.tap, part.evaluation) == key]


def write_figure(out: Path, models: tuple[str, ...], scores_of: ScoresOf, seeds: range) -> list[Path]:
    """Draws Figure 5, one panel for each audited model; returns its files. See `write_tables`."""
    panels = {}
    for model in models:
        curves = {}
        for label, cell in paper_tables.figure_sources(model).items():
            parts = _parts(scores_of(cell), cell, AUDITED, protocols.UNSEEN_DATABASE)
            area = intervals.estimate(parts, seed=seeds[0])["auc"]
            curve = metrics.roc_curve(figures.membership(parts[0]), parts[0].logit)
            curves[f"{label}: AUC {area.value:.2f} ± {area.half_width:.2f}"] = curve
        panels[model] = curves
    paths = [out / f"figure_{FIGURE}.{ending}" for ending in ("png", "svg")]
    plots.save_roc_panels(paths, panels, f"ROC of the first of {len(seeds)} trainings; AUC: of all of them")
    return paths
