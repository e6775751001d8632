"""The bench of attacks: what a target's people are shown to attacks with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import zoo
from mint_keras.data import sample_tables
from mint_keras.records import AUDITED, InputError, Observations, Sample, tabulate
from mint_keras.scorers import attacks
from studies import bench_membership as bench
from studies.worlds import classifiers, usable

TABLE = tabulate([Sample(f"photo{row:03d}", "web", f"p{row // 2:02d}", "") for row in range(80)])


@pytest.fixture
def train() -> Callable[..., dict[str, float]]:
    """What `lab` replaces; to be asked for in front of it."""
    return usable.UsableLab.train


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> usable.UsableLab:
    """Networks of which the first ten people, the next ten ... are members; what they give is their number."""
    lab = usable.UsableLab(usable.UsableSpec(first=tmp_path, trainable="stage4", data="none", claimed=10), tmp_path)
    lab.__dict__["people"] = usable.Photos(TABLE, tmp_path)
    for number in range(1, 5):
        lab.folder(number).mkdir(parents=True)
        rows = np.arange(20 * (number - 1), 20 * number)
        sample_tables.write_samples(lab.folder(number) / formats.MEMBERS, TABLE.take(rows))

    def observe(self: usable.UsableLab, photos: usable.Photos, number: int) -> dict[str, Observations]:
        def network(value: float) -> Observations:
            return Observations(photos.table, {"outcome": np.full((80, 2), value), "conv1_max": np.zeros((80, 3))})

        return {AUDITED: network(number), usable.BEFORE: network(0)}

    monkeypatch.setattr(usable.UsableLab, "observe", observe)
    monkeypatch.setattr(usable.UsableLab, "train", lambda self, number: {})
    return lab


def test_photos_that_were_used_are_asked_for_beside_others_of_the_same_people(
    lab: usable.UsableLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tabulate([Sample(f"other{row:03d}", "web", f"p{row // 2:02d}", "") for row in range(80)])
    monkeypatch.setattr(bench, "_unused", lambda lab: usable.Photos(other, tmp_path))
    monkeypatch.setattr(bench, "_LEAST_PEOPLE", 8)
    seen, is_member = bench.observed(lab, 2, "images_shadows", 4)
    assert {name[:5] for name in seen.table.sample_id[is_member]} == {"photo"}
    assert {name[:5] for name in seen.table.sample_id[~is_member]} == {"other"}
    for side in (is_member, ~is_member):
        assert np.unique(seen.people()[side], return_counts=True)[1].tolist() == [2] * 10
    assert not seen[f"{attacks.IS_IN}reference_001"].any()  # whose people are others


@pytest.mark.parametrize(
    ("beside", "audited", "theirs"),
    [(bench.BEFORE, 2, [0]), (bench.SHADOWS, 2, [1, 3, 4]), (bench.NOBODY, 0, [1, 3, 4])],
)
def test_a_target_is_seen_beside_its_references(
    lab: usable.UsableLab, beside: str, audited: int, theirs: list[int]
) -> None:
    seen, is_member = bench.observed(lab, 2, beside, 4)
    people = np.unique(seen.people()[is_member])
    assert people.tolist() == [f"web/p{k}" for k in range(10, 20)]
    assert len(np.unique(seen.people()[~is_member])) == 10
    assert seen["outcome"][0, 0] == audited
    names = [name for name in seen.arrays if name.startswith("reference")]
    assert [seen[name][0, 0] for name in names] == theirs
    if beside != bench.BEFORE:
        is_in = seen[f"{attacks.IS_IN}{names[0]}"]
        assert is_in.tolist() == [name < "web/p10" for name in seen.people().tolist()]


def test_networks_of_two_recipes_are_not_mixed(train: Callable[..., dict[str, float]], lab: usable.UsableLab) -> None:
    models = lab.folder(1).parent

    def made(number: int, config: dict[str, str]) -> None:
        (lab.folder(number) / formats.MODEL).touch()
        formats.write_json(lab.folder(number) / formats.MANIFEST, formats.make_manifest(zoo.KIND, {}, config))

    made(1, {"classifier": "centroids"})
    assert classifiers.began(models) == "centroids"
    made(2, {})
    with pytest.raises(InputError, match="one recipe"):
        classifiers.began(models)
    made(1, {})
    assert classifiers.began(models) == ""
    with pytest.raises(InputError, match="one recipe"):
        train(lab, 3)  # before anything is trained
    formats.write_json(lab.folder(2) / formats.VERIFICATION, {"auc": 0.9})
    assert train(lab, 2) == {"auc": 0.9}  # those that are there can still be asked
    made(1, {"classifier": "centroids"})
    with pytest.raises(InputError, match="one recipe"):
        train(lab, 2)
