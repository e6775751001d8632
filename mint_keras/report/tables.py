"""Tables of results as text."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mint_keras.data import protocol
from mint_keras.records import AUDITED, UNTRAINED, ParityRecord, ResultRow

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
    controls = [("same database", AUDITED, protocol.SAME_DATABASE), ("familiar", AUDITED, protocol.FAMILIAR)]
    return [
        (AUDITED_COLUMN, AUDITED, main_evaluation),
        ("untrained copy", UNTRAINED, main_evaluation),
        *(column for column in controls if column[2] != main_evaluation),
    ]


def mint_table(results: Sequence[ResultRow], head: str, main_evaluation: str) -> str:
    """Returns the table of a run, shaped like the paper's Table 1, with the columns that keep it honest.

    Args:
        results: rows of one run.
        head: the scorer of the audited model, for example "vanilla".
        main_evaluation: the evaluation the paper reports.

    Returns:
        One row per tap, and per baseline (and its tap, if it looks at several). Cells are accuracy, AUC and TPR at
        1% FPR, means over the seeds, "-" where there is none.
    """
    by_key: dict[tuple[str, str, str, str], list[ResultRow]] = {}
    for row in results:
        by_key.setdefault((row.scorer, row.model, row.evaluation, row.tap), []).append(row)
    table = [[head, *(name for name, _, _ in columns(main_evaluation))]]
    kinds = list(dict.fromkeys((row.scorer, row.tap) for row in results if row.model == AUDITED))
    num_taps = collections.Counter(scorer for scorer, _ in kinds)
    for scorer, tap in kinds:
        cells = [
            _cell(by_key.get((scorer, model, evaluation, tap), [])) for _, model, evaluation in columns(main_evaluation)
        ]
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
        largest = [f"{max(getattr(row, name) for row in rows):.1e}" for name in ("max_abs", "relative")]
        table.append([tap, oracle, shown, *largest, f"{min(row.cosine for row in rows):.8f}"])
    return format_table(table)


def audit_table(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what an audit measured as a table: AUC with its interval, a row for a control, a column for a scorer.

    Args:
        verdicts: by scorer, as audit.json has them.
    """
    names = dict.fromkeys(one["name"] for decided in verdicts.values() for one in decided["findings"])
    table = [["", *verdicts]]
    for name in names:
        cells = [
            ", ".join(interval(one["auc"]) for one in decided["findings"] if one["name"] == name)
            for decided in verdicts.values()
        ]
        table.append([name.replace("_", " "), *cells])
    table.append(["verdict", *(decided["outcome"] for decided in verdicts.values())])
    return format_table(table)


def changes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns how scorers do on changed photos: AUC with its interval, false positives, true positives.

    Args:
        rows: of audit.json, `robustness`.
    """
    by_place = {(row["change"], row["scorer"]): row for row in rows}
    scorers = list(dict.fromkeys(scorer for _, scorer in by_place))
    table = [["photos", *scorers]]
    for change in dict.fromkeys(change for change, _ in by_place):
        found = [by_place[change, scorer] for scorer in scorers]
        cells = [f"{interval(one['auc'])}, {one['false_positives']:.3f}, {one['true_positives']:.3f}" for one in found]
        table.append([change, *cells])
    return format_table(table)


def interval(estimate: Mapping[str, float]) -> str:
    """Returns an estimate, as JSON has it, with its interval."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _cell(rows: Sequence[ResultRow]) -> str:
    figures = [np.mean([getattr(row, name) for row in rows]) for name in ("accuracy", "auc", "tpr_at_1_fpr") if rows]
    return " ".join(f"{value:.3f}" for value in figures) or "-"
