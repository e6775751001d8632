"""The verdict on a small run: every control is measured, and nothing is claimed that is too small to be."""

import dataclasses
import json
from pathlib import Path

import pytest

from mint_keras import formats
from mint_keras.audit import findings, verdict
from mint_keras.records import InputError, RefusedError
from mint_keras.stages import audit_scores
from mint_keras.stages.audit import Audit, audit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def audited(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, str]:
    config = Audit(run_folder, tmp_path_factory.mktemp("audit") / "out", num_untrained=1, quiet=True)
    return config, audit(config)


def test_few_people_decide_nothing(audited: tuple[Audit, str]) -> None:
    config, text = audited
    content = json.loads((config.out / "audit.json").read_text())
    assert content["outcome"] == verdict.CANNOT_DECIDE
    assert "too few identities" in content["headline"]
    assert text.startswith(f"Scorer: {content['scorer']['name']} on {content['scorer']['tap']}")
    assert (config.out / "verdict.txt").read_text() in text + "\n"
    assert (config.out / "findings.png").stat().st_size > 5_000


def test_every_control_is_measured(audited: tuple[Audit, str]) -> None:
    config, _ = audited
    found = json.loads((config.out / "audit.json").read_text())["findings"]
    roles = [one["role"] for one in found]
    assert set(roles) == {
        findings.REFERENCE, findings.BLIND, findings.UNTRAINED, findings.NULL, findings.CLAIM, findings.CONTEXT,
    }  # fmt: skip
    assert roles.count(findings.BLIND) == 1  # 11 photos of held-out people are too few for a network
    assert {one["name"] for one in found if one["role"] == findings.UNTRAINED} == {"untrained_1"}
    for one in found:
        assert (one["difference"] is not None) == (one["role"] in (findings.BLIND, findings.UNTRAINED))


def test_nobody_chooses_and_is_reported(run_folder: Path) -> None:
    scores = formats.read_scores(run_folder / formats.SCORES)
    part = next(p for p in scores if p.evaluation == "same_database")
    division = audit_scores.divide(part, 1)
    choosing, reported = division.choosing([part])[0], division.reported([part])[0]
    assert not set(choosing.samples.people()) & set(reported.samples.people())
    assert len(choosing.logit) + len(reported.logit) == len(part.logit)
    for some in (choosing, reported):
        assert some.is_member is not None
        assert 0 < some.is_member.sum() < len(some.logit)
    null = audit_scores.without_membership([reported], 1)[0]
    assert null.is_member is not None
    assert set(null.samples.people()) == set(reported.samples.people()[~reported.is_member])
    assert not set(null.samples.people()[null.is_member]) & set(null.samples.people()[~null.is_member])


def test_again_changes_nothing_and_another_run_is_refused(audited: tuple[Audit, str]) -> None:
    config, text = audited
    before = {path: path.read_bytes() for path in config.out.glob("*.*")}
    run = config.out / "controls" / "untrained_1" / formats.SCORES
    made = run.stat().st_mtime_ns
    assert audit(config) == text
    assert {path: path.read_bytes() for path in config.out.glob("*.*")} == before
    assert run.stat().st_mtime_ns == made
    with pytest.raises(RefusedError, match="other inputs"):
        audit(dataclasses.replace(config, seed=2))


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        audit(Audit(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
