"""The command lines: exit codes, one line for every error, no traceback."""

import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from mint_keras import cli, options
from mint_keras.commands import convert_fr, make_tables, score, train_mint
from mint_keras.data import images

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"scripts/{script}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_scoring_needs_only_the_requirements_of_the_edge(tmp_path: Path) -> None:
    """The offline scorer runs where nothing that requirements.txt adds can be imported."""
    full = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    absent = set(full) - {"opencv-python"}  # of which the scorer has the headless twin
    blocked = [module for module, owners in metadata.packages_distributions().items() if absent.intersection(owners)]
    assert {"tensorflow", "keras", "scipy", "sklearn", "pyarrow", "onnxruntime", "faiss"} <= set(blocked)
    program = (
        f"import runpy, sys\nsys.modules.update(dict.fromkeys({blocked}))\n"
        "sys.argv = sys.argv[1:]\nsys.path.insert(0, 'scripts')\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ["scripts/score.py", "--bundle", "export/lab", "export/lab/samples", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "member_0.png" in done.stdout
    assert (tmp_path / "out" / "scores.csv").is_file()


@pytest.mark.parametrize(
    ("script", "package"),
    [("train_mint.py", "numpy"), ("score.py", "numpy"), ("gpu_check.py", "docstring_parser")],
)
def test_a_python_without_the_packages_is_one_line(script: str, package: str) -> None:
    command = [sys.executable, "-S", f"scripts/{script}", "--help"]  # a Python that nothing was installed in
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"Expected the package {package}, which {sys.executable} lacks: pip install -r requirements.txt" in line


def test_wrong_usage_is_2(tmp_path: Path) -> None:
    done = run("train_mint.py", "--head", "transformer", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "transformer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        (score.Score, "--policy larges", "central or only as --policy, received 'larges': did you mean largest?"),
        (score.Score, "--confi=/etc/passwd", "received --confi: did you mean --config?"),
        (score.Score, "--quiet=maybe photos", "Expected --quiet without a value, received maybe."),
        (score.Score, "--policy", "as --policy, received none."),
        (score.Score, "photos", "Expected --bundle, received none."),
        (make_tables.MakeTables, "--table 4 42x --out x", "as --table, received '42x'."),
        (score.Score, "--policy all --policy=x", "central or only as --policy, received 'x'."),
        (score.Score, "--port -1", "a whole number from 0 to 4294967295 as --port, received '-1'."),
        (score.Score, "--border abc", "a finite number as --border, received 'abc'."),
        (score.Score, "--boarder 1", "options of this command, received --boarder: did you mean --border?"),
        (convert_fr.ConvertFr, "--mean 1 nan", "a finite number as --mean, received 'nan'."),
        (convert_fr.ConvertFr, "--bgr maybe", "true or false as --bgr, received 'maybe'."),
        (train_mint.TrainMint, "--seed -1", "a whole number from 0 to 4294967295 as --seed, received '-1'."),
        (train_mint.TrainMint, "--seed 4294967296", "4294967295 as --seed, received '4294967296'."),
        (make_tables.MakeTables, "--table 1 x", "a whole number from 0 to 4294967295 as --table, received 'x'."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_answered_with_those_that_are_allowed(
    kind: type, words: str, said: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        options.parse(kind, "", words.split(), "mint")
    assert end.value.code == options.WRONG_USAGE
    text = capsys.readouterr().err
    assert text.startswith("error: Expected ")
    assert said in text
    assert len(text.splitlines()) == 1
    assert not [word for word in ("typing", "Parser", "class", "Union", "restriction") if word in text]


def test_bad_input_is_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("inspect_database.py", tmp_path / "empty", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Expected images")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_file_among_good_ones_is_1_after_the_good_ones(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"junk")
    sample = ROOT / "export" / "lab" / "samples" / "member_0.png"
    done = run("score.py", "--bundle", "export/lab", sample, broken, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "member_0.png" in done.stdout
    assert "1 of 2" in done.stderr


@pytest.mark.slow
def test_a_small_file_that_claims_to_be_a_huge_image(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    images.write_png(huge, np.zeros((9000, 9000, 3), np.uint8))
    done = run("score.py", "--bundle", "export/lab", huge, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "more pixels than OPENCV_IO_MAX_IMAGE_PIXELS" in done.stderr
    assert (tmp_path / "out" / "rejected.csv").is_file()
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_refused_is_3(tmp_path: Path) -> None:
    samples = ROOT / "export" / "lab" / "samples"
    command = ("--bundle", ROOT / "export" / "lab", "--out", tmp_path / "out", "--quiet")
    assert cli.main(["score", str(samples / "member_0.png"), *map(str, command)]) == 0
    done = run("score.py", samples / "member_1.png", *command)
    assert done.returncode == 3
    assert "was made from other inputs or settings: other samples" in done.stderr
    assert cli.main(["score", str(samples / "member_1.png"), *map(str, command), "--overwrite"]) == 0


@pytest.mark.slow
def test_interrupted_is_130_and_keeps_the_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "scripts/train_mint.py", "--head", "vanilla", "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell's background job inherits "ignore interruptions"; the one under test is in the foreground.
    process = subprocess.Popen(
        command, cwd=ROOT, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    started = time.monotonic()
    while not (out / "aad").exists() and time.monotonic() - started < 120:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "continues from here" in errors
    assert "Traceback" not in errors
    assert (out / "manifest.json").is_file()


def test_options_from_yaml(tmp_path: Path) -> None:
    config = tmp_path / "score.yaml"
    config.write_text(f"bundle: export/lab\nout: {tmp_path / 'out'}\nquiet: true\n")
    done = run("score.py", "--config", config, "export/lab/samples")
    assert done.returncode == 0, done.stderr
    config.write_text("bundel: export/lab\n")
    with pytest.raises(SystemExit) as end:
        cli.main(["score", "--config", str(config), "export/lab/samples", "--out", str(tmp_path / "b")])
    assert end.value.code == options.WRONG_USAGE


def test_committed_configs_are_valid() -> None:
    """In one process, because TensorFlow takes seconds to load; nothing is run."""
    configs = sorted((ROOT / "scripts" / "configs").glob("*.yaml"))
    scripts = [*(ROOT / "scripts").glob("[!_]*.py")]
    arguments = []
    for config in configs:
        script = next(path for path in scripts if config.stem.startswith(path.stem))
        arguments.append([str(script), "--config", str(config), "--out", "unused", "--print_config"])
        assert config.read_text().startswith("# ")
    program = (
        "import runpy, sys\nsys.path.insert(0, 'scripts')\n"
        f"for arguments in {arguments!r}:\n"
        "    sys.argv = arguments\n"
        "    try:\n        runpy.run_path(arguments[0], run_name='__main__')\n"
        "    except SystemExit as end:\n        assert not end.code, arguments\n"
        "    else:\n        raise AssertionError(f'{arguments} ran')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
