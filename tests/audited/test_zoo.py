import shutil
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import zoo
from mint_keras.data import images
from mint_keras.records import InputError, RefusedError


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
