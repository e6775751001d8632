"""How many databases: who is in which, what is trained and not trained again, and the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mint_keras.data import protocol
from mint_keras.records import AUDITED, UNTRAINED
from mint_keras.runs import run
from studies import num_databases
from studies.num_databases import FAMILIAR, SAME, NumDatabases, databases_of


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was measured; the fewer the databases, the wider the cell."""
    seen: list[tuple[Any, ...]] = []

    def measure(chosen: tuple[int, int], _: object, model: str, taps: tuple[str, ...], *__: object) -> dict[str, Any]:
        seen.append((*chosen, model, taps))
        half, value = (0.3, 0.4) if chosen[0] < 12 else (0.05, 0.8 + chosen[1] / 10)
        cell = {"auc": [value - 0.02, value + 0.02], "low": value - half, "high": value + half}
        return {"scan": cell, FAMILIAR: cell, SAME: {**cell, "auc": [0.5, 0.54]}}

    monkeypatch.setattr(num_databases, "_protocol", lambda num, choice, num_train: (num, choice))
    monkeypatch.setattr(num_databases, "_look", lambda *_: None)
    monkeypatch.setattr(num_databases, "_measure", measure)
    return seen


def test_a_larger_choice_holds_the_smaller_one_and_choices_share_nothing() -> None:
    assert databases_of(0, 0) == ["news", "phone", "webcam"]
    assert databases_of(3, 0) == databases_of(24, 0)[:3]
    assert not set(databases_of(24, 0)) & set(databases_of(24, 1))
    assert not set(databases_of(24, 0) + databases_of(24, 1)) & set(num_databases.UNSEEN)
    # The study's first choice of twelve are the main job's.
    assert databases_of(12, 0) == [text.split("/")[1] for text in run.LAB_EXTERNALS]


@pytest.mark.parametrize("num", [0, 12])
def test_heads_see_as_many_photos_of_however_many_databases(num: int) -> None:
    made = num_databases._protocol(num, 1 if num else 0, 120)
    databases = made.table.database[made.part == protocol.TRAIN_EXTERNALS]
    names, counts = np.unique(databases, return_counts=True)
    assert set(names) == set(databases_of(num, 1 if num else 0))
    assert counts.sum() == 120
    assert np.ptp(counts) <= 1
    assert not set(names) & set(made.table.database[made.part == protocol.TEST_EXTERNALS])


def test_a_command_adds_what_is_missing_and_shows_how_wide_cells_are(
    measured: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    num_databases.num_databases(NumDatabases(tmp_path, nums=(3,), num_choices=1, quiet=True))
    assert len(measured) == 12
    found = num_databases.num_databases(NumDatabases(tmp_path, nums=(3, 12), num_choices=2, quiet=True))
    # Six heads for each of four choices, and through the untrained copy for the first ones.
    assert len(measured) == len(set(measured)) == 6 * 4 + 6 * 2
    assert {choice for _, choice, model, _ in measured if model == UNTRAINED} == {0}
    assert {choice for _, choice, model, _ in measured if model == AUDITED} == {0, 1}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.text.splitlines()]
    assert ["conv1", "0.30, 0 of 2", "0.05, 2 of 2"] in rows
    assert ["untrained copy, all heads", "0.30, 0 of 6", "0.05, 6 of 6"] in rows
    assert ["scan", "0.40 [0.40, 0.40]", "0.85 [0.80, 0.90]"] in rows
    assert ["same database", "0.52 [0.52, 0.52]", "0.52 [0.52, 0.52]"] in rows
    assert ["phone", "-", "-"] in rows


def test_it_ends_in_time(measured: list[tuple[Any, ...]], tmp_path: Path) -> None:
    num_databases.num_databases(NumDatabases(tmp_path, minutes=1e-9, quiet=True))
    assert measured == []
