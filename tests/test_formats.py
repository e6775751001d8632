import json
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.records import InputError, RefusedError, Rejected, SampleTable


@pytest.fixture
def table() -> SampleTable:
    columns = (["s1", "s,2"], ["a", 'b"'], ["x", "y"], ["/p/1.png", "synthetic:1/web/0/0"])
    return SampleTable(*(np.array(column) for column in columns))


def test_atomic_write_leaves_nothing_behind_on_failure(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    formats.write_text(target, "old")
    with pytest.raises(RuntimeError, match="half way"), formats.atomic_path(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError("half way")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert target.read_text() == "old"


def test_fingerprint_of_a_table_ignores_where_it_lies(table: SampleTable) -> None:
    moved = SampleTable(table.sample_id, table.database, table.identity, np.array(["/q/1.png", "/q/2.png"]))
    renamed = SampleTable(table.sample_id, table.database, np.array(["x", "z"]), table.location)
    assert formats.sha256_table(moved) == formats.sha256_table(table)
    assert formats.sha256_table(renamed) != formats.sha256_table(table)


class TestKept:
    """If it is not there, it is made."""

    def test_made_once_and_read_ever_after(self, tmp_path: Path) -> None:
        path, made = tmp_path / "new" / "a.json", []

        def make(value: int) -> dict[str, int]:
            made.append(value)
            return {"value": value}

        for value in (1, 2):
            found = formats.kept(path, lambda: make(value), formats.write_json, formats.read_json)  # noqa: B023
            assert found == {"value": 1}
        assert made == [1]

    def test_what_was_just_made_has_the_digits_of_what_is_read_later(self, tmp_path: Path) -> None:
        def write(path: Path, value: float) -> None:
            formats.write_text(path, f"{value:.3f}")

        found = formats.kept(tmp_path / "pi", lambda: np.pi, write, lambda path: float(path.read_text()))
        assert found == 3.142

    def test_what_cannot_be_made_leaves_nothing(self, tmp_path: Path) -> None:
        def fail() -> dict:
            raise InputError("bad")

        with pytest.raises(InputError, match="bad"):
            formats.kept(tmp_path / "a.json", fail, formats.write_json, formats.read_json)
        assert list(tmp_path.iterdir()) == []


def test_rejected_list_disappears_with_its_reason(tmp_path: Path) -> None:
    formats.write_rejected(tmp_path / "rejected.csv", [Rejected("a.png", "broken, really")])
    assert (tmp_path / "rejected.csv").read_text() == 'location,reason\na.png,"broken, really"\n'
    formats.write_rejected(tmp_path / "rejected.csv", [])
    assert not (tmp_path / "rejected.csv").exists()


class TestOutputFolder:
    def manifest(self, value: int) -> dict:
        return formats.make_manifest("kind", {"input": "abc"}, {"value": value})

    def open(self, out: Path, value: int, overwrite: bool = False) -> None:
        with formats.output_folder(out, self.manifest(value), overwrite):
            pass

    def test_the_same_inputs_continue(self, tmp_path: Path) -> None:
        self.open(tmp_path / "out", 1)
        (tmp_path / "out" / "half.txt").write_text("work")
        self.open(tmp_path / "out", 1)
        assert (tmp_path / "out" / "half.txt").exists()

    def test_other_settings_are_refused_with_both_values(self, tmp_path: Path) -> None:
        self.open(tmp_path / "out", 1)
        with pytest.raises(RefusedError, match=r"settings: value was 1, and is 2\. Choose"):
            self.open(tmp_path / "out", 2)
        other = formats.make_manifest("kind", {"input": "abd"}, {"value": 1, "a": "../b", "c": 1, "d": 1})
        said = "settings: c was none, and is 1; d was none, and is 1; a was none, and is "
        with pytest.raises(RefusedError, match=said), formats.output_folder(tmp_path / "out", other):
            pass
        other = formats.make_manifest("kind", {"input": "abd"}, {"value": 1})
        said = r"settings: other input\. Choose"
        with pytest.raises(RefusedError, match=said), formats.output_folder(tmp_path / "out", other):
            pass

    def test_overwrite_starts_anew(self, tmp_path: Path) -> None:
        self.open(tmp_path / "out", 1)
        (tmp_path / "out" / "half.txt").write_text("work")
        self.open(tmp_path / "out", 2, overwrite=True)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]

    def test_files_that_are_not_ours_stay(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        for overwrite in (False, True):
            with pytest.raises(InputError, match="other files"):
                self.open(tmp_path, 1, overwrite)
        with pytest.raises(InputError, match="folder"):
            self.open(tmp_path / "thesis.txt", 1)

    def test_overwriting_does_not_delete_an_artefact_of_another_kind(self, tmp_path: Path) -> None:
        self.open(tmp_path / "model", 1)
        other = formats.make_manifest("another kind", {}, {})
        with pytest.raises(InputError, match="another kind"), formats.output_folder(tmp_path / "model", other, True):
            pass
        assert (tmp_path / "model" / "manifest.json").exists()

    def test_a_foreign_manifest_does_not_allow_overwriting(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
        with pytest.raises(InputError, match="other files"):
            self.open(tmp_path, 1, overwrite=True)

    @pytest.mark.parametrize(
        ("error", "stays"),
        [(InputError("bad"), False), (InputError("bad", done="half"), True), (KeyboardInterrupt(), True)],
    )
    def test_bad_input_leaves_no_new_folder(self, tmp_path: Path, error: BaseException, stays: bool) -> None:
        def fail() -> None:
            with formats.output_folder(tmp_path / "out", self.manifest(1)):
                (tmp_path / "out" / "half.txt").write_text("work")
                raise error

        with pytest.raises(type(error)):
            fail()
        assert (tmp_path / "out").exists() == stays

    def test_bad_input_does_not_remove_earlier_work(self, tmp_path: Path) -> None:
        self.open(tmp_path / "out", 1)
        with pytest.raises(InputError), formats.output_folder(tmp_path / "out", self.manifest(1)):
            raise InputError("bad")
        assert (tmp_path / "out").exists()


def test_manifest_kind_is_checked(tmp_path: Path) -> None:
    with formats.output_folder(tmp_path / "out", formats.make_manifest("aad", {}, {})):
        pass
    with pytest.raises(InputError, match="mint_run"):
        formats.read_manifest(tmp_path / "out", "mint_run")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({"kind": "aad", "schema": 1}))
    with pytest.raises(InputError, match="config and inputs"):
        formats.read_manifest(tmp_path / "out", "aad")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="object"):
        formats.read_manifest(tmp_path / "out", "aad")


def test_what_a_manifest_lacks_is_bad_input_whoever_asks(tmp_path: Path) -> None:
    formats.write_json(tmp_path / "manifest.json", formats.make_manifest("aad", {}, {"a": 1}))
    manifest = formats.read_manifest(tmp_path, "aad")
    assert manifest["config"] == {"a": 1}
    for ask in (lambda: manifest["model_sha256"], lambda: manifest["config"]["b"], lambda: manifest["inputs"]["c"]):
        with pytest.raises(InputError, match=r"manifest\.json, received a manifest without"):
            ask()


def test_a_manifest_names_paths_and_does_not_say_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/opt/tool/cli.py", "score", "/home/ann/a b.png", "--bundle=/home/ann/lab", "web=/home/ann/web", "c/d"]
    monkeypatch.setattr("sys.argv", words)
    manifest = formats.make_manifest("x", {}, {"data": Path("/home/ann/faces"), "more": ["web=/home/ann/web", "c/d"]})
    assert manifest["command"] == "mint score 'a b.png' --bundle=lab web=web c/d"
    assert manifest["config"] == {"data": "faces", "more": ["web=web", "c/d"]}


def test_the_command_in_a_manifest_does_not_say_where_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "python scripts/x.py --input 'a b' --quiet"
    for out in (["--out", "somewhere"], ["--out=somewhere"], []):
        monkeypatch.setattr("sys.argv", ["scripts/x.py", "--input", "a b", *out, "--quiet"])
        assert formats.make_manifest("x", {}, {})["command"] == expected


def test_what_a_kill_leaves_is_removed(tmp_path: Path) -> None:
    out, manifest = tmp_path / "out", formats.make_manifest("thing", {}, {})
    out.mkdir()
    (out / ".manifest.ab12_xyz.json").write_text("{")
    with formats.output_folder(out, manifest):  # killed before it had a manifest
        assert [path.name for path in out.iterdir()] == [formats.MANIFEST]
    for name in (".samples.ab12_xyz.parquet", ".hidden", ".notes.txt", "samples.parquet"):
        (out / name).write_text("")
    (out / ".model.ab12_xyz").mkdir()
    with formats.output_folder(out, manifest):
        left = sorted(path.name for path in out.iterdir())
    assert left == [".hidden", ".notes.txt", formats.MANIFEST, "samples.parquet"]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / ".samples.ab12_xyz.parquet").write_text("")
    with pytest.raises(InputError, match="with other files"), formats.output_folder(tmp_path / "theirs", manifest):
        pass


def test_the_hash_of_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.keras, which is not there"):
        formats.sha256_file(tmp_path / "model.keras")
