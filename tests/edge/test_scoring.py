"""Scoring on a laptop: every photo accounted for, one line for what is wrong, the rest done."""

import csv
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.commands.score import Score, score
from mint_keras.data import images, synthetic
from mint_keras.edge import bundle, report, scoring
from mint_keras.records import InputError, RefusedError
from mint_keras.statistics import conformal
from tests.edge.field import photo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def faces(bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle_folder / "samples", tmp_path / "photos")


def run(folder: Path, *paths: object, **options: object) -> str:
    return score(Score(folder, tuple(map(str, paths)), quiet=True, **options)).text


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_image_without_out_writes_nothing(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = run(bundle_folder, bundle_folder / "samples" / "member_0.png")
    assert "member_0.png" in text
    assert "Photos with a usable face: 1 of 1, without: 0. Faces: 1." in text
    assert list(tmp_path.iterdir()) == []


def test_in_memory(bundle_folder: Path, faces: Path) -> None:
    (faces / "broken.png").write_bytes(b"junk")
    found = scoring.score_photos(bundle_folder, [faces])
    assert [face.name for face in found.faces] == found.scores.samples.sample_id.tolist()
    assert [Path(entry.location).name for entry in found.rejected] == ["broken.png"]
    assert found.num_photos == 5


def test_what_is_written(bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run(bundle_folder, faces, out=out)
    (scores,) = score_files.read_scores(out / "scores.csv")
    assert scores.is_member is None
    rows = rows_of(out / report.FACES)
    assert [row["sample_id"] for row in rows] == scores.samples.sample_id.tolist()
    np.testing.assert_array_equal([np.float32(row["logit"]) for row in rows], scores.logit)
    content = formats.read_json(out / report.JSON)
    assert content["num_photos"] == len(content["faces"]) == 4
    assert content["verdict"] in text
    assert not (out / "rejected.csv").exists()


def test_scores_do_not_depend_on_threads_or_how_they_share_the_work(
    bundle_folder: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threads in (1, 3):
        run(bundle_folder, faces, out=tmp_path / str(threads), threads=threads)
    monkeypatch.setattr(scoring, "_SMALL", 0)
    run(bundle_folder, faces, out=tmp_path / "large", threads=3)
    one, *others = [(tmp_path / name / "scores.csv").read_bytes() for name in ("1", "3", "large")]
    assert all(other == one for other in others)


def test_a_bundle_without_calibration_gives_no_verdict(bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    (copy / bundle.CALIBRATION).unlink()
    manifest = formats.read_json(copy / "manifest.json")
    for name in ("calibration", "limits", "licence", "audited_model", "parity"):  # as in bundles of schema 1
        del manifest[name]
    bundle.seal(copy, manifest)
    text = run(copy, faces, out=tmp_path / "out")
    assert "not calibrated: no verdict" in text
    assert {row["share_above"] + row["p_value"] for row in rows_of(tmp_path / "out" / report.FACES)} == {""}


def test_a_failed_calibration_only_ranks(calibrated: Callable, faces: Path, tmp_path: Path) -> None:
    text = run(calibrated(is_valid=False), faces, out=tmp_path / "out")
    assert "Tried on 100 people of others who were not in the training data, this bundle would" in text
    assert "would have pointed at 40" in text
    assert "points at nobody. They only rank." in text
    assert text.endswith("Limits: few.")
    for row in rows_of(tmp_path / "out" / report.FACES):
        assert (row["share_above"], row["p_value"], row["selected"]) == ("0", "", "")


def test_p_values_and_selection(calibrated: Callable, faces: Path, tmp_path: Path) -> None:
    text = run(calibrated(), faces, out=tmp_path / "out")
    assert "4 of 4 faces stand out. Ask further." in text
    assert "No p-value is below 0.005" in text
    for row in rows_of(tmp_path / "out" / report.FACES):
        assert (float(row["p_value"]), row["selected"]) == (0.005, "true")
        # Of four photos one at most is by chance among the first of 200; whoever picks all four may be wrong once.
        assert row["mistakes"] == "1"
    page = (tmp_path / "out" / report.REPORT).read_text()
    for sentence in (conformal.MARGINAL, conformal.PICKED):
        assert sentence in text
        assert sentence in page
    assert "≤ 1" in page
    assert "<= 1" in text


class TestFacesUnlikeTheCalibrations:
    """The shelf's bundle was calibrated with drawn faces; these are as unlike them as photographed ones."""

    @pytest.fixture
    def strange(self, tmp_path: Path) -> Path:
        for k in range(3):
            images.write_png(tmp_path / "strange" / f"{k}.png", np.full((112, 112, 3), 80 * k, np.uint8))
        return tmp_path / "strange"

    def test_no_score_is_shown(self, strange: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with pytest.raises(RefusedError, match="No scores: 3 of 3 faces look unlike all that this bundle"):
            run(Path("lab"), strange, out=out)
        assert not (out / "scores.csv").exists()
        assert {row["score"] + row["logit"] + row["share_above"] for row in rows_of(out / report.FACES)} == {""}
        assert {face["logit"] for face in formats.read_json(out / report.JSON)["faces"]} == {None}
        page = (out / report.REPORT).read_text()
        assert "No scores: 3 of 3" in page
        assert "score as high" not in page
        # The same folder goes on, and back.
        shown = run(Path("lab"), strange, out=out, anyway=True)
        assert shown.startswith("These scores mean nothing: 3 of 3 faces are unlike all known here.")
        assert shown.count("mean nothing") == 1
        assert "The highest" not in shown
        assert "These scores mean nothing" in (out / "report.html").read_text()
        assert (out / "scores.csv").exists()
        with pytest.raises(RefusedError):
            run(Path("lab"), strange, out=out)
        assert not (out / "scores.csv").exists()

    def test_a_few_strange_ones_are_only_said(self, strange: Path, faces: Path, tmp_path: Path) -> None:
        shown = run(Path("lab"), strange, faces, out=tmp_path / "out")
        assert "of 7 faces are unlike the calibration's" in shown
        # Nobody is like them, so that they outrank nobody; nor does a bundle that points at others say who is first.
        ranked = {row["sample_id"]: row["share_above"] for row in rows_of(tmp_path / "out" / report.FACES)}
        assert [share == "" for name, share in ranked.items() if name.startswith("strange/")] == [True] * 3
        assert any(ranked.values())
        assert ("The highest" in shown) == ("No verdict" not in shown)


def test_files_that_are_no_photos_are_listed_and_no_error(bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
    (faces / "scan.pdf").write_bytes(b"%PDF-1.7")
    assert "Other files, not looked at: 1." in run(bundle_folder, faces, out=tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "rejected.csv")
    assert row["reason"] == "Left out: a PDF, whose pictures are not read."


def test_faces_of_photos(bundle_folder: Path, detector: Path, tmp_path: Path) -> None:
    images.write_png(tmp_path / "photos" / "two.png", photo((20, 30), (200, 30)))
    images.write_png(tmp_path / "photos" / "one.png", photo((20, 30)))
    text = run(bundle_folder, tmp_path / "photos", out=tmp_path / "out", detector=str(detector))
    assert "Photos with a usable face: 2 of 2, without: 0. Faces: 3." in text
    rows = {row["sample_id"]: row for row in rows_of(tmp_path / "out" / report.FACES)}
    assert sorted(rows) == ["photos/one.png#1", "photos/two.png#1", "photos/two.png#2"]
    two = rows["photos/two.png#2"]
    assert [two[edge] for edge in ("left", "top", "right", "bottom")] == ["200.0", "30.0", "260.0", "90.0"]
    assert (two["face"], two["faces_in_photo"], two["certainty"]) == ("2", "2", "0.8")


def test_persons_are_folders(calibrated: Callable, tmp_path: Path, detector: Path) -> None:
    for person, num in (("anna", 3), ("bob", 2), ("carl", 1)):
        for k in range(num):
            face = synthetic.render(f"synthetic:1/phone/{ord(person[0])}/{k}")
            images.write_png(tmp_path / "people" / person / f"{k}.png", face)
    images.write_png(tmp_path / "people" / "carl" / "group.png", photo((20, 30), (200, 30)))
    text = run(calibrated(), tmp_path / "people", out=tmp_path / "out", detector=str(detector))
    content = formats.read_json(tmp_path / "out" / report.JSON)
    # Whose face is whose in the group nobody knows, so carl has one photo.
    persons = {one["name"]: one for one in content["persons"]}
    assert sorted(persons) == ["people/anna", "people/bob"]
    logits = {face["name"]: face["logit"] for face in content["faces"]}
    mean = np.mean([logits[f"people/anna/{k}.png"] for k in range(3)])
    assert persons["people/anna"]["logit"] == pytest.approx(mean, abs=1e-5)
    assert (persons["people/anna"]["face"], persons["people/anna"]["p_value"]) == (3, 0.005)
    # One photo and two strangers of carl's, and two persons.
    assert "3 of 3 faces stand out, and 2 of 2 persons by all of their photos. Ask further." in text
    text = run(calibrated(is_valid=False), tmp_path / "people", detector=str(detector))
    assert "No p-values for persons: Tried on 100 people" in text


def test_a_photo_that_was_saved_again_counts_once(calibrated: Callable, tmp_path: Path) -> None:
    for person, num in (("anna", 3), ("bob", 1)):
        for k in range(num):
            face = synthetic.render(f"synthetic:1/phone/{ord(person[0])}/{k}")
            images.write_png(tmp_path / "people" / person / f"{k}.png", face)
        (tmp_path / "people" / person / "again.jpg").write_bytes(cv2.imencode(".jpg", face[:, :, ::-1])[1].tobytes())
    text = run(calibrated(), tmp_path / "people", out=tmp_path / "out")
    content = formats.read_json(tmp_path / "out" / report.JSON)
    said = {face["name"]: face["abstained"] for face in content["faces"]}
    assert said["people/anna/again.jpg"] == said["people/bob/again.jpg"] == "a copy of another photo of the person"
    assert [(one["name"], one["face"], one["of"]) for one in content["persons"]] == [("people/anna", 3, 3)]
    logits = {face["name"]: face["logit"] for face in content["faces"]}
    mean = np.mean([logits[f"people/anna/{name}"] for name in ("0.png", "1.png", "2.png")])
    assert content["persons"][0]["logit"] == pytest.approx(mean, abs=1e-5)
    assert "1 of 1 faces stand out, and 1 of 1 persons by all of their photos" in text
    assert "2 photos are copies of another photo of the same person, and are not counted again." in text


def test_albums_are_no_persons(calibrated: Callable, tmp_path: Path) -> None:
    for name in ("2019/may", "all/holidays"):
        for k in range(3):
            images.write_png(tmp_path / name / f"{k}.png", synthetic.render(f"synthetic:1/phone/{k}/0"))
    assert "1 of 1 persons" in run(calibrated(), tmp_path / "all")
    assert "3 of 3 faces stand out. Ask" in run(calibrated(), tmp_path / "2019")
    assert "3 of 3 faces stand out. Ask" in run(calibrated(), tmp_path / "all", albums=True)


class TestBadInput:
    def bad_files(self, folder: Path) -> int:
        from PIL import Image

        (folder / "empty.jpg").write_bytes(b"")
        (folder / "junk.jpg").write_bytes(b"junk")
        whole = (folder / "member_0.png").read_bytes()
        (folder / "cut.png").write_bytes(whole[: len(whole) // 8])
        (folder / "text.png").write_text("=HYPERLINK('http://example.org')")
        images.write_png(folder / "wide.png", np.zeros((60, 90, 3), np.uint8))
        with open(folder / "large.jpg", "wb") as file:
            file.truncate(65 * 2**20)
        # And these can be read.
        face = Image.open(folder / "member_0.png")
        face.convert("CMYK").save(folder / "cmyk.jpg")
        face.save(folder / "animated.gif", save_all=True, append_images=[face.rotate(90)])
        face.convert("L").save(folder / "grey.png")
        return 5 + 1

    def test_each_is_one_line_and_the_others_are_scored(self, bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
        num_bad = self.bad_files(faces)
        with pytest.raises(InputError, match=f"{num_bad} of 13") as caught:
            run(bundle_folder, faces, out=tmp_path / "out")
        assert "Photos with a usable face: 7 of 13, without: 6. Faces: 7." in caught.value.done
        assert "\n" not in str(caught.value)
        rejected = rows_of(tmp_path / "out" / "rejected.csv")
        assert [Path(row["location"]).name for row in rejected] == [
            "cut.png", "empty.jpg", "junk.jpg", "large.jpg", "text.png", "wide.png",
        ]  # fmt: skip
        assert all(row["reason"].startswith("Expected") for row in rejected)

    def test_no_usable_file(self, bundle_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.jpg").write_bytes(b"junk")
        with pytest.raises(InputError, match="None of 1") as caught:
            run(bundle_folder, tmp_path / "broken.jpg", out=tmp_path / "out")
        assert "rejected.csv" in caught.value.done
        assert [Path(row["location"]).name for row in rows_of(tmp_path / "out" / "rejected.csv")] == ["broken.jpg"]

    def test_a_resized_face_is_said(self, bundle_folder: Path, tmp_path: Path) -> None:
        images.write_png(tmp_path / "large.png", np.zeros((200, 200, 3), np.uint8))
        assert "without alignment" in run(bundle_folder, tmp_path / "large.png", aligned=True)

    def test_a_file_that_is_no_model(self, bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(bundle_folder, tmp_path / "copy")
        (copy / bundle.SCORER).write_bytes(b"no model")
        bundle.seal(copy, formats.read_json(copy / "manifest.json"))
        with pytest.raises(InputError, match="TFLite"):
            run(copy, faces, out=tmp_path / "out")

    @pytest.mark.parametrize("option", [{"min_score": 0.0}, {"border": 3.0}])
    def test_options_out_of_range(self, bundle_folder: Path, faces: Path, option: dict) -> None:
        with pytest.raises(InputError, match="--min-score"):
            run(bundle_folder, faces, **option)
        with pytest.raises(InputError, match="--min-score"):  # before the page is served
            score(Score(bundle_folder, serve=True, **option))

    def test_an_output_folder_of_something_else(self, bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
        run(bundle_folder, faces / "member_0.png", out=tmp_path / "out")
        with pytest.raises(RefusedError, match="settings: other "):
            run(bundle_folder, faces / "member_1.png", out=tmp_path / "out")


class TestInterrupted:
    @pytest.fixture
    def many(self, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(scoring, "PART_SIZE", 3)
        for k in range(8):
            images.write_png(tmp_path / f"{k}.png", synthetic.render(f"synthetic:1/phone/{k}/0"))
        (tmp_path / "8.png").write_bytes(b"junk")
        (tmp_path / "list.txt").write_text("".join(f"{k}.png\n" for k in range(9)))
        return tmp_path / "list.txt"

    def scores(self, out: Path) -> list[bytes]:
        return [(out / name).read_bytes() for name in ("scores.csv", "faces.csv", "rejected.csv", "report.html")]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
    def test_what_is_done_is_kept(
        self, bundle_folder: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        with pytest.raises(InputError, match="1 of 9"):
            run(bundle_folder, many, out=tmp_path / "whole")
        out, fsync, calls = tmp_path / "out", os.fsync, []

        def fail(handle: int) -> None:
            calls.append(handle)
            if len(calls) == 3:  # the manifest, a part, and then
                raise error
            fsync(handle)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError) as caught:
                run(bundle_folder, many, out=out)
        assert isinstance(error, KeyboardInterrupt) or "No space left on device. What is there" in str(caught.value)
        assert [path.name for path in (out / "parts").iterdir()] == ["000000.json"]
        decoded = []
        decode = images.decode
        monkeypatch.setattr(images, "decode", lambda data: decoded.append(data) or decode(data))
        with pytest.raises(InputError, match="1 of 9"):
            run(bundle_folder, many, out=out)
        assert len(decoded) == 6  # each of the others once
        assert self.scores(out) == self.scores(tmp_path / "whole")

    def test_a_part_that_was_changed(self, bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
        run(bundle_folder, faces, out=tmp_path / "out")
        formats.write_json(tmp_path / "out" / "parts" / "000000.json", {"faces": [{"row": 1}]})
        with pytest.raises(InputError, match="--overwrite"):
            run(bundle_folder, faces, out=tmp_path / "out")

    @pytest.mark.skipif(os.name == "nt", reason="permissions of folders are otherwise there")
    def test_a_read_only_folder(self, bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0o555)
        program = (
            "import os, sys\n"
            "import numpy.char, numpy.ma\n"  # NumPy loads them when asked for, and nobody may read where they lie
            "from mint_keras.edge.scoring import score_photos\n"
            "if os.geteuid() == 0:\n"  # whom permissions do not stop
            "    for path in sys.argv[4:]: os.chmod(path, 0o755)\n"
            "    os.seteuid(65534)\n"
            "from pathlib import Path\n"
            "try:\n    score_photos(Path(sys.argv[1]), [sys.argv[2]], Path(sys.argv[3]))\n"
            "except ValueError as error:\n    print(error)\n"
        )
        above = [
            str(folder)
            for path in (bundle_folder, tmp_path)
            for folder in (path, *path.parents)
            if "pytest" in str(folder)
        ]
        done = subprocess.run(
            [sys.executable, "-c", program, bundle_folder, faces, tmp_path / "locked" / "out", *above],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "locked/out, received: Permission denied" in done.stdout, done.stderr
        assert len(done.stdout.splitlines()) == 1


def test_hundreds_listed_one_percent_broken(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts add up over ten parts; the network is left out, which takes long."""
    from mint_keras.edge.scorer import TfliteScorer

    monkeypatch.setattr(TfliteScorer, "logits", lambda self, faces: faces.mean(axis=(1, 2, 3), dtype=np.float32))
    face = (bundle_folder / "samples" / "member_0.png").read_bytes()
    for k in range(600):
        (tmp_path / "photos" / f"{k % 10}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / f"{k % 10}" / f"{k}.png").write_bytes(
            b"junk%d" % k if k % 100 == 7 else face + b"%d" % k
        )
    with pytest.raises(InputError, match="6 of 600") as caught:
        run(bundle_folder, tmp_path / "photos", out=tmp_path / "out", albums=True)
    assert "Photos with a usable face: 594 of 600, without: 6. Faces: 594." in caught.value.done
    assert len(rows_of(tmp_path / "out" / report.FACES)) == 594
    assert len(rows_of(tmp_path / "out" / "rejected.csv")) == 6


def test_no_network(bundle_folder: Path, faces: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("asked for the network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert "Faces: 4." in run(bundle_folder, faces, out=tmp_path / "out")


def test_it_writes_only_where_told(bundle_folder: Path, faces: Path, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    before = sorted(bundle_folder.rglob("*"))
    places = {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-B", str(ROOT / "scripts" / "score.py"), "--bundle", str(bundle_folder), str(faces)]
    environment = {**os.environ, **places}
    done = subprocess.run([*command, "--out", str(out)], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
    assert sorted(bundle_folder.rglob("*")) == before
    assert {path.name for path in out.iterdir()} == {
        "manifest.json", "parts", "scores.csv", "faces.csv", "scores.json", "report.html",
    }  # fmt: skip
