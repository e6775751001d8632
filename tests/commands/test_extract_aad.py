"""extract_aad.py: stores that heads can train on, plans, verification, refusals."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.aad import extract, plan, store
from mint_keras.audited import backends, cards, engines, taps
from mint_keras.commands.extract_aad import ExtractAad, extract_aad
from mint_keras.commands.train_mint import TrainMint, train_mint
from mint_keras.records import InputError, RefusedError
from mint_keras.runs.run import open_run
from mint_keras.runs.spec import RunSpec

pytestmark = pytest.mark.usefixtures("loaded_once")

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ("synthetic:1/web/0-39/2", "synthetic:1/news/100-119/2")


def config(audited: Path, out: Path, **options: object) -> ExtractAad:
    defaults = {"samples": SAMPLES, "taps": ("conv4",), "batch_size": 8, "shard_size": 48, "quiet": True}
    defaults |= {"backend": "keras"}  # measuring engines for a job of 100,000 takes long, and is tested where they are
    return ExtractAad(**{"audited": str(audited), "out": out} | defaults | options)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def maps(quick_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("maps") / "aad"
    text = extract_aad(config(quick_folder, out, untrained=True)).text
    assert "audited conv4: 120 x 7x7x16 float16" in text
    assert "untrained conv4: 120 x 7x7x16 float16" in text
    assert "in 3 shards, batches of 8" in text
    return out


def test_again_changes_nothing_and_every_byte_is_verified(maps: Path, quick_folder: Path) -> None:
    before = files(maps)
    extract_aad(config(quick_folder, maps, untrained=True))
    assert files(maps) == before
    assert "every byte as it was written" in extract_aad(ExtractAad(maps, verify=True, quiet=True)).text


def test_other_inputs_are_refused(maps: Path, quick_folder: Path) -> None:
    for other in ({"taps": ("conv3",)}, {"samples": SAMPLES[:1]}, {"dtype": "float32"}, {"seed": 2}):
        with pytest.raises(RefusedError, match="--overwrite"):
            extract_aad(config(quick_folder, maps, untrained=True, **other))


def test_all_poolings_at_once(maps: Path, quick_folder: Path, tmp_path: Path) -> None:
    poolings = ("max", "mean", "std", "topk")
    extract_aad(config(quick_folder, tmp_path / "out", pooling=poolings, taps=("conv4", "outcome")))
    opened = store.open_store(tmp_path / "out")
    assert opened is not None
    arrays = opened.arrays["audited"]
    assert set(arrays) == {"conv4_max", "conv4_mean", "conv4_std", "conv4_topk", "outcome"}
    whole = store.open_store(maps)
    assert whole is not None
    values = whole.arrays["audited"]["conv4"][:].astype(np.float32).reshape(120, 49, 16)
    expected = {
        "max": values.max(1), "mean": values.mean(1), "std": values.std(1), "topk": np.sort(values, 1)[:, -10:].mean(1),
    }  # fmt: skip
    for pooling, vectors in expected.items():
        assert arrays[f"conv4_{pooling}"].dtype == np.float32
        np.testing.assert_allclose(arrays[f"conv4_{pooling}"][:], vectors, atol=2e-3, err_msg=pooling)


def test_the_batch_size_is_measured_once(quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "best_batch_size", lambda functions, faces: (16, {16: 1.0}))
    extract_aad(config(quick_folder, tmp_path / "out", batch_size=0))
    assert formats.read_manifest(tmp_path / "out", "aad")["batch_size"] == 16
    for path in [*(tmp_path / "out" / "shards" / "000001").rglob("*.*")]:
        path.unlink()
    (tmp_path / "out" / "shards" / "000001" / "audited").rmdir()
    (tmp_path / "out" / "shards" / "000001").rmdir()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    del manifest["shards_sha256"]  # as if the process had been killed
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(plan, "best_batch_size", lambda functions, faces: (8, {8: 1.0}))
    assert "batches of 16" in extract_aad(config(quick_folder, tmp_path / "out", batch_size=0)).text


def test_the_fastest_batch_wins_unless_it_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {1: 3.0, 8: 10.0, 16: 20.0, 32: 20.1, 64: 90.0}
    monkeypatch.setattr(plan, "rate", lambda functions, faces, size: rates[size])
    assert plan.best_batch_size({}, np.zeros((1, 1))) == (16, {1: 3.0, 8: 10.0, 16: 20.0, 32: 20.1})


@pytest.mark.long
@pytest.mark.parametrize(("precision", "cosine"), [("mixed_bfloat16", 0.999), ("int8", 0.98)])
def test_a_lower_precision_says_what_it_costs(
    precision: str, cosine: float, maps: Path, quick_folder: Path, tmp_path: Path
) -> None:
    text = extract_aad(config(quick_folder, tmp_path / "out", precision=precision)).text
    assert "times as fast as Keras in float32; smallest cosine with it: conv4 0." in text
    arrays = [store.open_store(folder).arrays["audited"]["conv4"][:] for folder in (maps, tmp_path / "out")]
    one, two = (values.astype(np.float64).reshape(120, -1) for values in arrays)
    found = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosine < found.min() < 1 - 1e-9


@pytest.mark.slow
def test_onnx_runtime_gives_the_same(maps: Path, quick_folder: Path, tmp_path: Path, converted_once: None) -> None:
    extract_aad(config(quick_folder, tmp_path / "out", backend="onnxruntime"))
    arrays = [store.open_store(folder).arrays["audited"]["conv4"][:] for folder in (maps, tmp_path / "out")]
    np.testing.assert_allclose(arrays[1], arrays[0], atol=2e-3)  # float16
    with pytest.raises(InputError, match="float32 only"):
        extract_aad(config(quick_folder, tmp_path / "other", backend="onnxruntime", precision="mixed_float16"))


def test_auto_is_decided_once_and_kept(
    maps: Path, quick_folder: Path, tmp_path: Path, converted_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx, out = engines.Engine(backends.ONNXRUNTIME), tmp_path / "out"

    def choose(networks: engines.Networks, shown: np.ndarray, num_passes: float) -> engines.Choice:
        assert (len(shown), num_passes) == (64, 120)
        return engines.Choice(onnx, engines.open_all(networks, onnx), {engines.KERAS: 1.0, onnx: 3.5})

    monkeypatch.setattr(engines, "choose", choose)
    text = extract_aad(config(quick_folder, out, backend="auto")).text
    assert "Run by onnxruntime. Images per second here, over Keras': keras 1.00; onnxruntime 3.50." in text
    manifest = formats.read_json(out / formats.MANIFEST)
    assert (manifest["config"]["backend"], manifest["engine"]) == ("auto", {"backend": "onnxruntime", "xla": False})
    arrays = [store.open_store(folder).arrays["audited"]["conv4"][:] for folder in (maps, out)]
    np.testing.assert_allclose(arrays[1], arrays[0], atol=2e-3)  # float16
    # Killed, and resumed when another engine would be faster.
    before = files(out)
    shutil.rmtree(out / "shards" / "000001")
    formats.write_json(out / formats.MANIFEST, {k: v for k, v in manifest.items() if k != "shards_sha256"})
    monkeypatch.setattr(engines, "choose", lambda *given: pytest.fail("chosen again"))
    extract_aad(config(quick_folder, out, backend="auto"))
    assert files(out) == before
    # Where it gives other numbers now, such as on another machine, nothing is mixed.
    shutil.rmtree(out / "shards" / "000001")
    formats.write_json(out / formats.MANIFEST, {k: v for k, v in manifest.items() if k != "shards_sha256"})
    monkeypatch.setattr(engines, "_AGAIN", 0.0)
    with pytest.raises(RefusedError, match="Expected Keras' numbers from onnxruntime on this machine: "):
        extract_aad(config(quick_folder, out, backend="auto"))


def test_a_plan_writes_nothing(quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "rate", lambda functions, faces, size: 100.0)
    text = extract_aad(config(quick_folder, tmp_path / "out", dry_run=True, untrained=True)).text
    assert "120 samples through audited, untrained" in text
    assert "audited conv4" in text
    assert not (tmp_path / "out").exists()
    planned = config(quick_folder, tmp_path / "out", samples=(), dry_run=True, num_samples=100_000, shard_size=1024)
    text = extract_aad(planned).text
    assert "100,000 samples through audited" in text
    assert "7x7x16 float16:     0.157 GB" in text
    assert "98 shards" in text


def test_a_plan_for_a_model_one_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "rate", lambda functions, faces, size: 7.0)
    short = dataclasses.replace(cards.load_card("fr1"), blocks=(1, 1, 1, 1))  # whole its first maps are the same
    monkeypatch.setattr(cards, "load_card", {"fr1": short}.__getitem__)
    options = {"samples": (), "taps": ("conv1",), "num_samples": 100_000, "dry_run": True}
    text = extract_aad(config(Path("fr1"), tmp_path / "out", **options)).text
    assert "IResNet-100, MS1MV3, ArcFace: not on the shelf, measured with random weights" in text
    assert "56x56x64 float16:    40.141 GB" in text
    assert "All of them: 4.0 h" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": ()}, "--samples"),
        ({"samples": (), "dry_run": True}, "--num-samples"),
        ({"audited": "nowhere"}, "nowhere"),
        ({"audited": "mobilefacenet", "dry_run": True}, "blocks of an IResNet"),
        ({"audited": "fr9", "dry_run": True}, "a card of"),
        ({"taps": ("conv9",)}, "conv9"),
        ({"pooling": ("median",)}, "poolings of"),
        ({"shard_size": 0}, "--shard-size"),
        ({"workers": "2"}, "--workers 1, ray"),
        ({"verify": True}, "manifest.json"),
    ],
)
def test_bad_input_writes_nothing(options: dict, message: str, quick_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        extract_aad(dataclasses.replace(config(quick_folder, tmp_path / "out"), **options))
    assert not (tmp_path / "out").exists()


def test_no_room_on_the_disk(quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match="GB on the disk"):
        extract_aad(config(quick_folder, tmp_path / "out"))


@pytest.mark.long
def test_killed_and_continued_the_bytes_are_those_of_a_whole_run(audited_folder: Path, tmp_path: Path) -> None:
    options = ["--audited", str(audited_folder), "--samples", "synthetic:1/web/0-119/5", "--taps", "conv4"]
    options += ["--batch-size", "8", "--shard-size", "40", "--quiet"]
    command = [sys.executable, "scripts/extract_aad.py", *options, "--out"]
    process = subprocess.Popen([*command, str(tmp_path / "again")], cwd=ROOT, stderr=subprocess.DEVNULL)
    shards = tmp_path / "again" / "shards"
    started = time.monotonic()
    while not (shards / "000002").exists() and time.monotonic() - started < 120:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (shards / "000002").exists()
    assert not (shards / "000014").exists(), "killed too late to test anything"
    for name in ("again", "whole"):
        done = subprocess.run([*command, str(tmp_path / name)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert files(tmp_path / "again") == files(tmp_path / "whole")


@pytest.fixture(scope="module")
def store_folder(quick_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = (
        "synthetic:1/scan/200-219/2", "synthetic:1/web/40-59/2", "synthetic:1/news/100-139/4",
        "synthetic:1/web/0-39/4",
    )  # fmt: skip
    out = tmp_path_factory.mktemp("store") / "aad"
    extract_aad(config(quick_folder, out, samples=sources, untrained=True, batch_size=64, shard_size=100))
    return out


class TestStoreForHeads:
    def spec(self, audited: Path, **more: object) -> RunSpec:
        values = {
            "head": "cnn", "taps": ("conv4",), "audited": audited,
            "members": "synthetic:1/web/0-39/4", "externals": ("synthetic:1/news/100-139/4",),
            "evaluate": ("synthetic:1/scan/200-219/2",), "held_out": "synthetic:1/web/40-59/2",
            "num_train": 64, "num_test": 20, "num_seeds": 1,
        }  # fmt: skip
        return RunSpec(**values | more)

    @pytest.mark.long
    def test_heads_train_on_a_store(self, store_folder: Path, quick_folder: Path, tmp_path: Path) -> None:
        own = open_run(self.spec(quick_folder, aad="stored"), tmp_path / "own")
        given = open_run(self.spec(quick_folder, store=store_folder), tmp_path / "given")
        assert own.aad.table.sample_id.tolist() == given.aad.table.sample_id.tolist()
        for model in ("audited", "untrained"):
            one, two = (run.aad.seen(model)["conv4"][:] for run in (own, given))
            np.testing.assert_allclose(one, two, atol=2e-3)  # in other batches
        assert not (tmp_path / "given" / "aad").exists()
        options = dataclasses.asdict(self.spec(quick_folder, store=store_folder))
        assert "| conv4" in train_mint(TrainMint(out=tmp_path / "given", quiet=True, **options)).text

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"seed": 2}, RefusedError, "untrained copy of seed 2"),
            ({"taps": ("conv3",)}, InputError, "received none of"),
            ({"head": "vanilla"}, InputError, "Vanilla heads take vectors"),
            ({"aad": "live"}, InputError, "a store has its own"),
            ({"members": "synthetic:1/web/60-99/4"}, InputError, "samples of the run"),
            ({"store": Path("models")}, InputError, "models"),
        ],
    )
    def test_a_store_that_does_not_fit(
        self, options: dict, error: type, message: str, maps: Path, quick_folder: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(error, match=message):
            open_run(self.spec(quick_folder, **{"store": maps} | options), tmp_path / "out")

    def test_a_store_of_another_model(self, maps: Path, tmp_path: Path) -> None:
        with pytest.raises(RefusedError, match="another audited model"):
            open_run(self.spec(ROOT / "models" / "lab", store=maps), tmp_path / "out")


def test_the_defaults_are_those_of_the_modules_below() -> None:
    """They are written twice, so that --help need not load Keras."""
    assert ExtractAad.taps == (*taps.CONV_TAPS, taps.OUTCOME)
    assert ExtractAad.shard_size == extract.SHARD_SIZE


def test_the_result_counts(maps: Path) -> None:
    found = extract_aad(ExtractAad(maps, verify=True))
    assert found.num_samples == 120
    assert found.num_bytes == sum(path.stat().st_size for path in maps.rglob("*.npy"))
