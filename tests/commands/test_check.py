"""What an audit could say of a model and folders, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.aad import plan
from mint_keras.commands.check import Check, check
from mint_keras.data import sample_tables, samples
from mint_keras.records import InputError
from mint_keras.statistics.verdict import CANNOT_DECIDE, EVIDENCE

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_a_file_and_a_folder_cannot_decide_and_it_is_said_what_would_change_that(tmp_path: Path) -> None:
    found = check(Check(tmp_path / "net.onnx", "synthetic:1/web/0-399/2", ("synthetic:1/phone/0-9/1",)))
    assert found.outcomes == (CANNOT_DECIDE,)
    assert "You have no people who were kept out" in found.text
    assert "people or more of web" in found.text
    assert "members: 800 photos of 400 people" in found.text
    assert [one.split(":")[0] for one in found.missing] == ["a converted model"]


def test_the_lab_can_say_all(tmp_path: Path) -> None:
    found = check(Check())
    assert found.outcomes[0] == EVIDENCE
    assert found.missing == ()
    assert "300 claimed members and 300 people who were kept out" in found.text
    other = tmp_path / "other"
    sample_tables.write_samples(other / formats.MEMBERS, samples.list_samples("synthetic:1/web/700-799/1"))
    more = check(Check(unseen_photos="synthetic:1/web/0-599/12", swap=other)).text
    assert "300 claimed members with photos that were not used" in more
    assert "100 people of the other model" in more


def test_nobody_is_a_member_and_kept_out() -> None:
    found = check(Check(members="synthetic:1/web/0-199/2", held_out="synthetic:1/web/150-209/2"))
    assert found.outcomes == (CANNOT_DECIDE,)
    assert "50 are among the members and kept out" in found.missing[-1]
    assert "200 claimed members and 10 people" in found.text


def test_all_places_that_are_not_there_are_named() -> None:
    with pytest.raises(InputError, match="received models/none, a/ms1mv3, b/ijbc: not found"):
        check(Check(Path("models/none"), members="a/ms1mv3", externals=("b/ijbc", "synthetic:1/phone/0-9/1")))


def test_minutes_are_measured(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_SECONDS", 0.0)
    found = check(Check(quick_folder, members="synthetic:1/web/0-599/2", minutes=True))
    assert "Looking at 1,000 photos through 5 networks" in found.text


def test_nothing_at_all_is_missing_all(tmp_path: Path) -> None:
    found = check(Check(tmp_path, swap=tmp_path))
    assert found.outcomes == (CANNOT_DECIDE,)
    assert len(found.missing) == 4


@pytest.mark.skipif(not (DATA / "lfw").is_dir(), reason="shared/data has LFW, and is not there")
def test_mobilefacenet_and_lfw_cannot_decide() -> None:
    found = check(Check(DATA / "models" / "mobilefacenet.onnx", str(DATA / "lfw"), (str(DATA / "utkface"),)))
    assert found.outcomes == (CANNOT_DECIDE,)
    assert "members: 7,606 photos of 901 people" in found.text


def test_photos_that_no_run_could_use_show_before_anything_long(tmp_path: Path) -> None:
    for name, shape in {"Ann/1.jpg": (112, 112, 3), "Ann/2.jpg": (90, 120, 3), "Bob/1.jpg": (4, 4, 3)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full(shape, 120, np.uint8))
    found = check(Check(members=str(tmp_path))).text
    assert "members: 3 photos of 2 people; 2 of 3 that were looked at cannot be used as they are" in found
    assert "received 120x90. mint prepare cuts out faces." in found
    assert "cannot be used" not in check(Check()).text


def test_members_and_others_in_two_folders_of_one_name_are_no_reference(tmp_path: Path) -> None:
    for place in ("ours", "theirs"):
        (tmp_path / place / "faces" / "Ann").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place / "faces" / "Ann" / "1.png"), np.zeros((112, 112, 3), np.uint8))
    ours, theirs = (str(tmp_path / place / "faces") for place in ("ours", "theirs"))
    with pytest.raises(InputError, match="both called faces"):
        check(Check(members=ours, held_out=theirs))
