"""The verdict on small runs: every control is measured, and nothing is claimed that is too small to be."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.data import protocol, samples, tables
from mint_keras.data.changes import CHANGES
from mint_keras.records import InputError, RefusedError
from mint_keras.scorers import blind, mint_plus
from mint_keras.stages import mint_run, train_mint
from mint_keras.stages.audit import controls, dividing, frozen, stage, text
from mint_keras.stages.audit.opened import Audit
from mint_keras.stages.audit.stage import audit
from mint_keras.stages.mint_options import TrainMint
from mint_keras.statistics import findings, verdict

OWN, SWAP = "own unseen photos", "cross-model swap"


@pytest.fixture(scope="module", autouse=True)
def small_scale() -> Iterator[None]:
    """Most of the held-out people choose: MINT+ wants ten of them. The blind network and its like are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dividing, "VALIDATION_SHARE", 0.7)
        patch.setattr(blind, "MIN_STEPS", 20)
        patch.setitem(mint_plus.CLASSIFIERS, mint_plus.LOGISTIC, mint_plus.CLASSIFIERS[mint_plus.LOGISTIC][:1])
        yield


@pytest.fixture(scope="module")
def run(run_folder: Path) -> mint_run.Run:
    return mint_run.reopen_run(run_folder, quiet=True)


