"""Shared fixtures: one small audited model and one small run for the whole session."""

from __future__ import annotations

from pathlib import Path

import pytest

import mint_keras  # noqa: F401 # tells ONNX Runtime to keep quiet, before any test imports it

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def audited_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny audited model after one epoch on 20 lab people; 20 more are held out."""
    from mint_keras.commands.train_audited import TrainAudited, train_audited

    out = tmp_path_factory.mktemp("audited") / "tiny"
    options = {"arch": "tiny", "epochs": 1, "batch_size": 32, "num_pairs": 100, "quiet": True}
    train_audited(TrainAudited(data="synthetic:1/web/0-39/8", out=out, **options))
    return out


@pytest.fixture(scope="session")
def run_folder(audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vanilla run on the tiny model."""
    from mint_keras.commands.train_mint import TrainMint, train_mint

    out = tmp_path_factory.mktemp("run") / "vanilla"
    config = TrainMint(
        "vanilla", out, taps=("conv1", "conv4"), audited=audited_folder, num_train=70, num_test=30, quiet=True
    )
    train_mint(config)
    return out


@pytest.fixture(scope="session")
def bundle_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small run."""
    from mint_keras.commands.export_tflite import ExportTflite, export_tflite

    out = tmp_path_factory.mktemp("bundle") / "lab"
    export_tflite(ExportTflite(run_folder, out, samples=2))
    return out
