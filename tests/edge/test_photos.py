"""What a user names becomes photos, and photos become faces."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import images, synthetic
from mint_keras.edge import bundle, photos
from mint_keras.edge.photos import FaceFinder, Looking
from mint_keras.faces import detectors, scrfd
from mint_keras.records import InputError
from tests.edge.field import photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, name in enumerate(("a.png", "anna/1.png", "anna/deep/2.png", "bob/3.png")):
        images.write_png(tmp_path / "photos" / name, photo((k, k)))
    return tmp_path / "photos"


class TestListing:
    def names(self, *paths: object) -> list[str]:
        table = photos.list_photos(tuple(map(str, paths))).table
        return sorted(Path(location).name for location in table.location)

    def test_folder_pattern_and_image(self, folder: Path) -> None:
        assert self.names(folder) == ["1.png", "2.png", "3.png", "a.png"]
        assert self.names(folder / "a*.png") == ["a.png"]
        assert self.names(folder / "**" / "*.png") == ["1.png", "2.png", "3.png", "a.png"]
        assert self.names(folder / "a.png") == ["a.png"]

    def test_what_is_named_twice_counts_once(self, folder: Path) -> None:
        assert self.names(folder, folder / "a.png", folder / "*.png", folder / "bob" / "3.png") == [
            "1.png", "2.png", "3.png", "a.png",
        ]  # fmt: skip

    def test_a_list_is_relative_to_itself_and_may_name_what_is_missing(self, folder: Path) -> None:
        (folder / "list.txt").write_text("# photos\na.png\n\nanna\nmissing.png\n", encoding="utf-8-sig")
        assert self.names(folder / "list.txt") == ["1.png", "2.png", "a.png", "missing.png"]

    def test_folders_are_persons(self, folder: Path) -> None:
        table = photos.list_photos((str(folder),)).table
        assert sorted(table.identity) == ["anna", "anna", "bob", "photos/a.png"]  # whom nobody knows is alone

    def test_photos_named_one_by_one_are_of_different_people(self, folder: Path) -> None:
        for k, name in enumerate(("x/anna/1.png", "y/anna/1.png")):
            images.write_png(folder / name, photo((k, 0)))
        table = photos.list_photos((str(folder / "?" / "anna" / "*.png"),)).table
        assert len(np.unique(table.people())) == len(np.unique(table.sample_id)) == 2

    @pytest.mark.parametrize("name", ["nothing", "*.tiff", "empty.txt"])
    def test_nothing(self, folder: Path, name: str) -> None:
        (folder / "empty.txt").write_text("# nothing\n")
        with pytest.raises(InputError, match="Expected"):
            photos.list_photos((str(folder / name),))
        with pytest.raises(InputError, match="--serve"):
            photos.list_photos(())

    def test_what_lies_beside_is_said(self, folder: Path) -> None:
        """Nothing vanishes: files that are no photos, and the same photo under another name."""
        contents = {
            "scan.pdf": b"%PDF-1.7", "clip.mp4": b"\0\0\0\x18ftypmp42", "notes.txt": b"x",
            "letter.docx": b"PK\3\4" + bytes(26) + b"[Content_Types].xml",
        }  # fmt: skip
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        shutil.copy(folder / "a.png", folder / "bob" / "b.png")
        listed = photos.list_photos((str(folder),))
        assert sorted(Path(location).name for location in listed.table.location) == ["1.png", "2.png", "3.png", "a.png"]
        reasons = {Path(entry.location).name: entry.reason for entry in listed.left_out}
        assert "the same photo as" in reasons.pop("b.png")
        assert reasons == {
            "scan.pdf": "Left out: a PDF, whose pictures are not read.",
            "clip.mp4": "Left out: a video.",
            "letter.docx": "Left out: a document, whose pictures are not read.",
            "notes.txt": "Left out: no image (.txt).",
        }

    def test_a_list_that_is_none(self, folder: Path) -> None:
        (folder / "list.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="UTF-8"):
            photos.list_photos((str(folder / "list.txt"),))


class TestFaces:
    def test_a_crop_is_a_face_already(self) -> None:
        face = synthetic.render("synthetic:1/phone/1/0")
        (found,) = FaceFinder(Looking()).faces(face)
        np.testing.assert_array_equal(found.pixels, face)
        assert (found.box, found.certainty, found.is_resized) == (None, None, False)

    def test_aligned_takes_squares_only(self) -> None:
        finder = FaceFinder(Looking(is_aligned=True))
        (found,) = finder.faces(photo())
        assert found.is_resized
        assert found.pixels.shape == (112, 112, 3)
        with pytest.raises(InputError, match="square"):
            finder.faces(photo()[:200])

    def test_every_face_is_found(self, detector: Path) -> None:
        image = photo((20, 30), (200, 30), (100, 200))
        found = FaceFinder(Looking((str(detector),))).faces(image)
        assert [face.box for face in found] == [(20, 30, 80, 90), (200, 30, 260, 90), (100, 200, 160, 260)]
        assert all(face.pixels[56, 56].tolist() == [255, 0, 0] for face in found)
        assert found[0].certainty == pytest.approx(0.9)

    def test_policies(self, detector: Path) -> None:
        image = photo((20, 30), (120, 120))
        (found,) = FaceFinder(Looking((str(detector),), policy="central")).faces(image)
        assert found.box == (120, 120, 180, 180)
        with pytest.raises(InputError, match="one face, received 2"):
            FaceFinder(Looking((str(detector),), policy="only")).faces(image)

    def test_a_photo_of_nothing_and_of_forty(self, detector: Path) -> None:
        finder = FaceFinder(Looking((str(detector),)))
        with pytest.raises(InputError, match="none was found"):
            finder.faces(photo())
        forty = photo(*((60 * (k % 8) + 2, 60 * (k // 8) + 2) for k in range(40)), size=500, side=40)
        assert len(finder.faces(forty)) == 40

    def test_where_one_finds_nothing_the_next_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def opened(name: str, min_score: float) -> detectors.Detector:
            num = {"640": 0, "320": 2}[name]
            points = np.tile(np.float32([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]]), (num, 1, 1))
            found = scrfd.Detections(np.zeros((num, 4), np.float32), np.ones(num), points)
            return lambda image: asked.append(name) or found

        monkeypatch.setattr(detectors, "open_detector", opened)
        assert len(FaceFinder(Looking(("640", "320"))).faces(photo())) == 2
        assert len(FaceFinder(Looking(("320", "640"))).faces(photo())) == 2
        assert asked == ["640", "320", "320"]

    def test_a_border_is_taken_off_again(self, detector: Path) -> None:
        (found,) = FaceFinder(Looking((str(detector),), border=0.5)).faces(photo((20, 30)))
        assert found.box == (20, 30, 80, 90)


class TestDetector:
    def open(self, folder: Path) -> bundle.Bundle:
        return bundle.read_bundle(folder)

    def test_the_bundles_own_comes_first(
        self, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy = shutil.copytree(bundle_folder, tmp_path / "copy")
        (copy / bundle.DETECTORS[320]).write_bytes(b"small")
        bundle.seal(copy, formats.read_json(copy / "manifest.json"))
        own = (str(copy / bundle.DETECTORS[320]),)
        assert Looking().with_bundle(self.open(copy)).detectors == own
        assert Looking(is_aligned=True).with_bundle(self.open(copy)).detectors == ()
        with monkeypatch.context() as patched:
            patched.setattr(detectors, "open_detector", lambda name: None)
            assert Looking(("mine.onnx",)).with_bundle(self.open(copy)).detectors == ("mine.onnx",)
        with pytest.raises(InputError, match="not found"):
            Looking((str(tmp_path / "other.onnx"),)).with_bundle(self.open(copy))

    def test_then_mediapipes(self, bundle_folder: Path) -> None:
        assert Looking().with_bundle(self.open(bundle_folder)).detectors == ("mediapipe",)

    def test_onnx_files_without_onnx_runtime(
        self, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        (tmp_path / "scrfd.onnx").write_bytes(b"any")
        with pytest.raises(InputError, match=r"received an environment without: leave --detector out.*pip install"):
            Looking((str(tmp_path / "scrfd.onnx"),)).with_bundle(self.open(bundle_folder))

    def test_a_tflite_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "detector.tflite").write_bytes(b"no model")
        with pytest.raises(InputError, match="tflite"):
            detectors.open_detector(str(tmp_path / "detector.tflite"))


def test_exif_rotation_is_followed(detector: Path, tmp_path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(photo((20, 200)))
    exif = Image.Exif()
    exif[274] = 3  # upside down
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (found,) = FaceFinder(Looking((str(detector),))).faces(str(tmp_path / "turned.jpg"))
    np.testing.assert_allclose(found.box, (220, 40, 280, 100), atol=2)


def test_opencv_errors_are_one_of_ours(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise cv2.error("too wide")

    monkeypatch.setattr(detectors, "open_detector", lambda name, min_score: fail)
    with pytest.raises(InputError, match="too wide"):
        FaceFinder(Looking((str(detector),))).faces(photo())


DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="no real photos beside the project (../shared/data)")
@pytest.mark.parametrize("detector", [str(DATA / "models" / "scrfd_500m_bnkps.onnx"), "mediapipe"])
def test_real_photos(detector: str) -> None:
    finder = FaceFinder(Looking((detector,)))
    found = finder.faces(str(DATA / "photos" / "group_t1.jpg"))
    assert len(found) == 6
    assert all(face.certainty is not None and face.certainty > 0.5 for face in found)
    with pytest.raises(InputError, match="none was found"):
        finder.faces(str(DATA / "photos" / "noface_0.jpg"))
