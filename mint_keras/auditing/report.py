"""What an audit found, as audit.json has it; `report.dossier` makes of it what people read."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mint_keras import formats
from mint_keras.report import dossier, states
from mint_keras.statistics import decisions, person, verdict
from mint_keras.statistics.intervals import Estimate

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
    gaps: Sequence[states.Gap]  # what was not measured
    identities: Sequence[str] = ()  # who is who, what network said so, and how faces differ


def write(results: Results, audited: Mapping[str, Any], out: Path, case: dossier.Case) -> list[str]:
    """Writes audit.json and the report that is made of it; returns the names of the report's files.

    Args:
        results: What was found.
        audited: Of what and on which photos, and the steps that led here, see `facts`.
        out: The folder of the audit.
        case: Whose audit it is.
    """
    formats.write_json(out / dossier.AUDIT, content(results, audited))
    return dossier.write(out, case, datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"))


def content(results: Results, audited: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of audit.json."""
    decided = decisions.decide_once(results.verdicts)
    needed = {name: person.photos_needed(curve, _WANTED_AUC) for name, curve in results.curves.items()}
    found: dict[str, Any] = {
        "schema_version": dossier.SCHEMA_VERSION,
        "outcome": decisions.outcome(decided),
        "decisions": [dataclasses.asdict(one) for one in decided],
        **audited,
        "verdicts": {name: one.to_dict() for name, one in results.verdicts.items()},
        "photos_needed": {"auc": _WANTED_AUC, "by_scorer": needed},
        "people": {name: [dataclasses.asdict(point) for point in curve] for name, curve in results.curves.items()},
        "photos": results.accusations,
        "robustness": {"max_fpr": MAX_FPR, "rows": [dataclasses.asdict(one) for one in results.changed]},
        "identities": list(results.identities),
    }
    return {**found, "states": [one._asdict() for one in states.states(found, results.verdicts, results.gaps)]}
