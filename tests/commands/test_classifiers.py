"""Appendix A: a classifier of pictures is trained, tested and audited."""

import dataclasses
import pickle
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.aad import store
from mint_keras.audited import zoo
from mint_keras.commands import spec_of
from mint_keras.commands.evaluate_mint import EvaluateMint, evaluate_mint
from mint_keras.commands.export_tflite import ExportTflite, export_tflite
from mint_keras.commands.extract_aad import ExtractAad, extract_aad
from mint_keras.commands.train_audited import TrainAudited, train_audited
from mint_keras.commands.train_mint import TrainMint, train_mint
from mint_keras.data import images, sample_tables
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError, RefusedError
from mint_keras.runs import report
from mint_keras.runs.run import open_run
from mint_keras.runs.spec import RunSpec

pytestmark = pytest.mark.usefixtures("loaded_once")

NUM_TRAIN, NUM_TEST = 130, 40
COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)])


def draw(rng: np.random.Generator, labels: np.ndarray, height: int = 32, width: int = 32) -> np.ndarray:
    noise = rng.integers(-40, 40, (len(labels), height, width, 3))
    return np.clip(COLOURS[labels][:, None, None] + noise, 0, 255).astype(np.uint8)


def write_cifar(folder: Path) -> None:
    """The layout of cifar-100-python, with three classes."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for part, num in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        labels = np.arange(num) % 3
        rows = draw(rng, labels).transpose(0, 3, 1, 2).reshape(num, -1)
        content = {b"data": rows, b"fine_labels": labels.tolist(), b"filenames": [b"x.png"] * num}
        (folder / part).write_bytes(pickle.dumps(content, 2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"rose", b"fern", b"sky"]}, 2))


def write_pictures(folder: Path, num: int, seed: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number, picture in enumerate(draw(rng, rng.integers(0, 3, num), 50, 70)):
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_cifar(folder / "cifar")
    write_pictures(folder / "tiny", 70, 2)
    write_pictures(folder / "caltech", 40, 3)
    return folder


def options(folder: Path, out: Path, **changes: object) -> TrainAudited:
    config = TrainAudited(str(folder / "cifar"), out, "classification", "tiny", 16, epochs=3, batch_size=16, quiet=True)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def classifier(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifier") / "model"
    text = train_audited(options(data, out)).text
    assert "Top-1 accuracy" in text
    return out


def run_options(data: Path, classifier: Path, out: Path, **changes: object) -> TrainMint:
    sides = {"externals": (str(data / "tiny"),), "evaluate": (str(data / "caltech"),)}
    sizes = {"num_train": 64, "num_test": 30, "num_seeds": 1, "quiet": True}
    return TrainMint(
        **{"head": "cnn", "out": out, "taps": ("conv1",), "audited": classifier, **sides, **sizes, **changes}
    )


@pytest.fixture(scope="module")
def run(data: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(specs.HEADS, "cnn", dataclasses.replace(specs.HEADS["cnn"], epochs=2))
        text = train_mint(run_options(data, classifier, out, aad="stored")).text
    assert "train, members:       64 images" in text
    assert "Not 16x16, so cut to the central square and resized: caltech 30, cifar 124, tiny 64." in text
    assert "against pictures of their own database that the model never saw" in text
    assert "same database" in text
    return out


class TestTraining:
    def test_output(self, classifier: Path) -> None:
        manifest = formats.read_manifest(classifier, zoo.CLASSIFIER)
        assert manifest["classes"] == ["fern", "rose", "sky"]
        assert manifest["num_members"] == NUM_TRAIN
        assert set(manifest["config"]) == {
            "data", "arch", "resolution", "epochs", "batch_size", "learning_rate", "weight_decay", "seed",
        }  # fmt: skip
        members, held_out = (
            sample_tables.read_samples(classifier / name) for name in ("members.parquet", "held_out.parquet")
        )
        assert members.sample_id[0] == "cifar/train/00000"
        assert len(members) == NUM_TRAIN
        assert held_out.sample_id.tolist() == [f"cifar/test/{row:05d}" for row in range(NUM_TEST)]
        names = {path.name for path in classifier.iterdir()}
        assert {"model.keras", "card.md", "training.csv", "evaluation.json"} <= names
        assert not names & {"pictures.npy", "checkpoint", "rejected.csv"}

    def test_evaluation_is_that_of_the_pictures(self, data: Path, classifier: Path) -> None:
        content = pickle.loads((data / "cifar" / "test").read_bytes())
        pictures = content[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        small = np.stack(
            [cv2.resize(np.ascontiguousarray(p), (16, 16), interpolation=cv2.INTER_AREA) for p in pictures]
        )
        logits = zoo.load_audited(classifier, zoo.CLASSIFIER).predict_on_batch(small.astype(np.float32) / 127.5 - 1)
        chosen = logits["outcome"].argmax(axis=1)
        expected = np.array([1, 0, 2])[content[b"fine_labels"]]  # rose, fern, sky in alphabetical order
        result = formats.read_json(classifier / "evaluation.json")
        assert result["held_out"]["num_pictures"] == NUM_TEST
        assert result["held_out"]["accuracy"] == pytest.approx((chosen == expected).mean(), abs=1e-6)
        assert result["members"]["num_pictures"] == NUM_TRAIN

    def test_loss_falls(self, classifier: Path) -> None:
        losses = np.genfromtxt(classifier / "training.csv", delimiter=",", names=True)["loss"]
        assert losses[-1] < losses[0]

    @pytest.mark.slow
    def test_an_interrupted_training_ends_like_an_uninterrupted_one(
        self, data: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = keras.callbacks.CSVLogger.on_epoch_begin

        def interrupt(logger: keras.callbacks.CSVLogger, epoch: int, logs: dict | None = None) -> None:
            original(logger, epoch, logs)
            if epoch == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(keras.callbacks.CSVLogger, "on_epoch_begin", interrupt)
            train_audited(options(data, tmp_path / "broken"))
        assert (tmp_path / "broken" / "checkpoint" / "state.json").is_file()
        train_audited(options(data, tmp_path / "broken"))
        for name in ("model.keras", "evaluation.json"):
            assert (tmp_path / "broken" / name).read_bytes() == (classifier / name).read_bytes()
        one, other = ((folder / "training.csv").read_text() for folder in (tmp_path / "broken", classifier))
        assert one == other

    def test_other_settings_need_another_folder(self, data: Path, classifier: Path) -> None:
        with pytest.raises(RefusedError, match="--overwrite"):
            train_audited(options(data, classifier, seed=2))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"arch": "small"}, "Expected a classifier of"),
            ({"resolution": 20}, "multiple of 16"),
            ({"loss": "cosface", "num_pairs": 5}, "--loss, --num-pairs, which it does not have"),
            ({"data": "synthetic:1/web/0-9/9"}, "received 0 of train and 0 of others"),
            ({"epochs": 0}, "at least 1"),
            ({"batch_size": 500}, "one batch of 500"),
        ],
    )
    def test_bad_input_writes_nothing(self, data: Path, changes: dict, message: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=message):
            train_audited(options(data, tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists()


class TestAudit:
    def test_every_column_is_there(self, run: Path, classifier: Path) -> None:
        results = score_files.read_results(run / "results.jsonl")
        assert {(r.scorer, r.model, r.evaluation) for r in results} == {
            ("cnn", model, evaluation)
            for model in (AUDITED, UNTRAINED)
            for evaluation in ("unseen_database", "same_database", "familiar")
        }
        same = [part for part in score_files.read_scores(run / "scores.csv") if part.evaluation == "same_database"]
        held_out = set(sample_tables.read_samples(classifier / "held_out.parquet").sample_id)
        assert set(same[0].samples.sample_id[~same[0].is_member]) <= held_out
        array = np.load(run / "aad/shards/000000/audited/conv1.npy", mmap_mode="r")
        assert array.shape[1:] == (8, 8, 16)

    def test_evaluating_again_gives_the_same(self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(specs.HEADS, "cnn", dataclasses.replace(specs.HEADS["cnn"], epochs=2))
        evaluate_mint(EvaluateMint(run, tmp_path / "again", quiet=True))
        assert (tmp_path / "again" / "scores.csv").read_bytes() == (run / "scores.csv").read_bytes()

    def test_native_resolution_changes_externals_only(
        self, run: Path, data: Path, classifier: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "native"
        wanted = run_options(data, classifier, out, aad="live", native_resolution=32)
        text = report.describe(open_run(spec_of(RunSpec, wanted), out))
        assert "Larger images were first shrunk to 32x32" in text
        pixels = store.open_store(out / "aad").arrays["pixels"]["pixels"]
        table = store.open_store(run / "aad").table
        reader = images.FaceReader(images.Framing(16, is_face=False))
        plain = np.concatenate([faces for _, faces in reader.batches(table, 64)])
        same = (pixels[:] == plain).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(same, table.database == "cifar")
        assert formats.read_json(out / "aad" / "manifest.json")["config"]["framing"]["native"] == 32

    def test_a_store_of_another_framing_is_refused(self, data: Path, classifier: Path, tmp_path: Path) -> None:
        sources = [str(classifier / "members.parquet"), str(classifier / "held_out.parquet")]
        wanted = ExtractAad(
            tmp_path / "store", str(classifier), (*sources, str(data / "tiny"), str(data / "caltech")), ("conv1",),
            untrained=True, batch_size=32, native_resolution=24, quiet=True,
        )  # fmt: skip
        text = extract_aad(wanted).text
        assert "Not 16x16, so cut to the central square and resized: tiny 70." in text
        with pytest.raises(RefusedError, match="another --native-resolution"):
            train_mint(run_options(data, classifier, tmp_path / "out", store=wanted.out))

    @pytest.mark.parametrize("native", [1, 7])
    def test_a_native_resolution_that_shows_nothing(
        self, data: Path, classifier: Path, tmp_path: Path, native: int
    ) -> None:
        with pytest.raises(InputError, match="at least 8"):
            train_mint(run_options(data, classifier, tmp_path / "out", native_resolution=native))
        assert not (tmp_path / "out").exists()

    def test_what_is_about_faces_refuses_classifiers(self, run: Path, classifier: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="received 'audited_classifier'"):
            zoo.load_audited(classifier)
        with pytest.raises(InputError, match="a bundle cannot hold"):
            export_tflite(ExportTflite(run, tmp_path / "bundle", tap="conv1", quiet=True))
