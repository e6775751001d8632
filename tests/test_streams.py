"""The named streams of random numbers: published numbers stay, and no two choices share their draws."""

import ast
from pathlib import Path

import numpy as np
import pytest

from mint_keras import streams

PACKAGE = Path(__file__).resolve().parents[1] / "mint_keras"
NAMES = {name: number for name, number in vars(streams).items() if name.isupper()}


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_is_that_of_its_seed_and_number(name: str) -> None:
    for seed in (0, 1, 2**32 - 1):
        expected = np.random.default_rng([seed, NAMES[name]]).integers(2**63, size=4)
        np.testing.assert_array_equal(streams.stream(seed, NAMES[name]).integers(2**63, size=4), expected)
    further = np.random.default_rng([1, NAMES[name], 2]).integers(2**63, size=4)
    np.testing.assert_array_equal(streams.stream(1, NAMES[name], 2).integers(2**63, size=4), further)


def calls() -> dict[str, set[int]]:
    """How many numbers stand behind the seed where the package asks for a stream, by its name."""
    found: dict[str, set[int]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("streams.stream", "stream"):
                name = ast.unparse(node.args[1]).removeprefix("streams.")
                found.setdefault(name, set()).add(len(node.args) - 1)
    return found


def test_names_of_equal_number_never_share_draws() -> None:
    """DIVISION and CASES are both 4: behind the one nothing stands, behind the other always the number of a part."""
    lengths = calls()
    assert set(lengths) <= set(NAMES), "a stream without a name"
    for name, number in NAMES.items():
        for other in (other for other, same in NAMES.items() if other > name and same == number):
            assert not lengths.get(name, set()) & lengths.get(other, set()), f"{name} and {other} are one stream"
    divided = streams.stream(1, streams.DIVISION).integers(2**63, size=4)
    for part in range(1, 5):
        assert not np.array_equal(streams.stream(1, streams.CASES, part).integers(2**63, size=4), divided)
    # But zeros at the end of a seed do not count, and published numbers stay as they are.
    np.testing.assert_array_equal(streams.stream(1, streams.CASES, 0).integers(2**63, size=4), divided)


def test_published_numbers_stay() -> None:
    """They decide results: a new stream gets the next number."""
    assert NAMES == {
        "PROTOCOL": 1, "EVALUATIONS": 2, "BASELINES": 3, "DIVISION": 4, "CASES": 4, "NOBODY": 5, "RECALIBRATION": 6,
        "LOTS": 7, "TRANSPLANT": 8, "FILES": 9, "SWAP": 10, "SWAP_NOBODY": 11, "THRESHOLD": 12, "CHANGES": 13,
        "HELD_AT_ONCE": 14, "SHADOWS": 15, "RETRIES": 16, "DATABASES": 17, "PIXELS": 23,
    }  # fmt: skip
