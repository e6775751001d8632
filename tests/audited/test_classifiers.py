from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras.aad import pooling
from mint_keras.audited import classifiers, folding, taps, zoo
from mint_keras.records import InputError

# Published by keras.io/api/applications, with 1000 classes.
PUBLISHED = {"mobilenet": 4_253_864, "resnet50": 25_636_712}


@pytest.mark.parametrize("arch", ["mobilenet", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_full_networks_have_the_published_number_of_parameters(arch: str) -> None:
    model = classifiers.build(arch, 32, 1000)
    assert model.count_params() == PUBLISHED[arch]
    assert model.output["conv1"].shape[1:] == (16, 16, {"mobilenet": 32, "resnet50": 64}[arch])
    assert model.output["outcome"].shape[1:] == (1000,)


@pytest.mark.slow
def test_vit_is_vit_base_without_class_token() -> None:
    images = keras.Input((224, 224, 3))
    patches, features = classifiers.vit(images, patch=16, width=768, num_heads=12)
    model = keras.Model(images, keras.layers.Dense(1000)(features))
    # 86,567,656 (torchvision's vit_b_16) with class token and its position, 768 each.
    assert model.count_params() == 86_567_656 - 2 * 768
    assert patches.shape[1:] == (14, 14, 768)


def test_half_a_mobilenet_is_the_one_of_alpha_one_half() -> None:
    model = classifiers.build("mobilenet_half", 32, 100)
    inner = keras.applications.MobileNet(alpha=0.5, weights=None, include_top=False, input_shape=(None, None, 3))
    assert model.count_params() == inner.count_params() + 512 * 100 + 100


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "conv1"), [("densenet121_quarter", (8, 8, 16)), ("xception_quarter", (7, 7, 16))])
def test_networks_for_the_smallest_pictures(arch: str, conv1: tuple[int, ...]) -> None:
    model = classifiers.build(arch, 16, 100)
    assert model.output["conv1"].shape[1:] == conv1
    channels = [layer.filters for layer in model.layers if hasattr(layer, "filters")]
    assert min(channels) >= 16


def test_names_tell_the_width() -> None:
    assert set(classifiers.ARCHITECTURES) >= {"resnet101", "densenet201", "xception_half", "vit_quarter"}
    assert classifiers.ARCHITECTURES["resnet50_quarter"] == ("resnet50", 4)


def test_what_cannot_be_built() -> None:
    with pytest.raises(InputError, match=r"Expected a classifier of .*resnet50_quarter.*received 'r100'"):
        classifiers.build("r100", 32, 100)
    for resolution in (0, 8, 40):
        with pytest.raises(InputError, match="multiple of 16"):
            classifiers.build("tiny", resolution, 100)


@pytest.mark.parametrize(("arch", "channels"), [("tiny", 16), ("vit_quarter", 192)])
def test_saved_classifiers_give_their_taps(
    arch: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "_VIT_BLOCKS", 2)  # twelve are twelve times one
    keras.utils.set_random_seed(1)
    model = classifiers.build(arch, 16, 10)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    pictures = np.random.default_rng(1).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    extractor = pooling.pooled(taps.extractor(loaded, ["conv1", "outcome"]), ["max"])
    outputs = extractor(pictures)
    expected = {tap: values.numpy() for tap, values in model(pictures).items()}
    assert expected["conv1"].shape[1:] == (8, 8, channels)
    np.testing.assert_allclose(outputs["outcome"], expected["outcome"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["conv1_max"], expected["conv1"].max(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    folded = folding.fold(taps.extractor(loaded, ["outcome"]))  # as in lower precision
    np.testing.assert_allclose(folded(pictures)["outcome"], expected["outcome"], rtol=1e-4, atol=1e-5)
    conv1 = taps.extractor(loaded, ["conv1"])
    assert len(conv1.layers) < 6  # nothing behind the first convolution
    untrained = zoo.untrained_copy(loaded, 2)(pictures)
    assert np.abs(untrained["outcome"] - expected["outcome"]).max() > 1e-3
