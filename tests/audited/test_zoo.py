import shutil
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import zoo
from mint_keras.data import images
from mint_keras.records import InputError, RefusedError
from mint_keras.runs.spec import RunSpec


def test_untrained_copy_is_the_same_architecture_with_other_weights(audited_folder: Path) -> None:
    model = zoo.load_audited(audited_folder)
    before = [weight.numpy() for weight in model.weights]
    copies = [zoo.untrained_copy(model, seed) for seed in (1, 1, 2)]
    assert [layer.name for layer in copies[0].layers] == [layer.name for layer in model.layers]
    kernels = [copy.get_layer("stage1_block1_conv1").kernel.numpy() for copy in copies]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], model.get_layer("stage1_block1_conv1").kernel.numpy())
    np.testing.assert_array_equal(copies[0].get_layer("features").moving_mean.numpy(), 0)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_changed_weights_are_refused(audited_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(audited_folder, tmp_path / "model")
    with open(folder / formats.MODEL, "ab") as file:
        file.write(b"x")
    with pytest.raises(RefusedError, match="SHA-256"):
        zoo.load_audited(folder)


def test_missing_model(audited_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        zoo.load_audited(tmp_path)
    folder = shutil.copytree(audited_folder, tmp_path / "model")
    (folder / formats.MODEL).unlink()
    with pytest.raises(InputError, match="has not finished"):
        zoo.load_audited(folder)


def test_a_file_that_is_no_model(audited_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(audited_folder, tmp_path / "model")
    (folder / formats.MODEL).write_bytes(b"not a model")
    manifest = formats.read_json(folder / formats.MANIFEST)
    sha256 = formats.sha256_file(folder / formats.MODEL)
    formats.write_json(folder / formats.MANIFEST, {**manifest, "model_sha256": sha256})
    with pytest.raises(InputError, match="Keras model"):
        zoo.load_audited(folder)


@pytest.mark.parametrize(
    ("config", "side"),
    [({"preprocessing": {"size": [112, 96]}}, 112), ({"preprocessing": {"size": [160, 160]}}, 160),
     ({"image_size": [128, 128]}, 128), ({"resolution": 48}, 48), ({}, 112)],
)  # fmt: skip
def test_faces_are_framed_as_the_record_of_the_model_says(config: dict, side: int, tmp_path: Path) -> None:
    formats.write_json(tmp_path / formats.MANIFEST, formats.make_manifest(zoo.KIND, {}, config))
    assert zoo.framing(tmp_path) == images.Framing(side)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"conv1": {}, "conv2": {}, "stage2": {}, "convex": {}, "outcome": {}}, ("conv1", "conv2")),
        ({"stage1": {}, "stage2": {}, "outcome": {}}, ("stage1", "stage2")),
        ({"outcome": {}}, ()),
    ],
)
def test_heads_look_at_the_taps_that_a_conversion_found(found: dict, expected: tuple[str, ...], tmp_path: Path) -> None:
    formats.write_json(tmp_path / formats.MANIFEST, {"taps": found})
    assert zoo.conv_taps(tmp_path) == expected
    spec = RunSpec(head="vanilla", audited=tmp_path)
    combination = {"combination": [*expected], "combination+outcome": [*expected, "outcome"]} if expected else {}
    assert spec.groups == {tap: [tap] for tap in (*expected, "outcome")} | combination
    if not expected:
        with pytest.raises(InputError, match="taps of maps"):
            _ = RunSpec(head="cnn", audited=tmp_path).groups
    assert zoo.conv_taps(tmp_path / "planned") == ("conv1", "conv2", "conv3", "conv4")
