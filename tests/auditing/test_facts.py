"""What is known of a file and of photos, before anything is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mint_keras import formats
from mint_keras.audited import cards
from mint_keras.auditing import facts


def test_the_lab_is_known_by_its_file() -> None:
    found = facts.model(Path("lab"))
    assert found["sha256"] in cards.load_card("lab").sha256
    assert found["card"]["name"] == "lab"
    assert found["verification"] == "AUC 0.9998 on 3,000 pairs of photos"
    assert found["made_from"].keys() == {"data"}


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    manifest = {"kind": "audited_model", "schema": 1, "config": {}, "inputs": {"net.onnx": "aa"}, "model_sha256": "bb"}
    formats.write_json(tmp_path / formats.MANIFEST, manifest)
    return tmp_path


def test_a_file_that_nobody_knows_is_not_verified(converted: Path) -> None:
    found = facts.model(converted)
    assert (found["card"], found["verification"], found["parity"]) == (None, "", "")
    assert str(converted.parent) not in str(found)  # its name, and no place of this machine


def test_a_converted_model_says_what_was_proven(converted: Path) -> None:
    formats.write_json(converted / formats.PARITY, {"statement": "taps agree", "verification": "file verified: 0.99"})
    found = facts.model(converted)
    assert (found["verification"], found["parity"]) == ("file verified: 0.99", "taps agree")
