"""A list of who is who is obeyed from top to bottom, and refused where it says nothing clear."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras.data import identity_list
from mint_keras.data.identity_list import DROP, MERGE, SPLIT, Line
from mint_keras.data.people import unknown
from mint_keras.records import InputError, Sample, SampleTable, tabulate


@pytest.fixture
def table() -> SampleTable:
    """Two photos each of Ann, Anne and Bob, and one of nobody knows whom."""
    named = [Sample(f"db/{who}/{k}", "db", who, "") for who in ("Ann", "Anne", "Bob") for k in (1, 2)]
    return tabulate([*named, Sample("db/x", "db", unknown("x"), "")])


def test_merge_split_and_drop(table: SampleTable) -> None:
    lines = [
        Line(SPLIT, "db/Bob", "db/Bob/2", "db/Bob (2)"),
        Line(MERGE, "db/Anne", "", "db/Ann"),
        Line(MERGE, "db/Bob (2)", "", "db/Ann"),  # what was split off is somebody else's
        Line(SPLIT, "db/?x", "db/x", "db/group 1"),
        Line(DROP, "db/Bob"),
        Line(DROP, "db/Ann", "db/Ann/1"),
        Line(DROP, "db/Nobody"),
    ]
    found, kept, known = identity_list.obey(table, lines)
    assert found.people().tolist() == ["db/Ann"] * 4 + ["db/Bob", "db/Ann", "db/group 1"]
    assert found.identity.tolist() == table.identity.tolist()  # what the database said is kept
    assert kept.tolist() == [False, True, True, True, False, True, True]
    assert known == set(range(6))


def test_nothing_to_do_changes_nothing(table: SampleTable) -> None:
    found, kept, known = identity_list.obey(table, [Line(MERGE, "db/Cid", "", "db/Ann")])
    assert found is table
    assert kept.all()
    assert not known


def test_lists_are_read_back(tmp_path: Path) -> None:
    lines = [Line(MERGE, "db/=Ann", "", "db/Bob", 0.5, 1), Line(DROP, "db/Bob", "db/1.jpg")]
    identity_list.write(tmp_path / "list.csv", lines)
    read = identity_list.read(tmp_path / "list.csv")
    assert [line[:4] for line in read] == [line[:4] for line in lines]
    assert np.isnan(read[0].cosine)
    (tmp_path / "short.csv").write_text("action,identity,sample_id,as\ndrop,db/Ann,,\n")  # of one's own
    assert identity_list.read(tmp_path / "short.csv") == [Line(DROP, "db/Ann", cosine=read[0].cosine)]


@pytest.mark.parametrize(
    "line",
    [
        "merge,db/Ann,,",
        "merge,db/Ann,,other/Bob",  # a person is of one database
        "merge,db/Ann,db/1.jpg,db/Bob",
        "split,db/Ann,,db/Bob",
        "split,db/Ann,db/1.jpg,db/",
        "drop,db/Ann,,db/Bob",
        "drop,,,",
        "keep,db/Ann,,",
    ],
)
def test_what_is_not_clear_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"action,identity,sample_id,as\ndrop,db/Ann,,\n{line}\n")
    with pytest.raises(InputError, match="line 3 of"):
        identity_list.read(path)
    path.write_text("identity\ndb/Ann\n")
    with pytest.raises(InputError, match="without"):
        identity_list.read(path)


def test_a_list_may_spell_a_name_as_its_folder_did() -> None:
    """Tables give a person one spelling: a line with another must not name nobody."""
    table = tabulate([Sample("a", "D", "Ann Lee", "a"), Sample("b", "D", "Bob", "b")])
    _, kept, known = identity_list.obey(table, [identity_list.Line(identity_list.DROP, "D/ann_lee", "", "")])
    assert kept.tolist() == [False, True]
    assert known == {0}