@pytest.fixture(scope="module")
def other_model(audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audited model again, which claims to have been trained on other people."""
    folder = shutil.copytree(audited_folder, tmp_path_factory.mktemp("other") / "other")
    tables.write_samples(folder / formats.MEMBERS, samples.list_samples("synthetic:1/web/100-119/8"))
    return folder


@pytest.fixture(scope="module")
def booth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A further database of people who are no members."""
    path = tmp_path_factory.mktemp("nulls") / "booth.parquet"
    tables.write_samples(path, samples.list_samples("synthetic:1/phone/500-509/2"))
    return path


@pytest.fixture(scope="module")
def small(
    run_folder: Path, audited_folder: Path, other_model: Path, booth: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Audit, str]:
    """An audit of a run with 20 held-out people, with the audited model itself as the foreign one."""
    out = tmp_path_factory.mktemp("audit") / "out"
    config = Audit(
        run_folder,
        out,
        (audited_folder,),
        unseen_photos="synthetic:1/web/0-39/12",  # with those that were used
        swap=other_model,
        nulls=(f"booth={booth}",),
        robustness=True,
        num_untrained=1,
        quiet=True,
    )
    return config, audit(config)


def content_of(config: Audit) -> dict:
    return json.loads((config.out / text.AUDIT).read_text())


@pytest.mark.slow
def test_few_people_decide_nothing(small: tuple[Audit, str]) -> None:
    config, said = small
    content = content_of(config)
    assert content["outcome"] == verdict.CANNOT_DECIDE
    for decided in content["verdicts"].values():
        assert "too few identities" in decided["headline"]
    assert said.startswith("Verdict: cannot decide")
    assert (config.out / text.VERDICT).read_text() in said + "\n"
    page = (config.out / text.REPORT).read_text()
    for decided in content["verdicts"].values():
        assert decided["headline"] in page
    assert page.count("data:image/png;base64,") == 2  # findings, and changes of photos; there is no power curve


@pytest.mark.slow
def test_every_control_is_measured(small: tuple[Audit, str]) -> None:
    found = {name: decided["findings"] for name, decided in content_of(small[0])["verdicts"].items()}
    references = {name: rows[0]["name"] for name, rows in found.items()}
    assert sorted(references.values()) == sorted(["same database", "same database", OWN, OWN, SWAP])
    for name, rows in found.items():
        by_role = {one["role"]: one for one in rows}
        wanted = {findings.REFERENCE, findings.BLIND, findings.UNTRAINED}
        wanted |= {findings.NULL} if references[name] != OWN else set()  # of two people's photos there are no two sides
        wanted |= {findings.OTHER} if references[name] != SWAP else set()
        wanted |= {findings.CLAIM, findings.CONTEXT} if "vanilla" in name else set()
        assert set(by_role) == wanted
        assert rows[0]["truth"] == (findings.IMAGE if references[name] == OWN else findings.PERSON)
        if findings.OTHER in by_role:
            assert by_role[findings.OTHER]["name"] == "foreign tiny"
            assert abs(by_role[findings.OTHER]["difference"]["value"]) < 0.05  # the same model
        for role, one in by_role.items():
            assert (one["difference"] is not None) == (role in (findings.BLIND, findings.UNTRAINED, findings.OTHER))


@pytest.mark.slow
def test_a_swap_between_a_model_and_itself_finds_nothing(small: tuple[Audit, str]) -> None:
    """Whatever the photos are: each is on both sides, and both models say the same of it."""
    rows = next(d["findings"] for d in content_of(small[0])["verdicts"].values() if d["findings"][0]["name"] == SWAP)
    by_role = {one["role"]: one["auc"]["value"] for one in rows}
    assert by_role[findings.REFERENCE] == pytest.approx(0.5)
    assert by_role[findings.BLIND] == pytest.approx(0.5)
    assert by_role[findings.UNTRAINED] != pytest.approx(0.5)  # two networks


@pytest.mark.slow
def test_what_is_missing_is_said(small: tuple[Audit, str]) -> None:
    lines = content_of(small[0])["not_measured"]
    for missing in ("Pipeline transplant", "Resolution match", "Member database held out", "Sides dealt out by lot"):
        assert [line for line in lines if line.startswith(missing)]
    assert not [line for line in lines if "--" in line]  # every option was given


@pytest.mark.slow
def test_photos_that_did_not_change_score_as_in_the_run(small: tuple[Audit, str]) -> None:
    content = content_of(small[0])
    rows = {row["change"]: row for row in content["robustness"]["rows"]}
    assert list(rows) == list(CHANGES)
    (reference,) = (d["findings"][0] for name, d in content["verdicts"].items() if "vanilla" in name)
    assert rows["unchanged"]["auc"]["value"] == pytest.approx(reference["auc"]["value"], abs=1e-6)


@pytest.mark.slow
def test_again_changes_nothing_elsewhere_neither_and_another_seed_is_refused(
    small: tuple[Audit, str], tmp_path: Path
) -> None:
    config, said = small
    before = {path.name: path.read_bytes() for path in config.out.glob("*.*")}
    moved = dataclasses.replace(config, out=tmp_path / "moved")
    shutil.copytree(config.out, moved.out)
    (moved.out / text.AUDIT).unlink()
    made = {path: path.stat().st_mtime_ns for path in moved.out.rglob(formats.SCORES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mint_plus, "fit", None)  # nothing is fitted again
        patch.setattr(mint_run, "fit_heads", None)
        assert audit(moved).split("Written")[0] == said.split("Written")[0]
    assert {path.name: path.read_bytes() for path in moved.out.glob("*.*")} == before
    assert {path: path.stat().st_mtime_ns for path in moved.out.rglob(formats.SCORES)} == made
    with pytest.raises(RefusedError, match="other inputs"):
        audit(dataclasses.replace(moved, seed=2))


@pytest.mark.slow
def test_interrupted_audit_continues(small: tuple[Audit, str], tmp_path: Path) -> None:
    """A Ctrl-C after the first model leaves its scores; a file that was cut off is noticed."""
    config = dataclasses.replace(
        small[0], out=tmp_path / "out", swap=None, unseen_photos="", nulls=(), robustness=False
    )
    shutil.copytree(small[0].out / "models", config.out / "models")
    done = shutil.copytree(small[0].out / "controls", config.out / "controls")
    formats.write_json(config.out / formats.MANIFEST, stage.manifest(config))
    kept = done / "untrained_1" / formats.SCORES

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mint_plus, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            audit(config)
    assert kept.is_file()
    assert not (config.out / text.AUDIT).exists()
    kept.write_text(kept.read_text()[:-200])
    with pytest.raises(InputError):
        audit(config)


def test_the_scorer_as_it_is_gives_the_runs_own_scores(run: mint_run.Run, run_folder: Path) -> None:
    scores = score_files.read_scores(run_folder / formats.SCORES)
    scorer = dividing.Scorer("vanilla", "combination")
    (part,) = scorer.parts(scores, "same_database")
    rows = run.protocol.evaluations()["same_database"][0]
    table = run.protocol.table.take(rows)
    _, faces = frozen.read(run, table)
    assert np.allclose(frozen.open_scorer(run, scorer)(faces, table.people()), part.logit, atol=1e-4)


def test_nobody_chooses_and_is_reported(run_folder: Path) -> None:
    scores = score_files.read_scores(run_folder / formats.SCORES)
    part = next(p for p in scores if p.evaluation == "same_database")
    division = dividing.divide(part, 1)
    choosing, reported = division.choosing([part])[0], division.reported([part])[0]
    assert not set(choosing.samples.people()) & set(reported.samples.people())
    assert len(choosing.logit) + len(reported.logit) == len(part.logit)
    for some in (choosing, reported):
        assert some.is_member is not None
        assert 0 < some.is_member.sum() < len(some.logit)


def test_calibration_is_of_people_who_are_not_reported_on(run: mint_run.Run, run_folder: Path) -> None:
    rows, _ = run.protocol.evaluations()["same_database"]
    part = next(p for p in score_files.read_scores(run_folder / formats.SCORES) if p.evaluation == "same_database")
    division = dividing.divide(part, 1)
    people = run.protocol.table.people()
    reported = set(people[rows]) - set(division.validation)
    known, known_is_member = dividing.calibration(run.protocol, division)
    assert not set(people[known]) & reported
    assert reported <= set(people[dividing.reported(run.protocol, division)[0]])
    assert set(np.unique(run.protocol.table.database[known])) == {"web"}
    members = set(people[np.isin(run.protocol.part, (protocol.TRAIN_MEMBERS, protocol.TEST_MEMBERS))])
    assert set(people[known[known_is_member]]) <= members
    assert not set(people[known[~known_is_member]]) & members
    same = dataclasses.replace(run.protocol, main_evaluation="same_database")
    others = dividing.calibration(same, division)[0]
    assert set(run.protocol.part[others]) <= {0, 1, 2, 3}  # held-out people play no part of such a protocol


def test_null_sides_are_of_people_who_are_no_members(run_folder: Path) -> None:
    part = next(p for p in score_files.read_scores(run_folder / formats.SCORES) if p.evaluation == "same_database")
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"foreign": ("{model}", "{model}")}, "different names"),
        ({"swap": "{model}"}, "other people"),
        ({"unseen_photos": "synthetic:1/web/0-39/8"}, "only photos that were used"),
        ({"unseen_photos": "synthetic:1/phone/0-9/2"}, "of people such as"),
        ({"nulls": ("synthetic:1/scan/700-709/2",)}, "the run does not have"),
    ],
)
def test_options_that_cannot_be_used_show_at_once(
    options: dict, said: str, run: mint_run.Run, run_folder: Path, audited_folder: Path, tmp_path: Path
) -> None:
    models = {"foreign": (audited_folder, audited_folder), "swap": audited_folder}
    given = {name: models.get(name, value) for name, value in options.items()}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=said):
        patch.setattr(mint_run, "reopen_run", lambda *_: run)
        patch.setattr("mint_keras.stages.audit.controls.through", None)  # long before anything is computed
        audit(Audit(run_folder, tmp_path / "out", num_untrained=0, quiet=True, **given))
    assert not (tmp_path / "out").exists()


