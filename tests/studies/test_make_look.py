"""The tensors of a package are read as its authors wrote them, and nothing else is taken for them."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, shelf
from mint_keras.audited import zoo
from mint_keras.records import InputError, RefusedError
from studies import make_look

TENSORS = [
    {"name": "a", "shape": [2, 1], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
    {"name": "b", "shape": [2], "dtype": "float32"},
]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two small tensors, whose SHA-256 are the ones that are asked for."""
    folder = tmp_path / "package" / "model"
    folder.mkdir(parents=True)
    (folder / make_look.TENSORS).write_text(json.dumps([{"weights": TENSORS}]))
    (folder / make_look.WEIGHTS).write_bytes(bytes([0, 255]) + np.array([3, -4], "<f4").tobytes())
    known = {name: formats.sha256_file(folder / name) for name in make_look.SHA256}
    monkeypatch.setattr(make_look, "SHA256", known)
    return folder


def test_bytes_are_steps_above_the_smallest_value(package: Path) -> None:
    weights = make_look.read_weights(package)
    np.testing.assert_array_equal(weights["a"], [[-1.0], [126.5]])
    np.testing.assert_array_equal(weights["b"], [3, -4])
    assert {values.dtype for values in weights.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", [make_look.WEIGHTS, make_look.TENSORS])
def test_another_version_is_refused(name: str, package: Path, tmp_path: Path) -> None:
    (package / name).write_bytes((package / name).read_bytes() + b" ")
    with pytest.raises(RefusedError, match=f"Expected {name} of SHA-256"):
        make_look.make_look(make_look.MakeLook(package.parent, tmp_path / "out"))
    (package / name).unlink()
    with pytest.raises(InputError, match="which is not there"):
        make_look.make_look(make_look.MakeLook(package.parent, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_deflated_file_is_smaller_and_holds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    with zipfile.ZipFile(file, "w") as plain:
        plain.writestr(zipfile.ZipInfo("a/b"), bytes(10_000))
    make_look.deflate(file)
    assert file.stat().st_size < 1_000
    with zipfile.ZipFile(file) as small:
        assert (small.namelist(), small.read("a/b")) == (["a/b"], bytes(10_000))


def shelf_weights() -> dict[str, np.ndarray]:
    """The committed network's weights in the form of the package; its offsets are already in the biases."""
    model = zoo.load_audited(Path("dlib"))
    found = {"fc": model.get_layer("fc").get_weights()[0]}
    for name in ("conv32_down", *(f"{block}/conv{k}" for block in make_look.BLOCKS for k in (1, 2))):
        layer = name.replace("/", "_")
        found[f"{name}/conv/filters"], found[f"{name}/conv/bias"] = model.get_layer(layer).get_weights()
        found[f"{name}/scale/weights"] = model.get_layer(f"{layer}_scale").get_weights()[0].reshape(-1)
        found[f"{name}/scale/biases"] = np.zeros_like(found[f"{name}/conv/bias"])
    return found


@pytest.mark.long
def test_the_committed_network_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = shelf_weights()
    monkeypatch.setattr(make_look, "read_weights", lambda folder: weights)
    (tmp_path / "package").mkdir()
    shutil.copyfile(shelf.path("dlib") / "LICENSE", tmp_path / "package" / "LICENSE")
    out = tmp_path / "out"
    said = make_look.make_look(make_look.MakeLook(tmp_path / "package", out)).text
    assert "5,611,040 parameters" in said
    again, committed = zoo.load_audited(out), zoo.load_audited(Path("dlib"))
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in committed.layers]
    for mine, theirs in zip(again.get_weights(), committed.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # What says nothing of pairs claims nothing about recognition.
    assert not (out / formats.VERIFICATION).exists()
    assert "Verification on" not in (out / "card.md").read_text()
