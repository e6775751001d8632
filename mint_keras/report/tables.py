"""Tables of results as text."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mint_keras.data import protocol
from mint_keras.records import AUDITED, UNTRAINED, ParityRecord, ResultRow
from mint_keras.statistics.intervals import Estimate

AUDITED_COLUMN = "audited model"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows, the first of them the header, as an aligned Markdown table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def columns(main_evaluation: str) -> list[tuple[str, str, str]]:
    """Returns the columns of a run's table: name, model (`Scores.model`), evaluation."""
    # A run without other databases to evaluate on has "same database" as its main evaluation: once is enough.
    controls = [("same database", AUDITED, protocol.SAME_DATABASE), ("familiar", AUDITED, protocol.FAMILIAR)]
    return [
        (AUDITED_COLUMN, AUDITED, main_evaluation),
        ("untrained copy", UNTRAINED, main_evaluation),
        *(column for column in controls if column[2] != main_evaluation),
    ]


def mint_table(results: Sequence[ResultRow], head: str, main_evaluation: str) -> str:
    """Returns the table of a run, shaped like the paper's Table 1, with the columns that keep it honest.

    There is one row per tap of the head, and per baseline (and its tap, if it looks at several). Cells are accuracy,
    AUC and TPR at 1% FPR, means over the seeds, "-" where there is none.
    """
    by_key: dict[tuple[str, str, str, str], list[ResultRow]] = {}
    for row in results:
        by_key.setdefault((row.scorer, row.model, row.evaluation, row.tap), []).append(row)
    table = [[head, *(name for name, _, _ in columns(main_evaluation))]]
    kinds = list(dict.fromkeys((row.scorer, row.tap) for row in results if row.model == AUDITED))
    num_taps = collections.Counter(scorer for scorer, _ in kinds)
    for scorer, tap in kinds:
        cells = []
        for _, model, evaluation in columns(main_evaluation):
            rows = by_key.get((scorer, model, evaluation, tap), [])
            names = ("accuracy", "auc", "tpr_at_1_fpr") if rows else ()
            cells.append(" ".join(f"{np.mean([getattr(row, name) for row in rows]):.3f}" for name in names) or "-")
        # The head's rows are named by their taps, as in the paper; a baseline names its tap where it looks at several.
        name = scorer.replace("_", " ") + (f", {tap}" if num_taps[scorer] > 1 else "")
        table.append([tap if scorer == head else name, *cells])
    return format_table(table)


def parity_table(records: Sequence[ParityRecord]) -> str:
    """Returns one row per tap and oracle: the worst of its records over inputs and batch sizes."""
    table = [["tap", "against", "inputs (batch)", "max abs", "relative", "cosine"]]
    for tap, oracle in dict.fromkeys((record.tap, record.oracle) for record in records):
        rows = [record for record in records if (record.tap, record.oracle) == (tap, oracle)]
        batches = {row.input: dict.fromkeys(str(r.batch) for r in rows if r.input == row.input) for row in rows}
        shown = ", ".join(f"{name} ({', '.join(sizes)})" for name, sizes in batches.items())
        # The worst of each figure, whichever input and batch it came from.
        largest = [f"{max(getattr(row, name) for row in rows):.1e}" for name in ("max_abs", "relative")]
        table.append([tap, oracle, shown, *largest, f"{min(row.cosine for row in rows):.8f}"])
    return format_table(table)


def interval(estimate: Mapping[str, Any]) -> str:
    """Returns an estimate, as JSON has it, with its interval."""
    return str(Estimate(**estimate))
