"""Rows for the record: what a claim is worth once databases are made alike, and whether our own code leaks."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mint_keras.auditing import across, controls
from mint_keras.data import images, protocol, samples, synthetic
from mint_keras.data.protocol import Protocol
from mint_keras.records import Observations, SampleTable, Scores, concatenate_tables
from mint_keras.report import states
from mint_keras.report.states import Gap
from mint_keras.scorers.head import Head
from mint_keras.statistics import findings, metrics
from mint_keras.statistics.selection import Candidate

NUM = 12
SCORER = Candidate("vanilla", "conv1")


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

    def blur(shown: Observations) -> np.ndarray:
        faces = shown[images.PIXELS].astype(np.float32)
        return np.array([-np.abs(cv2.Laplacian(face, cv2.CV_32F)).mean() for face in faces])

    monkeypatch.setattr(across, "open_scorer", lambda run, scorer: blur)
    spec = types.SimpleNamespace(native_resolution=0, audited=Path("m"), framing=images.FACE)
    return types.SimpleNamespace(
        run=types.SimpleNamespace(protocol=made, spec=spec),
        scorer=SCORER,
        recipe=Head("vanilla", ("conv1",)),
        spec=types.SimpleNamespace(seed=1, nulls=()),
        folder=tmp_path,
    )


def test_what_is_compression_falls_when_both_sides_are_compressed_alike(opened: Any) -> None:
    table, is_member = opened.run.protocol.table, opened.run.protocol.part == protocol.TEST_MEMBERS
    faces = images.read_faces(table, images.FACE)[1]
    logit = across.open_scorer(opened.run, SCORER)(Observations(table, {images.PIXELS: faces}))
    assert metrics.auc(is_member, logit) > 0.9
    found = [one for one in across.transplanted(opened) if isinstance(one, findings.Finding)]
    by_name = {one.name: one.auc.value for one in found}
    assert set(by_name) == {"pipeline transplant, externals' files", "pipeline transplant, members' files"}
    assert {one.role for one in found} == {findings.CLAIM}  # there are members on one side still
    assert by_name["pipeline transplant, externals' files"] == pytest.approx(0.5, abs=0.25)


def test_resolution_is_matched_to_the_smaller_side(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def through(opened: Any, audited: Path, name: str, native: int) -> list[Scores]:
        del audited, name
        asked.append(native)
        made = opened.run.protocol
        is_member = made.part == protocol.TEST_MEMBERS
        return [SCORER.scored(made.table, np.zeros(2 * NUM), is_member, made.main_evaluation, 1)]

    monkeypatch.setattr(controls, "through", through)
    (row,) = across.same_resolution(opened)
    assert asked == [48]
    assert isinstance(row, findings.Finding)
    assert "48 pixels" in row.question
    opened.run.spec.native_resolution = 40
    assert list(map(type, across.same_resolution(opened))) == [Gap]


def test_null_pairs_want_a_second_database_of_externals(opened: Any, tmp_path: Path) -> None:
    (gap,) = across.null_pairs(opened)
    assert isinstance(gap, Gap)
    assert gap[:2] == (states.NULL_PAIRS, states.NOT_RUN)
    assert "--nulls" in gap.why
    save_faces(tmp_path / "booth", 80, 98, 160)
    opened.spec.nulls = (str(tmp_path / "booth"),)
    (row,) = across.null_pairs(opened)
    assert isinstance(row, findings.Finding)
    assert row.name == "null pair, news and booth"


def test_a_null_database_without_faces_is_named_and_left_out(opened: Any, tmp_path: Path) -> None:
    save_faces(tmp_path / "booth", 80, 98, 160)
    wide = tmp_path / "street" / "someone" / "0.png"
    wide.parent.mkdir(parents=True)
    cv2.imwrite(str(wide), np.zeros((90, 160, 3), np.uint8))
    opened.spec.nulls = (str(tmp_path / "booth"), str(tmp_path / "street"))
    gap, row = across.null_pairs(opened)
    assert isinstance(row, findings.Finding)
    assert row.name == "null pair, news and booth"
    assert isinstance(gap, Gap)
    assert gap[:2] == (states.NULL_PAIRS, states.NOT_POSSIBLE)
    assert "street" in gap.why
    assert "prepare_faces.py" in gap.why


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
    dealt = across.dealt_out(whole, 1)
    people, training = whole.table.people(), (protocol.TRAIN_MEMBERS, protocol.TRAIN_EXTERNALS)
    protocol.check_people(dealt)
    is_used = whole.part != protocol.HELD_OUT
    assert np.array_equal(np.isin(dealt.part, training), np.isin(whole.part, training))
    assert (dealt.part[~is_used] < 0).all()
    for side in range(4):
        assert len(np.unique(people[dealt.part == side])) == len(np.unique(people[whole.part == side]))
    members = dealt.part == protocol.TRAIN_MEMBERS
    assert 0 < np.mean(whole.table.database[members] == "phone") < 1  # of both databases
    assert not np.array_equal(across.dealt_out(whole, 2).part, dealt.part)


def test_a_database_of_members_is_kept_from_fitting(whole: Protocol) -> None:
    left = across.without_members_of(whole, "news")
    rows, is_member = left.training_rows()
    assert set(left.table.database[rows[is_member]]) == {"web"}
    rows, is_member = left.evaluations()[protocol.UNSEEN_DATABASE]
    assert set(left.table.database[rows[is_member]]) == {"news"}
    assert set(left.table.database[rows[~is_member]]) == {"phone"}


def test_what_decides_nothing_does_not_take_the_verdict_with_it(
    opened: Any, monkeypatch: pytest.MonkeyPatch, whole: Protocol
) -> None:
    monkeypatch.setattr(across, "as_in_the_paper", lambda opened: [])
    nothing = (np.arange(0), np.empty((0, 112, 112, 3), np.uint8))
    monkeypatch.setattr(images, "read_faces", lambda table, framing: nothing)
    opened.run.protocol = whole
    found, missing = across.measure(opened)
    assert not found
    names = [gap.name for gap in missing]
    assert names.count(states.HELD_OUT) == 2  # of either database
    assert states.LOTS in names
    assert all(gap.why and not gap.why.startswith(gap.name) for gap in missing)  # whose name is said before
    assert {gap.why.partition(":")[0] for gap in missing if gap.name == states.HELD_OUT} == {
        "members of web held out", "members of news held out"
    }  # fmt: skip
