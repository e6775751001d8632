"""What an audit writes, from findings that are made up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mint_keras import formats
from mint_keras.auditing import report
from mint_keras.report import dossier, states
from mint_keras.statistics import findings, person, verdict
from mint_keras.statistics.intervals import Estimate

AUDITED = {
    "model": {
        "name": "a", "file": "model.keras", "sha256": "aa", "made_from": {}, "card": None, "verification": "",
        "parity": "",
    },
    "photos": {
        "list_sha256": "bb", "pixels_sha256": "", "parts": {}, "num_rejected": 0, "scan": "", "identities_read": {},
    },
}  # fmt: skip


def test_everything_that_was_found_is_in_all_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dossier.pdf, "write", lambda *_: False)
    auc = Estimate(0.75, 0.7, 0.8, 1)
    claim = findings.Finding("claimed", "is it so", findings.CLAIM, findings.PERSON, "unseen_database", auc, 60, 70)
    curve = [person.CurvePoint(num, num, auc, auc, 60, 70) for num in (1, 2)]
    better = [
        dataclasses.replace(point, auc=Estimate(0.95, 0.85 + 0.04 * point.num_photos, 0.99, 1)) for point in curve
    ]
    changed = [report.Changed("vanilla on conv1", change, auc, 0.123, 0.456) for change in ("unchanged", "JPEG 50")]
    verdicts = {"vanilla on conv1": verdict.decide([claim])}
    curves = {"a scorer": curve, "another": better}
    missing, who = [states.Gap("a control", states.NOT_POSSIBLE, "no option.")], ["Two names are one person."]
    results = report.Results(verdicts, curves, "Nothing of single photos.", changed, missing, who)
    formats.write_json(tmp_path / formats.MANIFEST, formats.make_manifest("audit", {"run": "aa"}, {"seed": 1}))
    written = report.write(results, {"audited": AUDITED, "steps": []}, tmp_path, dossier.Case())
    said, page = (tmp_path / dossier.VERDICT).read_text(), (tmp_path / dossier.REPORT).read_text()
    content = json.loads((tmp_path / dossier.AUDIT).read_text())
    assert content["outcome"] == verdict.CANNOT_DECIDE
    assert [one["outcome"] for one in content["decisions"]] == [verdict.CANNOT_DECIDE]
    assert content["audited"] == AUDITED
    assert {"kind": "control", "name": "a control", "state": "not possible", "why": "no option."} in content["states"]
    assert [point["num_photos"] for point in content["people"]["a scorer"]] == [1, 2]
    assert content["photos_needed"]["by_scorer"] == {"a scorer": None, "another": 2}
    assert "a scorer needs more than 2 photos of each person" in said
    assert "another needs 2 or more photos of each person" in said
    assert [row["change"] for row in content["robustness"]["rows"]] == ["unchanged", "JPEG 50"]
    assert page.count("data:image/png;base64,") == 3
    assert content["identities"] == who
    for part in ("Nothing of single photos.", "no option.", *who, "JPEG 50", "0.123", "0.456"):
        assert part in said
        assert part in page
    for name in ("findings.png", "power.png", "robustness.png"):
        assert name in written
        assert (tmp_path / name).stat().st_size > 5_000
