"""Tables of results as text."""

from collections.abc import Sequence

from mint_keras.data import protocol
from mint_keras.records import AUDITED, UNTRAINED, ParityRecord

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
