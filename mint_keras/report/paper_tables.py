"""The paper's tables filled with our figures: which run fills which cell, and Markdown, CSV and LaTeX of the result."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping

from mint_keras import paper
from mint_keras.audit.intervals import Estimate
from mint_keras.data import protocol
from mint_keras.report import tables

TAPS = {
    "Conv Layer #1": "conv1",
    "Conv Layer #2": "conv2",
    "Conv Layer #3": "conv3",
    "Conv Layer #4": "conv4",
    "Model Outcome": "outcome",
    "Combination": "combination",
}
SIZES = {"100K": "100k", "50K": "50k", "1K": "1k"}
NUMBERS = (1, 2, 3, 4, 5, 6, 7)
LAB, PAPER = "lab", "paper"
# What stands for the two large heads of Table 7 where there is no GPU.
_REDUCED = {"resnet50": "resnet50_reduced", "vit": "vit_reduced"}
_HEADS = {
    "MINT CNN*": "cnn_third",
    "MINT CNN**": "cnn",
    "MINT CNN***": "cnn_x3",
    "MINT CNN****": "cnn_x10",
    "MINT ResNet50": "resnet50",
    "MINT ViT": "vit",
}
_FIGURE_TAPS = ("conv1", "conv2", "conv3", "conv4", "combination")


@dataclasses.dataclass(frozen=True)
class Source:
    """What fills a cell: a head on a tap, trained and evaluated under a case of the protocol, with a size."""

    head: str
    tap: str
    case: str = "baseline"
    size: str = "100k"


def sources(number: int, scale: str) -> dict[str, tuple[Source, ...]]:
    """Returns what fills the rows of a table, by the paper's names; in Table 2 two sources a row, Cases A and B."""
    rows = _paper_sources(number)
    if scale == PAPER:
        return rows
    return {
        name: tuple(dataclasses.replace(source, head=_REDUCED.get(source.head, source.head)) for source in row)
        for name, row in rows.items()
    }


def flat_sources(number: int, scale: str) -> list[Source]:
    """Returns what fills a table, without its rows."""
    return [source for row in sources(number, scale).values() for source in row]


def _paper_sources(number: int) -> dict[str, tuple[Source, ...]]:
    if number in (1, 2):
        all_cases = {1: ("baseline",), 2: ("a", "b")}[number]
        return {name: tuple(Source("vanilla", tap, case) for case in all_cases) for name, tap in TAPS.items()}
    by_number: dict[int, dict[str, tuple[Source, ...]]] = {
        3: {name: (Source("vanilla", "combination", size=size),) for name, size in SIZES.items()},
        4: {name: (Source("cnn", tap),) for name, tap in TAPS.items() if tap != "outcome"},
        5: {name: (Source("cnn", "conv1", size=size),) for name, size in SIZES.items()},
        6: {
            "MIA [19]*": (Source("vanilla", "outcome"),),
            "MINT Vanilla**": (Source("vanilla", "combination"),),
            "MINT CNN***": (Source("cnn", "conv1"),),
        },
        7: {name: (Source(head, "conv1"),) for name, head in _HEADS.items()},
    }
    return by_number[number]


