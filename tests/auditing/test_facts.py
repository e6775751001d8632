"""What is known of a file and of photos, before anything is said of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import cards
from mint_keras.auditing import facts, procedure
from mint_keras.records import InputError


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


@pytest.mark.parametrize("figures", [{}, {"auc": None, "num_pairs": 3}, {"auc": 0.5, "num_pairs": np.inf}])
def test_figures_of_strangers_end_in_a_line(converted: Path, figures: dict[str, Any]) -> None:
    formats.write_json(converted / formats.VERIFICATION, figures)
    with pytest.raises(InputError, match=r"^Expected auc and num_pairs in .*\.$"):
        facts.model(converted)


@pytest.mark.parametrize(
    "steps", [{}, {"command": 3, "inputs": {}}, {"command": "a 'b", "inputs": {}}, {"command": "a"}]
)
def test_a_manifest_that_does_not_say_how_it_was_made_ends_an_audit_before_it_measures(
    tmp_path: Path, steps: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    formats.write_json(tmp_path / formats.MANIFEST, steps)
    run = SimpleNamespace(spec=SimpleNamespace(audited=tmp_path), folder=tmp_path)
    with pytest.raises(InputError, match=r"^Expected a command and inputs in the manifests of .*\.$"):
        facts.steps(run)  # type: ignore[arg-type]
    spec: Any = SimpleNamespace(reference=(), foreign=(), look=None, swap=None, run=tmp_path)
    monkeypatch.setattr(procedure.runs, "reopen", lambda _: run)
    monkeypatch.setattr(procedure, "manifest", lambda _: {"kind": "audit", "fingerprint": "a"})
    monkeypatch.setattr(facts, "model", lambda _: {})
    monkeypatch.setattr(facts, "photos", lambda _: {})
    with pytest.raises(InputError, match="a command and inputs"):
        procedure.audit(spec, tmp_path / "audit")
