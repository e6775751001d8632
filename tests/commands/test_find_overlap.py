"""Externals that are among the members are found and left out, and the search says what it misses."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.commands.find_overlap import FindOverlap, find_overlap
from mint_keras.data import overlap, overlap_search, synthetic
from mint_keras.data.alterations import ALTERATIONS
from mint_keras.records import InputError
from mint_keras.report import plots


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """12 members; 8 externals, of whom one is a member's mirrored photo and one an exact copy of an external."""
    folder = tmp_path_factory.mktemp("databases")
    for name, people in (("members", range(12)), ("externals", range(50, 58))):
        for person in people:
            (folder / name / str(person)).mkdir(parents=True)
            face = synthetic.render(f"synthetic:1/web/{person}/0")
            cv2.imwrite(str(folder / name / str(person) / "a.png"), face[:, :, ::-1])
    member = cv2.imread(str(folder / "members" / "3" / "a.png"))
    cv2.imwrite(str(folder / "externals" / "51" / "a.png"), member[:, ::-1])
    external = cv2.imread(str(folder / "externals" / "55" / "a.png"))
    cv2.imwrite(str(folder / "externals" / "57" / "a.png"), external)
    (folder / "externals" / "50" / "broken.png").write_bytes(b"no photo")
    return folder / "members", folder / "externals"


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))[1:]


def test_copies_across_databases_are_left_out(databases: tuple[Path, Path], tmp_path: Path) -> None:
    text = find_overlap(FindOverlap(tuple(map(str, databases)), tmp_path / "out", plant=2, quiet=True)).text
    assert "20 photos, 1 unreadable" in text
    assert "the worst kind: " in text
    assert "inside a database were not searched for (--within)" in text
    pairs = {(first, second): reason for first, second, reason, _ in rows(tmp_path / "out" / "pairs.csv")}
    assert pairs["members/3/a.png", "externals/51/a.png"] == overlap.PERCEPTUAL
    assert pairs["externals/55/a.png", "externals/57/a.png"] == overlap.EXACT
    assert ["externals/51/a.png"] in rows(tmp_path / "out" / "excluded_samples.csv")
    assert ["externals/57/a.png"] in rows(tmp_path / "out" / "excluded_samples.csv")
    assert rows(tmp_path / "out" / "excluded_identities.csv") == [["externals/51"]]
    report = formats.read_json(tmp_path / "out" / "overlap.json")
    assert report["across"] == 1
    assert set(report["planted"]) == set(ALTERATIONS)
    assert report["planted"]["mirrored"] == {
        "planted": 2, "found": 2, "low": pytest.approx(0.158, abs=1e-3), "high": 1.0,
        "missed_at_most": pytest.approx(0.776, abs=1e-3),
    }  # fmt: skip
    assert (tmp_path / "out" / "review.png").is_file()


@pytest.mark.usefixtures("loaded_once", "filled_to_eight")
def test_embeddings_add_what_hashes_miss(databases: tuple[Path, Path], audited_folder: Path, tmp_path: Path) -> None:
    config = FindOverlap(
        (str(databases[0]),), tmp_path / "out", audited=audited_folder, min_cosine=0.5, plant=2, quiet=True
    )
    found = find_overlap(config)
    report = found.report
    assert report["audited"]
    assert "--within" not in found.text
    assert report["planted"]["cropped 5%"]["found"] == report["planted"]["cropped 5%"]["planted"] == 2
    # Embeddings of a weak network are alike for all: whether photos are one is seen in the photos.
    assert not rows(tmp_path / "out" / "pairs.csv")


@pytest.mark.usefixtures("loaded_once", "filled_to_eight")
def test_the_review_sheet_says_its_order(
    databases: tuple[Path, Path], audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(plots, "save_sheet", lambda path, rows, title: titles.append(title))
    for name, audited in (("without", None), ("with", audited_folder)):
        find_overlap(FindOverlap((str(databases[1]),), tmp_path / name, audited=audited, plant=0, quiet=True))
    assert [title.partition(", ")[2] for title in titles] == ["the first in order", "the least certain first"]


def test_published_lists(databases: tuple[Path, Path], tmp_path: Path) -> None:
    """A pair, a person without the database's name, a photo of nobody, and a name that both databases have."""
    (tmp_path / "list.csv").write_text("members/4/a.png, externals/52/a.png\n53\nsomebody/else.jpg\n", "utf-8")
    config = FindOverlap(
        tuple(map(str, databases)), tmp_path / "out", known=(tmp_path / "list.csv",), plant=0, quiet=True
    )
    text = find_overlap(config).text
    assert "Names in the known lists that are no sample's here: 1" in text
    pairs = {(first, second): reason for first, second, reason, _ in rows(tmp_path / "out" / "pairs.csv")}
    assert pairs["members/4/a.png", "externals/52/a.png"] == overlap.KNOWN
    excluded = rows(tmp_path / "out" / "excluded_samples.csv")
    assert ["externals/52/a.png"] in excluded
    assert ["externals/53/a.png"] in excluded
    assert ["externals/52"] in rows(tmp_path / "out" / "excluded_identities.csv")
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"Expected text \(UTF-8\)"):
        find_overlap(dataclasses.replace(config, out=tmp_path / "other"))


def test_the_same_command_gives_the_same_bytes(databases: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        find_overlap(FindOverlap(tuple(map(str, databases)), tmp_path / name, plant=1, quiet=True))
    for name in ("pairs.csv", "excluded_samples.csv", "overlap.json", "review.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_interrupted_search_continues(
    databases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies are in the first part, of which the second run reads what was found."""
    monkeypatch.setattr(overlap_search, "_PART", 4)
    one_block, write = overlap_search._Search._block, overlap_search._write
    searched: list[int] = []

    def block(self: overlap_search._Search, rows: np.ndarray) -> overlap_search._Block | None:
        searched.extend(rows.tolist())
        return one_block(self, rows)

    def interrupted(path: Path, found: dict[str, np.ndarray]) -> None:
        if path.name != "000000000.npz":
            raise KeyboardInterrupt
        write(path, found)

    monkeypatch.setattr(overlap_search._Search, "_block", block)
    config = FindOverlap(tuple(map(str, databases)), tmp_path / "whole", plant=1, quiet=True)
    find_overlap(config)
    others = [row for row in searched if row >= 12]
    assert sorted(searched) == sorted([*range(12), *others])
    killed = dataclasses.replace(config, out=tmp_path / "killed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(overlap_search, "_write", interrupted)
        find_overlap(killed)
    assert [path.name for path in (tmp_path / "killed" / "parts").iterdir()] == ["000000000.npz"]
    assert not (tmp_path / "killed" / "pairs.csv").exists()
    searched.clear()
    find_overlap(killed)
    assert sorted(searched) == sorted([*range(4, 12), *others])
    assert len(rows(tmp_path / "whole" / "pairs.csv")) == 2
    for name in ("pairs.csv", "excluded_samples.csv", "excluded_identities.csv", "overlap.json", "review.png"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for out in ("killed", "whole"):
        assert not (tmp_path / out / "parts").exists()


def test_wrong_input(databases: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--min-cosine"):
        find_overlap(FindOverlap((str(databases[0]),), tmp_path / "out", min_cosine=0.0))
    with pytest.raises(InputError, match="twice"):
        find_overlap(FindOverlap((str(databases[0]),) * 2, tmp_path / "out"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="in --samples, received none that is usable"):
        find_overlap(FindOverlap((str(broken),), tmp_path / "out", quiet=True))
    assert not (tmp_path / "out").exists()
