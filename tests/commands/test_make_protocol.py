"""Protocols on disk: nobody on two sides, externals searched for members or every table says not."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest

from mint_keras.commands.find_overlap import FindOverlap, find_overlap
from mint_keras.commands.make_protocol import MakeProtocol, make_protocol
from mint_keras.commands.prepare_faces import PrepareFaces, prepare_faces
from mint_keras.data import synthetic
from mint_keras.data.protocol_files import read_protocol
from mint_keras.records import InputError, RefusedError

PARTS = ("train_members", "train_externals", "test_members", "test_externals")
LAB = {
    "members": ("synthetic:1/web/0-79/10",),
    "externals": tuple(f"synthetic:1/{name}/10000-10039/5" for name in ("news", "phone", "webcam", "scan")),
    "stand_in": ("news=ijbc", "phone=fddb", "webcam=gandiffface", "scan=adience"),
}


def make(out: Path, case: str = "baseline", **options: object) -> str:
    return make_protocol(MakeProtocol(case, out=out, **{**LAB, "unscanned": True, **options})).text  # type: ignore[arg-type]


def people(out: Path) -> dict[str, set[tuple[str, str]]]:
    """An independent look at what was written."""
    found = {}
    for part in (*PARTS, "held_out"):
        if (out / f"{part}.parquet").is_file():
            rows = pyarrow.parquet.read_table(out / f"{part}.parquet").to_pylist()
            found[part] = {(row["database"], row["identity"]) for row in rows}
    return found


@pytest.mark.parametrize(("case", "evaluate"), [("baseline", "scan"), ("a", "webcam"), ("b", "phone")])
def test_no_person_crosses(tmp_path: Path, case: str, evaluate: str) -> None:
    text = make(tmp_path / "p", case, held_out=("synthetic:1/web/100-119/5",))
    found = people(tmp_path / "p")
    assert set(found) == {*PARTS, "held_out"}
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    assert {database for database, _ in found["test_externals"]} == {evaluate}
    assert evaluate not in {database for database, _ in found["train_externals"]}
    assert "news stands for the paper's ijbc" in text
    assert "Fewer samples than the paper's" in text
    assert "NOT SCANNED" in text
    summary = json.loads((tmp_path / "p" / "protocol.json").read_text())
    assert summary["scan"] is None
    protocol, _ = read_protocol(tmp_path / "p")
    counts = np.bincount(protocol.part)
    assert counts[0] == counts[1]
    assert counts[2] == counts[3] == 200


def test_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(tmp_path / name, seed=seed)
    for part in PARTS:
        one, same, other = ((tmp_path / name / f"{part}.parquet").read_bytes() for name in "abc")
        assert one == same
        assert (one != other) == part.endswith("_members")  # of the externals, all are taken


def test_our_cases(tmp_path: Path) -> None:
    held_out = ("synthetic:1/web/100-179/10",)
    make(tmp_path / "same", "same-database", externals=held_out, stand_in=())
    databases = {database for part in people(tmp_path / "same").values() for database, _ in part}
    assert databases == {"web"}
    assert read_protocol(tmp_path / "same")[0].main_evaluation == "same_database"
    make(
        tmp_path / "members",
        "member-database",
        members=("synthetic:1/web/0-79/10",),
        test_members=("synthetic:1/cctv/0-39/10",),
        externals=LAB["externals"][:2],
        test_externals=LAB["externals"][2:3],
        stand_in=(),
    )
    found = people(tmp_path / "members")
    assert {database for database, _ in found["train_members"]} == {"web"}
    assert {database for database, _ in found["test_members"]} == {"cctv"}
    make(tmp_path / "cross", "cross-model", externals=LAB["externals"][:1], stand_in=())
    assert read_protocol(tmp_path / "cross")[0].main_evaluation == "cross_model"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    for options, kind, reason in (
        ({"unscanned": False}, RefusedError, "no --scan"),
        ({"unscanned": True, "scan": tmp_path}, RefusedError, "Not both"),
        ({"stand_in": ("news",)}, InputError, "YOURS=PAPERS"),
        ({"stand_in": ()}, InputError, "or say which of yours"),
        ({"case": "same-database", "stand_in": ()}, InputError, "own database, received"),
        ({"case": "cross-model"}, InputError, "--stand-in for other cases"),
        ({"case": "member-database", "stand_in": ()}, InputError, "Expected --test-members"),
        ({"test_members": ("synthetic:1/cctv/0-1/1",)}, InputError, "--test-members for other cases"),
        ({"held_out": ("synthetic:1/web/0-9/5",)}, InputError, "received 50 twice"),
        ({"held_out": ("synthetic:1/web/0-9/12",)}, InputError, "received 100 twice"),
    ):
        with pytest.raises(kind, match=reason):
            make(tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="none"):
        read_protocol(tmp_path)
    make(tmp_path / "out")
    (tmp_path / "out" / "test_members.parquet").unlink()
    with pytest.raises(InputError, match="has not finished"):
        read_protocol(tmp_path / "out")


@pytest.mark.parametrize(
    ("case", "sides"),
    [
        ("same-database", {"members": 0, "externals": 1}),
        ("member-database", {"members": 2, "test_members": 0, "held_out": 1, "externals": 3, "test_externals": 4}),
        ("a", {"members": 0, "held_out": 1, "externals": 3}),
    ],
)
def test_sides_in_folders_of_one_name_are_a_question(case: str, sides: dict[str, int], tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("ours/faces", "theirs/faces", "web", "phone", "scan")]
    for folder in folders:
        (folder / folder.parent.name).mkdir(parents=True)
        (folder / folder.parent.name / "1.png").write_bytes(b"a photo")
    named = {part: (str(folders[place]),) for part, place in sides.items()}
    with pytest.raises(InputError, match="both called faces"):
        make(tmp_path / "out", case, **named, stand_in=("phone=ijbc",) if case == "a" else ())  # type: ignore[arg-type]


@pytest.fixture
def databases(tmp_path: Path) -> dict[str, Path]:
    """Members, and externals of whom one is a member's photo again, and two are copies of each other."""
    for name, first, num in (("members", 0, 12), ("one", 50, 8), ("two", 70, 8)):
        for person in range(first, first + num):
            folder = tmp_path / name / str(person)
            folder.mkdir(parents=True)
            for index in range(2):
                face = synthetic.render(f"synthetic:1/web/{person}/{index}")
                cv2.imwrite(str(folder / f"{index}.png"), face[..., ::-1])
    shutil.copy(tmp_path / "members" / "3" / "0.png", tmp_path / "one" / "51" / "0.png")
    shutil.copy(tmp_path / "two" / "71" / "0.png", tmp_path / "two" / "75" / "1.png")
    return {name: tmp_path / name for name in ("members", "one", "two")}


