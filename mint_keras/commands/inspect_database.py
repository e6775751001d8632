"""What is in a database? Its layout, images and identities, sizes, what cannot be read, and a sheet to look at.

The layout is recognised: RecordIO, IJB-C, FDDB, Adience, CelebA, UTKFace, LFW, GANDiffFace, insightface's verification
sets, CIFAR-100, Tiny-ImageNet, COCO, Caltech, prepared tensorflow_datasets, any folder of photos, or a table of your
own. Counts are compared with those published.

Example:
    python scripts/inspect_database.py faces/ms1mv3
    python scripts/inspect_database.py adience=downloads/aligned photos --num-read 0 --out runs/sheet
"""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.data import images, layouts, recordio, samples
from mint_keras.options import Common
from mint_keras.records import InputError, Rejected, SampleTable

KIND = "database_sheet"
SHEET, INSPECTION = "sheet.png", "inspection.json"
_BINS = (1, 2, 5, 10, 20, 50, 100, 500)
_NUM_SIZES = 5
_BAR = 40


@dataclasses.dataclass(frozen=True)
class InspectDatabase(Common):
    """Options of inspect_database.py.

    Attributes:
        paths: Databases: folders, .rec or .bin files, sample tables or lab faces (synthetic:1/web/0-11/1).
        out: Folder for sheet.png, inspection.json and rejected.csv; runs/inspect-NAME by default.
        num: Images of each database on the sheet.
        num_read: Images of each database to decode, at random, for their sizes and for what is broken; 0 reads all.
        seed: Seed of the choice.
    """

    paths: tuple[str, ...] = dataclasses.field(metadata={"positional": True})
    out: Path | None = None
    num: int = 12
    num_read: int = 1000
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Inspection(Result):
    """What was found.

    Attributes:
        databases: The content of inspection.json, an entry for each database.
        out: The folder with the sheet.
    """

    databases: list[dict[str, Any]]
    out: Path


