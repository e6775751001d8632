"""From samples and an audited model to a finished store of AAD, on one machine or many; and what that would take."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from mint_keras import formats, progress, workers
from mint_keras.aad import extract, models, plan, scale, store
from mint_keras.audited import backends, cards, iresnet, runtime, zoo
from mint_keras.data import images, synthetic
from mint_keras.records import AUDITED, UNTRAINED, InputError, SampleTable


def extract_missing(
    out: Path,
    table: SampleTable,
    spec: models.ModelSpec,
    cut: Mapping[str, keras.Model],
    layout: extract.Layout,
    address: str,
) -> store.AadStore:
    """Writes what a store in `out` lacks, and finishes and opens it; a killed run goes on.

    The models come from `models.extractors`; `workers.map_parts` says who may work, by which address.

    Raises:
        InputError: If the store does not fit the disk, or an activation does not fit its type.
        RefusedError: If another backend does not give the numbers of Keras here, also one that was chosen before.
    """
    faces = images.first_faces(table, extract.BATCH_SIZE, layout.framing)
    facts = formats.read_manifest(out, store.KIND)  # of an earlier start, with what it measured
    if "engine" in facts:
        spec, forwards = dataclasses.replace(spec, **facts["engine"]), None
    else:
        spec, chosen, forwards = models.settle(spec, cut, faces, len(table))
        facts |= chosen
        formats.write_json(out / formats.MANIFEST, facts)
    functions = models.face_functions(spec, cut, forwards)
    if "batch_size" not in facts:
        # A batch size of 0 is measured once: a store keeps one size, also when it is continued, and fills every batch,
        # because outputs differ in the last bits between sizes.
        size = layout.batch_size or plan.best_batch_size(functions, faces)[0]
        cost = None if "engine_said" in facts else measure_cost(spec, cut[AUDITED], functions[AUDITED], faces)
        facts |= {"batch_size": size, "cost": cost}
        formats.write_json(out / formats.MANIFEST, facts)
    layout = dataclasses.replace(layout, batch_size=int(facts["batch_size"]))
    num_bytes = plan.bytes_per_sample(functions, faces, layout.dtype)
    free = shutil.disk_usage(out).free
    # What an earlier start has written takes no further room.
    wanted = len(table) * num_bytes - sum(path.stat().st_size for path in out.rglob("*.npy"))
    if wanted > free:
        raise InputError(
            f"Expected {wanted / 1e9:.1f} GB on the disk of {out}, received {free / 1e9:.1f} GB. "
            "Keep fewer taps, or vectors (--pooling max), or train with --aad live."
        )
    with progress.bar(total=len(table), desc="AAD", unit="face") as bar:

        def report(num: int) -> None:
            bar.update(num)
            bar.set_postfix_str(f"{bar.n * num_bytes / 1e9:.2f} GB", refresh=False)

        if address == workers.HERE:
            extract.extract(table, functions, out, layout, report)
        else:
            store.begin(out, table, layout.shard_size)
            # Workers have folders of their own, in which a relative path leads nowhere.
            there_too = dataclasses.replace(spec, audited=spec.audited.resolve())
            work = scale.ShardWork(out.resolve(), there_too, layout)
            missing = extract.missing_shards(out, layout, len(table))
            for num in workers.map_parts(scale.ShardWorker, work, missing, address):
                report(num)
    store.finish(out, facts, table, layout.shard_size)
    return cast(store.AadStore, store.open_store(out))  # it has just been finished


def measure_cost(
    spec: models.ModelSpec, extractor: keras.Model, function: runtime.FaceFunction, faces: np.ndarray
) -> dict[str, Any] | None:
    """Measures what the precision and backend of a cut audited model's function give and take on a batch of faces.

    Returns:
        How many times as fast as Keras in float32 it is, and the smallest cosine of every tap; None for just that.
    """
    exact = dataclasses.replace(spec, precision=runtime.FLOAT32, backend=backends.KERAS, xla=False)
    if exact == spec:
        return None
    reference = models.face_functions(exact, {AUDITED: extractor})[AUDITED]
    cost = runtime.compare(reference, function, faces)
    # Signals of baselines are no taps, and their cosines say nothing about them.
    cosine = {name: value for name, value in cost.cosine.items() if name not in spec.signals}
    return {"speedup": cost.speedup, "cosine": cosine}


def describe(folder: Path, opened: store.AadStore, why_resized: str, note: str = "") -> str:
    """Says what a store in a folder holds, what its precision cost, one more line, and what could not be used."""
    manifest = opened.manifest
    lines = []
    for model, named in opened.arrays.items():
        for name, values in named.items():
            shape = "x".join(map(str, values.shape[1:]))
            lines.append(f"{model} {name}: {len(values):,} x {shape} {values.dtype}")
    if cost := manifest.get("cost"):
        cosines = ", ".join(f"{tap} {cosine:.6f}" for tap, cosine in cost["cosine"].items())
        lines.append(f"{cost['speedup']:.2f} times as fast as Keras in float32; smallest cosine with it: {cosines}")
    lines += [line for line in (manifest.get("engine_said"), note) if line]
    lines += [f"{why_resized}: {database} {num}." for database, num in manifest["resized"].items()]
    if manifest["rejected"]:
        lines.append(f"{manifest['rejected']:,} samples could not be used: {folder / formats.REJECTED}")
    lines.append(
        f"{folder}: {len(opened.table):,} samples, {opened.num_bytes / 1e9:.2f} GB in {manifest['num_shards']:,} "
        f"shards, batches of {manifest['batch_size']}"
    )
    return "\n".join(lines)


def forecast(
    num: int,
    spec: models.ModelSpec,
    cut: Mapping[str, keras.Model],
    layout: extract.Layout,
    shown: SampleTable | None,
    out: Path,
) -> tuple[int, list[str]]:
    """Measures how large an extraction of `num` samples would get, and how long it would take on this machine.

    The models come from `models.extractors`. Without samples to show, faces are drawn. A batch size of 0 tries several.

    Returns:
        The bytes, and lines for people: the same model by model and tap by tap, and the time.
    """
    table = synthetic.sample_table("synthetic:1/web/0-7/1") if shown is None else shown
    faces = images.first_faces(table, extract.BATCH_SIZE, layout.framing)
    spec, chosen, forwards = models.settle(spec, cut, faces, num)
    functions = models.face_functions(spec, cut, forwards)
    size = layout.batch_size
    rates = {size: plan.rate(functions, faces, size)} if size else plan.best_batch_size(functions, faces)[1]
    lines, total = [f"{num:,} samples through {', '.join(cut)}:"], 0
    # One face tells the shapes.
    for model, named in extract.run(functions, faces[:1], 1).items():
        for name, values in named.items():
            stored = store.cast(values, layout.dtype, name)
            shape = "x".join(map(str, stored.shape[1:]))
            lines.append(f"  {model + ' ' + name:24} {shape:>10} {stored.dtype}: {num * stored.nbytes / 1e9:9.3f} GB")
            total += num * stored.nbytes
    # The folder need not exist; its disk does.
    free = shutil.disk_usage(next(path for path in [out, *out.resolve().parents] if path.exists())).free
    speeds = ", ".join(f"{rates[key]:.1f} at {key}" for key in rates)
    duration = plan.duration(num / max(rates.values()))
    lines += [
        f"  in all {total / 1e9:.1f} GB in {layout.num_shards(num):,} shards; {free / 1e9:.1f} GB are free there.",
        f"Images per second here, by batch size: {speeds}. All of them: {duration}.",
        *filter(None, [chosen.get("engine_said")]),
    ]
    return total, lines


def stand_in(card_name: str, untrained_seed: int | None, seed: int) -> tuple[dict[str, keras.Model], str]:
    """Builds a network of a card's architecture with random weights, for a model that one does not have.

    Returns:
        The model by name, also its untrained copy if that has a seed, and what to say of it.

    Raises:
        InputError: If there is no such card, or it does not describe an IResNet.
    """
    if card_name not in (names := cards.card_names()):
        raise InputError(f"Expected a model's folder, or for --dry-run a card of {names}, received {card_name}.")
    card = cards.load_card(card_name)
    if not card.blocks:
        raise InputError(f"Expected a card that names the blocks of an IResNet, received {card_name}.")
    keras.utils.set_random_seed(seed)
    # Speed and shapes do not depend on the weights.
    whole = {AUDITED: iresnet.iresnet(iresnet.IResNetSpec(card.blocks))}
    if untrained_seed is not None:
        whole[UNTRAINED] = zoo.untrained_copy(whole[AUDITED], untrained_seed)
    return whole, f"{card.title}: not on the shelf, measured with random weights."
