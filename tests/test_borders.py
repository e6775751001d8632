"""Strangers' files: one error whatever a library raises, and no memory or time that a few bytes only ask for."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from mint_keras import borders, formats, score_files
from mint_keras.data import files, identity_list, images, overlap_files, sample_tables, samples
from mint_keras.records import InputError, RefusedError, Sample, tabulate

COLUMNS = ("sample_id", "database", "identity", "location")


def test_whatever_is_raised_is_ours_and_ours_stays() -> None:
    for error in (KeyError("a"), RecursionError(), MemoryError()):
        with (
            pytest.raises(InputError, match=r"^Expected a file at x, received: .+\.$") as found,
            borders.reading("a file at x"),
        ):
            raise error
        assert found.value.__cause__ is error
    for ours in (InputError("one"), RefusedError("two")):
        with pytest.raises(type(ours), match=r"^(one|two)$"), borders.reading("a file"):
            raise ours
    with pytest.raises(KeyboardInterrupt), borders.reading("a file"):
        raise KeyboardInterrupt


class TestNoFile:
    """What is called like a file of a stranger and is a pipe, a device without an end, or a hole of terabytes."""

    READERS = (
        formats.read_json, borders.read_yaml, borders.read_csv, borders.read_text, files.read_lines,
        sample_tables.read_samples, score_files.read_results, score_files.read_scores, identity_list.read,
        overlap_files.read_known,
    )  # fmt: skip

    @pytest.mark.parametrize("kind", ["pipe", "device", "folder", "hole"])
    @pytest.mark.parametrize("read", READERS)
    def test_it_is_refused_in_a_line(self, read: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        if kind == "folder":
            path.mkdir()
        elif kind == "hole":
            with open(path, "wb") as file:
                file.truncate(2**42)
        else:
            os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
        with pytest.raises(InputError, match=r"^Expected .*(folder, pipe or device|of at most|fewer than).*\.$"):
            read(path)

    def test_a_parquet_file_that_is_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.parquet")
        with pytest.raises(InputError, match="received a folder, pipe or device"):
            sample_tables.read_samples(tmp_path / "a.parquet")

    def test_a_folder_of_photos_whose_manifest_never_ends_is_a_folder_of_photos(self, tmp_path: Path) -> None:
        images.write_png(tmp_path / "Ann" / "1.png", np.zeros((16, 16, 3), np.uint8))
        (tmp_path / "manifest.json").symlink_to("/dev/zero")
        assert len(samples.list_samples(str(tmp_path))) == 1

    def test_lines_of_any_number_are_read_and_one_without_end_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\n\nc")
        assert list(borders.lines(tmp_path / "a.txt")) == ["a\r\n", "b\n", "\n", "c"]


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a: &a [x]\nb: *a\n", "aliases"),
            ("a: &a [*a]\n", "aliases"),
            ("- " * 5000, "received: "),
            ("- 1\n", "received list"),
            ("[" * 5000, "at most 500"),
            ("a: " + "9" * 5000, "received: "),
            ("a: '" + "x" * 2**16 + "'", "at most 65536 bytes"),
            ("a: !!python/name:os.system\n", "received: could not determine"),
        ],
    )
    def test_few_bytes_stay_few(self, text: str, reason: str, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(InputError, match=reason):
            borders.read_yaml(tmp_path / "a.yaml")

    def test_plain_values(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("a: [1, {b: true}]\n")
        assert borders.read_yaml(tmp_path / "a.yaml") == {"a": [1, {"b": True}]}


class TestTables:
    def write(self, path: Path, rows: list[list[str]], header: tuple[str, ...] = COLUMNS) -> Path:
        path.write_text("\n".join([",".join(header), *map(",".join, rows), ""]))
        return path

    def test_one_long_text_among_short_ones(self, tmp_path: Path) -> None:
        rows = [[f"s{k}", "d", "p", "a.png"] for k in range(2000)]
        rows[7][2] = "x" * 100_000  # 800 MB as a column of that width
        with pytest.raises(InputError, match="like lengths as 'identity'"):
            sample_tables.read_samples(self.write(tmp_path / "a.csv", rows))

    def test_long_texts_are_no_fault(self, tmp_path: Path) -> None:
        rows = [[f"s{k}", "d", "x" * 5000, "a.png"] for k in range(4)]
        assert len(sample_tables.read_samples(self.write(tmp_path / "a.csv", rows))) == 4

    @pytest.mark.parametrize("header", [("a", "b", "a"), tuple(map(str, range(1001)))])
    def test_columns_twice_or_without_end(self, header: tuple[str, ...], tmp_path: Path) -> None:
        with pytest.raises(InputError, match="column"):
            borders.read_csv(self.write(tmp_path / "a.csv", [["1"]] * 3, header))

    def test_no_name_has_nul(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="NUL"):
            sample_tables.read_samples(self.write(tmp_path / "a.csv", [["s", "d", "p", "a\0.png"]]))

    def test_equal_texts_of_a_parquet_file_are_counted_first(self, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        num = 60_000
        texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * num, pyarrow.int8()), ["x" * 10**6])
        pyarrow.parquet.write_table(
            pyarrow.table(dict.fromkeys(COLUMNS, texts)), tmp_path / "a.parquet"
        )  # 60 GB a column as texts
        with pytest.raises(InputError, match=r"sane size|table of samples"):
            sample_tables.read_samples(tmp_path / "a.parquet")

    def test_rows_without_bytes(self, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        nulls = pyarrow.nulls(10**6, pyarrow.string())
        pyarrow.parquet.write_table(pyarrow.table(dict.fromkeys(COLUMNS, nulls)), tmp_path / "a.parquet")
        with pytest.raises(InputError, match="1000000 rows"):
            sample_tables.read_samples(tmp_path / "a.parquet")

    def test_columns_twice_in_parquet(self, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table([["a"]] * 5, names=[*COLUMNS, "identity"])
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(InputError, match=r"\['identity'\] twice"):
            sample_tables.read_samples(tmp_path / "a.parquet")

    def test_what_we_write_ourselves_is_read(self, tmp_path: Path) -> None:
        rows = [
            Sample(f"d/{k}", "d", f"p{k}", f"/{k}.png", box=(1, 2, 3, 4), attributes={"a": "b" * k}) for k in range(300)
        ]
        sample_tables.write_samples(tmp_path / "a.parquet", tabulate(rows), {"more": np.arange(300)}, part_size=100)
        assert len(sample_tables.read_samples(tmp_path / "a.parquet")) == 300
        assert sample_tables.read_samples(tmp_path / "a.parquet", 2).sample_id[0] == "d/200"


class TestInertNames:
    names = (
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "'=quoted",
        "''@twice",
        "it's",
        "-1.5",
        "1e-5",
        "a=b",
        "-inf",
    )

    def test_no_cell_is_a_formula_and_all_come_back(self, tmp_path: Path) -> None:
        formats.write_csv(tmp_path / "a.csv", ("name", "n"), [(name, "1") for name in self.names])
        cells = [line.rpartition(",")[0].strip('"') for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
        assert not [cell for cell in cells if cell[0] in "=+@" or cell.startswith("-2")]
        assert borders.read_csv(tmp_path / "a.csv")["name"] == list(self.names)

    def test_nothing_steers_a_terminal(self) -> None:
        assert borders.inert("a\x1b[2J\x00\r\nb") == r"a\x1b[2J\x00\x0d\x0ab"
        message = borders.one_line("x\n" + "y" * 2000 + "\x1b end.")
        assert len(message) <= 500
        assert message.startswith("x y")
        assert message.endswith("end.")
        assert message.isprintable()


def test_a_table_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = pyarrow.array(["a" * (borders._MAX_WIDE + 2**22)])
    path = tmp_path / "large.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"sample_id": text}), path, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match="bytes in a file of"):
        borders.read_parquet(path, ["sample_id"])