def test_unseen_photos_that_are_no_faces_show_at_once(run: mint_run.Run, run_folder: Path, tmp_path: Path) -> None:
    table = run.protocol.table.take(run.protocol.part == protocol.TRAIN_MEMBERS)
    path = tmp_path / "photos" / str(table.identity[0]) / "0.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), np.zeros((90, 160, 3), np.uint8))
    unseen = f"{table.database[0]}={path.parent.parent}"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="square faces"):
        patch.setattr(mint_run, "reopen_run", lambda *_: run)
        audit(Audit(run_folder, tmp_path / "out", num_untrained=0, quiet=True, unseen_photos=unseen))
    assert not (tmp_path / "out").exists()


def test_a_foreign_model_without_the_scorers_tap_shows_at_once(run: mint_run.Run, audited_folder: Path) -> None:
    controls.check(run, audited_folder, dividing.Scorer("vanilla", "combination"), ["outcome"])
    with pytest.raises(InputError, match="conv9"):
        controls.check(run, audited_folder, dividing.Scorer("vanilla", "conv4"), ["conv9"])


@pytest.mark.slow
def test_without_held_out_people_nothing_is_decided(audited_folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(audited_folder, tmp_path / "model")
    (model / formats.HELD_OUT).unlink()
    run = TrainMint("vanilla", tmp_path / "run", ("conv4",), model, num_train=70, num_test=30, quiet=True)
    train_mint.train_mint(run)
    said = audit(Audit(run.out, tmp_path / "out", quiet=True))
    assert "there is no reference" in said
    content = content_of(Audit(run.out, tmp_path / "out"))
    (decided,) = content["verdicts"].values()
    assert {one["role"] for one in decided["findings"]} == {findings.CLAIM, findings.CONTEXT}
    assert any(line.startswith("Same database") for line in content["not_measured"])
