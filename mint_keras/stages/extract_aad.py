"""Stage: from samples and an audited model to a store of AAD, resumable, on one machine or many."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats, workers
from mint_keras.aad import extract, models, plan, scale, signals, store
from mint_keras.audited import backends, cards, iresnet, parity, runtime, taps, zoo
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import images, samples, synthetic
from mint_keras.records import InputError, RefusedError, SampleTable
from mint_keras.stages.progress import pace

DEFAULT_TAPS = (*taps.CONV_TAPS, taps.OUTCOME)


@dataclasses.dataclass(frozen=True)
class ExtractAad:
    """Options of extract_aad.py.

    Attributes:
        out: folder of the store: shards, index.parquet, rejected.csv and the manifest.
        audited: folder of the audited model. For --dry-run also a card (fr1) of a model you do not have yet: a network
            of its architecture with random weights is measured.
        samples: folders, .rec files, sample tables, lab faces.
        taps: what to keep: conv1 to conv4, stage1 to stage4, outcome.
        pooling: keep vectors in place of maps: max (what vanilla heads take), mean, std, topk (mean of the ten
            largest); several are allowed. Maps are never written then.
        baselines: also keep what train_mint.py --baselines asks for beside the taps; takes four passes through the
            models in place of one.
        untrained: also run the model's untrained copy of this --seed, the control that train_mint.py asks for.
        precision: float32; mixed_bfloat16 (CPU with avx512_bf16), mixed_float16 (GPU) or int8 (LiteRT, CPU) are faster;
            the output says what they cost.
        backend: who runs float32: keras, or onnxruntime (by tf2onnx), which is faster on some processors.
        xla: compile Keras models.
        dtype: of stored maps; vectors are float32.
        batch_size: faces at once; 0 measures on the first run, and keeps to it.
        shard_size: samples in a shard; what a killed run may lose.
        workers: 1 is this process on all cores and GPUs; ray starts one worker on each core or GPU; ray://HOST:PORT
            uses a cluster, whose machines see --out, the model and the samples under the same paths.
        native_resolution: first shrink every image that is larger to so many pixels a side, see train_mint.py.
        num_samples: take the first so many only; with --dry-run, plan for so many.
        dry_run: say what it would take, in bytes and in time as measured here, and write nothing.
        verify: read the finished store in --out again, every byte, and compare with what was written.
        seed: of the untrained copy.
        overwrite: replace what --out holds instead of continuing or refusing.
        quiet: no progress bar.
    """

    out: Path
    audited: str = str(zoo.LAB)
    samples: tuple[str, ...] = ()
    taps: tuple[str, ...] = DEFAULT_TAPS
    pooling: tuple[str, ...] = ()
    baselines: bool = False
    untrained: bool = False
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "int8"] = "float32"
    backend: Literal["keras", "onnxruntime"] = "keras"
    xla: bool = False
    dtype: Literal["float16", "float32"] = "float16"
    batch_size: int = 0
    shard_size: int = extract.SHARD_SIZE
    workers: str = workers.HERE
    native_resolution: int = 0
    num_samples: int = 0
    dry_run: bool = False
    verify: bool = False
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def extract_aad(config: ExtractAad) -> str:
    """Extracts what is missing and returns what is there; or plans, or verifies."""
    if config.verify:
        return _verify(config)
    workers.check(config.workers)
    if config.shard_size < 1:
        raise InputError(f"Expected --shard-size of at least 1, received {config.shard_size}.")
    table = _list(config)
    if config.dry_run:
        return _plan(config, table)
    if table is None:
        raise InputError("Expected --samples, received none.")
    spec = _spec(config)
    whole = models.load(spec)
    spec = _with_signals(config, spec, whole)
    cut = models.extractors(spec, whole)
    inputs = {
        "audited": formats.sha256_file(spec.audited / formats.MODEL),
        "samples": samples.fingerprint(table),
    }
    names = ("dtype", "shard_size", "batch_size")
    settings = {**spec.settings(), **{name: getattr(config, name) for name in names}, "models": list(cut)}
    settings |= _framing(config).settings()
    manifest = formats.make_manifest(store.KIND, inputs, settings)
    with formats.output_folder(config.out, manifest, config.overwrite):
        opened = store.open_store(config.out, manifest["fingerprint"])
        if opened is None:
            _extract(config, spec, cut, table, manifest)
            opened = store.open_store(config.out, manifest["fingerprint"])
    assert opened is not None  # noqa: S101 # it has just been finished
    return _describe(config, opened)


def _list(config: ExtractAad) -> SampleTable | None:
    if not config.samples:
        return None
    table = samples.list_all(config.samples)
    return table.take(np.arange(min(config.num_samples, len(table)))) if config.num_samples else table


def _spec(config: ExtractAad) -> models.ModelSpec:
    return models.ModelSpec(
        audited=Path(config.audited),
        taps=tuple(dict.fromkeys(config.taps)),
        poolings=tuple(dict.fromkeys(config.pooling)),
        untrained_seed=config.seed if config.untrained else None,
        precision=config.precision,
        backend=config.backend,
        xla=config.xla,
    )


def _framing(config: ExtractAad) -> images.Framing:
    return zoo.framing(Path(config.audited), config.native_resolution)


def _with_signals(config: ExtractAad, spec: models.ModelSpec, whole: Mapping[str, keras.Model]) -> models.ModelSpec:
    chosen = signals.available(whole[models.AUDITED], spec.taps) if config.baselines else ()
    return dataclasses.replace(spec, signals=chosen)


def _extract(
    config: ExtractAad,
    spec: models.ModelSpec,
    cut: Mapping[str, keras.Model],
    table: SampleTable,
    manifest: dict[str, Any],
) -> None:
    functions = models.face_functions(spec, cut, runtime.strategy())
    faces = images.first_faces(table, extract.BATCH_SIZE, _framing(config))
    facts = formats.read_manifest(config.out, store.KIND)  # of an earlier start, with what it measured
    if "batch_size" not in facts:
        size = config.batch_size or plan.best_batch_size(functions, faces)[0]
        facts = {**manifest, "batch_size": size, "cost": _cost(spec, cut, functions, faces)}
        formats.write_json(config.out / formats.MANIFEST, facts)
    layout = extract.Layout(int(facts["batch_size"]), config.shard_size, config.dtype, _framing(config))
    _check_room(config, extract.bytes_per_sample(functions, faces, config.dtype), len(table))
    with tqdm(total=len(table), desc="AAD", unit="face", disable=config.quiet, **pace()) as bar:
        report = _reporter(bar, extract.bytes_per_sample(functions, faces, config.dtype))
        if config.workers == workers.HERE:
            extract.extract(table, functions, config.out, layout, report)
        else:
            store.begin(config.out, table, config.shard_size)
            missing = extract.missing_shards(config.out, layout, len(table))
            work = scale.ShardWork(config.out.resolve(), _absolute(spec), layout)
            scale.extract_on_ray(work, missing, config.workers, report)
    store.finish(config.out, facts, table, config.shard_size)


def _absolute(spec: models.ModelSpec) -> models.ModelSpec:
    return dataclasses.replace(spec, audited=spec.audited.resolve())


def _reporter(bar: tqdm, size: int) -> Callable[[int], None]:
    def report(num: int) -> None:
        bar.update(num)
        bar.set_postfix_str(f"{bar.n * size / 1e9:.2f} GB", refresh=False)

    return report


def _cost(
    spec: models.ModelSpec,
    cut: Mapping[str, keras.Model],
    functions: Mapping[str, FaceFunction],
    faces: np.ndarray,
) -> dict[str, Any] | None:
    """Measures what another precision or backend gives and takes against Keras in float32.

    Raises:
        RefusedError: if another backend does not give the same numbers.
    """
    exact = dataclasses.replace(spec, precision=runtime.FLOAT32, backend=backends.KERAS, xla=False)
    if exact == spec:
        return None
    extractor = {models.AUDITED: cut[models.AUDITED]}
    reference = models.face_functions(exact, extractor)[models.AUDITED]
    candidate = functions[models.AUDITED]
    cost = runtime.compare(reference, candidate, faces)
    if spec.precision == runtime.FLOAT32 and min(cost.cosine.values()) < parity.MIN_COSINE:
        raise RefusedError(f"Expected Keras' AAD from {spec.backend}, received cosines of {cost.cosine}.")
    cosine = {name: value for name, value in cost.cosine.items() if name not in spec.signals}
    return {"speedup": cost.speedup, "cosine": cosine}


def _check_room(config: ExtractAad, size: int, num: int) -> None:
    free = shutil.disk_usage(config.out).free
    there = sum(path.stat().st_size for path in config.out.rglob("*.npy"))
    if num * size - there > free:
        raise InputError(
            f"Expected {(num * size - there) / 1e9:.1f} GB on the disk of {config.out}, received {free / 1e9:.1f} GB. "
            "Keep fewer taps, or vectors (--pooling max), or train with --aad live."
        )


# --- plan, verification, report --------------------------------------------------------------------------------------


def _plan(config: ExtractAad, table: SampleTable | None) -> str:
    if table is None and not config.num_samples:
        raise InputError("Expected --samples or --num-samples to plan for, received none.")
    num = len(table) if table is not None else config.num_samples
    spec, lines = _spec(config), []
    if (spec.audited / formats.MANIFEST).is_file():
        whole = models.load(spec)
    else:
        whole, text = _stand_in(config)
        lines.append(text)
    spec = _with_signals(config, spec, whole)
    cut = models.extractors(spec, whole)
    functions = models.face_functions(spec, cut, runtime.strategy())
    shown = synthetic.sample_table("synthetic:1/web/0-7/1") if table is None else table
    faces = images.first_faces(shown, extract.BATCH_SIZE, _framing(config))
    size = config.batch_size
    rates = {size: plan.rate(functions, faces, size)} if size else plan.best_batch_size(functions, faces)[1]
    best = max(rates, key=lambda key: rates[key])
    outputs = extract.run(functions, faces[:1], 1)
    lines.append(f"{num:,} samples through {', '.join(cut)}:")
    for model, named in outputs.items():
        for name, values in named.items():
            stored = extract.cast(values, config.dtype, name)
            shape = "x".join(map(str, stored.shape[1:]))
            lines.append(f"  {model + ' ' + name:24} {shape:>10} {stored.dtype}: {num * stored.nbytes / 1e9:9.3f} GB")
    total = num * extract.bytes_per_sample(functions, faces, config.dtype)
    shards = extract.Layout(shard_size=config.shard_size).num_shards(num)
    lines.append(
        f"  in all {total / 1e9:.1f} GB in {shards:,} shards; {_free(config.out) / 1e9:.1f} GB are free there."
    )
    speeds = ", ".join(f"{rates[key]:.1f} at {key}" for key in rates)
    lines.append(f"Images per second here, by batch size: {speeds}. All of them: {plan.duration(num / rates[best])}.")
    return "\n".join(lines)


def _stand_in(config: ExtractAad) -> tuple[dict[str, keras.Model], str]:
    """Builds a network of a card's architecture with random weights."""
    if config.audited not in cards.card_names():
        raise InputError(
            f"Expected the folder of an audited model, or for --dry-run a card of {cards.card_names()}, received "
            f"{config.audited}."
        )
    card = cards.load_card(config.audited)
    if not card.blocks:
        raise InputError(f"Expected a card that names the blocks of an IResNet, received {config.audited}.")
    keras.utils.set_random_seed(config.seed)
    model = iresnet.iresnet(iresnet.IResNetSpec(card.blocks))
    whole = {models.AUDITED: model}
    if config.untrained:
        whole[models.UNTRAINED] = zoo.untrained_copy(model, config.seed)
    return whole, f"{card.title}: not on the shelf, measured with random weights."


