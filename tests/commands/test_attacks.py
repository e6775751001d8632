"""`mint attacks` on a small model beside a reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.commands import attacks as command
from mint_keras.commands.attacks import Attacks, attacks
from mint_keras.data import sample_tables, samples
from mint_keras.records import InputError
from tests.runs.small_model import small_model

pytestmark = pytest.mark.usefixtures("loaded_once", "few_views")


def few(source: Path, to: Path) -> str:
    """Two photos of everybody in a list."""
    table = sample_tables.read_samples(source)
    sample_tables.write_samples(to, table.take(np.flatnonzero(np.arange(len(table)) % 8 < 2)))
    return str(to)


def test_a_table_and_the_scores_behind_it(quick_folder: Path, tmp_path: Path) -> None:
    members, others = (few(quick_folder / name, tmp_path / name) for name in (formats.MEMBERS, formats.HELD_OUT))
    out, reference = tmp_path / "attacks", small_model(quick_folder, tmp_path / "reference", seed=2)
    sample_tables.write_samples(reference / formats.MEMBERS, samples.list_samples("synthetic:1/web/40-49/1"))
    options = Attacks(quick_folder, out, members, others, reference=(reference,), quiet=True)
    found = attacks(options)
    names = {one.name for one in found.ranked}
    assert {"mint_plus_with_others_with_references", "rmia", "gradient_norm", "known_signs"} <= names
    assert "lira_online" not in names  # the reference was trained on none of these people
    assert found.text.startswith((out / command.TABLE).read_text())
    lines = [json.loads(line) for line in (out / command.RESULTS).read_text().splitlines()]
    assert [line["name"] for line in lines] == [one.name for one in found.ranked]
    scores = {part.scorer: part for part in score_files.read_scores(out / formats.SCORES)}
    assert set(scores) == names
    assert len(scores["rmia"].logit) == 80
    with pytest.raises(InputError, match="received 40 twice"):
        attacks(Attacks(quick_folder, tmp_path / "same", members, members, quiet=True))
