"""Find photos that occur twice, in one database or in two: no external may be among the members.

By identical pixels, by perceptual hash, and by laying alike photos on each other, also mirrored ones. With --audited
a face network, too, says which are alike. All databases but the largest are kept in memory, and the largest is looked
up in them. Altered copies are planted to measure what the search misses. An interrupted search continues: what was
found is kept every 131,072 photos of the largest.

Example:
    python scripts/find_overlap.py --samples faces/ms1mv3 faces/ijbc --audited models/fr1 --out runs/overlap
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import environment, formats, shelf
from mint_keras.borders import named
from mint_keras.commands import Result
from mint_keras.data import images, overlap, overlap_files, overlap_search, protocol_files, samples
from mint_keras.options import Common
from mint_keras.records import InputError, SampleTable

REVIEW = "review.png"
_PARTS = "parts"
_NUM_REVIEWED = 12  # pairs fit the width of a screen


@dataclasses.dataclass(frozen=True)
class FindOverlap(Common):
    """Options of find_overlap.py.

    Attributes:
        samples: Databases of aligned faces, the members first. What overlaps an earlier one is left out of a later.
        out: Folder for pairs.csv, the two lists of exclusions, overlap.json and review.png.
        audited: A face-recognition model (convert_fr.py, or dlib of the shelf) whose embeddings say which photos may be
            one, besides small pictures of them; slower.
        min_cosine: Embeddings closer than this are of photos that may be one. Whether they are is seen by laying them
            on each other, as other photos of a person are as close.
        known: Lists of duplicates that others have published, text or CSV: names of samples or people, several in a
            line for one photo; a name alone is left out.
        plant: So many copies, altered in each of 13 ways, are hidden among the others, to measure how many are found;
            fewer among few photos.
        seed: Seed of their choice.
        within: Search for altered copies inside each database, too, the largest included; of one database alone they
            always are, and equal pixels everywhere. Takes memory for all photos.
    """

    samples: tuple[str, ...]
    out: Path
    audited: Path | None = None
    # Copies are closer, as MobileFaceNet sees LFW: all of five kinds were, by 0.86. So are other photos of a person.
    min_cosine: float = 0.8
    known: tuple[Path, ...] = ()
    plant: int = 100
    seed: int = 1
    within: bool = False


@dataclasses.dataclass(frozen=True)
class FoundOverlap(Result):
    """What the search found: the content of overlap.json, and the folder with pairs and lists of exclusions."""

    report: dict[str, Any]
    out: Path


def find_overlap(config: FindOverlap) -> FoundOverlap:
    """Searches for photos that occur twice, and measures by planted copies what the search misses."""
    if not 0 < config.min_cosine <= 1:
        raise InputError(f"Expected --min-cosine above 0 and up to 1, received {config.min_cosine}.")
    from mint_keras.statistics import bounds

    tables = [samples.list_samples(source) for source in config.samples]
    table = samples.join(tables)
    # The first database keeps what it shares with later ones.
    side = np.repeat(np.arange(len(tables)), [len(part) for part in tables])
    inputs = {"samples": samples.fingerprint(table)}
    if config.audited is not None:
        inputs["audited"] = formats.sha256_file(shelf.find(config.audited) / formats.MODEL)
    inputs |= {f"known_{i}": formats.sha256_file(path) for i, path in enumerate(config.known)}
    # Read before anything is written: a list that is none must not cost the whole search.
    known_lines = [line for path in config.known for line in overlap_files.read_known(path)]
    settings = {name: getattr(config, name) for name in ("min_cosine", "plant", "seed", "within")}
    embed = None
    if config.audited is not None:
        environment.import_tensorflow()  # which nothing else here needs
        from mint_keras.audited import embedding

        embed = embedding.open_unit(config.audited)
    with formats.output_folder(config.out, formats.make_manifest(formats.OVERLAP, inputs, settings), config.overwrite):
        known, alone, num_unknown = overlap.match_known(table, known_lines)
        how = overlap_search.Settings(config.min_cosine, config.within, config.plant, config.seed)
        searched = overlap_search.search(table, side, how, embed, known, config.out / _PARTS)
        real = searched.found
        planted = {}
        for kind, hits in searched.hits.items():
            share = bounds.exact_interval(sum(hits), len(hits))
            planted[kind] = {"planted": len(hits), "found": sum(hits), "low": share.low, "high": share.high,
                             "missed_at_most": bounds.upper_limit(len(hits) - sum(hits), len(hits))}  # fmt: skip
        excluded, across = overlap.leave_out(real, side)
        excluded = np.union1d(excluded, np.array(alone, int))
        report = {
            "num_samples": int(searched.is_read.sum()),
            "num_unreadable": int((~searched.is_read).sum()),
            # A protocol asks by content whether its databases were searched as they are now.
            "databases": dict(zip(map(formats.sha256_table, tables), named(list(config.samples)), strict=True)),
            "audited": inputs.get("audited"),
            "within": config.within or len(tables) == 1,
            "known_names_without_sample": num_unknown,
            "pairs": {str(reason): int((real.reason == reason).sum()) for reason in np.unique(real.reason)},
            "across": int((side[real.first] != side[real.second]).sum()),
            "planted": planted,
            **overlap_files.write_found(config.out, table, real, excluded, across),
        }
        formats.write_json(config.out / formats.OVERLAP_REPORT, report)
        _write_review(config.out, table, real)
        shutil.rmtree(config.out / _PARTS, ignore_errors=True)  # which only an interrupted search needs
    return FoundOverlap(_text(config, report), report, config.out)


def _write_review(out: Path, table: SampleTable, found: overlap.Overlap) -> None:
    # Without cosines nothing says of which pairs one is least sure.
    order = np.argsort(found.cosine, kind="stable")[:_NUM_REVIEWED]
    if not len(order):
        return
    ordered = "the first in order" if np.isnan(found.cosine).all() else "the least certain first"
    from mint_keras.report import plots  # with matplotlib, which --help has no need of

    rows = {"photo": found.first[order], "its copy": found.second[order]}
    # All of them can be read: the search has.
    sheet = {name: list(images.read_faces(table.take(chosen))[1]) for name, chosen in rows.items()}
    plots.save_sheet(out / REVIEW, sheet, f"Taken for one photo, {ordered}")


def _text(config: FindOverlap, report: dict[str, Any]) -> str:
    pairs = ", ".join(f"{count} {reason}" for reason, count in report["pairs"].items()) or "none"
    lines = [
        f"{report['num_samples']} photos, {report['num_unreadable']} unreadable; pairs that show one photo: {pairs}; "
        f"{report['across']} of them across databases",
        f"To leave out: {report['excluded_samples']} photos, {report['excluded_identities']} people of later databases",
    ]
    # Of a copy nobody knows how it was altered: what is promised is what the worst kind keeps.
    planted = sorted(report["planted"].items(), key=lambda one: one[1]["found"] / one[1]["planted"])
    for kind, counts in planted:
        share = f"{counts['found'] / counts['planted']:.3f} [{counts['low']:.3f}, {counts['high']:.3f}]"
        lines.append(f"  planted, {kind + ':':18} {counts['found']:4} of {counts['planted']:4} found: {share}")
    if planted:
        kind, counts = planted[0]
        lines.insert(2, f"Of copies, at most {counts['missed_at_most']:.1%} are missed (95%, the worst kind: {kind}).")
    if not report["within"]:
        lines.append(protocol_files.NOT_WITHIN)
    if config.known:
        lines.append(f"Names in the known lists that are no sample's here: {report['known_names_without_sample']}")
    return "\n".join([*lines, str(config.out / formats.EXCLUDED_SAMPLES)])
