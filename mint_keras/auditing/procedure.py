"""The whole audit of a run: measured, decided by the rule, and written down."""

from __future__ import annotations

from pathlib import Path

from mint_keras import formats
from mint_keras.auditing import photos, plus, references, report, robustness
from mint_keras.auditing.opened import AuditSpec, manifest, open_audit
from mint_keras.runs import run as runs


def audit(spec: AuditSpec, folder: Path, overwrite: bool = False) -> report.Results:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule.

    Args:
        spec: What to look at.
        folder: Where report.html, audit.json and verdict.txt go, and the scores behind them. An audit that was
            interrupted there continues.
        overwrite: Whether to replace another audit there.

    Raises:
        InputError: if the run cannot be used.
        RefusedError: if it, or what it was made from, has changed.
    """
    run = runs.reopen(spec.run)
    with formats.output_folder(folder, manifest(spec), overwrite):
        opened = open_audit(spec, run, folder)
        tasks = plus.plan(opened)
        verdicts, not_measured = references.decide(opened, tasks)
        changed, missing = robustness.measure(opened, tasks)
        curves, accusations = photos.power_curves(opened, tasks), photos.accusations(opened)
        results = report.Results(verdicts, curves, accusations, changed, [*not_measured, *missing])
        report.write(results, folder)
    return results
