"""Every script answers --help, and offers the options that all scripts share."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("[!_]*.py"))
SHARED_OPTIONS = {"--out", "--config", "--overwrite", "--quiet", "--help"}
# All in one process: TensorFlow is loaded once.
PROGRAM = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, "scripts")
answers = {}
for script in sys.argv[1:]:
    sys.argv, text = [f"scripts/{script}", "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        answers[script] = [end.code, text.getvalue()]
print(json.dumps(answers))
"""


@functools.cache
def answers() -> dict[str, tuple[int, str]]:
    command = [sys.executable, "-c", PROGRAM, *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_scripts_of_the_readme_are_found() -> None:
    assert {"train_audited.py", "train_mint.py", "evaluate_mint.py", "export_tflite.py", "score.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script: str) -> None:
    code, text = answers()[script]
    assert code == 0
    words = {word.strip("[],") for word in text.split()}
    assert words >= SHARED_OPTIONS, f"{script} lacks {sorted(SHARED_OPTIONS - words)}"
    assert "Example" in text
