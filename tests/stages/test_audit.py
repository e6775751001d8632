"""The verdict on small runs: every control is measured, and nothing is claimed that is too small to be."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audit import findings, verdict
from mint_keras.data import protocol
from mint_keras.records import InputError, RefusedError
from mint_keras.stages import mint_run, train_mint
from mint_keras.stages.audit import dividing
from mint_keras.stages.audit.opened import Audit
from mint_keras.stages.audit.stage import audit
from mint_keras.stages.mint_options import TrainMint


@pytest.fixture(scope="module", autouse=True)
def enough_who_choose() -> Iterator[None]:
    """Most of the held-out people choose: MINT+ wants ten of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dividing, "VALIDATION_SHARE", 0.7)
        yield


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
    assert len(content["verdicts"]) == 2
    assert "mint plus on photo" in content["verdicts"]
    for decided in content["verdicts"].values():
        assert "too few identities" in decided["headline"]
    assert text.startswith("Verdict: cannot decide")
    assert (config.out / "verdict.txt").read_text() in text + "\n"
    assert (config.out / "findings.png").stat().st_size > 5_000


@pytest.mark.slow
def test_every_control_is_measured(small: tuple[Audit, str]) -> None:
    content = json.loads((small[0].out / "audit.json").read_text())
    for name, decided in content["verdicts"].items():
        by_role = {one["role"]: one for one in decided["findings"]}
        on_reference = {findings.REFERENCE, findings.BLIND, findings.UNTRAINED, findings.OTHER, findings.NULL}
        across = set() if name == "mint plus on photo" else {findings.CLAIM, findings.CONTEXT}
        assert set(by_role) == on_reference | across
        assert by_role[findings.OTHER]["name"] == "foreign_tiny"
        assert abs(by_role[findings.OTHER]["difference"]["value"]) < 0.05  # the same model
        for role, one in by_role.items():
            assert (one["difference"] is not None) == (role in (findings.BLIND, findings.UNTRAINED, findings.OTHER))


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


def test_nobody_chooses_and_is_reported(run_folder: Path) -> None:
    scores = formats.read_scores(run_folder / formats.SCORES)
    part = next(p for p in scores if p.evaluation == "same_database")
    division = dividing.divide(part, 1)
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
    division = dividing.divide(part, 1)
    people = run.protocol.table.people()
    reported = set(people[rows]) - set(division.validation)
    known, known_is_member = dividing.calibration(run, division)
    assert not set(people[known]) & reported
    assert set(np.unique(run.protocol.table.database[known])) == {"web"}
    members = set(people[np.isin(run.protocol.part, (protocol.TRAIN_MEMBERS, protocol.TEST_MEMBERS))])
    assert set(people[known[known_is_member]]) <= members
    assert not set(people[known[~known_is_member]]) & members
    same = dataclasses.replace(run.protocol, main_evaluation="same_database")
    others = dividing.calibration(dataclasses.replace(run, protocol=same), division)[0]
    assert set(run.protocol.part[others]) <= {0, 1, 2, 3}  # held-out people play no part of such a protocol


def test_null_sides_are_of_people_who_are_no_members(run_folder: Path) -> None:
    part = next(p for p in formats.read_scores(run_folder / formats.SCORES) if p.evaluation == "same_database")
    assert part.is_member is not None
    null = dividing.without_membership([part], 1)[0]
    people, claimed = null.samples.people(), null.is_member
    assert claimed is not None
    assert set(people) == set(part.samples.people()[~part.is_member])
    assert not set(people[claimed]) & set(people[~claimed])
    assert claimed.any()


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        audit(Audit(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_without_held_out_people_nothing_is_decided(audited_folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(audited_folder, tmp_path / "model")
    (model / formats.HELD_OUT).unlink()
    run = TrainMint("vanilla", tmp_path / "run", ("conv4",), model, num_train=70, num_test=30, quiet=True)
    train_mint.train_mint(run)
    text = audit(Audit(run.out, tmp_path / "out", quiet=True))
    assert "there is no reference" in text
    (decided,) = json.loads((tmp_path / "out" / "audit.json").read_text())["verdicts"].values()
    assert {one["role"] for one in decided["findings"]} == {findings.CLAIM, findings.CONTEXT}
