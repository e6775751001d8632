"""The paper's tables filled with our figures: which run fills which cell, and Markdown, CSV and LaTeX of the result."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from mint_keras import paper
from mint_keras.data import protocol
from mint_keras.records import AUDITED
from mint_keras.report import tables
from mint_keras.statistics.intervals import Estimate

TAPS = {f"Conv Layer #{number}": f"conv{number}" for number in range(1, 5)}
TAPS |= {"Model Outcome": "outcome", "Combination": "combination"}
SIZES = {"100K": "100k", "50K": "50k", "1K": "1k"}
POOLINGS = "poolings"  # a table of ours: the paper says in one sentence that other poolings than the maximum did worse
KEYS: tuple[int | str, ...] = (*paper.TABLES, POOLINGS)
OF_PICTURES = (8, 9)  # tables of classifiers of pictures; all others are of face-recognition models
LAB, PAPER = "lab", "paper"
# Cases of tables 8 and 9: pictures as they are, or larger ones first shrunk to what CIFAR-100 has.
PICTURES, NATIVE = "pictures", "native"
NATIVE_RESOLUTION = 32  # so that CIFAR-100 stays as it is
_TITLES = {number: table.title for number, table in paper.TABLES.items()} | {
    POOLINGS: "Vanilla MINT model on the combination, by what it takes of every channel"
}
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
# By the columns of Table 8; the appendix names no resolution, but its ResNet50 is Table 9's of 64 pixels.
_CLASSIFIERS = ("mobilenet", "resnet50", "resnet101", "densenet121", "densenet201", "xception", "vit")
_RESOLUTION = {PAPER: 64, LAB: 32}
_WIDTH = {PAPER: "", LAB: "_quarter"}
# A quarter of a ViT would train for half an hour on two cores.
_VIT_WIDTH = {PAPER: "", LAB: "_eighth"}
# Table 7's largest heads on more samples would keep two cores busy for four hours.
_SIZE_OF_7 = {PAPER: "100k", LAB: "1k"}


@dataclasses.dataclass(frozen=True, order=True)
class CellSource:
    """What fills a cell: a head on a tap of an audited model, trained and evaluated under a case with a size."""

    model: str
    head: str
    tap: str
    case: str = "baseline"
    size: str = "100k"
    pooling: str = "max"


@dataclasses.dataclass(frozen=True)
class Control:
    """What else fills a row: the same head in a place where membership cannot be the cause.

    The paper's own rows have no name. The model is that of `Scores.model`, and a case stands in place of the source's.
    """

    name: str
    model: str
    evaluation: str
    case: str = ""

    def source(self, source: CellSource) -> CellSource:
        """Returns what fills the cell of the control."""
        return dataclasses.replace(source, case=self.case) if self.case else source


def controls(key: int | str) -> list[Control]:
    """Returns the rows of a table, the paper's own first."""
    found = [
        Control("" if name == tables.AUDITED_COLUMN else name, model, evaluation)
        for name, model, evaluation in tables.columns(protocol.UNSEEN_DATABASE)
    ]
    if key in OF_PICTURES:
        found.append(Control(f"shrunk to {NATIVE_RESOLUTION} first", AUDITED, protocol.UNSEEN_DATABASE, NATIVE))
    return found


def classifier(architecture: str, resolution: int) -> str:
    """Returns the name of an audited classifier."""
    return f"{architecture}-{resolution}"


def split_classifier(name: str) -> tuple[str, int]:
    """Returns the architecture and the resolution of an audited classifier."""
    architecture, _, resolution = name.rpartition("-")
    return architecture, int(resolution)


