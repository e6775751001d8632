"""The examples of docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

import mint_keras as mint

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    paths = [path for package in ("mint_keras", "studies") for path in sorted((ROOT / package).rglob("*.py"))]
    paths = [path for path in paths if ">>> " in path.read_text()]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return [name.removesuffix(".__init__") for name in names]


def failures(name: str) -> tuple[int, str]:
    """Runs the examples of a module; returns how many there are, and what went wrong."""
    module = importlib.import_module(name)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    num = 0
    for example in doctest.DocTestFinder().find(module, name, extraglobs={"np": np}):
        num += runner.run(example, out=said.append).attempted
    return num, "".join(said)


@pytest.mark.usefixtures("loaded_once", "filled_to_eight", "few_views")
@pytest.mark.parametrize("name", modules())
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # some name what a clone holds
    num, said = failures(name)
    assert num, "no example was found"
    assert said == ""


def test_a_wrong_example_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong_example.py").write_text('def f():\n    """>>> f()\n    2"""\n    return 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    num, said = failures("wrong_example")
    assert num == 1
    assert "Expected:\n        2\nGot:\n    1" in said


def test_everything_behind_the_door_has_an_example() -> None:
    assert [name for name in dir(mint) if ">>> " not in (getattr(mint, name).__doc__ or "")] == []
