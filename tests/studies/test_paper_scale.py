"""The rehearsal: databases are read as what they stand for, writing goes on where it stopped, steps are measured."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mint_keras import options
from mint_keras.data import images, samples
from studies import paper_databases, paper_scale
from studies.paper_scale import PaperScale


@pytest.fixture(scope="module", autouse=True)
def few_faces() -> Iterator[None]:
    """Drawing takes longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_databases, "_PEOPLE", 8)
        yield


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All five, of at least twenty images each."""
    out = tmp_path_factory.mktemp("databases")
    folders = paper_scale._write(PaperScale(out, share=0.0001, num_distinct=3))
    assert [folder.name for folder in folders] == list(paper_scale._SIZES)
    for folder in folders:
        folder.rename(out / folder.name)
    return out


@pytest.mark.parametrize(
    ("name", "layout", "num_samples", "num_people"),
    [
        ("glint360k", "recordio", 1709, 36),
        ("ijbc", "ijb-c (nist)", 20, None),
        ("fddb", "fddb", None, None),
        ("gandiffface", "gandiffface", 50, 20),
        ("adience", "adience", 20, None),
    ],
)
def test_databases_are_read_as_what_they_stand_for(
    databases: Path, name: str, layout: str, num_samples: int | None, num_people: int | None
) -> None:
    source = str(databases / name)
    table = samples.list_samples(source)
    assert samples.locate(source).layout == layout
    assert set(table.database) == {name}
    assert num_samples in (len(table), None)
    assert num_people in (len(np.unique(table.people())), None)
    assert len(images.read_faces(table.take(np.arange(20)))[0]) == 20


def test_writing_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_databases, "_PART", 16)
    paper_databases.write_glint360k(tmp_path / "glint", 70, 9, 20, 1)
    files = {path.name: path.read_bytes() for path in (tmp_path / "glint").iterdir()}
    # Two parts are drawn, and come again under other labels.
    size = paper_databases._IMAGE.itemsize
    whole = [files["train.rec"][40 + k * size + 32 : 40 + (k + 1) * size] for k in range(70)]
    assert whole[:32] == whole[32:64]
    assert len(set(whole)) == 32
    assert len(samples.list_samples(str(tmp_path / "glint"))) == 70
    (tmp_path / "glint" / "finished.json").unlink()
    (tmp_path / "glint" / "train.rec").write_bytes(files["train.rec"][: 40 + 37 * size + 5])
    paper_databases.write_glint360k(tmp_path / "glint", 70, 9, 20, 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "glint").iterdir()} == files


def test_steps_are_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []

    def measure(command: list[str], log: Path) -> dict[str, Any]:
        run.append(command[0])
        return {"seconds": 90.0, "cpu_seconds": 30.0, "peak_bytes": 1.5e9}

    monkeypatch.setattr(paper_scale, "_measure", measure)
    given = PaperScale(tmp_path / "out", share=0.00001, steps=("inspect",))
    paper_scale.paper_scale(given)
    paper_scale.paper_scale(dataclasses.replace(given, steps=("protocol", "inspect")))
    said = paper_scale.paper_scale(dataclasses.replace(given, share_externals=0.0001, steps=("overlap",)))
    assert run == ["inspect_database", "make_protocol", "inspect_database", "find_overlap"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.text.splitlines()]
    assert rows[2] == ["protocol", "251", "1.5 min", "0.5 min", "1.50 GB"]
    assert rows[3][:2] == ["inspect", "171"]
    assert rows[4][:2] == ["overlap, 171 looked up among 110", "281"]


@pytest.mark.parametrize("step", list(PaperScale(Path()).steps))
def test_steps_are_commands(step: str) -> None:
    import importlib

    from mint_keras.commands import options_class

    folders = [Path("out") / "9" / name for name in paper_scale._SIZES]
    name, *words = paper_scale._commands(PaperScale(Path("out")), folders[0], folders[1:])[step]
    kind = getattr(importlib.import_module(f"mint_keras.commands.{name}"), options_class(name))
    assert str(options.parse(kind, "", [*words, "--overwrite"], name).out).startswith("out")