def sources(key: int | str, scale: str, models: tuple[str, ...]) -> dict[str, tuple[tuple[CellSource, ...], ...]]:
    """Returns what fills a table: for every row, by its name, and every column the sources of the cell.

    A cell has one source, in Table 2 those of Cases A and B. The key is the table's number, or `POOLINGS`, the scale
    `LAB` or `PAPER`, and the audited face models are one a column.
    """
    of_pictures = functools.partial(CellSource, head="cnn", tap="conv1", case=PICTURES, size="80k")
    if key == 8:
        widths = {name: (_VIT_WIDTH if name == "vit" else _WIDTH)[scale] for name in _CLASSIFIERS}
        names = [classifier(name + width, _RESOLUTION[scale]) for name, width in widths.items()]
        return {"accuracy": tuple((of_pictures(model=name),) for name in names)}
    if key == 9:
        sides = {row: int(row.partition("x")[0]) for row in paper.TABLES[9].cells}
        name = "resnet50" + _WIDTH[scale]
        return {row: ((of_pictures(model=classifier(name, side)),),) for row, side in sides.items()}
    return {
        name: tuple(tuple(dataclasses.replace(source, model=model) for source in row) for model in models)
        for name, row in _of_faces(key, scale).items()
    }


def all_sources(key: int | str, scale: str, models: tuple[str, ...]) -> list[CellSource]:
    """Returns what fills a table and its controls, without its rows."""
    plain = [source for row in sources(key, scale, models).values() for cell in row for source in cell]
    found: dict[CellSource, None] = {}
    for source, control in itertools.product(plain, controls(key)):
        # Shrinking to the native resolution first changes nothing for classifiers of that resolution or less.
        if control.case != NATIVE or split_classifier(source.model)[1] > NATIVE_RESOLUTION:
            found[control.source(source)] = None
    return list(found)


def _of_faces(key: int | str, scale: str) -> dict[str, tuple[CellSource, ...]]:
    """Returns what fills a column, without the name of its model."""
    if key in (1, 2):
        all_cases = {1: ("baseline",), 2: ("a", "b")}[key]
        return {name: tuple(CellSource("", "vanilla", tap, case) for case in all_cases) for name, tap in TAPS.items()}
    heads = {name: _REDUCED.get(head, head) if scale == LAB else head for name, head in _HEADS.items()}
    by_key: dict[int | str, dict[str, CellSource]] = {
        3: {name: CellSource("", "vanilla", "combination", size=size) for name, size in SIZES.items()},
        4: {name: CellSource("", "cnn", tap) for name, tap in TAPS.items() if tap != "outcome"},
        5: {name: CellSource("", "cnn", "conv1", size=size) for name, size in SIZES.items()},
        6: {
            "MIA [19]*": CellSource("", "vanilla", "outcome"),
            "MINT Vanilla**": CellSource("", "vanilla", "combination"),
            "MINT CNN***": CellSource("", "cnn", "conv1"),
        },
        7: {name: CellSource("", head, "conv1", size=_SIZE_OF_7[scale]) for name, head in heads.items()},
        POOLINGS: {
            name: CellSource("", "vanilla", "combination", pooling=name) for name in ("max", "mean", "std", "topk")
        },
    }
    return {name: (source,) for name, source in by_key[key].items()}


def figure_sources(model: str) -> dict[str, CellSource]:
    """Returns the curves of Figure 5 of an audited model, by label."""
    return {
        "MIA [19] (outcome)": CellSource(model, "vanilla", "outcome"),
        **{f"vanilla, {tap}": CellSource(model, "vanilla", tap) for tap in TAPS.values() if tap != "outcome"},
        "cnn, conv1": CellSource(model, "cnn", "conv1"),
    }


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a filled table: the paper's row, or the same of a `Control` by its name.

    Ours are, for every column and source of it, the figures by name ("accuracy", "auc", "tpr_at_1_fpr"), None where
    there is no such evaluation. The paper's accuracies stand beside them, but for controls.
    """

    name: str
    control: str
    ours: tuple[tuple[dict[str, Estimate] | None, ...], ...]
    published: tuple[tuple[float, ...], ...] | None


# By source, and the model and the evaluation of a `Control`.
Figures = Mapping[tuple[CellSource, str, str], dict[str, Estimate]]


def fill(key: int | str, scale: str, models: tuple[str, ...], figures: Figures) -> list[Row]:
    """Fills a table with what each source gave: the paper's rows, then the same rows for every control."""
    published = paper.TABLES[key].cells if isinstance(key, int) else {}
    rows = []
    for control in controls(key):
        for name, of_row in sources(key, scale, models).items():
            ours = tuple(
                tuple(figures.get((control.source(source), control.model, control.evaluation)) for source in cell)
                for cell in of_row
            )
            # A control that was measured nowhere has no row; the paper's own rows stay, however empty.
            if not control.name or any(entry is not None for entries in ours for entry in entries):
                rows.append(Row(name, control.name, ours, None if control.name else published.get(name)))
    return rows


