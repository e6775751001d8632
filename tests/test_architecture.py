"""The house keeps its shape: imports go one way, light modules stay light, functions stay short."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mint_keras"

# Top to bottom; the first prefix that fits decides. A module imports strictly lower rows, or its own package.
ROWS = [
    ("scripts",),
    ("studies",),  # outside of the package, which knows nothing of them
    ("cli",),
    ("commands",),
    ("api",),
    ("auditing",),
    ("runs",),
    ("edge", "scorers"),
    ("training", "aad", "report"),
    ("heads", "audited", "faces", "statistics"),
    ("data",),
    ("score_files",),
    ("__init__",),
    (
        "environment",
        "formats",
        "languages",
        "options",
        "paper",
        "progress",
        "shelf",
        "streams",
        "vectors",
        "workers",
    ),
    ("borders", "locks"),
    ("records",),
    ("texts",),
    ("shown",),
]
LIGHT = (
    "borders",
    "data",
    "faces",
    "statistics",
    "report",
    "edge.bundle",
    "edge.judgement",
    "edge.page",
    "edge.parity",
    "edge.photos",
    "edge.report",
    "edge.resemblance",
    "edge.scorer",
    "edge.scoring",
    "formats",
    "languages",
    "locks",
    "commands",
    "options",
    "paper",
    "progress",
    "records",
    "score_files",
    "shelf",
    "streams",
    "texts",
    "vectors",
)
OURS = ("mint_keras", "studies")
HEAVY = ("tensorflow", "keras", "torch", "onnx", "pyarrow")


# Who knows that there is a command line; `options` makes it.
KNOW_OPTIONS = ("scripts", "studies", "cli", "commands", "options")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@functools.cache
def sources() -> dict[str, str]:
    paths = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    paths |= {f"scripts.{path.stem}": path for path in sorted((ROOT / "scripts").glob("*.py"))}
    for path in sorted((ROOT / "studies").rglob("*.py")):
        paths[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return {name: path.read_text() for name, path in paths.items()}


@functools.cache
def modules() -> dict[str, ast.Module]:
    return {name: ast.parse(source) for name, source in sources().items()}


def row_of(module: str) -> int:
    top = module.split(".")[0]
    for number, row in enumerate(ROWS):
        if top in row:
            return number
    raise AssertionError(f"{module} fits no row of the import table: place it in CONTRIBUTING.md and here.")


@functools.cache
def imported(tree: ast.Module) -> list[str]:
    """Our own modules that a module imports, lazily or not; "" for the package itself."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] in OURS):
            assert not node.level, f"relative import of {node.module}"
            for alias in node.names:
                path = ROOT / Path(*f"{node.module}.{alias.name}".split("."))
                is_module = path.with_suffix(".py").is_file() or path.is_dir()
                names.append(f"{node.module}.{alias.name}" if is_module else str(node.module))
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] in OURS]
    return [name.removeprefix("mint_keras").removeprefix(".") for name in names]


