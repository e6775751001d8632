"""Shared fixtures: one small audited model and one small run for the whole session."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

import mint_keras  # noqa: F401 # tells ONNX Runtime to keep quiet, before any test imports it

ROOT = Path(__file__).resolve().parents[1]

# From a name, and what writes a folder, to the folder.
Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Makes a folder that all workers of the session read: the first one who asks makes it, and the others wait."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def make(name: str, write: Callable[[Path], object]) -> Path:
        out, done = shared / "once" / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                write(out)
                done.touch()
        return out

    return make


@pytest.fixture(scope="session")
def audited_folder(once: Once) -> Path:
    """A tiny audited model after one epoch on 20 lab people; 20 more are held out."""
    from mint_keras.commands.train_audited import TrainAudited, train_audited

    options = {"arch": "tiny", "epochs": 1, "batch_size": 32, "num_pairs": 100, "quiet": True}
    return once("tiny", lambda out: train_audited(TrainAudited(data="synthetic:1/web/0-39/8", out=out, **options)))


@pytest.fixture(scope="session")
def run_folder(audited_folder: Path, once: Once) -> Path:
    """A small vanilla run on the tiny model."""
    from mint_keras.commands.train_mint import TrainMint, train_mint

    options = {"taps": ("conv1", "conv4"), "num_train": 70, "num_test": 30, "num_seeds": 1, "quiet": True}
    return once("vanilla", lambda out: train_mint(TrainMint("vanilla", out, audited=audited_folder, **options)))


@pytest.fixture(scope="session")
def exported_folder(run_folder: Path, once: Once) -> Path:
    """A bundle of the small run."""
    from mint_keras.commands.export_tflite import ExportTflite, export_tflite

    return once("lab", lambda out: export_tflite(ExportTflite(run_folder, out, samples=2)))
