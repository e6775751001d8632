"""What a GPU changes: `python -m pytest -m gpu` repeats parity and one epoch of training there, and skips elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from mint_keras import formats
from mint_keras.audited import runtime, taps, zoo
from mint_keras.commands.convert_fr import ConvertFr, convert_fr
from mint_keras.heads import cnn, vanilla
from mint_keras.records import ParityRecord
from mint_keras.training import batches, checkpoints
from mint_keras.training import fit_heads as head_training
from tests.audited.convert import files

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="no GPU here"),
]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    dialect = files.Dialect(input_shape=("None", 3, 112, 112))
    onnx.save(files.make_onnx(files.random_state(side=112), dialect), folder / "model.onnx")
    convert_fr(ConvertFr(folder / "model.onnx", folder / "model"))
    return folder / "model"


def test_parity_on_a_gpu(converted: Path) -> None:
    """Float32 on the GPU, with TF32 off, is within the tolerance of ONNX Runtime on the CPU."""
    records = [ParityRecord(**row) for row in formats.read_json(converted / "parity.json")["records"]]
    assert len(records) == 36
    model = zoo.load_audited(converted)
    assert "GPU" in model(np.zeros((1, 112, 112, 3), np.float32))["conv1"].device


def test_mixed_float16_on_a_gpu(converted: Path) -> None:
    extractor = taps.extractor(zoo.load_audited(converted), ["conv1", "outcome"])
    images = np.random.default_rng(1).normal(size=(64, 112, 112, 3)).astype(np.float32)
    cost = runtime.measure(extractor, "mixed_float16", images, seconds=1)
    assert min(cost.cosine.values()) > 0.999


@pytest.mark.parametrize(("build", "shape"), [(vanilla.build, (8,)), (cnn.build, (16, 16, 8))])
def test_one_epoch_on_a_gpu(build: Callable[..., keras.Model], shape: tuple[int, ...], tmp_path: Path) -> None:
    head = build({"conv1": shape})
    rng = np.random.default_rng(1)
    is_member = np.arange(512) % 2 == 0
    aad = (rng.normal(size=(512, *shape)).T + is_member).T.astype(np.float32)
    checkpoints.seed_everything(1)
    data = batches.LabelledAad({"conv1": aad}, np.arange(512), is_member)
    head_training.fit_head(head, data, head_training.HeadTraining(1, 1), tmp_path)
    logit = head_training.predict_logits(head_training.logit_model(head), data)
    figures = head_training.evaluate_logits(head, logit, {"all": (np.arange(512), is_member)})["all"]
    assert np.isfinite(figures["loss"])
    assert "GPU" in head({"conv1": aad[:1]}).device
