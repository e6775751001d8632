"""What an audit says, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mint_keras.audit import person, verdict


def strongest(verdicts: Mapping[str, verdict.Verdict]) -> str:
    """Returns the strongest outcome: that one scorer finds nothing does not take back what another found."""
    outcomes = {decided.outcome for decided in verdicts.values()}
    order = (verdict.EVIDENCE, verdict.NO_EVIDENCE, verdict.CANNOT_DECIDE)
    return next(outcome for outcome in order if outcome in outcomes)


def content(verdicts: Mapping[str, verdict.Verdict], people: Sequence[person.CurvePoint], photos: str) -> dict:
    """Returns the content of audit.json."""
    return {
        "outcome": strongest(verdicts),
        "verdicts": {name: decided.to_dict() for name, decided in verdicts.items()},
        "people": [dataclasses.asdict(point) for point in people],
        "photos": photos,
    }


def text(verdicts: Mapping[str, verdict.Verdict], people: Sequence[person.CurvePoint], photos: str) -> str:
    """Returns the verdicts with what may be said of single photos and of several of a person."""
    lines = [f"Verdict: {strongest(verdicts)}"]
    for name, decided in verdicts.items():
        lines += ["", f"== {name} ==", "", decided.text()]
    lines += ["", *(
        f"{point.num_photos} photos of each person, {next(iter(verdicts))}: AUC {point.auc.value:.3f} "
        f"[{point.auc.low:.3f}, {point.auc.high:.3f}]."
        for point in people
    )]  # fmt: skip
    return "\n".join([*lines, photos, ""])
