"""The AAD of a MINT run: stored by the run itself, taken from a store, or computed live in front of the heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.aad import extract, models, plan, pooling, store
from mint_keras.aad.models import AUDITED, UNTRAINED
from mint_keras.audited import iresnet, runtime, taps
from mint_keras.data import images, tables
from mint_keras.records import InputError, RefusedError, SampleTable
from mint_keras.stages.progress import pace
from mint_keras.training import fit_heads as heads

STORED, LIVE, AUTO = "stored", "live", "auto"
PRECISION = "precision.json"
SOURCE = "aad.json"


@dataclasses.dataclass(frozen=True)
class AadOptions:
    """What a run wants; see `mint_options.TrainMint`.

    Attributes:
        folder: of the run.
        store: a store to take from, None to make one's own.
        audited: folder of the audited model.
        framing: what images become before it sees them.
        taps: what the heads look at.
        pooling: a key of `pooling.POOLINGS`, "" for maps.
        signals: what baselines ask for, see `signals.available`.
        source: stored, live or auto.
        precision: of the audited model.
        xla: compile the audited model.
        untrained_seed: of the untrained copy; None for no copy.
        num_reads: how often heads read AAD: epochs times heads of one model.
        quiet: no progress bar.
    """

    folder: Path
    store: Path | None
    audited: Path
    framing: images.Framing
    taps: tuple[str, ...]
    pooling: str
    signals: tuple[str, ...]
    source: str
    precision: str
    xla: bool
    untrained_seed: int | None
    num_reads: int
    quiet: bool


def scorer_name(scorer: str, model: str) -> str:
    """Returns how scores through one of the models name their scorer."""
    return scorer if model == AUDITED else f"{scorer}_{UNTRAINED}"


@dataclasses.dataclass(frozen=True)
class RunAad:
    """What heads see of the samples.

    Attributes:
        table: the samples that could be used, n rows.
        taps: the taps of the run.
        pooling: of the stored AAD, "" for maps.
        arrays: by model and name, n rows each: AAD, or the pixels for live heads.
        live: the models to put in front of heads, by name; empty if AAD is stored.
        manifest: of the store.
    """

    table: SampleTable
    taps: list[str]
    pooling: str
    arrays: Mapping[str, Mapping[str, store.ShardedArray]]
    live: Mapping[str, keras.Model]
    manifest: dict[str, Any]

    def features(self, model: str, chosen: Sequence[str]) -> dict[str, store.ShardedArray]:
        """Returns the inputs of a head on some taps: their AAD by tap, or the pixels."""
        if self.live:
            return {images.PIXELS: self.arrays[images.PIXELS][images.PIXELS]}
        arrays = self.arrays[model]
        return {tap: arrays.get(pooling.array_name(tap, self.pooling)) or arrays[tap] for tap in chosen}

    def shapes(self, chosen: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tap's AAD without the samples."""
        if self.live:
            outputs = taps.extractor(self.live[AUDITED], chosen).output
            return {tap: tuple(outputs[tap].shape[1:]) for tap in chosen}
        return {tap: values.shape[1:] for tap, values in self.features(AUDITED, chosen).items()}

    def in_front(self, head: keras.Model, model: str, chosen: Sequence[str]) -> keras.Model:
        """Returns the head as `features` feed it: alone, or behind a model that gives live AAD."""
        if not self.live:
            return head
        settings = self.manifest["config"]
        extractor = taps.extractor(self.live[model], chosen)
        return heads.live_head(head, runtime.place(extractor, settings["precision"], runtime.strategy()))


def open_aad(options: AadOptions, inputs: Mapping[str, str], table: SampleTable) -> RunAad:
    """Opens the AAD of a run; extracts it first if it is missing or unfinished.

    Args:
        options: see `AadOptions`.
        inputs: SHA-256 of what the run is made from.
        table: its samples.

    Raises:
        InputError: if options contradict each other or a store lacks something.
        RefusedError: if a store was made from other inputs.
    """
    if options.store is not None:
        return _from_store(options, inputs["audited"], table)
    if options.pooling and options.source == LIVE:
        raise InputError(
            "Expected --aad stored (or auto) for vanilla heads, received live: a stored vector is smaller than the "
            "image it would be computed from in every epoch."
        )
    spec = models.ModelSpec(
        audited=options.audited,
        taps=options.taps,
        poolings=(options.pooling,) if options.pooling else (),
        signals=options.signals,
        untrained_seed=options.untrained_seed,
        xla=options.xla,
    )
    whole = models.load(spec)
    taps_only = models.extractors(dataclasses.replace(spec, signals=()), whole)
    spec = dataclasses.replace(spec, precision=_precision(options, taps_only[AUDITED], table))
    functions = models.face_functions(spec, models.extractors(spec, whole), runtime.strategy())
    is_live = _source(options, functions, table) == LIVE
    opened = _extract(options, spec, models.keep_pixels() if is_live else functions, inputs, table)
    live = whole if is_live else {}
    return RunAad(opened.table, list(options.taps), options.pooling, opened.arrays, live, opened.manifest)


