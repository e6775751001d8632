"""The house in figures: how large it is, how deep, and how much of it is read out of line."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from mint_keras.commands import COMMANDS, options_class

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mint_keras"
# The house was planned for 21,500. What came after it: look network, who is who, known signs, cross-fitting and scores
# checked at the border, for verdicts that accuse nobody falsely; who is on photos, read from a whole folder; one border
# for files of strangers; references and attacks of the literature; models of every format and architecture, and the way
# their pixels are scaled; copies found by laying photos on each other, names checked by looking; a dossier, what is
# possible before an audit, a detector that may be passed on; engines that are measured, four languages, a table with
# intervals; heads that train together.
MAX_LINES = 33_125
MAX_LINES_OF_COMMANDS = 2_450
# Below whatever reads a file is `borders`, which turns what libraries raise into our errors.
MAX_CHAIN = 15  # files, from the one on top to the one that imports nothing: `texts`, below `records`
MAX_SHARE_USED_ONCE = 0.5
MIN_SHARE_OF_COMMENTS = 0.02
MAX_READERS_OUTSIDE_DATA = 8


@functools.cache
def sources() -> dict[str, str]:
    """The modules of the package by name."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in PACKAGE.rglob("*.py")}


parsed = functools.cache(ast.parse)


def num_lines(prefix: str) -> int:
    return sum(len(text.splitlines()) for name, text in sources().items() if name.startswith(prefix))


def used_once(text: str) -> tuple[int, int]:
    """Private functions of a module: how many there are, and how many are named in one place only."""
    tree = parsed(text)
    functions = {
        node.name: 0
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__")
    }
    for node in ast.walk(tree):
        name = getattr(node, "id", getattr(node, "attr", ""))
        if isinstance(node, ast.Name | ast.Attribute) and name in functions:
            functions[name] += 1
    return len(functions), sum(uses == 1 for uses in functions.values())


def longest_chain(modules: dict[str, str]) -> list[str]:
    """The longest way down the imports, lazy ones included; faces of packages that only describe are no stop."""
    graph: dict[str, set[str]] = {}
    for name, text in modules.items():
        found = set()
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mint_keras":
                found |= {
                    inner if (inner := f"{node.module}.{alias.name}") in modules else str(node.module)
                    for alias in node.names
                }
        graph[name] = {other for other in found if other in modules and other != name}

    @functools.cache
    def below(name: str) -> tuple[str, ...]:
        return (name, *max((below(other) for other in graph[name]), key=len, default=()))

    return list(max((below(name) for name in graph), key=len))


def test_the_package_is_no_larger_than_it_was_planned() -> None:
    assert num_lines("mint_keras.") <= MAX_LINES
    assert num_lines("mint_keras.commands.") <= MAX_LINES_OF_COMMANDS


def test_helpers_are_mostly_used_more_than_once() -> None:
    counts = [used_once(text) for text in sources().values()]
    assert sum(once for _, once in counts) <= MAX_SHARE_USED_ONCE * sum(num for num, _ in counts)


def test_reasons_stand_beside_their_lines() -> None:
    lines = [line.strip() for text in sources().values() for line in text.splitlines()]
    assert sum(line.startswith("#") for line in lines) >= MIN_SHARE_OF_COMMENTS * len(lines)


def test_one_loop_reads_faces() -> None:
    readers = {name: text.count("FaceReader(") for name, text in sources().items() if ".data." not in name}
    assert sum(readers.values()) <= MAX_READERS_OUTSIDE_DATA, {name: num for name, num in readers.items() if num}


def test_no_long_way_down() -> None:
    chain = longest_chain(sources())
    assert len(chain) <= MAX_CHAIN, " > ".join(chain)


def test_the_figures_see() -> None:
    assert used_once("def _a():\n    pass\n\ndef _b():\n    _a()\n    _a()\n\n_b()\n") == (2, 1)
    modules = {
        "mint_keras.a": "from mint_keras import b",
        "mint_keras.b": "def f():\n    from mint_keras.c import x",
        "mint_keras.c": "",
    }
    assert longest_chain(modules) == ["mint_keras.a", "mint_keras.b", "mint_keras.c"]


class TestCommands:
    def test_a_command_is_options_function_and_script(self) -> None:
        for word, command in COMMANDS.items():
            text = sources()[f"mint_keras.commands.{command.module}"]
            names = {node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
            assert {command.module, options_class(command.module)} <= names, word
            assert (ROOT / "scripts" / f"{command.module}.py").is_file(), word

    def test_their_help_loads_nothing_that_takes_long(self) -> None:
        heavy = ("tensorflow", "keras", "torch", "onnx", "onnxruntime", "pyarrow", "scipy", "sklearn", "matplotlib")
        program = (
            "import contextlib, io, sys\nfrom mint_keras import cli\n"
            f"for word in {list(COMMANDS)!r}:\n"
            "    try:\n"
            "        with contextlib.redirect_stdout(io.StringIO()) as said:\n"
            "            cli.main([word, '--help'])\n"
            "    except SystemExit as end:\n        assert not end.code, word\n"
            "    assert f'usage: mint {word}' in said.getvalue(), said.getvalue()[:200]\n"
            f"    loaded = [name for name in {heavy!r} if name in sys.modules]\n"
            "    assert not loaded, f'{word} loads {loaded}'\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize(
        ("arguments", "code", "text"),
        [
            ([], 0, "mint COMMAND --help"),
            (["--version"], 0, "mint 0."),
            (["trian"], 2, "received 'trian'"),
            (["train", "--head", "mlp"], 2, "--head"),
            (["score", "--bundle", "lab", "x.png", "--seed", "1"], 2, "--seed has no effect since 0.2"),
        ],
    )
    def test_words_and_exit_codes(self, arguments: list[str], code: int, text: str) -> None:
        command = [sys.executable, "-m", "mint_keras.cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == code
        assert text in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
