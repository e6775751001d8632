"""What the package carries is found from every folder, under the names of a clone and under its own."""

from pathlib import Path

import pytest

from mint_keras import formats, shelf
from mint_keras.audited import cards, zoo

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["cards", "lab", "lab2", "lab3", "dlib", "mediapipe"])
def test_old_paths_of_a_clone_are_the_shelf(name: str) -> None:
    assert (ROOT / "models" / name).resolve() == shelf.path(name)


def test_old_paths_of_other_things() -> None:
    assert (ROOT / "export" / "lab").resolve() == shelf.path("bundles/lab")
    requirements = ROOT / "requirements-onnx-tf.txt"
    assert requirements.resolve() == ROOT / "mint_keras/audited/convert/requirements-onnx-tf.txt"


def test_what_is_not_on_the_shelf() -> None:
    with pytest.raises(FileNotFoundError, match=r"one of \['cards', 'lab', .*received 'fr1'"):
        shelf.path("fr1")


class TestFind:
    @pytest.mark.parametrize(
        ("named", "place", "found"),
        [
            ("lab2", shelf.MODELS, "lab2"),
            ("models/lab2", shelf.MODELS, "lab2"),
            ("models/lab/members.parquet", shelf.MODELS, "lab/members.parquet"),
            ("lab/members.parquet", shelf.MODELS, "lab/members.parquet"),
            ("lab", shelf.EXPORT, "bundles/lab"),
            ("export/lab/samples", shelf.EXPORT, "bundles/lab/samples"),
            ("export/lab", shelf.MODELS, "bundles/lab"),
        ],
    )
    def test_by_name(self, named: str, place: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert shelf.find(Path(named), place) == shelf.path("lab").parent / found

    def test_what_is_there_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("lab").mkdir()
        assert shelf.find(Path("lab")) == Path("lab")
        assert shelf.find(Path("models/lab")) == shelf.path("lab")

    def test_a_link_that_became_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("models").mkdir()
        Path("models/lab").write_text("../mint_keras/shelf/lab")
        assert shelf.find(Path("models/lab")) == shelf.path("lab")
        assert shelf.find(Path("models/lab/model.keras")) == shelf.path("lab") / "model.keras"

    @pytest.mark.parametrize("named", ["fr1", "models/fr1", "lab/nothing", "/models/lab", ".", "", "../lab"])
    def test_other_names_stay(self, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert shelf.find(Path(named)) == Path(named)


def test_cards_and_the_lab_model_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "fr1" in cards.card_names()
    assert cards.load_card("lab").name == "lab"
    assert zoo.kind_of(zoo.LAB) == zoo.KIND
    assert zoo.framing(zoo.LAB).is_face
    assert formats.read_manifest(shelf.find(zoo.LAB), zoo.KIND)["kind"] == zoo.KIND
    assert zoo.load_audited(Path("lab")).count_params() == 712_304


def test_an_output_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "link").symlink_to("shelf")
    for number in (1, 2):
        manifest = formats.make_manifest("test", {}, {"number": number})
        with formats.output_folder(tmp_path / "link", manifest, overwrite=True):
            pass
    assert formats.read_manifest(tmp_path / "shelf", "test")["config"] == {"number": 2}
    assert (tmp_path / "link").is_symlink()
