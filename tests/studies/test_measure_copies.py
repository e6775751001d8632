"""Copies are counted by kind, what is missed is looked for again, and the halves share nobody."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data.alterations import ALTERATIONS
from mint_keras.records import InputError
from studies import measure_copies as study


def test_a_run_counts_every_copy_and_continues(tmp_path: Path) -> None:
    options = study.MeasureCopies(tmp_path / "out", "synthetic:1/web/0-9/2", plant=2, rounds=2, quiet=True)
    content = study.measure_copies(options).content
    planted = content["planted"]["default"]
    assert set(planted) == set(ALTERATIONS)
    assert {one["planted"] for one in planted.values()} == {2}
    assert sum(one["found"] for one in planted.values()) >= 0.8 * 2 * len(planted)
    assert content["sources"]["synthetic:1/web/0-9/2"]["pairs_of_one_person"] == 5
    assert (options.out / study.TEXT).read_text().count("of 2") == len(planted)
    missed = np.load(options.out / "missed_0.npz")
    assert len(missed["faces"]) == 13 - sum(
        one[1] for one in formats.read_json(options.out / "round_0.json")["planted"].values()
    )
    (options.out / "round_1.json").unlink()
    again = study.measure_copies(options).content
    assert again["planted"] == content["planted"]
    with pytest.raises(InputError, match="above 0"):
        study.measure_copies(study.MeasureCopies(tmp_path / "none", plant=0))


def test_what_the_network_finds_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = study.read("synthetic:1/web/0-3/2")
    copies, row, kind = study.alter(photos.faces, 1, seed=1)
    assert len(copies) == len(ALTERATIONS)
    # A search by embeddings alone: those of copies are their originals'.
    units = np.eye(len(photos.faces), dtype=np.float32)
    embed = iter([np.concatenate([units, units[row]])])
    monkeypatch.setattr(study.registration, "MIN_COSINE", 2.0)
    found = study.again(photos, {"faces": copies, "row": row, "kind": kind}, 0.8, lambda faces: next(embed))
    assert sum(found["planted"].values()) >= 0.8 * len(ALTERATIONS)
    rounds = [{"planted": {kind: [1, 0] for kind in ALTERATIONS}}]
    assert study.add(rounds, found["planted"])["mirrored"]["found"] == found["planted"].get("mirrored", 0)


def test_halves_share_nobody() -> None:
    people = np.repeat([f"db/{k}" for k in range(9)], 3)
    half = study.is_in_half(people, 1)
    assert half.sum() == 12
    assert not set(people[half]) & set(people[~half])
