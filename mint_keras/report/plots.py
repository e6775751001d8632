"""Pictures: ROC curves and sheets of faces."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mint_keras import formats

Curve = tuple[np.ndarray, np.ndarray]  # false- and true-positive rates
Point = tuple[object, float, float, float]  # place on the horizontal axis, value, lower and upper end
Row = tuple[str, str, tuple[float, float, float]]  # name, kind, and value, lower and upper end


def save(figure: Figure, path: Path) -> None:
    """Writes a picture whose ending says whether it is PNG or SVG."""
    # Without the date and the version of the software, equal pictures are equal bytes.
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with formats.atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=120, metadata=metadata)


def save_roc(path: Path, curves: Mapping[str, Curve], title: str) -> None:
    """Draws ROC curves, by label, with the false-positive rate on a logarithmic axis, into a PNG."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    # A logarithmic axis has no 0: rates of 0 are drawn at half of the smallest that is none.
    smallest = min(rate[rate > 0].min() for rate, _ in curves.values())
    for label, (false_positive_rate, true_positive_rate) in curves.items():
        axes.step(np.maximum(false_positive_rate, smallest / 2), true_positive_rate, where="post", label=label)
    chance = np.geomspace(smallest / 2, 1.0)
    axes.plot(chance, chance, linestyle=":", color="grey", label="chance")
    axes.set(xscale="log", xlabel="false-positive rate", ylabel="true-positive rate", title=title, ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    axes.grid(alpha=0.3)
    save(figure, path)


def save_roc_panels(paths: Sequence[Path], panels: Mapping[str, Mapping[str, Curve]], title: str) -> None:
    """Draws ROC curves, by audited model and label, side by side: above on linear axes, below on logarithmic ones.

    The endings of the paths say whether PNG or SVG. The same labels look alike everywhere.
    """
    figure = Figure(figsize=(4.6 * len(panels), 9), layout="constrained")
    grid = figure.subplots(2, len(panels), squeeze=False)
    for column, (model, curves) in enumerate(panels.items()):
        for row, scale in enumerate(("linear", "log")):
            axes = grid[row, column]
            smallest = min(rate[rate > 0].min() for rate, _ in curves.values()) if scale == "log" else 0.0
            for label, rates in curves.items():
                false_positive_rate, true_positive_rate = (np.maximum(rate, smallest / 2) for rate in rates)
                axes.step(false_positive_rate, true_positive_rate, where="post", label=label)
            chance = np.geomspace(max(smallest / 2, 1e-4), 1.0)
            axes.plot(chance, chance, linestyle=":", color="grey")
            axes.set(xscale=scale, yscale=scale, xlabel="false-positive rate", ylabel="true-positive rate", title=model)
            axes.grid(alpha=0.3)
            if scale == "linear":
                axes.legend(loc="lower right", fontsize=7)
    figure.suptitle(title)
    with matplotlib.rc_context({"svg.hashsalt": title}):  # else SVG's identifiers differ every time
        for path in paths:
            save(figure, path)


def save_findings(path: Path, groups: Mapping[str, Mapping[str, Sequence[Row]]]) -> None:
    """Draws AUCs with their intervals, the groups one under the other, the scorers of each side by side, into a PNG.

    Rows of one kind have one colour and mark, and rows of one name stand at one height in a group.
    """
    groups = {title: of for title, of in groups.items() if any(of.values())} or {"Nothing was measured": {"": []}}
    names = [list(dict.fromkeys(row[0] for rows in of.values() for row in rows)) for of in groups.values()]
    heights = [0.75 + 0.17 * len(of) for of in names]
    figure = Figure(figsize=(9, 0.6 + sum(heights)), layout="constrained")
    parts = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    kinds = list(dict.fromkeys(row[1] for of in groups.values() for rows in of.values() for row in rows))
    for part, (title, of), places in zip(parts, groups.items(), names, strict=True):
        part.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
        for axes, (scorer, rows) in zip(
            part.subplots(1, len(of), sharey=True, squeeze=False)[0], of.items(), strict=True
        ):
            for name, kind, (value, low, high) in rows:
                number = kinds.index(kind)
                look = {"fmt": "osD^vP*Xh"[number % 9], "color": f"C{number}", "markersize": 4, "capsize": 2}
                axes.errorbar(value, places.index(name), xerr=[[value - low], [high - value]], **look)
            axes.axvline(0.5, linestyle=":", color="grey")
            axes.set(xlim=(0, 1.02))
            axes.set_title("\n".join(textwrap.wrap(scorer, min(34, 90 // len(of)))), fontsize=7)
            axes.set_yticks(range(len(places)), [name.replace("_", " ") for name in places], fontsize=7)
            axes.tick_params(axis="x", labelsize=7)
            axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(len(places) - 0.5, -0.5)
    # Empty curves for the legend: the rows of a kind are in several panels.
    shown = [
        figure.axes[0].plot([], [], "osD^vP*Xh"[k % 9], color=f"C{k}", label=kind)[0] for k, kind in enumerate(kinds)
    ]
    figure.legend(handles=shown, loc="outside lower center", ncols=len(kinds), fontsize=7)
    save(figure, path)


def save_curves(path: Path, panels: Mapping[str, Mapping[str, Sequence[Point]]], across: str) -> None:
    """Draws curves with their intervals, one panel beside the other, into a PNG.

    A panel is named by its vertical axis, and a curve by its label. All curves have the same places.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for mark, (label, points) in zip(itertools.cycle("osD^v"), curves.items(), strict=False):
            places, values, lows, highs = zip(*points, strict=True)
            ends = np.abs(np.array([lows, highs]) - values)
            look = {"fmt": f"{mark}-", "markersize": 4, "capsize": 2}
            axes.errorbar([str(place) for place in places], values, yerr=ends, label=label, **look)
        axes.set_title(name, fontsize=9)
        axes.set(ylim=(-0.03, 1.03))
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", labelrotation=60 if len(places) > 9 else 0)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(curves), fontsize=8)
    figure.supxlabel(across, fontsize=8)
    save(figure, path)


def save_sheet(path: Path, rows: Mapping[str, Sequence[np.ndarray | None]], title: str) -> None:
    """Draws rows of faces, RGB of any shape, each beside its label, into a PNG; None leaves a gap."""
    num_columns = max(len(faces) for faces in rows.values())
    figure = Figure(figsize=(num_columns, len(rows) * 1.05 + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), num_columns, squeeze=False)
    for axes_row, (label, faces) in zip(grid, rows.items(), strict=True):
        for axes, face in itertools.zip_longest(axes_row, faces):
            axes.set(xticks=[], yticks=[])
            if face is None:
                axes.set_frame_on(False)
            else:
                axes.imshow(face)
        axes_row[0].set_ylabel(label, fontsize=min(10, 110 / len(label)))  # the row is an inch high
    figure.suptitle(title)
    save(figure, path)
