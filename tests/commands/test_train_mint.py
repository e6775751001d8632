"""Training and refusing whole runs."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mint_keras import score_files
from mint_keras.commands.evaluate_mint import EvaluateMint, evaluate_mint
from mint_keras.commands.export_tflite import ExportTflite, export_tflite
from mint_keras.commands.make_protocol import MakeProtocol, make_protocol
from mint_keras.commands.train_mint import TrainMint, train_mint
from mint_keras.data import images, sample_tables, samples, synthetic
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError, RefusedError
from mint_keras.runs import report
from mint_keras.runs.run import choose_samples, open_run
from mint_keras.runs.spec import RunSpec
from mint_keras.statistics import metrics
from tests.conftest import ROOT, Once

pytestmark = pytest.mark.usefixtures("loaded_once")


def small(audited: Path, out: Path, **options: object) -> TrainMint:
    defaults = {"taps": ("conv4",), "num_train": 70, "num_test": 20, "num_seeds": 1, "quiet": True}
    return TrainMint(**{"head": "vanilla", "out": out, "audited": audited} | defaults | options)


def test_results_are_those_of_the_scores(run_folder: Path) -> None:
    results = score_files.read_results(run_folder / "results.jsonl")
    scores = {(p.model, p.tap, p.evaluation): p for p in score_files.read_scores(run_folder / "scores.csv")}
    assert {(r.model, r.tap, r.evaluation) for r in results} == set(scores)
    assert {r.tap for r in results} == {"conv1", "conv4", "combination"}
    assert {r.scorer for r in results} == {"vanilla"}
    assert {r.model for r in results} == {AUDITED, UNTRAINED}
    assert {r.evaluation for r in results} == {"unseen_database", "same_database", "familiar"}
    for result in results:
        part = scores[result.model, result.tap, result.evaluation]
        assert part.is_member is not None
        assert result.num_members == result.num_externals == part.is_member.sum()
        assert result.accuracy == pytest.approx(metrics.accuracy(part.is_member, part.logit), abs=1e-6)
        assert result.cross_entropy == pytest.approx(metrics.cross_entropy(part.is_member, part.logit), abs=1e-6)
        assert result.auc == metrics.auc(part.is_member, part.logit)
        assert result.tpr_at_1_fpr == metrics.tpr_at_fpr(part.is_member, part.logit)


def test_evaluations_are_about_the_right_people(run_folder: Path, audited_folder: Path) -> None:
    members = set(sample_tables.read_samples(audited_folder / "members.parquet").identity)
    held_out = set(sample_tables.read_samples(audited_folder / "held_out.parquet").identity)
    for part in score_files.read_scores(run_folder / "scores.csv"):
        assert part.is_member is not None
        positive, negative = (set(part.samples.identity[side]) for side in (part.is_member, ~part.is_member))
        assert positive <= (held_out if part.evaluation == "familiar" else members)
        assert not negative & members
        assert (negative <= held_out) == (part.evaluation == "same_database")


@pytest.mark.slow
def test_what_a_run_gives_is_what_it_writes(run_folder: Path, audited_folder: Path) -> None:
    """Of a run that is there already nothing is trained again, and everything is returned."""
    made = (run_folder / "heads" / "audited" / "conv4" / "head.keras").stat().st_mtime_ns
    trained = train_mint(small(audited_folder, run_folder, taps=("conv1", "conv4"), num_test=30))
    assert (run_folder / "heads" / "audited" / "conv4" / "head.keras").stat().st_mtime_ns == made
    assert "Finished before, shown again." in trained.text
    assert trained.out == run_folder
    assert list(trained.results) == score_files.read_results(run_folder / "results.jsonl")
    written = score_files.read_scores(run_folder / "scores.csv")
    keys = [[(p.scorer, p.model, p.tap, p.evaluation) for p in parts] for parts in (trained.scores, written)]
    assert keys[0] == keys[1]
    for part, kept in zip(trained.scores, written, strict=True):
        np.testing.assert_array_equal(part.logit, kept.logit)


def test_other_settings_need_another_folder(run_folder: Path, audited_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    with pytest.raises(RefusedError, match=r"settings: num_test was 30, and is 29; seed was 1, and is 2; .*--over"):
        train_mint(small(audited_folder, run, taps=("conv1", "conv4"), num_test=29, seed=2))


@pytest.mark.long
def test_cnn_on_maps(audited_folder: Path, tmp_path: Path) -> None:
    text = train_mint(small(audited_folder, tmp_path / "out", head="cnn")).text
    assert "| cnn" in text
    assert np.load(tmp_path / "out/aad/shards/000000/audited/conv4.npy", mmap_mode="r").shape[1:] == (7, 7, 16)


@pytest.mark.long
def test_live_aad_gives_the_table_of_stored_aad(
    audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(specs.HEADS, "cnn", dataclasses.replace(specs.HEADS["cnn"], epochs=3))
    found = {}
    for source in ("stored", "live"):
        config = small(audited_folder, tmp_path / source, head="cnn", aad=source)
        found[source] = {(r.model, r.evaluation): r for r in train_mint(config).results}
        evaluate_mint(EvaluateMint(config.out, tmp_path / f"{source} again", quiet=True))
    assert (tmp_path / "live/aad/shards/000000/pixels/pixels.npy").is_file()
    assert not (tmp_path / "live/aad/shards/000000/audited").exists()
    assert found["live"].keys() == found["stored"].keys()
    for key, stored in found["stored"].items():
        live = found["live"][key]
        assert live.cross_entropy == pytest.approx(stored.cross_entropy, abs=1e-2), key
        assert live.auc == pytest.approx(stored.auc, abs=0.02), key
    logs = [tmp_path / source / "heads/audited/conv4/training.csv" for source in ("stored", "live")]
    first, second = (np.genfromtxt(log, delimiter=",", names=True)["loss"][0] for log in logs)
    assert first == pytest.approx(second, abs=1e-4)


@pytest.mark.long
def test_heads_of_table_7(audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "cnn_counted_third"
    monkeypatch.setitem(specs.HEADS, head, dataclasses.replace(specs.HEADS[head], epochs=2))
    config = small(audited_folder, tmp_path / "out", head=head, taps=("conv3", "conv4"), aad="live")
    trained = train_mint(config)
    assert f"| {head} " in trained.text
    assert {row.tap for row in trained.results} == {"conv3", "conv4"}  # no combination
    assert {(row.scorer, row.model) for row in trained.results} == {(head, AUDITED), (head, UNTRAINED)}
    evaluate_mint(EvaluateMint(config.out, tmp_path / "again", quiet=True))
    with pytest.raises(InputError, match=r"\['conv3', 'conv4'\].*received 'combination'"):
        export_tflite(ExportTflite(config.out, tmp_path / "bundle", quiet=True))
    exported = export_tflite(ExportTflite(config.out, tmp_path / "bundle", "conv4", quiet=True))
    assert f"{head} head on conv4" in exported.text


@pytest.fixture(scope="module")
def three(quick_folder: Path, once: Once) -> Path:
    """A run of three trainings on embeddings."""
    return once("three", lambda out: train_mint(small(quick_folder, out, taps=("outcome",), num_seeds=3)))


@pytest.mark.slow
def test_several_trainings_are_reproducible_byte_for_byte(three: Path, quick_folder: Path, tmp_path: Path) -> None:
    """Also where a run was killed: some of the heads are there already, and are not trained again."""
    again = shutil.copytree(three, tmp_path / "again")
    lost = ("audited/outcome", "audited_seed3/outcome", "untrained_seed2/outcome")
    written = ("scores.csv", "results.jsonl", "table.json", "aad/manifest.json")
    kept = (again / "heads/audited_seed2/outcome/head.keras").stat().st_mtime_ns
    for path in (*(f"heads/{name}/head.keras" for name in lost), *written):
        (again / path).unlink()
    train_mint(small(quick_folder, again, taps=("outcome",), num_seeds=3))
    assert (again / "heads/audited_seed2/outcome/head.keras").stat().st_mtime_ns == kept
    for path in sorted(three.rglob("*")):
        if path.suffix in (".csv", ".jsonl", ".keras", ".png") or path.name == "table.json":
            assert path.read_bytes() == (again / path.relative_to(three)).read_bytes(), path


@pytest.mark.long
def test_other_kernels_change_no_conclusion(audited_folder: Path, tmp_path: Path) -> None:
    """Without oneDNN the last bits differ, and with them every head: each cell stays within the other's interval."""
    folders = tmp_path / "here", tmp_path / "plain"
    train_mint(small(audited_folder, folders[0], taps=("outcome",), num_seeds=3))
    options = ["--head", "vanilla", "--audited", str(audited_folder), "--taps", "outcome"]
    sizes = ["--num-train", "70", "--num-test", "20", "--quiet", "--out", str(folders[1])]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "scripts/train_mint.py", *options, *sizes]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    tables = [json.loads((folder / "table.json").read_text()) for folder in folders]
    assert tables[0]["outcome"] == tables[1]["outcome"]
    for one, other in (tables, tables[::-1]):
        for row, same in zip(one["rows"], other["rows"], strict=True):
            assert row["row"] == same["row"]
            assert row["figures"].keys() == same["figures"].keys()
            for column, found in row["figures"].items():
                assert found["low"] <= same["figures"][column]["value"] <= found["high"], (row["row"], column)
    heads = [(folder / "heads/audited/outcome/head.keras").read_bytes() for folder in folders]
    assert heads[0] != heads[1]


