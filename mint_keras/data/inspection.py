"""What is in a database: counts, a look at some of its images, and a comparison with what was published."""

import collections
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from mint_keras import borders, progress
from mint_keras.data import files, images, layouts, recordio, sample_tables, samples
from mint_keras.data import people as people_of
from mint_keras.data.people import are_unknown
from mint_keras.records import InputError, Rejected, SampleTable
from mint_keras.texts import first_rows

_BINS = (1, 2, 5, 10, 20, 50, 100, 500)
_NUM_SIZES = 5
_BAR = 40  # characters
_SHOWN_SIDE = 512  # pixels; of huge photos a sheet would take gigabytes
_NUM_NAMED = 3  # of the largest and of the smallest identities
_MANY_NAMES, _SHARE_SINGLE = 20, 0.95
_MANY_PHOTOS, _TIMES_MEDIAN = 100, 20
_ANNOTATIONS = {"boxes": "boxes", "landmarks": "landmarks", "with_attributes": "attributes"}


def count(source: samples.Source, table: SampleTable, left_out: Sequence[Rejected]) -> dict[str, Any]:
    """Counts the samples of a database, its people, what it says of them, and its files that are no samples."""
    names = table.people()
    is_unknown = are_unknown(names)
    people, per_person = np.unique(names[~is_unknown], return_counts=True)
    histogram = np.histogram(per_person, [*_BINS, np.inf])[0]
    order = np.argsort(per_person, kind="stable")
    how, notes = how_read(source)
    counts: dict[str, Any] = {
        "source": borders.named(source.text),
        "layout": source.layout,
        "database": "+".join(np.unique(table.database).tolist()),
        "samples": len(table),
        "images": len(first_rows(table.location)),
        "left_out": dict(collections.Counter(one.reason for one in left_out).most_common()),
        "identities": len(per_person),
        "unknown": int(is_unknown.sum()),
        "identities_read": how,
        "notes": [*notes, *_implausible(people, per_person)],
        "per_identity": {"min": int(per_person.min()), "median": float(np.median(per_person)),
                         "mean": float(per_person.mean()), "max": int(per_person.max())} if len(people) else {},
        "largest": {str(people[k]): int(per_person[k]) for k in order[::-1][:_NUM_NAMED]},
        "smallest": {str(people[k]): int(per_person[k]) for k in order[:_NUM_NAMED]},
        "histogram": dict(zip(map(str, _BINS), histogram.tolist(), strict=True)),
        "boxes": int((~np.isnan(table.box[:, 0])).sum()) if table.box is not None else 0,
        "landmarks": int((~np.isnan(table.landmarks[:, 0, 0])).sum()) if table.landmarks is not None else 0,
        "with_attributes": int((table.attributes != "{}").sum()) if table.attributes is not None else 0,
    }  # fmt: skip
    if source.layout == layouts.RECORDIO and source.path:
        counts["property_classes"] = recordio.read_property(source.path.parent)
    return counts


def how_read(source: samples.Source) -> tuple[str, Sequence[str]]:
    """Returns how a source says who is who, and what else may be meant."""
    if source.path is not None and source.layout in (*people_of.READINGS, "lfw"):
        _, how, notes = people_of.read(list(files.list_images(source.path)), source.layout)
        return how, notes
    if source.layout == layouts.RECORDIO and source.path:
        return "the labels of the records", recordio.complaints(source.path)
    if source.layout == samples.TABLE and source.path:
        return "the column identity", sample_tables.notes(source.path)
    return f"as {source.layout} has them", ()


def _implausible(people: np.ndarray, per_person: np.ndarray) -> list[str]:
    """Returns what speaks against these being people with their photos."""
    found = []
    forms = collections.defaultdict(list)
    for name in people.tolist():
        forms["".join(filter(str.isalnum, unicodedata.normalize("NFKD", name).casefold()))].append(name)
    if same := [names for form, names in forms.items() if form and len(names) > 1]:
        found.append(f"{len(same)} names occur in several forms, such as {same[0][:3]}: one person?")
    num = len(per_person)
    if num == 1 and per_person[0] > 1:
        found.append("All known photos are of one person: does the folder tell people apart?")
    if num > _MANY_NAMES and np.mean(per_person == 1) > _SHARE_SINGLE:
        found.append("Nearly every photo is a person's only one: do the names tell photos apart and not people?")
    if num > 1 and per_person.max() >= _MANY_PHOTOS and per_person.max() > _TIMES_MEDIAN * np.median(per_person):
        found.append(f"{people[per_person.argmax()]} has {per_person.max():,} photos: a folder of several people?")
    return found