def at_load(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """What is imported when a module is loaded, which is not what its functions import."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not isinstance(child, ast.FunctionDef) and "TYPE_CHECKING" not in ast.unparse(getattr(child, "test", [])):
            yield from at_load(child)


def loaded_with(module: str) -> set[str]:
    """Our modules and others' packages that are loaded with a module."""
    found, waiting = set(), [module]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        waiting += [".".join([*name.split(".")[:depth], "__init__"]) for depth in range(name.count(".") + 1)]
        if name in modules():
            nodes = [*at_load(modules()[name])]
            waiting += imported(ast.Module([*nodes], []))
            found |= {one.module or "" for one in nodes if isinstance(one, ast.ImportFrom)}
            found |= {alias.name for one in nodes if isinstance(one, ast.Import) for alias in one.names}
    return found


def direction_problems(module: str, tree: ast.Module) -> list[str]:
    problems = []
    for name in imported(tree):
        if name == "" or name == "records":
            continue
        same_package = name.split(".")[0] == module.split(".")[0] and "." in module
        if not same_package and row_of(name) <= row_of(module):
            problems.append(f"{module} imports {name}, which is not below it")
        if module.startswith("statistics.") and name.startswith("scorers"):
            problems.append(f"{module} imports {name}: statistics are functions of scores only")
    return problems


def options_problems(module: str, tree: ast.Module) -> list[str]:
    """What a module knows of the command line although it lies below the commands."""
    if module.split(".")[0] in KNOW_OPTIONS:
        return []
    above = [name for name in imported(tree) if name.split(".")[0] in KNOW_OPTIONS]
    problems = [
        f"{module} imports {name}: below the commands nobody knows that there is a command line" for name in above
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (ast.get_docstring(node) or "").startswith("Options of"):
            problems.append(f"{module}.{node.name} is of a command line: take plain values, or a class of the domain")
    return problems


def size_problems(module: str, tree: ast.Module, num_lines: int) -> list[str]:
    problems = []
    if num_lines > (60 if module.startswith("scripts.") else 400):
        problems.append(f"{module} has {num_lines} lines")
    limit = 100 if module.split(".")[0] in ("heads", "audited") else 60
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            num_arguments = len([a for a in arguments if a.arg not in ("self", "cls")])
            if node.end_lineno - node.lineno >= limit:
                problems.append(f"{module}.{node.name} has more than {limit} lines")
            if num_arguments > 7:
                problems.append(f"{module}.{node.name} takes {num_arguments} arguments")
    return problems


def forbidden_problems(module: str, tree: ast.Module) -> list[str]:
    problems = []
    for node in ast.walk(tree):
        is_read = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        text = ast.unparse(node) if is_read or isinstance(node, ast.Import | ast.ImportFrom) else ""
        called = getattr(getattr(node, "func", None), "id", "")
        if called in ("print", "eval", "exec")[module == "cli" :]:
            problems.append(f"{module} calls {called}")
        if isinstance(node, ast.Call) and any(
            k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords
        ):
            problems.append(f"{module} allows pickles: {ast.unparse(node)}")
        is_pickle = isinstance(node, ast.Import) and any(alias.name == "pickle" for alias in node.names)
        is_environment = isinstance(node, ast.ImportFrom) and node.module == "os" and "env" in text
        # The restricted reader; and what makes hostile pickles, which nobody but that reader opens.
        is_pickle &= module not in ("data.pickles", "studies.reliability.inputs")
        if (
            (text in ("os.environ", "os.getenv") and module != "environment")
            or text.startswith("from pickle")
            or is_pickle
            or is_environment
        ):
            problems.append(f"{module} uses {text}")
    return problems


def test_imports_go_one_way() -> None:
    assert [problem for name, tree in modules().items() for problem in direction_problems(name, tree)] == []


def test_options_stay_in_the_commands() -> None:
    assert [problem for name, tree in modules().items() for problem in options_problems(name, tree)] == []


def import_cycles(trees: dict[str, ast.Module]) -> list[str]:
    graph = {name: set(imported(tree)) for name, tree in trees.items()}
    finished: set[str] = set()
    cycles = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycles.append(" -> ".join((*path, name)))
        elif name not in finished:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            finished.add(name)

    for name in graph:
        visit(name, ())
    return cycles


def test_no_import_cycles() -> None:
    assert import_cycles(modules()) == []


def test_score_script_needs_no_stage() -> None:
    names = imported(modules()["commands.score"])
    assert "edge.scoring" in names


def test_sizes() -> None:
    lines = {name: len(source.splitlines()) for name, source in sources().items()}
    assert [p for name, tree in modules().items() for p in size_problems(name, tree, lines[name])] == []


def test_nothing_forbidden() -> None:
    names = {name: tree for name, tree in modules().items() if not name.startswith("scripts.")}
    assert [problem for name, tree in names.items() for problem in forbidden_problems(name, tree)] == []


def test_light_modules_load_without_heavy_packages() -> None:
    light = [n for n in modules() if any(n == prefix or n.startswith(f"{prefix}.") for prefix in LIGHT)]
    assert len(light) > 10
    # A study's options answer --help, as a command's do.
    studies = [name for name in modules() if name.startswith("studies.") and name.count(".") == 1]
    light = [*(f"mint_keras.{name}" for name in light), *studies]
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [p for p in {HEAVY!r} if p in sys.modules]\n"
        "    assert not heavy, f'{name} loads {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_converter_loads_for_onnxruntime_only() -> None:
    """`aad.models` imports the backends: without --backend onnxruntime a run needs neither onnx nor the converter."""

    def needed(module: str) -> list[str]:
        found = loaded_with(module)
        return [name for name in found if name in ("onnx", "onnxruntime") or name.startswith("audited.convert")]

    assert "audited.backends" in loaded_with("aad.models")
    assert needed("aad.models") == []
    assert "onnxruntime" in needed("audited.onnx_forward")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data.images", "from mint_keras import training"),
        ("statistics.metrics", "from mint_keras.data.images import decode\nimport mint_keras.commands.train_mint"),
        ("heads.cnn", "def f():\n    from mint_keras.audited import iresnet"),
        ("training", "from mint_keras.report import plots"),
        ("commands.audit", "def f():\n    from studies.worlds import summary"),
    ],
)
def test_direction_check_sees_a_wrong_import(module: str, source: str) -> None:
    assert direction_problems(module, ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "from mint_keras.options import Common",
        "def f():\n    from mint_keras.commands.train_mint import TrainMint",
        "from mint_keras import commands",
        'class A:\n    """Options of train_mint.py."""',
        'def f():\n    class A:\n        """Options of train_mint.py."""',
    ],
)
def test_options_check_sees(source: str) -> None:
    assert options_problems("scorers.head", ast.parse(source))
    assert not options_problems("commands.train_mint", ast.parse(source))


def test_cycle_check_sees() -> None:
    one, other = "from mint_keras.data import samples", "def f():\n    from mint_keras.data import images"
    assert import_cycles({"data.images": ast.parse(one), "data.samples": ast.parse(other)})


def test_a_module_without_a_row_and_a_relative_import_are_refused() -> None:
    with pytest.raises(AssertionError, match="utils fits no row"):
        row_of("utils")
    with pytest.raises(AssertionError, match="relative import"):
        imported(ast.parse("from . import images"))


FORBIDDEN = [
    "print(1)",
    "eval('1')",
    "import pickle",
    "import json, pickle",
    "from pickle import load",
    "import os\nos.environ['A']",
    "from os import environ",
    "np.load(path, allow_pickle=True)",
]


@pytest.mark.parametrize("source", FORBIDDEN)
def test_forbidden_check_sees(source: str) -> None:
    assert forbidden_problems("x", ast.parse(source))


def test_size_check_sees() -> None:
    long_function = "def f(a, b, c, d, e, g, h, i):\n" + "    a = 1\n" * 60
    assert len(size_problems("data.x", ast.parse(long_function), 401)) == 3
