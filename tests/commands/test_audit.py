"""The verdict on small runs: every control is measured, and nothing is claimed that is too small to be."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.auditing import controls
from mint_keras.auditing import look as looks
from mint_keras.auditing.opened import AuditSpec, manifest
from mint_keras.commands.audit import Audit, Audited, audit
from mint_keras.commands.train_mint import TrainMint, train_mint
from mint_keras.data import protocol, sample_tables, samples
from mint_keras.data.changes import CHANGES
from mint_keras.options import Common
from mint_keras.records import InputError, RefusedError
from mint_keras.report import dossier, states
from mint_keras.runs import run as runs
from mint_keras.scorers import blind, mint_plus
from mint_keras.scorers.contract import NUM_FOLDS
from mint_keras.statistics import division, findings, verdict

pytestmark = pytest.mark.usefixtures("loaded_once")

OWN, SWAP = "own unseen photos", "cross-model swap"


@pytest.fixture(scope="module", autouse=True)
def small_scale() -> Iterator[None]:
    """Most of the held-out people choose: MINT+ wants ten of them. The blind network and its like are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(division, "VALIDATION_SHARE", 0.7)
        patch.setattr(blind, "MIN_STEPS", 20)
        yield


@pytest.fixture(scope="module")
def run(run_folder: Path) -> runs.Run:
    return runs.reopen(run_folder)