def figure_sources() -> dict[str, Source]:
    """Returns the curves of Figure 5 by label."""
    vanilla = {f"vanilla, {tap}": Source("vanilla", tap) for tap in _FIGURE_TAPS}
    return {"MIA [19] (outcome)": Source("vanilla", "outcome"), **vanilla, "cnn, conv1": Source("cnn", "conv1")}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a filled table.

    Attributes:
        name: the paper's, with the control it belongs to.
        control: "" for the paper's own rows; else the name of a control, see `report.tables.columns`.
        ours: for every column and source of it, our figures by name ("accuracy", "auc", "tpr_at_1_fpr"); none where
            there is no such evaluation.
        published: the paper's accuracies beside them; none for controls.
    """

    name: str
    control: str
    ours: tuple[tuple[dict[str, Estimate] | None, ...], ...]
    published: tuple[tuple[float, ...], ...] | None


Figures = Mapping[tuple[str, Source, str], dict[str, Estimate]]


def fill(number: int, scale: str, models: tuple[str, ...], figures: Figures) -> list[Row]:
    """Fills a table.

    Args:
        number: of the table.
        scale: `LAB` or `PAPER`.
        models: the audited models, one a column.
        figures: what each gave, by model, source and column of `report.tables.columns`.

    Returns:
        The paper's rows, then the same rows for every control.
    """
    rows = []
    for control, _, _ in tables.columns(protocol.UNSEEN_DATABASE):
        is_paper = control == tables.AUDITED_COLUMN
        for name, of_row in sources(number, scale).items():
            ours = tuple(tuple(figures.get((model, source, control)) for source in of_row) for model in models)
            if is_paper or any(entry is not None for entries in ours for entry in entries):
                published = paper.TABLES[number].cells[name] if is_paper else None
                rows.append(Row(name, "" if is_paper else control, ours, published))
    return rows


def to_markdown(number: int, models: tuple[str, ...], rows: list[Row], note: str) -> str:
    """Renders a table; cells are accuracy ± half of its 95% interval (the paper's accuracy), and the AUC."""
    lines = [["", *_headings(number, models)]]
    for row in rows:
        cells = [
            " / ".join(_cell(entry, published) for entry, published in zip(entries, theirs, strict=True))
            for entries, theirs in _columns(row)
        ]
        lines.append([f"{row.control}: {row.name}" if row.control else row.name, *cells])
    title = f"**Table {number}.** {paper.TABLES[number].title}. {note}"
    return f"{title}\n\n{tables.format_table(lines)}\n"


def to_latex(number: int, models: tuple[str, ...], rows: list[Row], note: str) -> str:
    """Renders a table for a paper that loads booktabs."""
    head = " & ".join(["", *(_escape(heading) for heading in _headings(number, models))])
    body: list[str] = []
    for row, previous in zip(rows, [None, *rows], strict=False):
        if previous is not None and row.control != previous.control:
            body.append(r"\midrule")
        cells = [
            " / ".join(_cell(entry, published, r"$\pm$") for entry, published in zip(entries, theirs, strict=True))
            for entries, theirs in _columns(row)
        ]
        body.append(" & ".join([_escape(f"{row.control}: {row.name}" if row.control else row.name), *cells]) + r" \\")
    return "\n".join([
        r"\begin{table}",
        rf"\caption{{{_escape(paper.TABLES[number].title)}. {_escape(note)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(models)}}}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def to_csv(models: tuple[str, ...], rows: list[Row]) -> str:
    """Renders a table with every figure and interval, one line a cell and source."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("accuracy", "auc", "tpr_at_1_fpr")
    writer.writerow([
        "row", "control", "model", "source", "num_seeds", "published",
        *(f"{name}{end}" for name in names for end in ("", "_low", "_high")),
    ])  # fmt: skip
    for row in rows:
        for model, (entries, theirs) in zip(models, _columns(row), strict=True):
            for place, (entry, published) in enumerate(zip(entries, theirs, strict=True)):
                if entry is not None:
                    values = [repr(float(v)) for n in names for v in (entry[n].value, entry[n].low, entry[n].high)]
                    seeds = entry["accuracy"].num_seeds
                    given = "" if published is None else published
                    writer.writerow([row.name, row.control, model, place + 1, seeds, given, *values])
    return text.getvalue()


def _headings(number: int, models: tuple[str, ...]) -> list[str]:
    return [f"{column} ({model})" for column, model in zip(paper.TABLES[number].columns, models, strict=False)]


def _columns(row: Row) -> Iterator[tuple[tuple[dict[str, Estimate] | None, ...], tuple[float | None, ...]]]:
    for place, entries in enumerate(row.ours):
        yield entries, row.published[place] if row.published else (None,) * len(entries)


def _cell(entry: dict[str, Estimate] | None, published: float | None, plus_minus: str = "±") -> str:
    given = "" if published is None else f" ({published:.2f})"
    if entry is None:
        return f"-{given}"
    accuracy = entry["accuracy"]
    return f"{accuracy.value:.2f} {plus_minus} {accuracy.half_width:.2f}{given}, AUC {entry['auc'].value:.2f}"


def _escape(text: str) -> str:
    return "".join({"±": r"$\pm$", "#": r"\#", "%": r"\%", "_": r"\_", "&": r"\&"}.get(c, c) for c in text)