def _extract(
    options: AadOptions,
    spec: models.ModelSpec,
    functions: Mapping[str, extract.FaceFunction],
    inputs: Mapping[str, str],
    table: SampleTable,
) -> store.AadStore:
    folder, layout = options.folder / "aad", extract.Layout(framing=options.framing)
    devices = runtime.strategy()
    settings = {
        **spec.settings(), **layout.settings(), "models": list(functions),
        "devices": devices.num_replicas_in_sync if devices else 1,
    }  # fmt: skip
    manifest = formats.make_manifest(store.KIND, dict(inputs), settings)
    opened = store.open_store(folder, manifest["fingerprint"])
    if opened is None:
        with tqdm(total=len(table), desc="AAD", unit="face", disable=options.quiet, **pace()) as bar:
            extract.extract(table, functions, folder, layout, bar.update)
        store.finish(folder, manifest, table, layout.shard_size)
        opened = store.open_store(folder, manifest["fingerprint"])
    assert opened is not None  # noqa: S101 # it has just been finished
    return opened


def _precision(options: AadOptions, extractor: keras.Model, table: SampleTable) -> str:
    """Returns the precision of a run. What it costs is measured once, by the first run, and written down."""
    if options.precision == runtime.FLOAT32:
        return runtime.FLOAT32
    path = options.folder / PRECISION
    if not path.is_file():
        batch = iresnet.normalise(images.first_faces(table, extract.BATCH_SIZE, options.framing))
        if options.precision == runtime.AUTO:
            precision, cost = runtime.choose(extractor, batch)
        else:
            precision, cost = options.precision, runtime.measure(extractor, options.precision, batch)
        formats.write_json(path, {"precision": precision, **dataclasses.asdict(cost)})
    return str(formats.read_json(path)["precision"])


def _source(options: AadOptions, functions: Mapping[str, extract.FaceFunction], table: SampleTable) -> str:
    """Returns where AAD comes from: stored or live. `auto` is decided once, by the first run, and written down."""
    if options.pooling:
        return STORED
    path = options.folder / SOURCE
    if not path.is_file():
        faces = images.first_faces(table, extract.BATCH_SIZE, options.framing)
        costs = plan.measure(functions, faces, options.folder)
        choice = plan.choose(costs, len(table), options.num_reads)
        if options.source == STORED and not choice.fits:
            raise InputError(f"Expected room for the AAD on the disk, received less: {choice.why}. Use --aad live.")
        source = (LIVE if choice.is_live else STORED) if options.source == AUTO else options.source
        formats.write_json(path, {"source": source, "asked": options.source, "why": choice.why})
    return str(formats.read_json(path)["source"])


def _from_store(options: AadOptions, audited: str, table: SampleTable) -> RunAad:
    assert options.store is not None  # noqa: S101
    if (options.source, options.precision, options.xla) != (AUTO, runtime.FLOAT32, False):
        raise InputError("Expected --store, or --aad, --precision and --xla, received both: a store has its own.")
    opened = store.open_store(options.store)
    if opened is None:
        raise InputError(f"Expected a finished AAD store of extract_aad.py in {options.store}, received none.")
    config = opened.manifest["config"]
    if opened.manifest["inputs"]["audited"] != audited:
        raise RefusedError(f"{options.store} holds AAD of another audited model than {options.audited}.")
    if config.get("framing") != options.framing.settings().get("framing"):
        raise RefusedError(
            f"Expected AAD of images as this run wants them in {options.store}, received another resolution or another "
            "--native-resolution."
        )
    if UNTRAINED not in opened.arrays or config["untrained_seed"] != options.untrained_seed:
        raise RefusedError(
            f"Expected AAD through an untrained copy of seed {options.untrained_seed} in {options.store}, received "
            f"{config['untrained_seed']}: without this control no head is reported. Extract with --untrained --seed "
            f"{options.untrained_seed}."
        )
    names = [pooling.array_name(tap, options.pooling, tap != taps.OUTCOME) for tap in options.taps]
    if lacking := sorted(set(names) - set(opened.arrays[AUDITED])):
        raise InputError(
            f"Expected {names} in {options.store}, received none of {lacking}. Vanilla heads take vectors "
            f"(--pooling {options.pooling or pooling.MAX} of extract_aad.py), all others maps."
        )
    if lacking := sorted(set(options.signals) - set(opened.arrays[AUDITED])):
        raise InputError(
            f"Expected what the baselines need in {options.store}, received none of {lacking}. Extract with "
            "--baselines, or train without."
        )
    rows = _find_rows(options.store, opened.table, table)
    arrays = {
        model: {name: values.take(rows) for name, values in named.items()} for model, named in opened.arrays.items()
    }
    return RunAad(opened.table.take(rows), list(options.taps), options.pooling, arrays, {}, opened.manifest)


def _find_rows(folder: Path, there: SampleTable, wanted: SampleTable) -> np.ndarray:
    """Returns the rows of a store's table that hold the wanted samples, in their order; rejected ones are left out."""
    asked = set(tables.read_samples(folder / formats.SAMPLES).sample_id.tolist())
    if missing := [name for name in wanted.sample_id.tolist() if name not in asked]:
        raise InputError(
            f"Expected the samples of the run in {folder}, received {len(missing)} others: {missing[0]!r}."
        )
    place = {name: row for row, name in enumerate(there.sample_id.tolist())}
    rows = np.array([place[name] for name in wanted.sample_id.tolist() if name in place], int)
    chosen = wanted.take(np.isin(wanted.sample_id, there.sample_id))
    if not np.array_equal(there.people()[rows], chosen.people()):
        raise RefusedError(f"{folder} says of some samples that they show other people than the run says.")
    return rows