def inspect_database(config: InspectDatabase) -> Inspection:
    """Counts what there is in each database, decodes some of it, and draws a row of images of each."""
    if config.num < 1:
        raise InputError(f"Expected --num of at least 1, received {config.num}.")
    sources = [samples.locate(path) for path in config.paths]
    tables = [samples.list_samples(path) for path in config.paths]
    inputs = {path: samples.fingerprint(table) for path, table in zip(config.paths, tables, strict=True)}
    settings = {"num": config.num, "num_read": config.num_read, "seed": config.seed}
    names = [str(table.database[0]) for table in tables]
    out = config.out or Path("runs") / ("inspect-" + "-".join(dict.fromkeys(names)))
    found: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    rows: dict[str, list[np.ndarray]] = {}
    with formats.output_folder(out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        for source, table in zip(sources, tables, strict=True):
            counts = _count(source, table)
            sizes, shown, unreadable = _look(table, config)
            counts |= {"read": sizes.total() + len(unreadable), "unreadable": len(unreadable)}
            counts["sizes"] = {f"{w}x{h}": num for (w, h), num in sizes.most_common()}
            found.append(counts)
            rejected += unreadable
            if shown:
                label = counts["database"]
                rows[f"{label}, {len(rows) + 1}" if label in rows else label] = shown
        formats.write_json(out / INSPECTION, {"databases": found})
        formats.write_rejected(out / formats.REJECTED, rejected)
        if rows:
            from mint_keras.report import plots

            plots.save_sheet(out / SHEET, rows, "Databases")
    lines = [_text(counts) for counts in found]
    written = [INSPECTION, *([SHEET] if rows else []), *([formats.REJECTED] if rejected else [])]
    return Inspection("\n\n".join([*lines, f"Written: {out}: {', '.join(written)}"]), found, out)


def _count(source: samples.Source, table: SampleTable) -> dict[str, Any]:
    databases = np.unique(table.database).tolist()
    per_person = np.unique(table.people(), return_counts=True)[1]
    histogram = np.histogram(per_person, [*_BINS, np.inf])[0]
    counts: dict[str, Any] = {
        "source": source.text,
        "layout": source.layout,
        "database": "+".join(databases),
        "samples": len(table),
        "images": len(np.unique(table.location)),
        "identities": len(per_person),
        "per_identity": {"min": int(per_person.min()), "median": float(np.median(per_person)),
                         "mean": float(per_person.mean()), "max": int(per_person.max())},
        "histogram": dict(zip(map(str, _BINS), histogram.tolist(), strict=True)),
        "boxes": int((~np.isnan(table.box[:, 0])).sum()) if table.box is not None else 0,
        "landmarks": int((~np.isnan(table.landmarks[:, 0, 0])).sum()) if table.landmarks is not None else 0,
        "with_attributes": int((table.attributes != "{}").sum()) if table.attributes is not None else 0,
    }  # fmt: skip
    if source.layout == layouts.RECORDIO and source.path:
        counts["property_classes"] = recordio.read_property(source.path.parent)
    return counts


def _look(
    table: SampleTable, config: InspectDatabase
) -> tuple[collections.Counter[tuple[int, int]], list[np.ndarray], list[Rejected]]:
    """Decodes a random choice of images, in their order; returns sizes, some to show, and what cannot be read."""
    locations = np.unique(table.location)
    rng = np.random.default_rng(config.seed)
    num = min(config.num_read or len(locations), len(locations))
    chosen = rng.choice(len(locations), num, replace=False)
    turns = dict(zip(chosen.tolist(), range(num), strict=True))
    shown: dict[int, np.ndarray] = {}
    reader, sizes, unreadable = images.FaceReader(), collections.Counter[tuple[int, int]](), []
    for row in progress.bar(np.sort(chosen).tolist(), desc="images", unit="image"):
        try:
            image = reader.image(str(locations[row]))
        except InputError as error:
            unreadable.append(Rejected(str(locations[row]), str(error)))
            continue
        sizes[image.shape[1], image.shape[0]] += 1
        # The sheet shows those of the readable ones that were drawn first, in their order.
        shown[turns[row]] = image
        if len(shown) > config.num:
            del shown[max(shown)]
    return sizes, list(shown.values()), unreadable


def _text(counts: dict[str, Any]) -> str:
    people, images_of = counts["identities"], counts["per_identity"]
    faces = f"{counts['samples']:,} faces in " if counts["samples"] != counts["images"] else ""
    lines = [
        f"{counts['database']} ({counts['source']}), layout: {counts['layout']}",
        f"  {faces}{counts['images']:,} images, {people:,} identities",
        f"  images of an identity: {images_of['min']} to {images_of['max']:,}, median {images_of['median']:g}, "
        f"mean {images_of['mean']:.1f}",
    ]
    histogram = list(counts["histogram"].items())
    for (low, num), (high, _) in zip(histogram, [*histogram[1:], ("", 0)], strict=True):
        if num:
            label = f"{low}+" if not high else (low if int(high) == int(low) + 1 else f"{low}-{int(high) - 1}")
            lines.append(f"  {label:>8} {num:9,} {'#' * max(round(_BAR * num / people), 1)}")
    known = [f"{name} of {counts[key]:,}" for key, name in _ANNOTATIONS.items() if counts[key]]
    lines += [f"  {', '.join(known)}"] if known else []
    sizes = list(counts["sizes"].items())
    listed = ", ".join(f"{size} ({num:,})" for size, num in sizes[:_NUM_SIZES])
    more = f" and {len(sizes) - _NUM_SIZES} more" if len(sizes) > _NUM_SIZES else ""
    lines += [f"  sizes: {listed}{more}"] if sizes else []
    lines.append(f"  unreadable: {_unreadable(counts)}")
    return "\n".join([*lines, *_published(counts)])


_ANNOTATIONS = {"boxes": "boxes", "landmarks": "landmarks", "with_attributes": "attributes"}


def _unreadable(counts: dict[str, Any]) -> str:
    num, read = counts["unreadable"], counts["read"]
    text = f"{num:,} of {read:,} read"
    if read == counts["images"]:
        return text
    from mint_keras.statistics import bounds

    limit = bounds.upper_limit(num, read)
    return f"{text}; of all {counts['images']:,} at most {limit:.1%} (95%). --num-read 0 reads all"


def _published(counts: dict[str, Any]) -> list[str]:
    """Compares with what the publishers counted: exactly, or by how much this copy differs."""
    candidates = [known for known in layouts.PUBLISHED if known.layout == counts["layout"]]
    lines = []
    if counts.get("property_classes") not in (None, counts["identities"]):
        lines.append(
            f"  property says {counts['property_classes']:,} identities, the labels {counts['identities']:,}: damaged?"
        )
    exact = [known for known in candidates if known.images == counts["images"]]
    for known in exact:
        people = known.identities in (0, counts["identities"])
        same = "as published" if people else f"but {known.identities:,} identities were published"
        lines.append(f"  {known.name}: {known.images:,} images {same} ({known.source})")
    if candidates and not exact:
        numbers = "; ".join(f"{known.name} {known.images:,}" for known in candidates)
        lines.append(f"  none of the published counts ({numbers})")
    return lines
