"""Names are checked by looking: on embeddings whose truth is known, and with the lab's network by the command."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mint_keras.audited.cards import ARCFACE
from mint_keras.auditing import who
from mint_keras.commands.inspect_database import InspectDatabase, inspect_database
from mint_keras.data import identity_list, images
from mint_keras.data.identity_list import DROP, MERGE, SPLIT
from mint_keras.data.people import unknown
from mint_keras.records import InputError, Observations, Sample, SampleTable, tabulate


def table(database: str, names: list[str]) -> SampleTable:
    rows = [Sample(f"{database}/{k}", database, name, f"synthetic:1/web/{k}/0") for k, name in enumerate(names)]
    return tabulate(rows)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns what makes `look` see given people, 4 photos each, instead of faces."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(200, 64))

    def show(true: list[int]) -> None:
        embeddings = centres[true] + 0.3 * rng.normal(size=(len(true), 64))
        monkeypatch.setattr(who, "observe", lambda found, *_: Observations(found, {"outcome": embeddings}))
        monkeypatch.setattr(who.zoo, "framing", lambda _: images.FACE)
        monkeypatch.setattr(who.embedding, "open_model", lambda _: who.embedding.Embedder(len, "", "", "", ARCFACE))

    return show


def test_merges_splits_and_drops(seen: Any) -> None:
    """Ann is also called Anne; Bob's photos are of two people, Cid and Dan; an external is the member 7."""
    true = [k for k in range(60) for _ in range(4)]
    names = [f"p{k:02d}" for k in true]
    names[:8] = ["Ann"] * 4 + ["Anne"] * 4
    true[4:8] = [0] * 4
    names[8:16] = ["Bob"] * 8
    names[11] = "Cid"  # three of the four photos of person 2 are called Bob; person 3's are all
    members, others = table("db", names), table("out", ["Eve"] * 4 + ["Fay"] * 4)
    seen([*true, *[7] * 4, *[100] * 4])
    lines, said, sheet = who.look([members, others], Path("net"))
    assert [line[:4] for line in lines if line.action == SPLIT] == [
        (SPLIT, "db/Bob", f"db/{k}", "db/Bob (part 2)") for k in (8, 9, 10)
    ]
    # Whoever is left of Bob has his own name, and his other part is called Cid.
    assert {line[:4] for line in lines if line.action == MERGE} == {
        (MERGE, "db/Anne", "", "db/Ann"),
        (MERGE, "db/Cid", "", "db/Bob (part 2)"),
    }
    assert [line[:4] for line in lines if line.action == DROP] == [(DROP, "out/Eve", "", "")]
    assert list(sheet) == ["1 split", "2 merge", "3 merge", "4 drop"]
    assert {line.row for line in lines} == {1, 2, 3, 4}
    assert any("1 of" in line and "look like several people" in line for line in said)
    joined = identity_list.obey(members, lines)[0].people()
    assert len(np.unique(joined)) == 59  # as many as there are people


def test_flat_folders_get_groups(seen: Any) -> None:
    true = [k for k in range(50) for _ in range(3)]
    flat = table("flat", [unknown(str(k)) for k in range(150)])
    seen(true)
    lines, said, sheet = who.look([flat], Path("net"))
    assert "50 groups" in said[1]
    assert len(sheet) == 12
    people = identity_list.obey(flat, lines)[0].people()
    assert len({(a, b) for a, b in zip(true, people.tolist(), strict=True)}) == len(np.unique(people)) == 50


def test_a_network_that_knows_nobody_proposes_nothing(seen: Any) -> None:
    rng = np.random.default_rng(3)
    seen(rng.permutation(np.repeat(np.arange(50), 4)).tolist())
    lines, said, _ = who.look([table("db", [f"p{k // 4}" for k in range(200)])], Path("net"))
    assert not lines
    assert said[-1] == "Names were not checked."


@pytest.mark.usefixtures("filled_to_eight")
def test_the_command_writes_a_list_and_a_sheet(tmp_path: Path) -> None:
    people = ("synthetic:1/web/0-23/3",)
    found = inspect_database(InspectDatabase(people, tmp_path / "out", num_read=1, audited=Path("lab2"), quiet=True))
    assert "Compared 72 of 72 photos by lab2." in found.text
    assert identity_list.FILE in found.text
    lines = identity_list.read(tmp_path / "out" / identity_list.FILE)
    assert (tmp_path / "out" / "people.png").is_file() == bool(lines)


def test_classifiers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "audited_classifier"}')
    with pytest.raises(InputError, match="face-recognition model"):
        who.look([table("db", ["Ann"])], tmp_path)