def look(
    table: SampleTable, num_read: int, num_shown: int, seed: int
) -> tuple[dict[str, Any], list[np.ndarray], list[Rejected]]:
    """Decodes so many images (0: all) at random, in their order, since a file of records is read fastest so.

    Returns:
        How many were read, how many could not be, and how many there are of each size; images to show; and what could
        not be read.
    """
    first = first_rows(table.location)
    num = min(num_read or len(first), len(first))
    chosen = np.random.default_rng(seed).choice(len(first), num, replace=False)
    turns = dict(zip(chosen.tolist(), range(num), strict=True))
    shown: dict[int, np.ndarray] = {}
    reader, sizes, unreadable = images.FaceReader(), collections.Counter[tuple[int, int]](), []
    for row in progress.bar(np.sort(chosen).tolist(), desc="images", unit="image"):
        try:
            image = reader.image(place := str(table.location[first[row]]))
        except InputError as error:
            name = str(table.sample_id[first[row]])
            unreadable.append(Rejected(borders.shown(name, place), files.reason(error, place)))
            continue
        sizes[image.shape[1], image.shape[0]] += 1
        # The sheet shows those of the readable ones that were drawn first, in their order: an inch of each.
        shown[turns[row]] = images.shrunk(image, _SHOWN_SIDE)
        if len(shown) > num_shown:
            del shown[max(shown)]
    counts = {
        "read": num,
        "unreadable": len(unreadable),
        "sizes": {f"{width}x{height}": many for (width, height), many in sizes.most_common()},
    }
    return counts, list(shown.values()), unreadable


def describe(counts: dict[str, Any], unreadable_at_most: float) -> str:
    """Says what `count` and `look` found, and of a database that was read in part which share may be unreadable."""
    people, images_of = counts["identities"], counts["per_identity"]
    faces = f"{counts['samples']:,} faces in " if counts["samples"] != counts["images"] else ""
    unknown = f", {counts['unknown']:,} photos of unknown identity" if counts["unknown"] else ""
    lines = [
        f"{counts['database']} ({counts['source']}), layout: {counts['layout']}",
        f"  {faces}{counts['images']:,} images, {people:,} identities{unknown}",
        f"  identities: {counts['identities_read']}",
        *(f"  note: {note}" for note in counts["notes"]),
    ]
    if counts["left_out"]:
        reasons = "; ".join(f"{num:,} {reason[10:-1]}" for reason, num in counts["left_out"].items())
        lines.append(f"  files: {counts['images'] + sum(counts['left_out'].values()):,}, of which left out: {reasons}")
    if people:
        lines.append(
            f"  images of an identity: {images_of['min']} to {images_of['max']:,}, median {images_of['median']:g}, "
            f"mean {images_of['mean']:.1f}"
        )
        for which in ("largest", "smallest") if people > 1 else ():
            named = ", ".join(f"{name.partition('/')[2]} ({num:,})" for name, num in counts[which].items())
            lines.append(f"  {which}: {named}")
    histogram = list(counts["histogram"].items())
    for (low, num), (high, _) in zip(histogram, [*histogram[1:], ("", 0)], strict=True):
        if num:
            label = f"{low}+" if not high else (low if int(high) == int(low) + 1 else f"{low}-{int(high) - 1}")
            lines.append(f"  {label:>8} {num:9,} {'#' * max(round(_BAR * num / people), 1)}")
    if known := [f"{name} of {counts[key]:,}" for key, name in _ANNOTATIONS.items() if counts[key]]:
        lines.append(f"  {', '.join(known)}")
    if sizes := list(counts["sizes"].items()):
        listed = ", ".join(f"{size} ({num:,})" for size, num in sizes[:_NUM_SIZES])
        more = f" and {len(sizes) - _NUM_SIZES} more" if len(sizes) > _NUM_SIZES else ""
        lines.append(f"  sizes: {listed}{more}")
    limit = f"; of all {counts['images']:,} at most {unreadable_at_most:.1%} (95%). --num-read 0 reads all"
    rest = "" if counts["read"] == counts["images"] else limit
    if num := sum(many for size, many in counts["sizes"].items() if len(set(size.split("x"))) > 1):
        lines.append(f"  not square: {num:,} of {counts['read']:,} read, so no faces yet: mint prepare cuts them out")
    lines.append(f"  unreadable: {counts['unreadable']:,} of {counts['read']:,} read{rest}")
    return "\n".join([*lines, *compare(counts)])


def compare(counts: dict[str, Any]) -> list[str]:
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
