"""The picture of the README: the paper's kind of number beside its controls, and a verdict beside its own.

`python -m studies.front_picture` draws it again from result files in docs/runs, of one public network that was
fine-tuned on people of LFW.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mint_keras import formats, score_files
from mint_keras.records import AUDITED, UNTRAINED
from mint_keras.report import plots
from studies.results_index import ROOT, RUNS

PICTURE = ROOT / "docs" / "verdict.png"
_TAP = "conv4"  # the head that an auditor would have reported: the highest across databases
_FOUND, _CONTROL = "tab:red", "tab:blue"
# What a control is, in the words of somebody who has read nothing else.
_SAYS = {
    "same database": "people who were used, against\nother people of their database",
    "untrained 1": "a network never trained",
    "untrained 2": "another",
    "untrained 3": "another",
    "look network": "a network that knows faces",
    "pixel statistics": "pixels, counted",
    "pixel network": "pixels, learned",
    "nobody a member": "nobody a member",
}
Row = tuple[str, float, float, float]  # what it is, AUC, and the ends of its interval


def raw_rows() -> list[Row]:
    """Returns what a head of the paper has across databases, and what its controls have."""
    by_place = {
        (row.model, row.evaluation): row.auc
        for row in score_files.read_results(RUNS / "fine-tuned.jsonl")
        if (row.scorer, row.tap) == ("vanilla", _TAP)
    }
    places = {
        "members, against\nanother database": (AUDITED, "unseen_database"),
        "people it never saw,\nclaimed to be members": (AUDITED, "familiar"),
        "a network\nnever trained": (UNTRAINED, "unseen_database"),
        "members, against other\npeople of their database": (AUDITED, "same_database"),
    }
    return [(says, *(by_place[place],) * 3) for says, place in places.items()]


def verdict_rows() -> list[Row]:
    """Returns the reference of the verdict on single photos, and its controls, with their 95% intervals."""
    found = formats.read_json(RUNS / "audit-fine-tuned-shadows.json")["verdicts"]["mint plus on photo"]["findings"]
    aucs = {one["name"]: one["auc"] for one in found}
    return [(says, *(aucs[name][end] for end in ("value", "low", "high"))) for name, says in _SAYS.items()]


def draw(axes: Axes, title: str, rows: list[Row]) -> None:
    """Draws AUCs with their intervals, the one that counts first."""
    for place, (_, value, low, high) in enumerate(rows):
        colour = _CONTROL if place else _FOUND
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3)
        axes.text(1.04, place, f"{value:.2f}", va="center", color=colour)
    axes.axvline(0.5, linestyle=":", color="grey")
    axes.set(title=title, xlim=(0.3, 1.0), yticks=range(len(rows)), yticklabels=[row[0] for row in rows])
    axes.set(xlabel="AUC (0.5 is chance)", ylim=(len(rows) - 0.5, -0.5))


def figure() -> Figure:
    """Returns the picture."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw(left, "A head, as MINT is reported: not membership", raw_rows())
    draw(right, "MINT+ in an audit: evidence of training use", verdict_rows())
    figure.suptitle("A public network, fine-tuned on people of LFW: red what is reported, blue what it must beat")
    return figure


if __name__ == "__main__":
    plots.save(figure(), PICTURE)
