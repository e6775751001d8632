"""A bundle is read only if it is whole, unchanged, and not newer than its reader."""

import shutil
from pathlib import Path

import pytest

from mint_keras import formats
from mint_keras.edge import bundle
from mint_keras.records import InputError, RefusedError
from tests.edge.field import replace_manifest


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle_folder, tmp_path / "copy")


def test_a_bundle_has_card_calibration_and_limits(bundle_folder: Path) -> None:
    loaded = bundle.read_bundle(bundle_folder)
    assert (loaded.head, loaded.tap, loaded.seed) == ("vanilla", "combination", 1)
    assert {bundle.SCORER, bundle.CALIBRATION, bundle.CARD} <= set(loaded.manifest["files"])
    card = (bundle_folder / bundle.CARD).read_text()
    assert loaded.manifest["limits"] in card
    assert loaded.manifest["licence"] in card
    assert loaded.manifest["inputs"]["audited"] in card
    assert "{{" not in card


@pytest.mark.parametrize("name", [bundle.SCORER, bundle.CALIBRATION, bundle.CARD, "samples/member_0.png"])
def test_any_changed_byte_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(RefusedError, match="SHA-256"):
        bundle.read_bundle(copy)


def test_a_truncated_file_and_a_missing_one(copy: Path) -> None:
    scorer = copy / bundle.SCORER
    scorer.write_bytes(scorer.read_bytes()[:1000])
    with pytest.raises(RefusedError, match="SHA-256"):
        bundle.read_bundle(copy)
    scorer.unlink()
    with pytest.raises(InputError, match=r"scorer\.tflite"):
        bundle.read_bundle(copy)


def test_a_changed_manifest_is_refused(copy: Path) -> None:
    replace_manifest(copy, limits="Limits: none.")
    with pytest.raises(RefusedError, match="was changed"):
        bundle.read_bundle(copy)


@pytest.mark.parametrize("change", [{"bundle_schema": 99}, {"schema": 99}, {"bundle_schema": "many"}])
def test_a_newer_bundle_says_what_to_do(copy: Path, change: dict) -> None:
    replace_manifest(copy, **change)
    with pytest.raises(InputError, match=r"newer mint_keras\. Update"):
        bundle.read_bundle(copy)


def test_what_is_no_bundle(copy: Path, tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(InputError, match="'mint_run'"):
        bundle.read_bundle(run_folder)
    with pytest.raises(InputError, match=r"manifest\.json"):
        bundle.read_bundle(tmp_path)
    (copy / "manifest.json").write_text("[1, 2")
    with pytest.raises(InputError, match="JSON"):
        bundle.read_bundle(copy)


def test_a_path_out_of_the_bundle_is_refused(copy: Path) -> None:
    manifest = formats.read_json(copy / "manifest.json")
    manifest["files"]["../secret"] = "0" * 64
    formats.write_json(copy / "manifest.json", {**manifest, "seal": bundle._seal_of(manifest)})
    with pytest.raises(RefusedError, match="outside"):
        bundle.read_bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "schema 1, received 9"),
        ({"wording": {}}, "selected"),
        ({"photos": {"logits": {"a": [1.0]}, "validity": None, "silence": ""}}, "validity that allows"),
        ({"photos": {"logits": {"a": [2.0, 1.0]}, "validity": None, "silence": "no"}}, "ascending"),
        ({"persons": [1]}, "persons"),
        ({"domain": {}}, "domain"),
        ({"features": ["height"], "domain": {}}, "height"),
    ],
)
def test_a_calibration_that_makes_no_sense(copy: Path, change: dict, message: str) -> None:
    path = copy / bundle.CALIBRATION
    formats.write_json(path, {**formats.read_json(path), **change})
    bundle.seal(copy, formats.read_json(copy / "manifest.json"))
    with pytest.raises(InputError, match=message):
        bundle.read_bundle(copy).calibration()


def test_a_bundle_without_a_calibration(copy: Path) -> None:
    (copy / bundle.CALIBRATION).unlink()
    bundle.seal(copy, formats.read_json(copy / "manifest.json"))
    assert bundle.read_bundle(copy).calibration() is None
