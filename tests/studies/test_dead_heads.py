"""The count of dead heads: what is trained, what is not trained again, and the table."""

from pathlib import Path
from typing import Any

import pytest

from studies import dead_heads
from studies.dead_heads import DeadHeads


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was trained; as printed, heads on conv1 die."""
    seen: list[dict[str, Any]] = []

    def train(what: dict[str, Any], *_: object) -> dict[str, Any]:
        seen.append(what)
        return {"is_dead": what["literal"] and what["tap"] == "conv1", "accuracy": 0.5 + what["seed"] / 10}

    monkeypatch.setattr(dead_heads, "_look", lambda out, model, size: (None, None))
    monkeypatch.setattr(dead_heads, "_train", train)
    return seen


def test_a_command_adds_what_is_missing(trained: list[dict[str, Any]], tmp_path: Path) -> None:
    first = DeadHeads(tmp_path, models=("lab",), taps=("conv1",), num_seeds=2)
    dead_heads.dead_heads(first)
    assert len(trained) == 4
    dead_heads.dead_heads(first)
    assert len(trained) == 4
    content = dead_heads.dead_heads(DeadHeads(tmp_path, models=("lab",), taps=("conv1", "conv4"), num_seeds=2)).content
    assert [one["tap"] for one in trained] == ["conv1"] * 4 + ["conv4"] * 4
    assert len(content["trainings"]) == 8
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in dead_heads.render(content).splitlines()]
    assert rows[2] == ["cnn", "conv1", "192", "30", "2 of 2", "", "0 of 2", "0.60 to 0.70"]
    assert rows[3] == ["cnn", "conv4", "192", "30", "0 of 2", "0.60 to 0.70", "0 of 2", "0.60 to 0.70"]
    assert rows[4] == ["all", "", "", "", "2 of 4", "", "0 of 4", ""]


def test_it_ends_in_time_and_goes_on(trained: list[dict[str, Any]], tmp_path: Path) -> None:
    options = {"models": ("lab",), "taps": ("conv1",), "num_seeds": 2}
    dead_heads.dead_heads(DeadHeads(tmp_path, **options, minutes=1e-9))
    assert trained == []
    dead_heads.dead_heads(DeadHeads(tmp_path, **options, minutes=1))
    assert len(trained) == 4
