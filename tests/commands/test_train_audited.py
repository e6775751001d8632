"""A face-recognition model of known members: its folder, its continuation, refusals."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import iresnet, taps, zoo
from mint_keras.commands import train_audited as module
from mint_keras.commands.train_audited import TrainAudited, TrainedModel, train_audited
from mint_keras.data import sample_tables
from mint_keras.records import InputError
from mint_keras.training import fit_audited, shadows

ROOT = Path(__file__).resolve().parents[2]


def test_output(audited_folder: Path) -> None:
    manifest = formats.read_manifest(audited_folder, "audited_model")
    members = sample_tables.read_samples(audited_folder / "members.parquet")
    held_out = sample_tables.read_samples(audited_folder / "held_out.parquet")
    assert manifest["num_members"] == len(members) == len(held_out) == 160
    lab = formats.read_manifest(ROOT / "models" / "lab", "audited_model")
    assert set(manifest["config"]) == {*lab["config"], "resolution", "no_flips"}  # younger than the lab
    assert not set(members.identity) & set(held_out.identity)
    result = formats.read_json(audited_folder / "verification.json")
    assert 0 <= result["auc"] <= 1
    assert result["num_identities"] == 20
    names = {path.name for path in audited_folder.iterdir()}
    assert {"model.keras", "card.md", "verification.png", "training.csv", "logs"} <= names
    assert not names & {"faces.npy", "checkpoint"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "nowhere"}, "not found"),
        ({"data": "synthetic:1/web/0-0/9"}, "two identities"),
        ({"data": "synthetic:1/web/5-2/9"}, "SEED/DATABASE"),
        ({"arch": "r19"}, "r18"),
        ({"split_identities": 1.0}, "fraction"),
        ({"epochs": 0}, "at least 1"),
        ({"learning_rate": -1.0}, "--learning-rate"),
        ({"scale": float("nan")}, "--scale"),
        ({"num_pairs": 0}, "--num-pairs"),
        ({"batch_size": 500}, "one batch of 500"),
    ],
)
def test_bad_input_writes_nothing(options: dict, message: str, tmp_path: Path) -> None:
    defaults = {"data": "synthetic:1/web/0-9/9", "out": tmp_path / "out", "arch": "tiny", "quiet": True}
    with pytest.raises(InputError, match=message):
        train_audited(TrainAudited(**defaults | options))
    assert not (tmp_path / "out").exists()


def test_the_rates_are_those_of_the_training() -> None:
    """They are written twice, so that --help need not load Keras."""
    defaults = (fit_audited.LEARNING_RATE, fit_audited.WEIGHT_DECAY)
    assert (TrainAudited.learning_rate, TrainAudited.weight_decay) == defaults


def test_a_card_does_not_say_where_its_photos_lie(audited_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(audited_folder, tmp_path / "model")
    config = TrainAudited(str(tmp_path / "people"), tmp_path / "model", arch="tiny")
    made = module._report(config, formats.read_json(audited_folder / "verification.json"), 112)
    assert str(tmp_path) not in (tmp_path / "model" / "card.md").read_text()
    assert " of people." in made.text


def tune(first: Path, out: Path, **options: object) -> TrainedModel:
    defaults = {"trainable": "stage2", "epochs": 1, "batch_size": 16, "num_pairs": 50, "quiet": True}
    return train_audited(TrainAudited("synthetic:1/web/40-59/4", out, from_=first, **defaults | options))


@pytest.fixture(scope="module")
def first_folder(audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two stages that takes 32 pixels, in place of the trained one."""
    folder = shutil.copytree(audited_folder, tmp_path_factory.mktemp("first") / "model")
    zoo.save_audited(folder, iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), image_size=32), {})
    return folder


@pytest.fixture(scope="module")
def tuned(first_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return tune(first_folder, tmp_path_factory.mktemp("tuned") / "stage2")


class TestFromAModel:
    def test_the_rest_of_the_network_stays(self, first_folder: Path, tuned: TrainedModel) -> None:
        faces = iresnet.normalise(np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8))
        before, after = (
            taps.extractor(zoo.load_audited(folder), ["stage1", "conv2", "outcome"])(faces)
            for folder in (first_folder, tuned.out)
        )
        np.testing.assert_array_equal(before["stage1"], after["stage1"])
        assert not np.allclose(before["conv2"], after["conv2"])
        assert not np.allclose(before["outcome"], after["outcome"])

    def test_it_says_where_it_comes_from_and_how_it_did_before(self, first_folder: Path, tuned: TrainedModel) -> None:
        manifest = formats.read_manifest(tuned.out, "audited_model")
        first = formats.read_manifest(first_folder, "audited_model")
        assert manifest["inputs"]["from"] == first["model_sha256"]
        assert manifest["config"]["trainable"] == "stage2"
        assert manifest["config"]["classifier"] == "centroids"
        figures = formats.read_json(tuned.out / "verification.json")
        assert tuned.figures == figures
        assert 0 <= figures["before"]["auc"] <= 1
        assert figures["before"]["num_pairs"] == figures["num_pairs"]
        assert f"Before: AUC {figures['before']['auc']:.4f}" in tuned.text
        members = sample_tables.read_samples(tuned.out / "members.parquet")
        assert not set(members.identity) & set(sample_tables.read_samples(tuned.out / "held_out.parquet").identity)
        assert not (tuned.out / "maps.npy").exists()

    def test_again_changes_nothing_but_shadows_which_are_of_everybody_and_come_later_as_well(
        self, first_folder: Path, tuned: TrainedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[tuple] = []
        monkeypatch.setattr(shadows, "train_shadows", lambda *arguments: given.append(arguments))
        before = formats.sha256_file(tuned.out / "model.keras")
        trained = tune(first_folder, tuned.out, shadows=3)
        first, table, _, settings, num, share, out = given[0]
        assert (num, share, out, settings.trainable) == (3, 0.5, tuned.out, "stage2")
        assert len(np.unique(table.people())) == 20
        start = zoo.load_audited(first_folder).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(first().get_weights(), start, strict=True))
        assert formats.sha256_file(tuned.out / "model.keras") == before
        assert trained.figures == tuned.figures == formats.read_json(tuned.out / "verification.json")
        assert f"AUC {trained.figures['auc']:.4f}" in trained.text
        assert trained.out == tuned.out

    @pytest.mark.slow
    def test_it_may_be_gone_on_with(self, tuned: TrainedModel, tmp_path: Path) -> None:
        converted = shutil.copytree(tuned.out, tmp_path / "converted")  # such a network has all taps as outputs
        model = zoo.load_audited(tuned.out)
        zoo.save_audited(converted, taps.with_taps(model, taps.tap_tensors(model)), {})
        again = tune(converted, tmp_path / "again", trainable="stage2_block1_bn1")
        assert again.figures["before"]["num_pairs"] == again.figures["num_pairs"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"trainable": "stage9"}, "stage2_block1_bn1"),
            ({"arch": "mini"}, "options of --from, received --arch"),
            ({"from_": None}, "--from with --trainable"),
        ],
    )
    def test_what_does_not_fit_writes_nothing(
        self, first_folder: Path, options: dict, message: str, tmp_path: Path
    ) -> None:
        first = options.pop("from_", first_folder)
        with pytest.raises(InputError, match=message):
            tune(first, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()