def test_prepared_faces_keep_their_people(databases: dict[str, Path], tmp_path: Path) -> None:
    for name, folder in databases.items():
        config = PrepareFaces((str(folder),), tmp_path / "faces" / name, treatment="stored", workers=1, quiet=True)
        prepare_faces(config)
    members, one, two = (str(tmp_path / "faces" / name) for name in databases)
    make(tmp_path / "out", "cross-model", members=(members,), externals=(one, two), stand_in=())
    found = people(tmp_path / "out")
    assert len(set().union(*found.values())) == sum(map(len, found.values())) > 20
    assert found["train_members"] <= {("members", str(person)) for person in range(12)}


def test_members_among_the_externals_are_left_out(databases: dict[str, Path], tmp_path: Path) -> None:
    sources = tuple(map(str, databases.values()))
    find_overlap(FindOverlap(sources, tmp_path / "scan", plant=1, quiet=True))
    config = {
        "members": sources[:1],
        "externals": sources[1:2],
        "test_externals": sources[2:],
        "test_members": ("synthetic:1/cctv/0-9/2",),
        "stand_in": (),
        "unscanned": False,
        "scan": tmp_path / "scan",
    }
    with pytest.raises(RefusedError, match=r"has not searched \['cctv'\]"):
        make(tmp_path / "out", "member-database", **config)
    find_overlap(FindOverlap((*sources, "synthetic:1/cctv/0-9/2"), tmp_path / "all", plant=1, quiet=True))
    text = make(tmp_path / "out", "member-database", **{**config, "scan": tmp_path / "all"})
    assert "Searched for members among the externals: 2 of" in text
    assert "model. Altered copies inside a database were not searched for (--within)." in text
    found = people(tmp_path / "out")
    assert ("one", "51") not in found["train_externals"]  # the whole person: one photo of hers is a member's
    assert ("one", "52") in found["train_externals"]
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "test_externals.parquet").to_pylist()
    assert "two/75/1.png" not in {row["sample_id"] for row in rows}
    cv2.imwrite(str(databases["one"] / "58.png"), np.zeros((112, 112, 3), np.uint8))
    with pytest.raises(RefusedError, match=r"has not searched \['one'\] as they are now"):
        make(tmp_path / "again", "member-database", **{**config, "scan": tmp_path / "all"})


def test_a_list_of_identities_is_obeyed(tmp_path: Path) -> None:
    """Two members are one person, one is dropped; a line about nobody is counted."""
    (tmp_path / "list.csv").write_text(
        "action,identity,sample_id,as\nmerge,web/1-000001,,web/1-000000\ndrop,web/1-000002,,\nmerge,web/777,,web/1-000000\n"
    )
    text = make(tmp_path / "p", identities=tmp_path / "list.csv")
    assert "2 of 3 lines of --identities name somebody here" in text
    protocol, _ = read_protocol(tmp_path / "p")
    assert "web/1-000002" not in protocol.table.people()
    of_both = np.isin(protocol.table.identity, ["1-000000", "1-000001"]) & (protocol.table.database == "web")
    assert len(np.unique(protocol.part[of_both])) == 1
    assert set(protocol.table.people()[of_both]) == {"web/1-000000"}
    assert set(protocol.table.identity[of_both]) == {"1-000000", "1-000001"}
