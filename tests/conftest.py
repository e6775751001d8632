"""Shared fixtures: one small audited model and one small run for the whole session."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import gc
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: threads of two would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# Large arrays come and go. Memory that glibc gives back each time is filled with zeros again by the kernel: half of the
# time of a network on the CPU.
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    for name, number in (("MALLOC_TRIM_THRESHOLD_", -1), ("MALLOC_MMAP_THRESHOLD_", -3)):
        os.environ[name] = str(2**30)  # of the processes that tests start
        mallopt(number, 2**30)

import mint_keras  # noqa: F401 # tells ONNX Runtime to keep quiet, before any test imports it

ROOT = Path(__file__).resolve().parents[1]

# Files that take long, longest first: a worker that began one last would run alone.
LONG = (
    "commands/test_extract_aad.py", "auditing/test_no_false_accusation.py", "commands/test_convert_fr.py",
    "commands/test_train_mint.py", "test_api.py", "edge/test_export.py", "auditing/test_opened.py", "test_scripts.py",
    "runs/test_run.py", "scorers/test_head.py", "edge/test_scoring.py", "audited/test_recalibration.py",
    "commands/test_make_tables.py", "commands/test_classifiers.py", "audited/convert/test_iresnets.py",
    "audited/convert/test_doors.py", "runs/test_baselines.py", "auditing/test_look.py", "audited/test_classifiers.py",
    "training/test_together.py", "training/test_fit_heads.py", "audited/convert/test_operators.py",
    "commands/test_train_audited.py", "training/test_training.py", "test_architecture.py", "scorers/test_mint_plus.py",
    "edge/test_compression.py", "reliability/test_runs.py", "heads/test_variants.py", "test_readme.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files that take long first; with --no-loadscope-reorder workers are given files in this order."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


def pytest_collection_finish() -> None:
    """What TensorFlow and Keras consist of is no garbage: a million objects that need not be looked at again."""
    gc.freeze()


# From a name, and what writes a folder, to the folder.
Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session", autouse=True)
def nothing_is_measured() -> Iterator[None]:
    """How fast networks, engines and disks are is the machine's matter: only tests of measuring measure for seconds.

    Nor does a worker give up a folder that another one, on a slow machine, reads for long.
    """
    settings = {
        "audited.engines": {"_PAYS": 0.0}, "aad.plan": {"_SECONDS": 0.0, "_DISK_BYTES": 2**16},
        "locks": {"PATIENCE": 600.0},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, values in settings.items():
            if module := sys.modules.get(f"mint_keras.{name}"):  # nobody else loads TensorFlow for this
                for setting, value in values.items():
                    patch.setattr(module, setting, value)
        yield


@pytest.fixture(scope="session", autouse=True)
def drawn_once() -> Iterator[None]:
    """What a lab face looks like hangs on its name alone, and most tests look at the same few hundred."""
    from mint_keras.data import synthetic

    drawn = functools.lru_cache(4096)(synthetic.render)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "render", functools.wraps(synthetic.render)(lambda location: drawn(location).copy()))
        yield


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


@pytest.fixture(scope="class")
def few_views() -> Iterator[None]:
    """Every face is looked at three times in place of eight, where it does not matter how it was changed."""
    from mint_keras.aad import views

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "VIEWS", dict([*views.VIEWS.items()][:2]))
        yield


@pytest.fixture(scope="module")
def filled_to_eight() -> Iterator[None]:
    """What fills a batch up is thrown away: where few faces are shown, eight are enough, and not 64."""
    from mint_keras.aad import extract
    from mint_keras.audited import embedding
    from mint_keras.data import overlap

    run = extract.run

    def filled(functions: Any, faces: Any, batch_size: int) -> Any:
        return run(functions, faces, min(batch_size, -(-len(faces) // 8) * 8))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "run", filled)
        for module, name in ((embedding, "BATCH_SIZE"), (overlap, "_BATCH_SIZE")):
            patch.setattr(module, name, 8)
        yield


@pytest.fixture(scope="module")
def converted_once() -> Iterator[None]:
    """Equal networks are converted to ONNX once: how is tested elsewhere, here it matters who runs what."""
    from mint_keras.audited import onnx_forward

    convert, made = onnx_forward.to_onnx, dict[tuple, Any]()

    def to_onnx(network: Any) -> Any:
        weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in network.weights)).hexdigest()
        key = (weights, *network.output, *network.input.shape)
        if key not in made:
            made[key] = convert(network)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_forward, "to_onnx", to_onnx)
        yield


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """Models are loaded, traced and copied once: of equal ones that nobody changes it does not matter which one it is.

    Whoever did change one would be noticed, and the next one who asks is given one that is made anew.
    """
    import keras
    import tensorflow as tf

    from mint_keras import formats
    from mint_keras.audited import recalibration, runtime

    load, copy, forward = keras.saving.load_model, recalibration.copy_without_faces, runtime.forward
    made = dict[tuple, tuple[Any, Any, str]]()

    def state(network: Any) -> str:
        weights = [hashlib.sha256(weight.numpy().tobytes()).hexdigest() for weight in network.weights]
        layers = [(layer.name, layer.trainable, layer.compute_dtype) for layer in network.layers]
        ends = keras.tree.flatten((network.input, network.output))
        made_by = [(end.shape, end.dtype, end._keras_history.operation.name) for end in ends]
        return repr([weights, layers, made_by, sorted(network.output) if isinstance(network.output, dict) else ""])

    def kept(key: tuple, make: Callable[[], Any], network: Any = None) -> Any:
        if tf.distribute.has_strategy():
            return make()
        found = made.get(key)
        if found is None or found[2] != state(found[1]):
            value = make()
            found = made[key] = value, network or value, state(network or value)
        return found[0]

    def load_model(file: Path, **options: Any) -> Any:
        make = functools.partial(load, file, **options)
        is_audited = Path(file).name == formats.MODEL
        return kept((formats.sha256_file(file), *sorted(options.items())), make) if is_audited else make()

    def copy_without_faces(network: Any, taps: Sequence[str], seed: int) -> Any:
        return kept((state(network), *taps, seed), lambda: copy(network, taps, seed))

    def traced(network: Any, xla: bool = False) -> Any:
        key = (state(network), xla, network.distribute_strategy)
        return kept(key, lambda: forward(network, xla), network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.saving, "load_model", load_model)
        patch.setattr(recalibration, "copy_without_faces", copy_without_faces)
        patch.setattr(runtime, "forward", traced)
        yield


@pytest.fixture(scope="session")
def audited_folder(once: Once) -> Path:
    """A tiny audited model after one epoch on 20 lab people; 20 more are held out."""
    from mint_keras.commands.train_audited import TrainAudited, train_audited

    options = {"arch": "tiny", "epochs": 1, "batch_size": 32, "num_pairs": 100, "quiet": True}
    return once("tiny", lambda out: train_audited(TrainAudited(data="synthetic:1/web/0-39/8", out=out, **options)))


@pytest.fixture(scope="session")
def quick_folder(audited_folder: Path, once: Once) -> Path:
    """The same people with a network of one convolution, for whom it does not matter what their faces give."""
    from tests.runs.small_model import small_model

    return once("quick", lambda out: small_model(audited_folder, out))


@pytest.fixture(scope="session")
def run_folder(audited_folder: Path, once: Once) -> Path:
    """A small vanilla run on the tiny model."""
    from mint_keras.commands.train_mint import TrainMint, train_mint

    options = {"taps": ("conv1", "conv4"), "num_train": 70, "num_test": 30, "num_seeds": 1, "quiet": True}
    return once("vanilla", lambda out: train_mint(TrainMint("vanilla", out, audited=audited_folder, **options)))


@pytest.fixture(scope="session")
def exported_folder(run_folder: Path, once: Once) -> Path:
    """A bundle of the small run, and beside it in a text file what the command said."""
    from mint_keras.commands.export_tflite import ExportTflite, export_tflite

    def write(out: Path) -> None:
        text = export_tflite(ExportTflite(run_folder, out, samples=2, quiet=True)).text
        out.with_suffix(".txt").write_text(text)

    return once("lab", write)
