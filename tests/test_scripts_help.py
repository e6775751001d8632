"""Every script answers --help, and offers the options that all scripts share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("[!_]*.py"))
SHARED_OPTIONS = {"--out", "--seed", "--config", "--overwrite", "--quiet", "--help"}


def test_the_scripts_of_the_readme_are_found() -> None:
    assert {"train_audited.py", "train_mint.py", "evaluate_mint.py", "export_tflite.py", "score.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script: str) -> None:
    command = [sys.executable, f"scripts/{script}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    words = {word.strip("[],") for word in done.stdout.split()}
    assert words >= SHARED_OPTIONS, f"{script} lacks {sorted(SHARED_OPTIONS - words)}"