@pytest.fixture(scope="module")
def other_model(audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audited model again, which claims to have been trained on other people."""
    folder = shutil.copytree(audited_folder, tmp_path_factory.mktemp("other") / "other")
    sample_tables.write_samples(folder / formats.MEMBERS, samples.list_samples("synthetic:1/web/100-119/8"))
    return folder


@pytest.fixture(scope="module")
def booth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A further database of people who are no members."""
    path = tmp_path_factory.mktemp("nulls") / "booth.parquet"
    sample_tables.write_samples(path, samples.list_samples("synthetic:1/phone/500-509/2"))
    return path


@pytest.fixture(scope="module")
def small(
    run_folder: Path, audited_folder: Path, other_model: Path, booth: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Audit, Audited]:
    """An audit of a run with 20 held-out people, with the audited model itself as the foreign one."""
    out = tmp_path_factory.mktemp("audit") / "out"
    config = Audit(
        run_folder,
        out,
        reference=(Path("lab3"),),
        foreign=(audited_folder,),
        unseen_photos="synthetic:1/web/0-39/12",  # with those that were used
        swap=other_model,
        nulls=(f"booth={booth}",),
        robustness=True,
        num_untrained=1,
        quiet=True,
    )
    return config, audit(config)


def without_looks(patch: pytest.MonkeyPatch, run: runs.Run) -> None:
    """Audits are of this run, and try no look network on its people."""
    patch.setattr(runs, "reopen", lambda _: run)
    patch.setattr(looks, "choose", lambda *_: looks.Chosen("", None, looks.Competence(None, None, 0, 0), 0, (), ()))


def content_of(config: Audit) -> dict:
    return json.loads((config.out / dossier.AUDIT).read_text())


@pytest.mark.long
def test_few_people_decide_nothing(small: tuple[Audit, Audited], run_folder: Path) -> None:
    config, found = small
    content, said = content_of(config), found.text
    assert content["outcome"] == found.outcome == verdict.CANNOT_DECIDE
    assert found.out == config.out
    audited = content["audited"]
    assert audited["model"]["sha256"] == formats.sha256_file(run_folder.parent / "tiny" / formats.MODEL)
    assert audited["photos"]["parts"]["held_out"]["databases"].keys() == {"web"}
    assert audited["photos"]["identities_read"]["the column identity"] == ["web"]
    assert audited["photos"]["scan"].startswith("NOT SCANNED")
    assert str(config.run.parent) not in json.dumps(content)  # no place of this machine
    returned = {name: decided.to_dict() for name, decided in found.verdicts.items()}
    assert json.dumps(content["verdicts"], sort_keys=True) == json.dumps(returned, sort_keys=True)
    for decided in content["verdicts"].values():
        assert "too few identities" in decided["headline"]
    assert said.startswith("Verdict: cannot decide")
    assert (config.out / dossier.VERDICT).read_text() in said + "\n"
    page = (config.out / dossier.REPORT).read_text()
    assert "Cannot decide: too few identities in" in page
    assert page.count("data:image/png;base64,") == 2  # findings, and changes of photos; there is no power curve


@pytest.mark.long
def test_every_control_is_measured(small: tuple[Audit, Audited]) -> None:
    found = {name: decided["findings"] for name, decided in content_of(small[0])["verdicts"].items()}
    references = {name: rows[0]["name"] for name, rows in found.items()}
    assert sorted(references.values()) == sorted(["same database", "same database", OWN, OWN, OWN, SWAP])
    for name, rows in found.items():
        by_role = {one["role"]: one for one in rows}
        wanted = {findings.REFERENCE, findings.BLIND, findings.UNTRAINED, findings.LOOK}
        wanted |= {findings.DIRECTION, findings.NULL}
        wanted |= {findings.OTHER} if references[name] != SWAP else set()
        has_references = "mint plus" in name or "log-odds" in name
        wanted |= {findings.BESIDE} if has_references else set()
        wanted |= {findings.CLAIM, findings.CONTEXT} if "vanilla" in name else set()
        assert set(by_role) == wanted
        assert rows[0]["truth"] == (findings.IMAGE if references[name] == OWN else findings.PERSON)
        if findings.OTHER in by_role:
            assert by_role[findings.OTHER]["name"] == "foreign tiny"
            assert abs(by_role[findings.OTHER]["difference"]["value"]) < 0.05  # the same model
        for role, one in by_role.items():
            paired = (findings.BLIND, findings.LOOK, findings.BESIDE, findings.UNTRAINED, findings.OTHER)
            assert (one["difference"] is not None) == (role in paired)
        looks = [one["name"] for one in rows if one["role"] == findings.LOOK]
        assert looks == ["look network", *(["the scorer through the look network"] if has_references else [])]


@pytest.mark.long
def test_a_swap_between_a_model_and_itself_finds_nothing(small: tuple[Audit, Audited]) -> None:
    """Whatever the photos are: both models say the same of each. Pixels and looks are asked which group it is of."""
    rows = next(d["findings"] for d in content_of(small[0])["verdicts"].values() if d["findings"][0]["name"] == SWAP)
    by_role = {one["role"]: one["auc"]["value"] for one in rows}
    assert by_role[findings.REFERENCE] == pytest.approx(0.5)
    for role in (findings.BLIND, findings.LOOK, findings.UNTRAINED):  # which are two networks
        assert by_role[role] != pytest.approx(0.5)
    folds = {one["role"]: one["num_folds"] for one in rows}
    assert folds[findings.BLIND] == folds[findings.LOOK] == NUM_FOLDS
    people = {one["num_members"] for one in rows if one["role"] != findings.NULL}
    assert max(people) <= 20  # nobody twice


@pytest.mark.long
def test_who_is_who_is_said(small: tuple[Audit, Audited]) -> None:
    config, found = small
    lines = content_of(config)["identities"]
    assert lines[0].startswith("Look network lab")
    assert "tells people apart: AUC 0.99" in lines[0]
    assert lines[1].startswith("Audited network: The network does not tell people apart well enough")
    page = (config.out / dossier.REPORT).read_text()
    for line in lines:
        assert line in found.text
        assert line in page


@pytest.mark.long
def test_what_is_missing_is_said(small: tuple[Audit, Audited]) -> None:
    found = {name: one for one in content_of(small[0])["states"] for name in one["name"].split("; ")}
    for missing in (states.FILES, states.SHRUNK, states.HELD_OUT, states.LOTS):
        assert found[missing]["state"] == states.NOT_POSSIBLE
        assert found[missing]["why"]
    assert not [one for one in found.values() if "--" in one["why"]]  # every option was given


@pytest.mark.long
def test_photos_that_did_not_change_score_as_in_the_run(small: tuple[Audit, Audited]) -> None:
    content = content_of(small[0])
    rows = {row["change"]: row for row in content["robustness"]["rows"]}
    assert list(rows) == list(CHANGES)
    (reference,) = (d["findings"][0] for name, d in content["verdicts"].items() if "vanilla" in name)
    assert rows["unchanged"]["auc"]["value"] == pytest.approx(reference["auc"]["value"], abs=1e-6)


@pytest.mark.long
def test_again_changes_nothing_elsewhere_neither_and_another_seed_is_refused(
    small: tuple[Audit, Audited], tmp_path: Path
) -> None:
    config, found = small
    before = {path.name: path.read_bytes() for path in config.out.glob("*.*")}
    moved = dataclasses.replace(config, out=tmp_path / "moved")
    shutil.copytree(config.out, moved.out)
    (moved.out / dossier.AUDIT).unlink()
    made = {path: path.stat().st_mtime_ns for path in moved.out.rglob(formats.SCORES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mint_plus.MintPlus, "fit", None)  # nothing is fitted again
        patch.setattr(controls, "fit_and_score", None)
        assert audit(moved).text.split("Written")[0] == found.text.split("Written")[0]
    assert {path.name: path.read_bytes() for path in moved.out.glob("*.*")} == before
    assert {path: path.stat().st_mtime_ns for path in moved.out.rglob(formats.SCORES)} == made
    with pytest.raises(RefusedError, match="other inputs"):
        audit(dataclasses.replace(moved, seed=2))


@pytest.mark.long
def test_interrupted_audit_continues(small: tuple[Audit, Audited], tmp_path: Path) -> None:
    """A Ctrl-C after the first model leaves its scores; a file that was cut off is noticed."""
    config = dataclasses.replace(
        small[0], out=tmp_path / "out", swap=None, unseen_photos="", nulls=(), reference=(), robustness=False
    )
    shutil.copytree(small[0].out / "models", config.out / "models")
    done = shutil.copytree(small[0].out / "controls", config.out / "controls")
    formats.write_json(
        config.out / formats.MANIFEST, manifest(AuditSpec(config.run, foreign=config.foreign, num_untrained=1))
    )
    kept = done / "untrained_1" / formats.SCORES

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mint_plus.MintPlus, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            audit(config)
    assert kept.is_file()
    assert not (config.out / dossier.AUDIT).exists()
    kept.write_text(kept.read_text()[:-200])
    with pytest.raises(InputError):
        audit(config)


def test_the_audit_asks_for_every_field_with_the_same_default() -> None:
    """They are written twice, so that --help need not load what an audit needs."""
    of_command = {field.name: field.default for field in dataclasses.fields(Audit)}
    shown = [field.name for field in (*dataclasses.fields(Common), *dataclasses.fields(dossier.Case))]
    for name in (*shown, "out", "render"):
        del of_command[name]
    assert of_command == {field.name: field.default for field in dataclasses.fields(AuditSpec)}


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
    options: dict, said: str, run: runs.Run, run_folder: Path, audited_folder: Path, tmp_path: Path
) -> None:
    models = {"foreign": (audited_folder, audited_folder), "swap": audited_folder}
    given: dict[str, Any] = {name: models.get(name, value) for name, value in options.items()}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=said):
        without_looks(patch, run)
        patch.setattr("mint_keras.auditing.controls.through", None)  # long before anything is computed
        audit(Audit(run_folder, tmp_path / "out", num_untrained=0, quiet=True, **given))
    assert not (tmp_path / "out").exists()


