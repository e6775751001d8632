"""Every script answers --help, and offers the options that all scripts share, unless they have no effect."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mint_keras import cli, options

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


WRITES_NOTHING = ("check.py",)


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
    name = "".join(word.title() for word in Path(script).stem.split("_"))
    needed = SHARED_OPTIONS - {f"--{option}" for option in options.WITHOUT_EFFECT.get(name, ())}
    needed -= {"--out", "--overwrite", "--quiet"} if script in WRITES_NOTHING else set()
    assert words >= needed, f"{script} lacks {sorted(needed - words)}"
    assert "Example" in text
    assert not re.search(r"type: |<class|default: (null|\[\])", text), "what only programmers read"


@pytest.mark.parametrize(
    ("script", "option"),
    [("convert_fr", "--quiet"), ("make_protocol", "--quiet"), ("prepare_faces", "--seed=2"), ("verify_fr", "--seed")],
)
def test_an_option_that_never_had_an_effect_is_refused(
    script: str, option: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"scripts/{script}.py", option, *(["2"] if option == "--seed" else [])])
    with pytest.raises(SystemExit) as end:
        cli.script(f"scripts/{script}.py")
    assert end.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert f"{option.partition('=')[0]} has no effect since 0.2" in line
    assert option.partition("=")[0] not in answers()[f"{script}.py"][1].split()
