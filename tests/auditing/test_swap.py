"""A copy that is no control does not end an audit of two models, and does not stand in it."""

import types
from pathlib import Path
from typing import Any

import pytest

from mint_keras.auditing import controls, swap
from mint_keras.records import InputError


def test_collapsed_copies_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def untrained(opened: Any, audited: Path, name: str, number: int) -> Path:
        if name.endswith("_2"):
            raise InputError("Expected a copy that could be a control.")
        return Path(f"{audited}-{number}")

    monkeypatch.setattr(controls, "untrained", untrained)
    opened: Any = types.SimpleNamespace(
        spec=types.SimpleNamespace(num_untrained=3),
        run=types.SimpleNamespace(spec=types.SimpleNamespace(audited=Path("ours"))),
    )
    found = swap.untrained_pairs(opened, Path("theirs"))
    assert {name: tuple(map(str, pair)) for name, pair in found.items()} == {
        "untrained_1": ("ours-1", "theirs-1001"), "untrained_3": ("ours-3", "theirs-1003"),
    }  # fmt: skip
