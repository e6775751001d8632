"""The picture of a validation: verdicts on worlds of known truth, and raw MINT beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mint_keras.report import plots
from mint_keras.statistics import figures
from studies.worlds import drawing, summary, verdicts
from studies.worlds.verdicts import WorldVerdict


def save(path: Path, decided: Sequence[WorldVerdict], title: str) -> None:
    """Draws worlds, a panel for each kind and a column for each world, into a PNG.

    A column has the AUC of MINT+ by photo on the reference, its interval, and the raw AUC beside it.
    """
    panels = {kind: of for kind in drawing.KINDS if (of := summary.of_kind(decided, kind))}
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    widths = [len(worlds) for worlds in panels.values()]
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True, width_ratios=widths)
    outcomes = sorted({world.outcome for world in decided})
    for axes, (kind, worlds) in zip(grid[0], panels.items(), strict=True):
        # Sorted by AUC, so that the eye finds the worlds where the two marks disagree.
        by_auc = sorted(worlds, key=lambda world: world.reference[str(verdicts.PHOTO)].value)
        for place, world in enumerate(by_auc):
            auc = world.reference[str(verdicts.PHOTO)]
            ends = [[auc.value - auc.low], [auc.high - auc.value]]
            colour = f"C{outcomes.index(world.outcome)}"
            axes.errorbar(place, auc.value, yerr=ends, fmt="o", ms=4, color=colour)
            is_accused = world.is_accused_naively(figures.AUC)
            axes.plot(place, world.raw[figures.AUC].value, "x", color="black" if is_accused else "0.7")
        axes.axhline(0.5, linestyle=":", color="grey")
        axes.set(xticks=[], ylim=(0, 1), title=kind)
    grid[0, 0].set_ylabel("AUC")
    for number, outcome in enumerate(outcomes):
        grid[0, 0].plot([], [], "o", color=f"C{number}", label=f"reference, 95% interval: {outcome}")
    for colour, label in (("black", "would be accused"), ("0.7", "would not be")):
        grid[0, 0].plot([], [], "x", color=colour, label=f"raw MINT, members against externals: {label}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(title)
    plots.save(figure, path)
