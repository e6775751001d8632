"""Offline scoring with a bundle."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import images
from mint_keras.edge import bundle, scorer
from mint_keras.records import InputError, RefusedError
from mint_keras.stages.export_tflite import ExportTflite, export_tflite


@pytest.fixture(scope="module")
def bundle_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "lab"
    export_tflite(ExportTflite(run_folder, out, samples=2))
    return out


class TestScore:
    def score(self, bundle_folder: Path, out: Path, *paths: Path) -> str:
        return scorer.score(scorer.Score(bundle_folder, out, tuple(str(p) for p in paths), quiet=True))

    def test_one_image(self, bundle_folder: Path, tmp_path: Path) -> None:
        text = self.score(bundle_folder, tmp_path / "out", bundle_folder / "samples" / "member_0.png")
        assert "member_0.png" in text
        assert "not calibrated" in text

    def test_bad_files_are_listed_and_the_others_scored(self, bundle_folder: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(bundle_folder / "samples", tmp_path / "photos")
        (folder / "broken.jpg").write_bytes(b"junk")
        images.write_png(folder / "wide.png", np.zeros((60, 90, 3), np.uint8))
        with pytest.raises(InputError, match="2 of 6") as caught:
            self.score(bundle_folder, tmp_path / "out", folder)
        assert "4 images scored" in caught.value.done
        assert len((tmp_path / "out" / "rejected.csv").read_text().splitlines()) == 3
        assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 5

    def test_no_usable_file(self, bundle_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.jpg").write_bytes(b"junk")
        with pytest.raises(InputError, match="None of 1"):
            self.score(bundle_folder, tmp_path / "out", tmp_path / "broken.jpg")

    def test_a_resized_face_is_said(self, bundle_folder: Path, tmp_path: Path) -> None:
        images.write_png(tmp_path / "large.png", np.zeros((200, 200, 3), np.uint8))
        assert "without alignment" in self.score(bundle_folder, tmp_path / "out", tmp_path / "large.png")

    def test_a_changed_bundle_is_refused(self, bundle_folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(bundle_folder, tmp_path / "copy")
        with open(copy / bundle.SCORER, "r+b") as file:
            file.seek(1000)
            file.write(b"evil")
        with pytest.raises(RefusedError, match="SHA-256"):
            self.score(copy, tmp_path / "out", copy / "samples")

    def test_a_file_that_is_no_model(self, bundle_folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(bundle_folder, tmp_path / "copy")
        (copy / bundle.SCORER).write_bytes(b"no model")
        bundle.seal(copy, formats.read_json(copy / "manifest.json"))
        with pytest.raises(InputError, match="TFLite"):
            self.score(copy, tmp_path / "out", copy / "samples")

    def test_no_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"manifest\.json"):
            self.score(tmp_path, tmp_path / "out", tmp_path)
