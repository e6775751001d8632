"""The verdict on small runs: every control is measured, and nothing is claimed that is too small to be."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audit import findings, verdict
from mint_keras.data import protocol
from mint_keras.records import InputError, RefusedError
from mint_keras.stages import audit_scores, mint_run, train_mint
from mint_keras.stages.audit import Audit, audit
from mint_keras.stages.mint_options import TrainMint
from mint_keras.stages.train_audited import TrainAudited, train_audited


@pytest.fixture(scope="module")
def small(run_folder: Path, audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, str]:
    """An audit of a run with 20 held-out people, with the audited model itself as the foreign one."""
    out = tmp_path_factory.mktemp("audit") / "out"
    config = Audit(run_folder, out, (audited_folder,), num_untrained=1, quiet=True)
    return config, audit(config)


@pytest.mark.slow
def test_few_people_decide_nothing(small: tuple[Audit, str]) -> None:
    config, text = small
    content = json.loads((config.out / "audit.json").read_text())
    assert content["outcome"] == verdict.CANNOT_DECIDE
    (decided,) = content["verdicts"].values()  # too few people to fit MINT+ on
    assert "too few identities" in decided["headline"]
    assert text.startswith("Verdict: cannot decide")
    assert (config.out / "verdict.txt").read_text() in text + "\n"
    assert (config.out / "findings.png").stat().st_size > 5_000


@pytest.mark.slow
def test_every_control_is_measured(small: tuple[Audit, str]) -> None:
    content = json.loads((small[0].out / "audit.json").read_text())
    (decided,) = content["verdicts"].values()
    roles = [one["role"] for one in decided["findings"]]
    assert set(roles) == {
        findings.REFERENCE, findings.BLIND, findings.UNTRAINED, findings.OTHER, findings.NULL, findings.CLAIM,
        findings.CONTEXT,
    }  # fmt: skip
    by_role = {one["role"]: one for one in decided["findings"]}
    assert by_role[findings.OTHER]["name"] == "foreign_tiny"
    assert (
        abs(by_role[findings.OTHER]["difference"]["value"]) < 0.05
    )  # the same model, so the same scores but for rounding
    assert roles.count(findings.BLIND) == 1  # 11 photos of held-out people are too few for a network
    for one in decided["findings"]:
        assert (one["difference"] is not None) == (one["role"] in (findings.BLIND, findings.UNTRAINED, findings.OTHER))


@pytest.mark.slow
def test_again_changes_nothing_and_another_seed_is_refused(small: tuple[Audit, str]) -> None:
    config, text = small
    before = {path: path.read_bytes() for path in config.out.glob("*.*")}
    scores = config.out / "controls" / "untrained_1" / formats.SCORES
    made = scores.stat().st_mtime_ns
    assert audit(config) == text
    assert {path: path.read_bytes() for path in config.out.glob("*.*")} == before
    assert scores.stat().st_mtime_ns == made
    with pytest.raises(RefusedError, match="other inputs"):
        audit(dataclasses.replace(config, seed=2))


@pytest.mark.slow
def test_an_untrained_model_leaves_no_evidence(tmp_path: Path) -> None:
    """Enough people for MINT+ and a verdict, and next to no training: the model cannot know anybody."""
    model = tmp_path / "model"
    options = {"arch": "tiny", "epochs": 1, "batch_size": 240, "num_pairs": 100, "quiet": True}
    train_audited(TrainAudited("synthetic:1/web/0-479/3", model, **options))
    run = TrainMint(
        "vanilla",
        tmp_path / "run",
        ("conv4", "outcome"),
        model,
        num_train=300,
        num_test=300,
        baselines=True,
        quiet=True,
    )
    train_mint.train_mint(run)
    audit(Audit(run.out, tmp_path / "out", num_untrained=1, quiet=True))
    content = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert len(content["verdicts"]) == 2
    assert content["outcome"] != verdict.EVIDENCE
    for decided in content["verdicts"].values():
        by_role = {one["role"]: one["name"] for one in decided["findings"]}
        assert by_role[findings.UNTRAINED] == "untrained_1"
        reference = next(one for one in decided["findings"] if one["role"] == findings.REFERENCE)
        assert min(reference["num_members"], reference["num_externals"]) >= verdict.MIN_PEOPLE


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


def test_calibration_is_of_people_who_are_not_reported_on(run_folder: Path) -> None:
    run = mint_run.reopen_run(run_folder, quiet=True)
    rows, _ = run.protocol.evaluations()["same_database"]
    part = next(p for p in formats.read_scores(run_folder / formats.SCORES) if p.evaluation == "same_database")
    division = audit_scores.divide(part, 1)
    people = run.protocol.table.people()
    reported = set(people[rows]) - set(division.validation)
    known, known_is_member = audit_scores.calibration(run, division)
    assert not set(people[known]) & reported
    assert set(np.unique(run.protocol.table.database[known])) == {"web"}
    members = set(people[np.isin(run.protocol.part, (protocol.TRAIN_MEMBERS, protocol.TEST_MEMBERS))])
    assert set(people[known[known_is_member]]) <= members
    assert not set(people[known[~known_is_member]]) & members
    same = dataclasses.replace(run.protocol, main_evaluation="same_database")
    others = audit_scores.calibration(dataclasses.replace(run, protocol=same), division)[0]
    assert set(run.protocol.part[others]) <= {0, 1, 2, 3}  # held-out people play no part of such a protocol


def test_null_sides_are_of_people_who_are_no_members(run_folder: Path) -> None:
    part = next(p for p in formats.read_scores(run_folder / formats.SCORES) if p.evaluation == "same_database")
    assert part.is_member is not None
    null = audit_scores.without_membership([part], 1)[0]
    people, claimed = null.samples.people(), null.is_member
    assert claimed is not None
    assert set(people) == set(part.samples.people()[~part.is_member])
    assert not set(people[claimed]) & set(people[~claimed])
    assert claimed.any()


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        audit(Audit(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