def test_several_trainings_share_samples(three: Path) -> None:
    scores = score_files.read_scores(three / "scores.csv")
    parts = {(p.model, p.evaluation, p.seed): p for p in scores if p.scorer == "vanilla"}
    first, second = (parts[AUDITED, "unseen_database", seed] for seed in (1, 2))
    np.testing.assert_array_equal(first.samples.sample_id, second.samples.sample_id)
    assert (first.logit != second.logit).any()
    assert (UNTRAINED, "unseen_database", 3) in parts
    each = [parts[AUDITED, "unseen_database", seed] for seed in (1, 2, 3)]
    accuracies = [metrics.accuracy(part.is_member, part.logit) for part in each]  # type: ignore[arg-type]
    rows = json.loads((three / "table.json").read_text())["rows"]
    row = next(row for row in rows if row["row"] == "outcome")
    found = row["figures"]["accuracy"]
    assert found["num_seeds"] == 3
    assert found["value"] == pytest.approx(np.mean(accuracies))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of lab faces as a user has them: a folder per identity, square crops, one broken and one wide file."""
    root = tmp_path_factory.mktemp("photos")
    for database, first in (("phone", 500), ("cctv", 700)):
        table = samples.list_samples(f"synthetic:1/{database}/{first}-{first + 24}/4")
        for location in table.location:
            _, _, person, index = location.split(":")[1].split("/")
            face = synthetic.render(location)
            images.write_png(
                root / database / person / f"{index}.png",
                face if database == "cctv" else face.repeat(2, 0).repeat(2, 1),
            )
    (root / "phone" / "500" / "broken.jpg").write_bytes(b"junk")
    images.write_png(root / "cctv" / "700" / "wide.png", np.zeros((60, 90, 3), np.uint8))
    return root


def test_folders_of_real_files(folders: Path, quick_folder: Path, tmp_path: Path) -> None:
    options = {"externals": (str(folders / "phone"),), "evaluate": (str(folders / "cctv"),), "taps": ("conv4",)}
    text = report.describe(
        open_run(RunSpec("vanilla", audited=quick_folder, **options, num_train=101, num_test=101), tmp_path / "out")
    )
    assert "resized without alignment: phone 100" in text
    assert "2 files could not be used" in text
    with open(tmp_path / "out" / "aad" / "rejected.csv", newline="") as file:
        names = sorted(Path(row["location"]).name for row in csv.DictReader(file))
    assert names == ["broken.jpg", "wide.png"]


def test_photos_that_are_no_faces_are_counted_and_said(quick_folder: Path, tmp_path: Path) -> None:
    for k in range(70):
        folder = tmp_path / "wide" / str(k)
        folder.mkdir(parents=True)
        images.write_png(folder / "a.png", np.full((40, 60 + k % 2, 3), k, np.uint8))
    (tmp_path / "wide" / "0" / "b.jpg").write_bytes(b"junk")
    options = {"externals": (str(tmp_path / "wide"),), "taps": ("conv4",), "num_train": 71, "num_test": 40}
    spec = RunSpec("vanilla", quick_folder, **options, evaluate=("synthetic:1/scan/900-919/2",))
    said = r"0 externals\. 71 samples were rejected, 70 of them for: Expected an aligned face.*mint prepare cuts"
    with pytest.raises(InputError, match=said):
        open_run(spec, tmp_path / "out")


def test_without_other_databases_people_are_held_out(folders: Path, audited_folder: Path) -> None:
    externals = (str(folders / "phone"), str(folders / "cctv"))
    spec = RunSpec("vanilla", audited_folder, externals=externals, num_train=70, num_test=20)
    assert set(choose_samples(spec).evaluations()) == {"seen_databases", "same_database", "familiar"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audited": Path("nowhere")}, "nowhere"),
        ({"externals": ("nowhere",)}, "not found"),
        ({"members": "nowhere"}, "not found"),
        ({"taps": ("conv9",)}, "conv9"),
        ({"head": "cnn", "taps": ("outcome",)}, "vanilla"),
        ({"members": "synthetic:1/web/0-0/90"}, "two identities"),
        ({"num_train": 63}, "at least 64"),
        ({"num_test": 0}, "test samples"),
        ({"head": "vit_reduced", "literal": True}, "--literal"),
        ({"head": "vit_reduced", "taps": ("outcome",)}, "Expected maps for the vit head"),
        ({"head": "cnn_x4"}, "received 'cnn_x4'"),
        ({"externals": ("synthetic:1/phone/900-910/2",)}, "at least 64"),
    ],
)
def test_bad_input_writes_nothing(options: dict, message: str, audited_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train_mint(dataclasses.replace(small(audited_folder, tmp_path / "out"), **options))
    assert not (tmp_path / "out").exists()


def test_real_photos_need_externals(audited_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(audited_folder, tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["data"] = "photos"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="--externals"):
        train_mint(small(folder, tmp_path / "out"))


def test_a_run_on_a_protocol_says_what_was_not_searched(quick_folder: Path, tmp_path: Path) -> None:
    sides = {side: (str(quick_folder / f"{name}.parquet"),) for side, name in
             (("members", "members"), ("externals", "held_out"))}  # fmt: skip
    protocol = tmp_path / "protocol"
    make_protocol(MakeProtocol("same-database", **sides, out=protocol, unscanned=True, num_train=70, num_test=30))
    config = small(quick_folder, tmp_path / "run", protocol=protocol)
    with pytest.raises(InputError, match="Expected --protocol, or samples by other options"):
        train_mint(dataclasses.replace(config, members=sides["members"][0]))
    trained = train_mint(config)
    text = trained.text
    assert "train, members:       70 images" in text
    assert "NOT SCANNED" in text
    assert "| accuracy " in text
    assert "familiar |" not in text
    again = evaluate_mint(EvaluateMint(config.out, tmp_path / "again", quiet=True)).text
    assert "NOT SCANNED" in again
    assert {row.evaluation for row in trained.results} == {"same_database"}
    (protocol / "protocol.json").write_text((protocol / "protocol.json").read_text() + " ")
    with pytest.raises(RefusedError, match="settings: other protocol"):
        train_mint(config)


def test_members_of_another_database_have_not_the_models_held_out_people(audited_folder: Path) -> None:
    """Those are of its own database: named they are refused, and by default nobody is held out."""
    named = {"members": "synthetic:1/news/0-59/4", "externals": ("synthetic:1/phone/100-159/4",)}
    spec = RunSpec(head="vanilla", audited=audited_folder, num_train=70, num_test=20, **named)
    assert set(choose_samples(spec).evaluations()) == {"seen_databases"}
    held_out = str(audited_folder / "held_out.parquet")
    with pytest.raises(InputError, match=r"members' own database, news, received \['web'\]"):
        choose_samples(dataclasses.replace(spec, held_out=held_out))
