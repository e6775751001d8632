"""What an audit says: as text, as JSON, and as a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mint_keras import formats
from mint_keras.report import audit_page, plots
from mint_keras.statistics import findings, person, verdict
from mint_keras.statistics.intervals import Estimate

AUDIT = "audit.json"
VERDICT = "verdict.txt"
REPORT = "report.html"
FINDINGS, POWER, ROBUSTNESS = "findings", "power", "robustness"
_WANTED_AUC = 0.9  # over people: it is said how many photos of each it takes
MAX_FPR = 0.05  # of the photos that a threshold for changed photos is fixed on


@dataclasses.dataclass(frozen=True)
class Changed:
    """How a scorer does on photos that were changed, by a key of `data.changes.CHANGES`.

    False and true positives are the shares of the others' and of the members' photos above a threshold that was fixed
    on other people's photos, unchanged.
    """

    scorer: str
    change: str
    auc: Estimate
    false_positives: float
    true_positives: float


@dataclasses.dataclass(frozen=True)
class Results:
    """All that an audit found."""

    verdicts: Mapping[str, verdict.Verdict]  # by scorer, the run's own first
    curves: Mapping[str, Sequence[person.CurvePoint]]  # by scorer: what 1, 2 ... photos of a person say
    accusations: str  # what may be said of single photos
    changed: Sequence[Changed]  # nothing if it was not asked for
    not_measured: Sequence[str]  # which controls are missing, and why
    identities: Sequence[str] = ()  # who is who, what network said so, and how faces differ

    @property
    def outcome(self) -> str:
        """The strongest of the verdicts."""
        return verdict.strongest(decided.outcome for decided in self.verdicts.values())


def write(results: Results, out: Path) -> None:
    """Writes audit.json, verdict.txt, the pictures and report.html."""
    found = content(results)
    formats.write_json(out / AUDIT, found)
    formats.write_text(out / VERDICT, text(results))
    pictures = {name: path.read_bytes() for name, path in _draw(results, out).items()}
    manifest = formats.read_json(out / formats.MANIFEST)
    formats.write_text(out / REPORT, audit_page.render(found, findings.ROLES, manifest, pictures))


def content(results: Results) -> dict[str, Any]:
    """Returns the content of audit.json."""
    return {
        "outcome": results.outcome,
        "verdicts": {name: decided.to_dict() for name, decided in results.verdicts.items()},
        "photos_needed": {"auc": _WANTED_AUC, "by_scorer": _photos_needed(results)},
        "people": {name: [dataclasses.asdict(point) for point in curve] for name, curve in results.curves.items()},
        "photos": results.accusations,
        "robustness": {"max_fpr": MAX_FPR, "rows": [dataclasses.asdict(one) for one in results.changed]},
        "not_measured": list(results.not_measured),
        "identities": list(results.identities),
    }


def text(results: Results) -> str:
    """Returns the verdicts with what may be said of single photos and of several of a person."""
    lines = [f"Verdict: {results.outcome}"]
    for name, decided in results.verdicts.items():
        lines += ["", f"== {name} ==", "", decided.text()]
    lines += ["", *results.identities]
    lines += ["", *(
        f"{point.num_photos} photo{'s' * (point.num_photos > 1)} of each person, {name}: AUC {point.auc}."
        for name, curve in results.curves.items()
        for point in curve
    )]  # fmt: skip
    for name, num in _photos_needed(results).items():
        enough = f"{num} or more" if num else f"more than {len(results.curves[name])}"
        lines.append(f"For an AUC over people of {_WANTED_AUC:g}, {name} needs {enough} photos of each person.")
    lines.append(results.accusations)
    lines += [
        f"{one.change}, {one.scorer}: AUC {one.auc}, false positives "
        f"{one.false_positives:.3f}, true ones {one.true_positives:.3f}."
        for one in results.changed
    ]
    return "\n".join([*lines, *(f"Not measured: {line}" for line in results.not_measured), ""])


def _photos_needed(results: Results) -> dict[str, int | None]:
    return {name: person.photos_needed(curve, _WANTED_AUC) for name, curve in results.curves.items()}


def _draw(results: Results, out: Path) -> dict[str, Path]:
    """Draws the pictures of the page; returns their files by name."""
    paths = {FINDINGS: out / f"{FINDINGS}.png"}
    panels = {
        f"{scorer}: {decided.outcome}": [
            (one.name.replace("_", " "), one.role, (one.auc.value, one.auc.low, one.auc.high))
            for one in decided.findings
        ]
        for scorer, decided in results.verdicts.items()
    }
    plots.save_findings(paths[FINDINGS], panels, f"Verdict: {results.outcome}")
    if results.curves:
        paths[POWER] = out / f"{POWER}.png"
        axes: dict[str, dict[str, list[plots.Point]]] = {"AUC": {}, "TPR at 1% FPR": {}}
        for name, curve in results.curves.items():
            for figure, of_figure in zip(axes, ("auc", "tpr_at_1_fpr"), strict=True):
                estimates = [(point.num_photos, getattr(point, of_figure)) for point in curve]
                axes[figure][name] = [(num, one.value, one.low, one.high) for num, one in estimates]
        plots.save_curves(paths[POWER], axes, "photos of each person", "What several photos of a person say")
    if results.changed:
        paths[ROBUSTNESS] = out / f"{ROBUSTNESS}.png"
        panels_of: dict[str, dict[str, list[plots.Point]]] = {"AUC": {}, "true positives": {}, "false positives": {}}
        for one in results.changed:
            true, false = one.true_positives, one.false_positives
            shown = ((one.auc.value, one.auc.low, one.auc.high), (true, true, true), (false, false, false))
            for curves, values in zip(panels_of.values(), shown, strict=True):
                curves.setdefault(one.scorer, []).append((one.change, *values))
        plots.save_curves(paths[ROBUSTNESS], panels_of, "change of the photos", "Photos that were changed")
    return paths
