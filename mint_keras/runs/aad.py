"""The AAD of a MINT run: stored by the run itself, taken from a store, or computed live in front of the heads."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras import formats, progress
from mint_keras.aad import extract, models, plan, pooling, store
from mint_keras.audited import engines, iresnet, runtime, taps
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import images, sample_tables
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError, Observations, RefusedError, SampleTable
from mint_keras.runs.spec import RunSpec
from mint_keras.scorers.contract import Needs

STORED, LIVE, AUTO = "stored", "live", "auto"
PRECISION, ENGINE = "precision.json", "engine.json"
SOURCE = "aad.json"


@dataclasses.dataclass(frozen=True)
class RunAad:
    """What heads see of the samples of a run.

    Attributes:
        models: What each model gave, by its name; for live heads the faces alone, under "pixels".
        fronts: The whole models that stand in front of live heads, by name; empty if AAD is stored.
        manifest: The manifest of the store.
    """

    models: Mapping[str, Observations]
    fronts: Mapping[str, keras.Model]
    manifest: dict[str, Any]

    @property
    def table(self) -> SampleTable:
        """The samples that could be used."""
        return next(iter(self.models.values())).table

    @property
    def precision(self) -> str:
        """In which the audited model ran."""
        return str(self.manifest["config"]["precision"])

    @property
    def engine(self) -> engines.Engine:
        """Who ran the models, and runs whatever is compared with them."""
        config = self.manifest["config"]  # which tells it of stores of before it was kept
        return engines.Engine(**self.manifest.get("engine", {name: config[name] for name in ("backend", "xla")}))

    def seen(self, model: str) -> Observations:
        """Returns what a model gave: its AAD, or the faces for live heads."""
        return self.models[images.PIXELS if self.fronts else model]

    def front(self, model: str, chosen: Sequence[str]) -> keras.Model | None:
        """Returns the part of a model that live heads on some taps need in front of them; None if AAD is stored."""
        if not self.fronts:
            return None
        part = taps.extractor(self.fronts[model], chosen)
        if self.engine != engines.KERAS:
            return engines.as_model(part, self.engine)
        return runtime.place(part, self.precision, runtime.strategy())


def open_aad(
    spec: RunSpec,
    needs: Needs,
    folder: Path,
    inputs: Mapping[str, str],
    table: SampleTable,
    untrained_seed: int | None = None,
) -> RunAad:
    """Opens the AAD of a run; extracts it first if it is missing or unfinished.

    Args:
        spec: What the run is.
        needs: What its scorers must see.
        folder: The run's folder, in which the store lies.
        inputs: SHA-256 of what the run is made from.
        table: The samples of the run.
        untrained_seed: The seed of the untrained copy beside the audited model; None for no copy.

    Raises:
        InputError: if fields contradict each other or a store lacks something.
        RefusedError: if a store was made from other inputs.
    """
    if spec.store is not None:
        return _from_store(spec, needs, inputs["audited"], table, untrained_seed)
    if needs.pooling and spec.aad == LIVE:
        raise InputError(
            "Expected --aad stored (or auto) for vanilla heads, received live: a stored vector is smaller than the "
            "image it would be computed from in every epoch."
        )
    model_spec = models.ModelSpec(
        audited=spec.audited,
        taps=needs.taps,
        poolings=(needs.pooling,) if needs.pooling else (),
        signals=needs.signals,
        untrained_seed=untrained_seed,
        backend=spec.backend,
        xla=spec.xla,
    )
    whole = models.load(model_spec)
    taps_only = models.extractors(dataclasses.replace(model_spec, signals=()), whole)
    model_spec = dataclasses.replace(model_spec, precision=_precision(spec, folder, taps_only[AUDITED], table))
    cut = models.extractors(model_spec, whole)
    # Faces are drawn while an engine is chosen, which keeps one core busy.
    is_new = model_spec.backend == runtime.AUTO and not (folder / ENGINE).is_file()
    begun = extract.begin_decoding(table, extract.Layout(framing=spec.framing)) if is_new else {}
    model_spec, functions = _functions(spec, model_spec, cut, folder, table)
    is_live = not needs.pooling and _source(spec, folder, functions, table) == LIVE
    opened = _extract(spec, model_spec, models.keep_pixels if is_live else functions, folder, inputs, table, begun)
    seen = {name: Observations(opened.table, arrays) for name, arrays in opened.arrays.items()}
    return RunAad(seen, whole if is_live else {}, opened.manifest)


def _functions(
    spec: RunSpec, model_spec: models.ModelSpec, cut: Mapping[str, keras.Model], folder: Path, table: SampleTable
) -> tuple[models.ModelSpec, Callable[[], dict[str, FaceFunction]]]:
    """Decides who runs the models; a resumed run keeps to it. The functions are opened when they are asked for."""
    forwards, path = None, folder / ENGINE
    if path.is_file():
        model_spec = dataclasses.replace(model_spec, **formats.read_json(path)["engine"])
    elif model_spec.backend == runtime.AUTO:
        # Live heads show every face to the models in every epoch.
        num = len(table) * (specs.find(spec.head).epochs * spec.num_seeds if spec.aad == LIVE else 1)
        faces = images.first_faces(table, extract.BATCH_SIZE, spec.framing)
        model_spec, chosen, forwards = models.settle(model_spec, cut, faces, num)
        if "engine_said" in chosen:
            formats.write_json(path, chosen)
    opened = functools.cache(lambda: models.face_functions(model_spec, cut, forwards))
    return model_spec, opened


def _extract(
    spec: RunSpec,
    model_spec: models.ModelSpec,
    functions: Callable[[], dict[str, FaceFunction]],
    folder: Path,
    inputs: Mapping[str, str],
    table: SampleTable,
    begun: Mapping[int, extract.Decoding],
) -> store.AadStore:
    place, layout, devices = folder / "aad", extract.Layout(framing=spec.framing), runtime.strategy()
    names = (
        [images.PIXELS]
        if functions is models.keep_pixels
        else [AUDITED, UNTRAINED][: 1 if model_spec.untrained_seed is None else 2]
    )
    settings = {
        **model_spec.settings(), **layout.settings(), "models": names,
        "devices": devices.num_replicas_in_sync if devices else 1,
    }  # fmt: skip
    manifest = formats.make_manifest(store.KIND, dict(inputs), settings) | {"engine": model_spec.engine._asdict()}
    opened = store.open_store(place, manifest["fingerprint"])
    if opened is None:
        with progress.bar(total=len(table), desc=f"AAD, {folder.name.replace('_', ' ')}", unit="face") as bar:
            extract.extract(table, functions(), place, layout, bar.update, begun)
        store.finish(place, manifest, table, layout.shard_size)
        opened = store.open_store(place, manifest["fingerprint"])
    assert opened is not None  # noqa: S101 # it has just been finished
    return opened


def _precision(spec: RunSpec, folder: Path, extractor: keras.Model, table: SampleTable) -> str:
    """Returns the precision of a run. What it costs is measured once: a resumed run goes on alike."""
    if spec.precision == runtime.FLOAT32:
        return runtime.FLOAT32

    def measure() -> dict[str, Any]:
        batch = iresnet.normalise(images.first_faces(table, extract.BATCH_SIZE, spec.framing))
        if spec.precision == runtime.AUTO:
            precision, cost = runtime.choose(extractor, batch)
        else:
            precision, cost = spec.precision, runtime.measure(extractor, spec.precision, batch)
        return {"precision": precision, **dataclasses.asdict(cost)}

    return str(formats.kept(folder / PRECISION, measure, formats.write_json, formats.read_json)["precision"])


def _source(spec: RunSpec, folder: Path, functions: Callable[[], dict[str, FaceFunction]], table: SampleTable) -> str:
    """Returns where the maps come from: stored or live. `auto` is decided once, by the first run, and written down."""

    def choose() -> dict[str, Any]:
        faces = images.first_faces(table, extract.BATCH_SIZE, spec.framing)
        # Every epoch of every head of one model reads all AAD.
        num_reads = specs.find(spec.head).epochs * spec.num_seeds * len(spec.groups)
        choice = plan.choose(plan.measure(functions(), faces, folder), len(table), num_reads)
        if spec.aad == STORED and not choice.fits:
            raise InputError(f"Expected room for the AAD on the disk, received less: {choice.why}. Use --aad live.")
        source = (LIVE if choice.is_live else STORED) if spec.aad == AUTO else spec.aad
        return {"source": source, "asked": spec.aad, "why": choice.why}

    return str(formats.kept(folder / SOURCE, choose, formats.write_json, formats.read_json)["source"])


def _from_store(spec: RunSpec, needs: Needs, audited: str, table: SampleTable, untrained_seed: int | None) -> RunAad:
    folder = spec.store
    assert folder is not None  # noqa: S101
    if (spec.aad, spec.precision, spec.xla) != (AUTO, runtime.FLOAT32, False):
        raise InputError("Expected --store, or --aad, --precision and --xla, received both: a store has its own.")
    opened = store.open_store(folder)
    if opened is None:
        raise InputError(f"Expected a finished AAD store of extract_aad.py in {folder}, received none.")
    config = opened.manifest["config"]
    if opened.manifest["inputs"]["audited"] != audited:
        raise RefusedError(f"{folder} holds AAD of another audited model than {spec.audited}.")
    if config.get("framing") != spec.framing.settings().get("framing"):
        raise RefusedError(
            f"Expected AAD of images as this run wants them in {folder}, received another resolution or another "
            "--native-resolution."
        )
    if UNTRAINED not in opened.arrays or config["untrained_seed"] != untrained_seed:
        raise RefusedError(
            f"Expected AAD through an untrained copy of seed {untrained_seed} in {folder}, received "
            f"{config['untrained_seed']}: without this control no head is reported. Extract with --untrained --seed "
            f"{untrained_seed}."
        )
    names = [pooling.array_name(tap, needs.pooling, tap != taps.OUTCOME) for tap in needs.taps]
    if lacking := sorted(set(names) - set(opened.arrays[AUDITED])):
        raise InputError(
            f"Expected {names} in {folder}, received none of {lacking}. Vanilla heads take vectors "
            f"(--pooling {needs.pooling or pooling.MAX} of extract_aad.py), all others maps."
        )
    if lacking := sorted(set(needs.signals) - set(opened.arrays[AUDITED])):
        raise InputError(
            f"Expected what the baselines need in {folder}, received none of {lacking}. Extract with "
            "--baselines, or train without."
        )
    asked = set(sample_tables.read_samples(folder / formats.SAMPLES).sample_id.tolist())
    if missing := [name for name in table.sample_id.tolist() if name not in asked]:
        raise InputError(
            f"Expected the samples of the run in {folder}, received {len(missing)} others: {missing[0]!r}."
        )
    # In the run's order, without those that the store rejected.
    place = {name: row for row, name in enumerate(opened.table.sample_id.tolist())}
    rows = np.array([place[name] for name in table.sample_id.tolist() if name in place], int)
    chosen = table.take(np.isin(table.sample_id, opened.table.sample_id))
    if not np.array_equal(opened.table.people()[rows], chosen.people()):
        raise RefusedError(f"{folder} says of some samples that they show other people than the run says.")
    seen = {name: Observations(opened.table, arrays).take(rows) for name, arrays in opened.arrays.items()}
    return RunAad(seen, {}, opened.manifest)
