"""What README and docs tell people to type is accepted, and what they point to exists."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "models/README.md",
    ROOT / "export/README.md",
]
COMMAND = re.compile(r"python (scripts/\w+\.py [^#\n`]*)")


def commands() -> list[str]:
    presets = sorted((ROOT / "configs").glob("*.yaml"))
    text = "\n".join(page.read_text().replace("\\\n", " ") for page in PAGES + presets)
    return sorted({match[1].strip() for match in COMMAND.finditer(text)})


def test_commands_are_found() -> None:
    scripts = {command.split()[0] for command in commands()}
    assert scripts == {f"scripts/{path.name}" for path in (ROOT / "scripts").glob("[!_]*.py")}


def test_commands_are_accepted() -> None:
    """Parses the options of every command, in one process because TensorFlow takes seconds to load; nothing is run."""
    arguments = [[*shlex.split(line), "--print_config"] for line in commands()]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{target}#{anchor}"


@pytest.mark.parametrize("page", ["README.md", "docs/auditing.md"])
def test_python_has_all_that_it_names(page: str) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    names = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(re.findall(r" as (\w+)", block))
    assert {node.id for node in names} <= made


def test_the_readme_is_read_aloud_in_four_minutes() -> None:
    text = re.sub(r"```.*?```|\]\([^)]*\)|[|#*`-]", " ", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(text.split()) <= 950


def test_make_and_continuous_integration_run_the_readmes_commands() -> None:
    readme, makefile, ci = ((ROOT / name).read_text() for name in ("README.md", "Makefile", ".ci/run"))
    assert "scripts/train_mint.py --head vanilla --out runs/lab-vanilla" in readme
    assert "scripts/train_mint.py --head vanilla --out runs/lab-vanilla" in makefile
    assert "scripts/train_mint.py --head vanilla" in ci
    assert all("-m pytest" in text for text in (readme, makefile, ci))
