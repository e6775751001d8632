"""A folder of several people is no person."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.commands.score import Score, score
from mint_keras.data import images, samples
from mint_keras.edge import resemblance

LFW = Path(__file__).resolve().parents[3] / "shared" / "data" / "lfw"


@pytest.mark.parametrize(
    ("people", "expected"),
    [([4], True), ([2], True), ([1, 1], False), ([2, 2], False), ([3, 1], True), ([2, 1], False), ([5, 3], False)],
)
def test_most_resemble_one(people: list[int], expected: bool) -> None:
    """One photo in four may be a bad one."""
    looks = np.repeat(np.eye(128)[: len(people)], people, axis=0)
    assert resemblance.are_one_person(looks) is expected


@pytest.mark.skipif(not LFW.is_dir(), reason="no LFW beside the project (../shared/data)")
def test_folders_of_real_people(calibrated: Callable, tmp_path: Path) -> None:
    table = samples.list_samples(str(LFW))
    _, first = np.unique(table.identity, return_index=True)
    rows = {"one": first[0] + np.arange(3), "other": first[1] + np.arange(3), "both": first[:4]}
    for name, chosen in rows.items():
        for k, face in enumerate(images.read_faces(table.take(chosen))[1]):
            face[0, 0] = len(name)  # or the same photo would be in two folders
            images.write_png(tmp_path / "people" / name / f"{k}.png", face)
    said = score(Score(calibrated(), (str(tmp_path / "people"),), tmp_path / "out", quiet=True)).text
    assert "1 of 3 folders seem to show several people" in said
    persons = {one["name"]: one for one in formats.read_json(tmp_path / "out" / "scores.json")["persons"]}
    assert persons["people/both"]["p_value"] is None
    assert "several people" in persons["people/both"]["abstained"]
    assert persons["people/one"]["p_value"] == persons["people/other"]["p_value"] == 0.005
