"""From samples and an audited model to a finished store of AAD, on one machine or many; a killed run goes on."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras import formats, progress, workers
from mint_keras.aad import extract, models, plan, scale, store
from mint_keras.audited import backends, parity, runtime
from mint_keras.data import images
from mint_keras.records import AUDITED, InputError, RefusedError, SampleTable


def extract_missing(
    out: Path,
    table: SampleTable,
    spec: models.ModelSpec,
    cut: Mapping[str, keras.Model],
    layout: extract.Layout,
    manifest: dict[str, Any],
    address: str,
) -> None:
    """Writes what a store lacks, and finishes it.

    Args:
        out: The output folder of the store.
        table: The samples.
        spec: The models.
        cut: The models themselves, from `models.extractors`.
        layout: Sizes and type. A batch size of 0 is measured on the first run, and kept by whatever continues it.
        manifest: The manifest of the store.
        address: Who works: see `workers.map_parts`.

    Raises:
        InputError: If the store does not fit the disk, or an activation does not fit its type.
        RefusedError: If another backend does not give the numbers of Keras.
    """
    functions = models.face_functions(spec, cut, runtime.strategy())
    faces = images.first_faces(table, extract.BATCH_SIZE, layout.framing)
    facts = formats.read_manifest(out, store.KIND)  # of an earlier start, with what it measured
    if "batch_size" not in facts:
        # A store keeps one batch size and fills every batch, because outputs differ in the last bits between sizes.
        size = layout.batch_size or plan.best_batch_size(functions, faces)[0]
        cost = measure_cost(spec, cut[AUDITED], functions[AUDITED], faces)
        facts = {**manifest, "batch_size": size, "cost": cost}
        formats.write_json(out / formats.MANIFEST, facts)
    layout = dataclasses.replace(layout, batch_size=int(facts["batch_size"]))
    size = extract.bytes_per_sample(functions, faces, layout.dtype)
    free = shutil.disk_usage(out).free
    # What an earlier start has written takes no further room.
    there = sum(path.stat().st_size for path in out.rglob("*.npy"))
    if len(table) * size - there > free:
        raise InputError(
            f"Expected {(len(table) * size - there) / 1e9:.1f} GB on the disk of {out}, received {free / 1e9:.1f} GB. "
            "Keep fewer taps, or vectors (--pooling max), or train with --aad live."
        )
    with progress.bar(total=len(table), desc="AAD", unit="face") as bar:

        def report(num: int) -> None:
            bar.update(num)
            bar.set_postfix_str(f"{bar.n * size / 1e9:.2f} GB", refresh=False)

        if address == workers.HERE:
            extract.extract(table, functions, out, layout, report)
        else:
            store.begin(out, table, layout.shard_size)
            missing = extract.missing_shards(out, layout, len(table))
            # Workers have folders of their own, in which a relative path leads nowhere.
            there_too = dataclasses.replace(spec, audited=spec.audited.resolve())
            scale.extract_on_ray(scale.ShardWork(out.resolve(), there_too, layout), missing, address, report)
    store.finish(out, facts, table, layout.shard_size)


def measure_cost(
    spec: models.ModelSpec, extractor: keras.Model, function: extract.FaceFunction, faces: np.ndarray
) -> dict[str, Any] | None:
    """Measures what another precision or backend gives and takes against Keras in float32.

    Args:
        spec: The models, with the precision and the backend.
        extractor: The audited model, cut.
        function: The same in this precision, by this backend.
        faces: A batch of faces, uint8 RGB.

    Returns:
        How many times as fast it is, and the smallest cosine of every tap; None for Keras in float32 itself.

    Raises:
        RefusedError: If another backend does not give the same numbers.
    """
    exact = dataclasses.replace(spec, precision=runtime.FLOAT32, backend=backends.KERAS, xla=False)
    if exact == spec:
        return None
    reference = models.face_functions(exact, {AUDITED: extractor})[AUDITED]
    cost = runtime.compare(reference, function, faces)
    # Lower precisions differ, and say by how much; another backend in float32 has no excuse.
    if spec.precision == runtime.FLOAT32 and min(cost.cosine.values()) < parity.MIN_COSINE:
        raise RefusedError(f"Expected Keras' AAD from {spec.backend}, received cosines of {cost.cosine}.")
    # Signals of baselines are no taps, and their cosines say nothing about them.
    cosine = {name: value for name, value in cost.cosine.items() if name not in spec.signals}
    return {"speedup": cost.speedup, "cosine": cosine}


def describe(folder: Path, opened: store.AadStore, why_resized: str, note: str = "") -> str:
    """Says what a store holds, what its precision cost, and what could not be used.

    Args:
        folder: The folder of the store.
        opened: The store.
        why_resized: What to say of images of another size, see `images.Framing.why_resized`.
        note: One more line.
    """
    manifest = opened.manifest
    lines = []
    for model, named in opened.arrays.items():
        for name, values in named.items():
            shape = "x".join(map(str, values.shape[1:]))
            lines.append(f"{model} {name}: {len(values):,} x {shape} {values.dtype}")
    if cost := manifest.get("cost"):
        cosines = ", ".join(f"{tap} {cosine:.6f}" for tap, cosine in cost["cosine"].items())
        lines.append(f"{cost['speedup']:.2f} times as fast as Keras in float32; smallest cosine with it: {cosines}")
    lines += [note] if note else []
    lines += [f"{why_resized}: {database} {num}." for database, num in manifest["resized"].items()]
    if manifest["rejected"]:
        lines.append(f"{manifest['rejected']:,} samples could not be used: {folder / formats.REJECTED}")
    size = store.num_bytes(folder, manifest)
    lines.append(
        f"{folder}: {len(opened.table):,} samples, {size / 1e9:.2f} GB in {manifest['num_shards']:,} shards, "
        f"batches of {manifest['batch_size']}"
    )
    return "\n".join(lines)