def columns(key: int | str, scale: str, models: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the audited models of a table's columns, by the names that its CSV has."""
    if key == 8:
        return tuple(cell[0].model for cell in sources(key, scale, models)["accuracy"])
    return ("resnet50" + _WIDTH[scale],) if key == 9 else models


def to_markdown(key: int | str, models: tuple[str, ...], rows: list[Row], note: str) -> str:
    """Renders a table; cells are accuracy ± half of its 95% interval (the paper's accuracy), and the AUC."""
    lines = [["", *_headings(key, models)], *(_rendered(row, "±") for row in rows)]
    name = f"Table {key}" if isinstance(key, int) else f"Table of {key}"
    return f"**{name}.** {_TITLES[key]}. {note}\n\n{tables.format_table(lines)}\n"


def to_latex(key: int | str, models: tuple[str, ...], rows: list[Row], note: str) -> str:
    """Renders a table for a paper that loads booktabs."""
    head = " & ".join(["", *map(_escape, _headings(key, models))])
    body: list[str] = []
    for row, previous in zip(rows, [None, *rows], strict=False):
        if previous is not None and row.control != previous.control:
            body.append(r"\midrule")
        name, *cells = _rendered(row, r"$\pm$")
        body.append(" & ".join([_escape(name), *cells]) + r" \\")
    return "\n".join([
        r"\begin{table}",
        rf"\caption{{{_escape(_TITLES[key])}. {_escape(note)}}}",
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


def to_csv(models: tuple[str, ...], rows: list[Row]) -> Iterator[list[Any]]:
    """Yields the lines of a table, header first, with every figure and interval, one line a cell and source."""
    names = ("accuracy", "auc", "tpr_at_1_fpr")
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    yield ["row", "control", "model", "source", "num_seeds", "published", *ends]
    for row in rows:
        for model, (entries, theirs) in zip(models, _columns(row), strict=True):
            for place, (entry, published) in enumerate(zip(entries, theirs, strict=True)):
                if entry is not None:
                    # repr keeps every digit: tables in the docs are rendered again from these files.
                    values = [repr(float(v)) for n in names for v in (entry[n].value, entry[n].low, entry[n].high)]
                    seeds = entry["accuracy"].num_seeds
                    given = "" if published is None else published
                    yield [row.name, row.control, model, place + 1, seeds, given, *values]


def _headings(key: int | str, models: tuple[str, ...]) -> list[str]:
    names = paper.TABLES[key].columns if isinstance(key, int) else paper.FR_MODELS
    return [f"{column} ({model})" for column, model in zip(names, models, strict=False)]


def _columns(row: Row) -> Iterator[tuple[tuple[dict[str, Estimate] | None, ...], tuple[float | None, ...]]]:
    for place, entries in enumerate(row.ours):
        yield entries, row.published[place] if row.published else (None,) * len(entries)


def _rendered(row: Row, plus_minus: str) -> list[str]:
    """Returns the name of a row, and its cells."""
    found = [f"{row.control}: {row.name}" if row.control else row.name]
    for entries, theirs in _columns(row):
        cell = []
        for entry, published in zip(entries, theirs, strict=True):
            given = "" if published is None else f" ({published:.2f})"
            if entry is None:
                cell.append(f"-{given}")
            else:
                accuracy, area = entry["accuracy"], entry["auc"].value
                cell.append(f"{accuracy.value:.2f} {plus_minus} {accuracy.half_width:.2f}{given}, AUC {area:.2f}")
        found.append(" / ".join(cell))
    return found


def _escape(text: str) -> str:
    return "".join({"±": r"$\pm$", "#": r"\#", "%": r"\%", "_": r"\_", "&": r"\&"}.get(c, c) for c in text)
