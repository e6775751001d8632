"""A network in two parts that are the whole, and an end that learns while the rest stays."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from mint_keras import vectors
from mint_keras.audited import iresnet, margins, taps, zoo
from mint_keras.commands.convert_fr import ConvertFr, convert_fr
from mint_keras.records import InputError
from mint_keras.training import checkpoints, fine_tuning, fit_audited

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "models"

SIZE = 32  # pixels

SETTINGS = fit_audited.AuditedTraining(
    epochs=2, batch_size=8, learning_rate=1e-2, weight_decay=0.0, seed=1, flips=True,
    margin=margins.MARGINS["arcface"], scale=32.0, trainable="stage2",
)  # fmt: skip


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), SIZE)


def drawn_faces(num: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num, SIZE, SIZE, 3), np.uint8)


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight) for weight in model.weights}


class TestCut:
    @pytest.mark.parametrize("place", ["stage2", "stage2_block1_bn1", "stage1"])
    def test_the_parts_make_the_whole(self, place: str) -> None:
        model = network()
        parts = fine_tuning.split_at(model, place)
        shown = iresnet.normalise(drawn_faces(4))
        maps = parts.trunk(shown)[taps.OUTCOME]
        np.testing.assert_allclose(parts.tail(maps), model(shown), rtol=1e-5, atol=1e-5)

    def test_a_converted_model_too(self) -> None:
        model = network()
        named = taps.with_taps(model, taps.tap_tensors(model))
        parts, plain = (fine_tuning.split_at(one, "stage2") for one in (named, model))
        assert parts.tail.count_params() == plain.tail.count_params(), "all of the stage is trained"
        shown = iresnet.normalise(drawn_faces(4))
        found = parts.tail(parts.trunk(shown)[taps.OUTCOME])
        np.testing.assert_allclose(found, named(shown)[taps.OUTCOME], rtol=1e-5, atol=1e-5)

    def test_a_layer_that_is_none_is_answered_with_those_that_are(self) -> None:
        with pytest.raises(InputError, match=r"received 'stage9'.*stage2_block1_bn1 \([\d,]+\)"):
            fine_tuning.split_at(network(), "stage9")

    def test_nothing_goes_round_the_cut(self) -> None:
        with pytest.raises(InputError, match="through whose input everything goes") as refused:
            fine_tuning.split_at(network(), "stage2_block1_conv2")
        assert "stage2_block1_conv2 (" not in str(refused.value)


class TestMaps:
    def test_they_are_of_every_face_and_of_its_mirror_image(self, tmp_path: Path) -> None:
        model, faces = network(), drawn_faces()
        trunk = fine_tuning.split_at(model, "stage2").trunk
        maps = fine_tuning.maps_of(trunk, faces, fine_tuning.FLIPS, tmp_path / "maps.npy")
        rows, flip = np.array([3, 20]), np.array([False, True])
        expected = trunk(fit_audited.batch_of_faces(faces, rows, flip))[taps.OUTCOME]
        np.testing.assert_allclose(fine_tuning.batch_of_maps(maps, rows, flip), expected, rtol=1e-3, atol=1e-3)
        assert maps.dtype == np.float16

    def test_what_is_too_large_for_them_is_refused(self, tmp_path: Path) -> None:
        image = keras.Input((SIZE, SIZE, 3))
        trunk = keras.Model(image, {taps.OUTCOME: layers.Rescaling(1e6)(image)})
        with pytest.raises(InputError, match="fit float16"):
            fine_tuning.maps_of(trunk, drawn_faces(2), fine_tuning.FLIPS[:1], tmp_path / "maps.npy")


def tune(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trains the end of a network; returns all weights before and after."""
    checkpoints.seed_everything(1)
    model = network()
    before = weights(model)
    with fine_tuning.in_training(model, SETTINGS.trainable) as (trunk, tail):
        maps = fine_tuning.maps_of(trunk, drawn_faces(), fine_tuning.FLIPS, folder / "maps.npy")
        fit_audited.fit_audited(tail, maps, np.arange(24) % 6, SETTINGS, folder, fine_tuning.batch_of_maps)
    return before, weights(model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return tune(tmp_path_factory.mktemp("tuned"))


class TestTraining:
    def test_only_the_end_moves(self, trained: tuple[dict, dict]) -> None:
        before, after = trained
        moved = {path.split("/")[0] for path in before if not np.array_equal(before[path], after[path])}
        assert moved
        ends = ("stage2", "bn2", "fc", "features")
        assert not [name for name in moved if not name.startswith(ends)], moved

    def test_batch_normalisations_stay(self, trained: tuple[dict, dict]) -> None:
        before, after = trained
        norms = [path for path in before if "moving_" in path]
        assert norms
        assert all(np.array_equal(before[path], after[path]) for path in norms)

    @pytest.mark.parametrize("trainable", ["stage2", ""])
    def test_the_classifier_of_a_network_that_knows_faces_begins_as_the_people(self, trainable: str) -> None:
        image = keras.Input((SIZE, SIZE, 3))
        model = keras.Model(image, layers.Flatten()(layers.AveragePooling2D(16)(image)))
        faces, labels = drawn_faces(), np.arange(24) % 6
        settings = dataclasses.replace(SETTINGS, trainable=trainable)
        begun, _ = fit_audited.with_classes(model, labels, settings, lambda rows: iresnet.normalise(faces[rows]))
        seen = vectors.unit_rows(model(iresnet.normalise(faces)))
        centroids = vectors.unit_rows(np.stack([seen[labels == k].mean(axis=0) for k in range(6)])).T
        assert np.allclose(begun.get_layer("classifier").centres, centroids, atol=1e-5) == bool(trainable)

    def test_they_may_learn_again(self) -> None:
        model = network()
        with fine_tuning.in_training(model, "stage2") as (_, tail):
            assert not all(layer.trainable for layer in tail.layers)
        assert all(layer.trainable for layer in model.layers)

    @pytest.mark.long
    def test_an_interrupted_training_ends_like_an_uninterrupted_one(
        self, trained: tuple[dict, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = keras.callbacks.CSVLogger.on_epoch_begin

        def interrupt(logger: keras.callbacks.CSVLogger, epoch: int, logs: dict | None = None) -> None:
            original(logger, epoch, logs)
            if epoch == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(keras.callbacks.CSVLogger, "on_epoch_begin", interrupt)
            tune(tmp_path)
        _, resumed = tune(tmp_path)
        for path, whole in trained[1].items():
            np.testing.assert_allclose(resumed[path], whole, rtol=1e-3, atol=1e-5, err_msg=path)


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason="no real models beside the project (../shared/data/models)")
def test_a_public_network_is_cut_where_a_quarter_of_it_is_left(tmp_path: Path) -> None:
    convert_fr(ConvertFr(DATA / "mobilefacenet.onnx", tmp_path / "mobilefacenet", card="mobilefacenet"))
    model = zoo.load_audited(tmp_path / "mobilefacenet")
    assert fine_tuning.split_at(model, "conv_046").tail.count_params() == 225_792
    with pytest.raises(InputError, match=r"conv_046 \(225,792\)"):
        fine_tuning.split_at(model, "conv_047")  # the sum behind it takes what goes round it
