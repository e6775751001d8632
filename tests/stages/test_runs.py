"""Training, evaluating and refusing whole runs."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mint_keras.stages.evaluate_mint import EvaluateMint, evaluate_mint, largest_difference
from mint_keras.stages.mint_options import TrainMint, build_head, config_of, resolve_taps
from mint_keras.stages.mint_run import load_head, open_run, reopen_run
from mint_keras.stages.mint_run import make_protocol as make_run_protocol
from mint_keras.stages.train_mint import train_mint

from mint_keras import formats, score_files
from mint_keras.aad import plan
from mint_keras.commands.make_protocol import MakeProtocol, make_protocol
from mint_keras.data import images, samples, synthetic, tables
from mint_keras.heads import specs
from mint_keras.records import InputError, RefusedError
from mint_keras.stages import train_mint as train_mint_stage
from mint_keras.stages.export_tflite import ExportTflite, export_tflite
from mint_keras.statistics import metrics


def small(audited: Path, out: Path, **options: object) -> TrainMint:
    defaults = {"taps": ("conv4",), "num_train": 70, "num_test": 20, "quiet": True}
    return TrainMint(**{"head": "vanilla", "out": out, "audited": audited} | defaults | options)


def test_results_are_those_of_the_scores(run_folder: Path) -> None:
    results = score_files.read_results(run_folder / "results.jsonl")
    scores = {(p.scorer, p.tap, p.evaluation): p for p in score_files.read_scores(run_folder / "scores.csv")}
    assert {(r.scorer, r.tap, r.evaluation) for r in results} == set(scores)
    assert {r.tap for r in results} == {"conv1", "conv4", "combination"}
    assert {r.scorer for r in results} == {"vanilla", "vanilla_untrained"}
    assert {r.evaluation for r in results} == {"unseen_database", "same_database", "familiar"}
    for result in results:
        part = scores[result.scorer, result.tap, result.evaluation]
        assert part.is_member is not None
        assert result.num_members == result.num_externals == part.is_member.sum()
        assert result.accuracy == pytest.approx(metrics.accuracy(part.is_member, part.score), abs=1e-6)
        assert result.cross_entropy == pytest.approx(metrics.cross_entropy(part.is_member, part.logit), abs=1e-6)
        assert result.auc == metrics.auc(part.is_member, part.score)
        assert result.tpr_at_1_fpr == metrics.tpr_at_fpr(part.is_member, part.score)


def test_every_score_is_the_heads_for_that_very_sample(run_folder: Path) -> None:
    """Evaluations share samples, whose logits are computed once and dealt out."""
    run = reopen_run(run_folder, quiet=True)
    head = load_head(run_folder / "heads" / "audited" / "conv4" / "head.keras")
    vectors = run.aad.features("audited", ["conv4"])["conv4"]
    row = {sample: number for number, sample in enumerate(run.protocol.table.sample_id)}
    parts = [p for p in score_files.read_scores(run_folder / "scores.csv") if (p.scorer, p.tap) == ("vanilla", "conv4")]
    assert len(parts) == 3
    for part in parts:
        chosen = np.array([row[sample] for sample in part.samples.sample_id])
        expected = head.predict({"conv4": np.asarray(vectors[chosen], np.float32)}, verbose=0)[:, 0]
        np.testing.assert_allclose(part.score, expected, atol=1e-5)
        assert np.ptp(expected) > 1e-3


def test_evaluations_are_about_the_right_people(run_folder: Path, audited_folder: Path) -> None:
    members = set(tables.read_samples(audited_folder / "members.parquet").identity)
    held_out = set(tables.read_samples(audited_folder / "held_out.parquet").identity)
    for part in score_files.read_scores(run_folder / "scores.csv"):
        assert part.is_member is not None
        positive, negative = (set(part.samples.identity[side]) for side in (part.is_member, ~part.is_member))
        assert positive <= (held_out if part.evaluation == "familiar" else members)
        assert not negative & members
        assert (negative <= held_out) == (part.evaluation == "same_database")


def test_evaluating_again_gives_the_same(run_folder: Path, tmp_path: Path) -> None:
    text = evaluate_mint(EvaluateMint(run_folder, tmp_path / "again", quiet=True))
    assert "combination" in text
    assert (tmp_path / "again" / "scores.csv").read_bytes() == (run_folder / "scores.csv").read_bytes()
    assert (tmp_path / "again" / "results.jsonl").read_bytes() == (run_folder / "results.jsonl").read_bytes()


def test_evaluating_a_changed_head_is_refused(run_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    shutil.copy(run / "heads" / "audited" / "conv4" / "head.keras", tmp_path / "conv4.keras")
    shutil.copy(
        run / "heads" / "untrained" / "conv4" / "head.keras", run / "heads" / "audited" / "conv4" / "head.keras"
    )
    with pytest.raises(RefusedError, match="differ"):
        evaluate_mint(EvaluateMint(run, tmp_path / "again", quiet=True))


def test_a_run_is_not_its_own_evaluation(run_folder: Path) -> None:
    with pytest.raises(InputError, match="another --out"):
        evaluate_mint(EvaluateMint(run_folder, run_folder, overwrite=True, quiet=True))
    assert (run_folder / "scores.csv").is_file()


def test_options_of_another_version_are_named(run_folder: Path, tmp_path: Path) -> None:
    manifest = formats.read_manifest(run_folder, "mint_run")
    with pytest.raises(InputError, match="novelty"):
        config_of(manifest | {"config": manifest["config"] | {"novelty": 1}}, tmp_path, quiet=True)


def test_difference_of_results(run_folder: Path) -> None:
    results = score_files.read_results(run_folder / "results.jsonl")
    moved = [dataclasses.replace(results[0], auc=results[0].auc + 0.25), *results[1:]]
    assert largest_difference(results, results) == 0
    assert largest_difference(results, moved) == pytest.approx(0.25)
    assert largest_difference(results, results[1:]) == float("inf")
    assert largest_difference(results, [dataclasses.replace(results[0], tap="x"), *results[1:]]) == float("inf")


def test_a_killed_run_continues_to_identical_scores(run_folder: Path, audited_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    before = (run / "scores.csv").read_bytes()
    kept = (run / "heads" / "audited" / "conv1" / "head.keras").stat().st_mtime_ns
    for path in ("scores.csv", "results.jsonl", "heads/audited/conv4/head.keras", "aad/manifest.json"):
        (run / path).unlink()
    train_mint(small(audited_folder, run, taps=("conv1", "conv4"), num_test=30))
    assert (run / "scores.csv").read_bytes() == before
    assert (run / "heads" / "audited" / "conv1" / "head.keras").stat().st_mtime_ns == kept


def test_other_settings_need_another_folder(run_folder: Path, audited_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    with pytest.raises(RefusedError, match="--overwrite"):
        train_mint(small(audited_folder, run, taps=("conv1", "conv4"), num_test=30, seed=2))


@pytest.mark.slow
def test_cnn_on_maps(audited_folder: Path, tmp_path: Path) -> None:
    text = train_mint(small(audited_folder, tmp_path / "out", head="cnn"))
    assert "| cnn" in text
    assert np.load(tmp_path / "out/aad/shards/000000/audited/conv4.npy", mmap_mode="r").shape[1:] == (7, 7, 16)


@pytest.mark.slow
def test_live_aad_gives_the_table_of_stored_aad(
    audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(specs.HEADS, "cnn", dataclasses.replace(specs.HEADS["cnn"], epochs=3))
    found = {}
    for source in ("stored", "live"):
        config = small(audited_folder, tmp_path / source, head="cnn", aad=source)
        train_mint(config)
        found[source] = {(r.scorer, r.evaluation): r for r in score_files.read_results(config.out / "results.jsonl")}
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


@pytest.mark.slow
def test_heads_of_table_7(audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "cnn_counted_third"
    monkeypatch.setitem(specs.HEADS, head, dataclasses.replace(specs.HEADS[head], epochs=2))
    config = small(audited_folder, tmp_path / "out", head=head, taps=("conv3", "conv4"), aad="live")
    text = train_mint(config)
    assert f"| {head} " in text
    results = score_files.read_results(config.out / "results.jsonl")
    assert {row.tap for row in results} == {"conv3", "conv4"}  # no combination
    assert {row.scorer for row in results} == {head, f"{head}_untrained"}
    evaluate_mint(EvaluateMint(config.out, tmp_path / "again", quiet=True))
    with pytest.raises(InputError, match=r"\['conv3', 'conv4'\].*received 'combination'"):
        export_tflite(ExportTflite(config.out, tmp_path / "bundle", quiet=True))
    assert f"{head} head on conv4" in export_tflite(ExportTflite(config.out, tmp_path / "bundle", "conv4", quiet=True))


@pytest.mark.slow
def test_several_trainings_share_samples(audited_folder: Path, tmp_path: Path) -> None:
    config = small(audited_folder, tmp_path / "out", num_seeds=2)
    text = train_mint(config)
    parts = {(p.scorer, p.evaluation, p.seed): p for p in score_files.read_scores(config.out / "scores.csv")}
    first, second = (parts["vanilla", "unseen_database", seed] for seed in (1, 2))
    np.testing.assert_array_equal(first.samples.sample_id, second.samples.sample_id)
    assert (first.logit != second.logit).any()
    assert ("vanilla_untrained", "unseen_database", 2) not in parts
    accuracies = [metrics.accuracy(part.is_member, part.score) for part in (first, second)]  # type: ignore[arg-type]
    assert f"| conv4   | {np.mean(accuracies):.3f} " in text


def test_default_taps(audited_folder: Path, tmp_path: Path) -> None:
    convs = ["conv1", "conv2", "conv3", "conv4"]
    expected = {"vanilla": [*convs, "outcome"], "cnn": convs, "cnn_x3": ["conv1"], "vit": ["conv1"]}
    for head, taps in expected.items():
        assert resolve_taps(small(audited_folder, tmp_path, head=head, taps=())) == taps


def test_auto_says_why(audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = plan.Costs(images_per_second=1e6, bytes_per_sample=10**6, disk_bytes_per_second=1e6, free_bytes=10**12)
    monkeypatch.setattr(plan, "measure", lambda functions, faces, folder: costs)
    run = open_run(small(audited_folder, tmp_path / "fast", head="cnn"))
    assert run.aad.live
    written = formats.read_json(tmp_path / "fast" / "aad.json")
    assert written["source"] == "live"
    assert "1 MB/s" in written["why"]
    full = dataclasses.replace(costs, free_bytes=1000)
    assert plan.choose(full, 100, 30).why.startswith("does not fit the disk")
    slow = dataclasses.replace(costs, images_per_second=0.1)
    assert not plan.choose(slow, 100, 30).is_live
    monkeypatch.setattr(plan, "measure", lambda functions, faces, folder: full)
    with pytest.raises(InputError, match="Use --aad live"):
        open_run(small(audited_folder, tmp_path / "full", head="cnn", aad="stored"))
    with pytest.raises(InputError, match="a stored vector is smaller"):
        open_run(small(audited_folder, tmp_path / "vanilla", aad="live"))
    assert [plan.duration(seconds) for seconds in (45, 720, 12_240, 181_440)] == ["45 s", "12 min", "3.4 h", "2.1 days"]


def test_a_dead_head_is_named(run_folder: Path) -> None:
    scores = score_files.read_scores(run_folder / "scores.csv")
    assert train_mint_stage.warn_of_dead_heads(scores) == []
    dead = [dataclasses.replace(p, logit=np.zeros_like(p.logit)) if p.tap == "conv1" else p for p in scores]
    (text,) = train_mint_stage.warn_of_dead_heads(dead)
    assert "same score for everybody: vanilla on conv1 (seed 1), vanilla_untrained on conv1 (seed 1)." in text


def test_literal_has_no_standardisation(tmp_path: Path) -> None:
    for literal in (False, True):
        head = build_head(small(tmp_path, tmp_path, literal=literal), {"conv4": (16,)})
        assert ("standardise" in [layer.name for layer in head.layers]) != literal


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


def test_folders_of_real_files(folders: Path, audited_folder: Path, tmp_path: Path) -> None:
    options = {"externals": (str(folders / "phone"),), "evaluate": (str(folders / "cctv"),), "num_train": 101}
    text = train_mint(small(audited_folder, tmp_path / "out", **options, num_test=101))
    assert "resized without alignment: phone 100" in text
    assert "2 files could not be used" in text
    with open(tmp_path / "out" / "rejected.csv", newline="") as file:
        names = sorted(Path(row["location"]).name for row in csv.DictReader(file))
    assert names == ["broken.jpg", "wide.png"]


def test_without_other_databases_people_are_held_out(folders: Path, audited_folder: Path, tmp_path: Path) -> None:
    config = small(audited_folder, tmp_path / "out", externals=(str(folders / "phone"), str(folders / "cctv")))
    assert set(make_run_protocol(config).evaluations()) == {"seen_databases", "same_database", "familiar"}


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
        ({"head": "cnn", "literal": True}, "--literal"),
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


def test_a_run_on_a_protocol_says_what_was_not_searched(audited_folder: Path, tmp_path: Path) -> None:
    sides = {side: (str(audited_folder / f"{name}.parquet"),) for side, name in
             (("members", "members"), ("externals", "held_out"))}  # fmt: skip
    protocol = tmp_path / "protocol"
    make_protocol(MakeProtocol("same-database", **sides, out=protocol, unscanned=True, num_train=70, num_test=30))
    config = TrainMint("vanilla", tmp_path / "run", ("conv1",), audited_folder, protocol, quiet=True)
    with pytest.raises(InputError, match="Expected --protocol, or samples by other options"):
        train_mint(dataclasses.replace(config, members=sides["members"][0]))
    text = train_mint(config)
    assert "train, members:       70 images" in text
    assert "NOT SCANNED" in text
    assert "| audited model " in text
    assert "same database |" not in text  # it is the main evaluation
    again = evaluate_mint(EvaluateMint(config.out, tmp_path / "again", quiet=True))
    assert "NOT SCANNED" in again
    evaluations = {row.evaluation for row in score_files.read_results(config.out / formats.RESULTS)}
    assert evaluations == {"same_database"}
    (protocol / "protocol.json").write_text((protocol / "protocol.json").read_text() + " ")
    with pytest.raises(RefusedError, match="fingerprint"):
        train_mint(config)