def test_unseen_photos_that_are_no_faces_show_at_once(run: runs.Run, run_folder: Path, tmp_path: Path) -> None:
    table = run.protocol.table.take(run.protocol.part == protocol.TRAIN_MEMBERS)
    path = tmp_path / "photos" / str(table.identity[0]) / "0.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), np.zeros((90, 160, 3), np.uint8))
    unseen = f"{table.database[0]}={path.parent.parent}"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="square faces"):
        without_looks(patch, run)
        audit(Audit(run_folder, tmp_path / "out", num_untrained=0, quiet=True, unseen_photos=unseen))
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_without_held_out_people_nothing_is_decided(audited_folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(audited_folder, tmp_path / "model")
    (model / formats.HELD_OUT).unlink()
    run = TrainMint("vanilla", tmp_path / "run", ("conv4",), model, num_train=70, num_test=30, num_seeds=1, quiet=True)
    train_mint(run)
    found = audit(Audit(run.out, tmp_path / "out", quiet=True))
    assert "there is no reference" in found.text
    content = content_of(Audit(run.out, tmp_path / "out"))
    (decided,) = content["verdicts"].values()
    assert {one["role"] for one in decided["findings"]} == {findings.CLAIM, findings.CONTEXT}
    assert any(states.KEPT_OUT in one["name"] and one["state"] == states.NOT_POSSIBLE for one in content["states"])
