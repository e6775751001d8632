"""Sample tables on disk, and what a reader yields."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from mint_keras import formats
from mint_keras.data import inspection, sample_tables, samples
from mint_keras.data.people import are_unknown
from mint_keras.records import InputError, Sample, concatenate_tables, tabulate


def test_round_trip(tmp_path: Path) -> None:
    table = tabulate(Sample(f"db/{i}", "db", "Zoë, A.", f"/somewhere/{i}.png") for i in range(3))
    sample_tables.write_samples(tmp_path / "t.parquet", table)
    back = sample_tables.read_samples(tmp_path / "t.parquet")
    assert set(back.columns()) == {"sample_id", "database", "identity", "location"}
    for name, column in table.columns().items():
        np.testing.assert_array_equal(back.columns()[name], column)


def test_a_spreadsheets_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sample_id,database,identity,location\n1,db,Zoë,a.png\n", "utf-8-sig")
    assert sample_tables.read_samples(tmp_path / "t.csv").sample_id.tolist() == ["1"]


def test_round_trip_of_what_is_optional(tmp_path: Path) -> None:
    rows = [
        Sample("a", "db", "anna", "/a.png", "family", (1, 2, 3.5, 4), tuple(range(10)), {"age": "3"}),
        Sample("b", "db", "anna", "/b.png"),
    ]
    table = tabulate(rows)
    sample_tables.write_samples(tmp_path / "t.parquet", table)
    back = sample_tables.read_samples(tmp_path / "t.parquet")
    np.testing.assert_array_equal(back.box, [[1, 2, 3.5, 4], [np.nan] * 4])
    np.testing.assert_array_equal(back.landmarks[0], np.arange(10).reshape(5, 2))
    assert [json.loads(text) for text in back.attributes] == [{"age": "3"}, {}]
    assert back.people().tolist() == ["db/family", "db/anna"]


def test_csv_lies_beside_its_images_and_may_say_where_faces_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "sample_id,database,identity,location,box,remark\n1,db,anna,faces/1.png,1 2 3 4,x\n2,db,,/2.png,,y\n"
    )
    table = sample_tables.read_samples(tmp_path / "t.csv")
    assert table.location.tolist() == [str(tmp_path / "faces/1.png"), "/2.png"]
    assert table.identity.tolist() == ["anna", "?2"]
    np.testing.assert_array_equal(table.box, [[1, 2, 3, 4], [np.nan] * 4])


def test_whoever_is_unknown_is_nobody_else(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    words = ["", "nan", "NA", "None", "-1", "unknown", "<NA>", "null", " ", "?", "n/a"]
    lines = "".join(f"{k},db,{word},{k}.png\n" for k, word in enumerate(words))
    (tmp_path / "t.csv").write_text(f"sample_id,database,identity,location\n{lines}")
    table = sample_tables.read_samples(tmp_path / "t.csv")
    assert len(np.unique(table.people())) == len(words)
    assert are_unknown(table.people()).all()
    columns = {"sample_id": ["a", "b", "c", "d"], "database": ["db"] * 4, "location": list("1234")}
    for identity, expected in (
        ([3.0, float("nan"), None, -1.0], ["3", "?b", "?c", "?d"]),
        (["Zoe\u0308 ", "Zo\u00eb", "Na", "None"], ["Zo\u00eb", "Zo\u00eb", "Na", "?d"]),
    ):
        pyarrow.parquet.write_table(pyarrow.table({**columns, "identity": identity}), tmp_path / "t.parquet")
        table = sample_tables.read_samples(tmp_path / "t.parquet")
        assert table.identity.tolist() == expected
    sample_tables.write_samples(tmp_path / "again.parquet", table)
    assert sample_tables.read_samples(tmp_path / "again.parquet").identity.tolist() == expected


def test_a_table_of_an_earlier_version_had_names_of_files_for_unknown_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Sample("db/sub/1.jpg", "db", "sub/1.jpg", "/1.jpg"), Sample("db/ann/1.jpg", "db", "ann", "/2.jpg")]
    monkeypatch.setattr(sample_tables, "_VERSION", {b"another": b"1"})
    sample_tables.write_samples(tmp_path / "t.parquet", tabulate(rows))
    monkeypatch.undo()
    assert sample_tables.read_samples(tmp_path / "t.parquet").identity.tolist() == ["sub/1.jpg", "ann"]
    (tmp_path / "manifest.json").write_text("{}")  # so it is one of ours
    assert sample_tables.read_samples(tmp_path / "t.parquet").identity.tolist() == ["?db/sub/1.jpg", "ann"]
    sample_tables.write_samples(tmp_path / "t.parquet", tabulate(rows))
    assert sample_tables.read_samples(tmp_path / "t.parquet").identity.tolist() == ["sub/1.jpg", "ann"]


def test_a_colon_in_a_name_makes_no_address(tmp_path: Path) -> None:
    lines = "1,db,a,12:30:01.jpg\n2,db,a,synthetic:1/web/0/0\n3,db,a,C:/x.jpg\n"
    (tmp_path / "t.csv").write_text(f"sample_id,database,identity,location\n{lines}")
    found = sample_tables.read_samples(tmp_path / "t.csv").location.tolist()
    assert found == [str(tmp_path / "12:30:01.jpg"), "synthetic:1/web/0/0", str(tmp_path / "C:/x.jpg")]


HEADER = b"sample_id,database,identity,location"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"sample_id,database\n1,2\n", r"without \['identity', 'location'\]"),
        ("t.csv", HEADER + b"\n", "at least one"),
        ("t.csv", HEADER + b"\n1,a,b,c\n1,a,b,d\n", "unique"),
        ("t.csv", HEADER + b",box\n1,a,b,c,1 2 3\n", "Expected 4 numbers or nothing as box .* in row 1"),
        ("t.csv", HEADER + b",landmarks\n1,a,b,c,one\n", "Expected 10 numbers"),
        ("t.csv", HEADER + b",attributes\n1,a,b,c,[1]\n", "JSON object"),
        ("t.csv", b"\xff\xfe\x00", "CSV"),
        ("t.parquet", b"not parquet", "Parquet"),
    ],
)
def test_bad_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        sample_tables.read_samples(tmp_path / name)


def test_tables_with_and_without_boxes_together() -> None:
    plain = tabulate([Sample("a", "x", "p", "/a")])
    boxed = tabulate([Sample("b", "y", "q", "/b", box=(0, 0, 1, 1))])
    both = concatenate_tables([plain, boxed])
    np.testing.assert_array_equal(both.box, [[np.nan] * 4, [0, 0, 1, 1]])
    assert both.group is None
    with pytest.raises(InputError, match="at least one"):
        tabulate([])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_spellings_of_a_name_are_one_person_in_each_database_and_are_said(tmp_path: Path, suffix: str) -> None:
    names = ["Ann Lee", "ann lee", "ANN_LEE", "Ann-Lee\u034f", "12", "012", "unknown", "Unknown", "Bob", "Bob"]
    databases = ["a"] * 8 + ["b", "a"]
    rows = {"sample_id": [str(k) for k in range(10)], "database": databases, "identity": names, "location": ["x"] * 10}
    rows["group"] = [""] * 9 + ["ann.lee"]
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        formats.write_csv(path, list(rows), zip(*rows.values(), strict=True))
    else:
        pyarrow.parquet.write_table(pyarrow.table(rows), path, row_group_size=3)
    people = sample_tables.read_samples(path).people().tolist()
    assert people == ["a/Ann Lee"] * 4 + ["a/12", "a/012", "a/?6", "a/?7", "b/Bob", "a/Ann Lee"]
    source = samples.locate(str(path))
    assert inspection.how_read(source)[1] == ("Names such as 'ANN_LEE' are read as 'Ann Lee': 3 in all.",)
