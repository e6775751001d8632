"""Rows for the record: what a claim is worth once databases are made alike, and whether our own code leaks."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mint_keras.data import images, protocol, samples, synthetic
from mint_keras.data.protocol import Protocol
from mint_keras.records import SampleTable, Scores, concatenate_tables
from mint_keras.stages.audit import context, controls, frozen
from mint_keras.stages.audit.dividing import Scorer
from mint_keras.statistics import findings, metrics

NUM = 12
SCORER = Scorer("vanilla", "conv1")


def save_faces(folder: Path, first: int, quality: int, side: int) -> SampleTable:
    """Saves faces of different people as JPEG files."""
    for person in range(first, first + NUM):
        face = cv2.resize(synthetic.render(f"synthetic:1/web/{person}/0"), (side, side))
        path = folder / f"{person}" / "0.jpg"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), face[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return samples.list_samples(str(folder))


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Members in badly compressed small files, externals in good large ones; the scorer sees blur only."""
    tables = (save_faces(tmp_path / "web", 0, 15, 48), save_faces(tmp_path / "news", 50, 98, 160))
    part = np.repeat([protocol.TEST_MEMBERS, protocol.TEST_EXTERNALS], NUM)
    made = Protocol(concatenate_tables(list(tables)), part, protocol.UNSEEN_DATABASE, 1)

    def read(run: Any, table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
        del run
        batches = list(images.FaceReader().batches(table, 100))
        return batches[0] if batches else (np.empty(0, int), np.empty((0, 112, 112, 3), np.uint8))

    def blur(faces: np.ndarray, people: np.ndarray) -> np.ndarray:
        del people
        return np.array([-np.abs(cv2.Laplacian(face.astype(np.float32), cv2.CV_32F)).mean() for face in faces])

    monkeypatch.setattr(frozen, "read", read)
    monkeypatch.setattr(frozen, "open_scorer", lambda run, scorer: blur)
    run = types.SimpleNamespace(
        protocol=made, config=types.SimpleNamespace(native_resolution=0, audited=Path("m"), num_test=NUM)
    )
    config = types.SimpleNamespace(seed=1, nulls=())
    return types.SimpleNamespace(run=run, scorer=SCORER, config=config, folder=lambda name: tmp_path / name)


def test_what_is_compression_falls_when_both_sides_are_compressed_alike(opened: Any) -> None:
    table, is_member = opened.run.protocol.table, opened.run.protocol.part == protocol.TEST_MEMBERS
    logit = frozen.open_scorer(opened.run, SCORER)(frozen.read(opened.run, table)[1], table.people())
    assert metrics.auc(is_member, logit) > 0.9
    found, missing = context._transplanted(opened)
    assert not missing
    by_name = {one.name: one.auc.value for one in found}
    assert set(by_name) == {"pipeline transplant, externals' files", "pipeline transplant, members' files"}
    assert {one.role for one in found} == {findings.CLAIM}  # there are members on one side still
    assert by_name["pipeline transplant, externals' files"] == pytest.approx(0.5, abs=0.25)


def test_resolution_is_matched_to_the_smaller_side(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def through(run: Any, audited: Path, out: Path, scorer: Scorer, native: int) -> list[Scores]:
        del audited, out
        asked.append(native)
        table, is_member = run.protocol.table, run.protocol.part == protocol.TEST_MEMBERS
        return [
            Scores(*(scorer.name, scorer.tap), run.protocol.main_evaluation, 1, table, is_member, np.zeros(2 * NUM))
        ]

    monkeypatch.setattr(controls, "through", through)
    (row,), missing = context._resolution(opened)
    assert asked == [48]
    assert not missing
    assert "48 pixels" in row.question
    opened.run.config.native_resolution = 40
    assert context._resolution(opened)[0] == []


def test_null_pairs_want_a_second_database_of_externals(opened: Any, tmp_path: Path) -> None:
    assert "--nulls" in context._null_pairs(opened)[1][0]
    save_faces(tmp_path / "booth", 80, 98, 160)
    opened.config.nulls = (str(tmp_path / "booth"),)
    ((row,), missing) = context._null_pairs(opened)
    assert row.name == "null pair, news and booth"
    assert not missing


def test_a_null_database_without_faces_is_named_and_left_out(opened: Any, tmp_path: Path) -> None:
    save_faces(tmp_path / "booth", 80, 98, 160)
    wide = tmp_path / "street" / "someone" / "0.png"
    wide.parent.mkdir(parents=True)
    cv2.imwrite(str(wide), np.zeros((90, 160, 3), np.uint8))
    opened.config.nulls = (str(tmp_path / "booth"), str(tmp_path / "street"))
    ((row,), (line,)) = context._null_pairs(opened)
    assert row.name == "null pair, news and booth"
    assert "street" in line
    assert "prepare_faces.py" in line


@pytest.fixture
def whole() -> Protocol:
    """Two databases of members, one of externals, and held-out people."""
    parts = {
        protocol.TRAIN_MEMBERS: ("web/0-9/3", "news/0-9/3"),
        protocol.TEST_MEMBERS: ("web/10-14/3", "news/10-14/3"),
        protocol.TRAIN_EXTERNALS: ("phone/20-49/2",),
        protocol.TEST_EXTERNALS: ("phone/50-64/2",),
        protocol.HELD_OUT: ("web/70-79/2",),
    }
    tables = [(part, samples.list_samples(f"synthetic:1/{text}")) for part, texts in parts.items() for text in texts]
    part = np.concatenate([np.full(len(table), part) for part, table in tables])
    return Protocol(concatenate_tables([table for _, table in tables]), part, protocol.UNSEEN_DATABASE, 1)


def test_dealing_out_moves_whole_persons_and_nobody_between_training_and_test(whole: Protocol) -> None:
    dealt = context.dealt_out(whole, 1)
    people, training = whole.table.people(), (protocol.TRAIN_MEMBERS, protocol.TRAIN_EXTERNALS)
    protocol.check_people(dealt)
    is_used = whole.part != protocol.HELD_OUT
    assert np.array_equal(np.isin(dealt.part, training), np.isin(whole.part, training))
    assert (dealt.part[~is_used] < 0).all()
    for side in range(4):
        assert len(np.unique(people[dealt.part == side])) == len(np.unique(people[whole.part == side]))
    members = dealt.part == protocol.TRAIN_MEMBERS
    assert 0 < np.mean(whole.table.database[members] == "phone") < 1  # of both databases
    assert not np.array_equal(context.dealt_out(whole, 2).part, dealt.part)


def test_a_database_of_members_is_kept_from_fitting(whole: Protocol) -> None:
    left = context.without_members_of(whole, "news")
    rows, is_member = left.training_rows()
    assert set(left.table.database[rows[is_member]]) == {"web"}
    rows, is_member = left.evaluations()[protocol.UNSEEN_DATABASE]
    assert set(left.table.database[rows[is_member]]) == {"news"}
    assert set(left.table.database[rows[~is_member]]) == {"phone"}


def test_what_decides_nothing_does_not_take_the_verdict_with_it(
    opened: Any, monkeypatch: pytest.MonkeyPatch, whole: Protocol
) -> None:
    monkeypatch.setattr(context, "_across", lambda opened: ([], []))
    monkeypatch.setattr(frozen, "read", lambda run, table: (np.arange(0), np.empty((0, 112, 112, 3), np.uint8)))
    opened.run.protocol = whole
    found, missing = context.measure(opened)
    assert not found
    assert len([line for line in missing if line.startswith("Members of")]) == 2  # of either database
    assert any(line.startswith("Sides dealt out by lot") for line in missing)
