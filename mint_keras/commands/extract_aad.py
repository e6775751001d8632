"""What do the taps of an audited model give for these photos? Written to disk once, for many heads to train on.

A killed run continues with the same command and ends with the same bytes; so does one of many workers. --dry-run says
beforehand how many bytes and hours it takes.

Example:
    python scripts/extract_aad.py --audited models/lab --samples synthetic:1/web/0-399/10 --pooling max --out runs/aad
    python scripts/extract_aad.py --audited fr1 --num-samples 100000 --dry-run --out runs/plan
    python scripts/extract_aad.py --audited models/fr1 --samples faces/ms1mv3 --taps conv1 --out runs/fr1-conv1
    python scripts/extract_aad.py --verify --out runs/fr1-conv1
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from mint_keras import formats, shelf, workers
from mint_keras.aad import store
from mint_keras.commands import Result
from mint_keras.data import samples
from mint_keras.options import Common
from mint_keras.records import AUDITED, InputError

_MOST = 4096  # faces at once


@dataclasses.dataclass(frozen=True)
class ExtractAad(Common):
    """Options of extract_aad.py.

    Attributes:
        out: Folder of the store: shards, index.parquet, rejected.csv and the manifest.
        audited: Folder of the audited model. For --dry-run also a card (fr1) of a model you do not have yet: a network
            of its architecture with random weights is measured.
        samples: Folders, .rec files, sample tables, lab faces.
        taps: What to keep: conv1 to conv4, stage1 to stage4, outcome. By default those of conv1 to conv4 that the
            model has, and the outcome.
        pooling: Keep vectors in place of maps: max (what vanilla heads take), mean, std, topk (mean of the ten
            largest); several are allowed. Maps are never written then.
        baselines: Also keep what train_mint.py --baselines asks for beside the taps; takes four passes through the
            models in place of one.
        untrained: Also run the model's untrained copy of this --seed, the control that train_mint.py asks for.
        precision: float32; mixed_bfloat16 (CPU with avx512_bf16), mixed_float16 (GPU) or int8 (LiteRT, CPU) are faster;
            the output says what they cost.
        backend: Who runs float32. auto measures Keras, onnxruntime (by tf2onnx), litert, openvino (if it is installed)
            and Keras under XLA here for at most five seconds, as far as the job is long enough to pay for their start,
            takes the fastest that gives Keras' numbers at every tap to 1e-5, keeps to it, and says so; on a GPU it is
            Keras.
        xla: Compile Keras models.
        dtype: Type of stored maps; vectors are float32.
        batch_size: Faces at once; 0 measures on the first run, and keeps to it.
        shard_size: Samples in a shard; what a killed run may lose.
        workers: 1 is this process on all cores and GPUs; ray starts one worker on each core or GPU; ray://HOST:PORT
            uses a cluster, whose machines see --out, the model and the samples under the same paths.
        native_resolution: First shrink every image that is larger to so many pixels a side, see train_mint.py.
        num_samples: Take the first so many only; with --dry-run, plan for so many.
        dry_run: Say what it would take, in bytes and in time as measured here, and write nothing.
        verify: Read the finished store in --out again, every byte, and compare with what was written.
        seed: Seed of the untrained copy.
    """

    out: Path
    audited: str = str(shelf.LAB)
    samples: tuple[str, ...] = ()
    # These and the size of a shard are those of modules that take seconds to load; a test keeps them equal.
    taps: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4", "outcome")
    pooling: tuple[str, ...] = ()
    baselines: bool = False
    untrained: bool = False
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "int8"] = "float32"
    backend: Literal["auto", "keras", "onnxruntime", "litert", "openvino"] = "auto"
    xla: bool = False
    dtype: Literal["float16", "float32"] = "float16"
    batch_size: int = 0
    shard_size: int = 1024
    workers: str = workers.HERE
    native_resolution: int = 0
    num_samples: int = 0
    dry_run: bool = False
    verify: bool = False
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Extracted(Result):
    """What was extracted, verified, or, by --dry-run, would be: the samples of a store, and the size of its arrays."""

    out: Path
    num_samples: int
    num_bytes: int


def extract_aad(config: ExtractAad) -> Extracted:
    """Extracts what is missing and returns what is there; or plans, or verifies."""
    if config.verify:
        verified = store.verify(config.out)
        num, total = len(verified.table), verified.num_bytes
        text = f"{config.out}: {num:,} samples, {total:,} bytes, every byte as it was written."
        return Extracted(text, config.out, num, total)
    workers.check(config.workers)
    if config.shard_size < 1 or config.batch_size > _MOST:
        raise InputError(
            f"Expected --shard-size of at least 1 and --batch-size up to {_MOST}, received {config.shard_size} and "
            f"{config.batch_size}."
        )
    table = samples.list_all(config.samples) if config.samples else None
    if table is not None and config.num_samples:
        table = table.take(np.arange(min(config.num_samples, len(table))))
    # A plan needs no samples, only how many there will be.
    if table is None and not (config.dry_run and config.num_samples):
        wanted = "--samples or --num-samples to plan for" if config.dry_run else "--samples"
        raise InputError(f"Expected {wanted}, received none.")
    from mint_keras.aad import extract, extraction, models, signals
    from mint_keras.audited import zoo

    audited = shelf.find(Path(config.audited))
    is_default = config.taps == ExtractAad.taps
    spec = models.ModelSpec(
        audited=audited,
        # Named twice, a tap is kept once.
        taps=(*zoo.conv_taps(audited), "outcome") if is_default else tuple(dict.fromkeys(config.taps)),
        poolings=tuple(dict.fromkeys(config.pooling)),
        untrained_seed=config.seed if config.untrained else None,
        precision=config.precision,
        backend=config.backend,
        xla=config.xla,
    )
    framing = zoo.framing(audited, config.native_resolution)
    layout = extract.Layout(config.batch_size, config.shard_size, config.dtype, framing)
    said = ""
    if config.dry_run and not (audited / formats.MANIFEST).is_file():
        whole, said = extraction.stand_in(config.audited, spec.untrained_seed, config.seed)
    else:
        whole = models.load(spec)
    if config.baselines:
        spec = dataclasses.replace(spec, signals=signals.available(whole[AUDITED], spec.taps))
    cut = models.extractors(spec, whole)
    if table is None or config.dry_run:
        num = config.num_samples if table is None else len(table)
        total, lines = extraction.forecast(num, spec, cut, layout, table, config.out)
        return Extracted("\n".join([*([said] if said else []), *lines]), config.out, num, total)
    inputs = {"audited": formats.sha256_file(audited / formats.MODEL), "samples": samples.fingerprint(table)}
    # Where the model lies is no setting: its content is among the inputs.
    settings = {**spec.settings(), **layout.settings(), "models": list(cut)}
    manifest = formats.make_manifest(store.KIND, inputs, settings)
    with formats.output_folder(config.out, manifest, config.overwrite):
        opened = store.open_store(config.out, manifest["fingerprint"])
        if opened is None:
            opened = extraction.extract_missing(config.out, table, spec, cut, layout, config.workers)
    note = signals.NO_NORMALISATION if config.baselines and signals.BN_DISTANCE not in spec.signals else ""
    text = extraction.describe(config.out, opened, framing.why_resized(), note)
    return Extracted(text, config.out, len(opened.table), opened.num_bytes)
