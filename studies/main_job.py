r"""Where the main job's time goes, of one or more versions of this repository, in turns on one machine.

Example:
    python -m studies.main_job --roots ../before . --names before after --out docs/runs/main-job.json
"""

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REST = "start, libraries, networks"
# Functions that every version has, in the order in which the job calls them. What one calls of the others is theirs.
STAGES = {
    "mint_keras.audited.engines.choose": "choice of an engine",
    "mint_keras.aad.extract.extract": "faces and both networks",
    "mint_keras.runs.run.fit_heads": "heads",
    "mint_keras.runs.run.evaluate": "evaluation",
    "mint_keras.runs.report.write": "scores, results, pictures",
    "mint_keras.runs.plus.scores": "MINT+",
    "mint_keras.report.run_table.measure": "intervals",
}


def _now() -> tuple[float, float]:
    spent = os.times()
    return time.time(), sum(spent[:4])  # with the processes that were waited for


def main_job(begun: float, out: Path, record: Path, *options: str) -> None:
    """Runs the job of whatever `mint_keras` is found, and records what each stage took: seconds, processor seconds."""
    spent, last, running = {REST: [0.0, 0.0]}, [(begun, 0.0)], [REST]

    def turn(name: str | None) -> None:
        now = _now()
        for k in range(2):
            spent.setdefault(running[-1], [0.0, 0.0])[k] += now[k] - last[0][k]
        last[0] = now
        running.append(name) if name else running.pop()

    def timed(function: Any, name: str) -> Any:
        @functools.wraps(function)
        def run(*args: Any, **keywords: Any) -> Any:
            turn(name)
            try:
                return function(*args, **keywords)
            finally:
                turn(None)

        return run

    for path, name in STAGES.items():
        module, function = path.rsplit(".", 1)
        owner = importlib.import_module(module)
        setattr(owner, function, timed(getattr(owner, function), name))
    from mint_keras import cli

    sys.argv = ["train_mint.py", "--head", "vanilla", "--out", str(out), *options]
    cli.script("train_mint.py")
    turn(None)
    record.write_text(json.dumps(spent))


if __name__ == "__main__":
    main_job(float(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