def _free(out: Path) -> int:
    existing = next(path for path in [out, *out.resolve().parents] if path.exists())
    return shutil.disk_usage(existing).free


def _verify(config: ExtractAad) -> str:
    manifest = formats.read_manifest(config.out, store.KIND)
    opened = store.open_store(config.out)
    if opened is None:
        raise InputError(f"Expected a finished AAD store in {config.out}, received none or an unfinished one.")
    total = store.num_bytes(config.out, manifest)
    with tqdm(total=total, unit="B", unit_scale=True, desc="verify", disable=config.quiet, **pace()) as bar:
        store.verify(config.out, bar.update)
    return f"{config.out}: {len(opened.table):,} samples, {total:,} bytes, every byte as it was written."


def _describe(config: ExtractAad, opened: store.AadStore) -> str:
    manifest = opened.manifest
    lines = []
    for model, named in opened.arrays.items():
        for name, values in named.items():
            shape = "x".join(map(str, values.shape[1:]))
            lines.append(f"{model} {name}: {len(values):,} x {shape} {values.dtype}")
    if cost := manifest.get("cost"):
        cosines = ", ".join(f"{tap} {cosine:.6f}" for tap, cosine in cost["cosine"].items())
        lines.append(f"{cost['speedup']:.2f} times as fast as Keras in float32; smallest cosine with it: {cosines}")
    if config.baselines and signals.BN_DISTANCE not in manifest["config"]["signals"]:
        lines.append(signals.NO_NORMALISATION)
    for database, num in manifest["resized"].items():
        lines.append(f"{_framing(config).why_resized()}: {database} {num}.")
    if manifest["rejected"]:
        lines.append(f"{manifest['rejected']:,} samples could not be used: {config.out / formats.REJECTED}")
    size = store.num_bytes(config.out, manifest)
    lines.append(
        f"{config.out}: {len(opened.table):,} samples, {size / 1e9:.2f} GB in {manifest['num_shards']:,} shards, "
        f"batches of {manifest['batch_size']}"
    )
    return "\n".join(lines)
