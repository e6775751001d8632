"""Stage: are any of the externals among the members? Which to leave out, and how much such a search misses."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats
from tqdm import tqdm

from mint_keras import formats
from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.data import images, overlap, samples
from mint_keras.records import InputError, SampleTable
from mint_keras.report import plots
from mint_keras.stages.progress import pace

PAIRS, REVIEW = "pairs.csv", "review.png"
_BATCH = 64
_NUM_REVIEWED = 12


@dataclasses.dataclass(frozen=True)
class FindOverlap:
    """Options of find_overlap.py.

    Attributes:
        samples: databases of aligned faces, the members first; what overlaps an earlier one is left out of a later.
        out: folder for pairs.csv, the two lists of exclusions, overlap.json and review.png.
        audited: a face-recognition model (convert_fr.py) whose embeddings find cropped copies of every size; slower.
            Without, copies are found by their pixels and perceptual hashes only, cropped ones by hashes of parts that
            lack 5%.
        min_cosine: embeddings closer than this are taken for one photo. Lower finds more crops, and takes more
            photos of one person for one photo; the planted copies show what a value is worth.
        known: lists of duplicates that others have published, text or CSV: names of samples or people, several in a
            line for one photo; a name alone is left out.
        plant: altered copies of so many samples that are hidden among the others, to measure how many are found.
        seed: seed of their choice.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    samples: tuple[str, ...]
    out: Path
    audited: Path | None = None
    min_cosine: float = 0.86
    known: tuple[Path, ...] = ()
    plant: int = 200
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def find_overlap(config: FindOverlap) -> str:
    """Searches for photos that occur twice, and measures by planted copies what the search misses."""
    if not 0 < config.min_cosine <= 1:
        raise InputError(f"Expected --min-cosine above 0 and up to 1, received {config.min_cosine}.")
    tables = [samples.list_samples(source) for source in config.samples]
    table = samples.join(tables)
    side = np.repeat(np.arange(len(tables)), [len(part) for part in tables])
    inputs = {"samples": samples.fingerprint(table)}
    if config.audited is not None:
        inputs["audited"] = formats.sha256_file(config.audited / formats.MODEL)
    inputs |= {f"known_{i}": formats.sha256_file(path) for i, path in enumerate(config.known)}
    known_lines = [line for path in config.known for line in _read_list(path)]
    settings = {"min_cosine": config.min_cosine, "plant": config.plant, "seed": config.seed}
    embed = _embedder(config.audited) if config.audited is not None else None
    with formats.output_folder(config.out, formats.make_manifest(formats.OVERLAP, inputs, settings), config.overwrite):
        rows, prints, planted = _fingerprint(config, table, embed)
        num_unreadable = len(table) - len(rows)
        table, side = table.take(rows), side[rows]
        known, alone, num_unknown = overlap.match_known(table, known_lines)
        found = overlap.find_overlap(prints, config.min_cosine, known)
        is_real = found.second < len(table)
        real = overlap.Overlap(*(getattr(found, field.name)[is_real] for field in dataclasses.fields(found)))
        report = {
            "num_samples": len(table),
            "num_unreadable": num_unreadable,
            "databases": dict(zip(map(formats.sha256_table, tables), config.samples, strict=True)),
            "audited": inputs.get("audited"),
            "known_names_without_sample": num_unknown,
            "pairs": {str(reason): int((real.reason == reason).sum()) for reason in np.unique(real.reason)},
            "across": int((side[real.first] != side[real.second]).sum()),
            "planted": _recall(found, planted, overlap.first_equal(prints.digest)),
        }
        excluded = _write(config.out, table, side, real, np.array(alone, int))
        formats.write_json(config.out / formats.OVERLAP_REPORT, {**report, **excluded})
        _write_review(config.out, table, real)
    return _text(config, report, excluded)


def _fingerprint(
    config: FindOverlap, table: SampleTable, embed: Callable[[np.ndarray], np.ndarray] | None
) -> tuple[np.ndarray, overlap.Fingerprints, list[tuple[int, str]]]:
    """Returns the rows that could be read, fingerprints of them and then of planted copies, and what those copy."""
    rng = np.random.default_rng(config.seed)
    chosen = set(rng.choice(len(table), min(config.plant, len(table)), replace=False).tolist())
    kinds = list(overlap.ALTERATIONS)
    parts: list[tuple] = []
    copies: list[tuple] = []
    rows: list[int] = []
    planted: list[tuple[int, str]] = []
    with tqdm(total=len(table), desc="photos", unit="photo", disable=config.quiet, **pace()) as bar:
        for batch_rows, faces in images.FaceReader().batches(table, _BATCH):
            parts.append(_look(faces, embed))
            altered = []
            for position, row in enumerate(batch_rows.tolist()):
                if row in chosen:
                    kind = kinds[len(planted) % len(kinds)]
                    planted.append((len(rows) + position, kind))
                    altered.append(overlap.alter(faces[position], kind, rng))
            if altered:
                copies.append(_look(np.stack(altered), embed))
            rows += batch_rows.tolist()
            bar.update(len(batch_rows))
    if not rows:
        raise InputError(f"Expected aligned faces in {list(config.samples)}, received none that is usable.")
    digest, pdq, mirrored, quality, cropped, embedding = zip(*parts, *copies, strict=True)
    prints = overlap.Fingerprints(
        digest=np.concatenate(digest),
        pdq=np.concatenate(pdq),
        mirrored=np.concatenate(mirrored),
        quality=np.concatenate(quality),
        embedding=np.concatenate(embedding) if embed else None,
        cropped=np.concatenate(cropped),
    )
    return np.array(rows), prints, planted


def _look(faces: np.ndarray, embed: Callable[[np.ndarray], np.ndarray] | None) -> tuple:
    return *overlap.hash_faces(faces), overlap.hash_crops(faces), embed(faces) if embed else None


def _embedder(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    if zoo.framing(folder) != images.FACE:
        raise InputError(f"Expected a model of faces of {images.IMAGE_SIZE} pixels, received {folder} of another size.")
    runtime.exact_float32()
    forward = runtime.forward(taps.extractor(zoo.load_audited(folder), [taps.OUTCOME]))

    def embed(faces: np.ndarray) -> np.ndarray:
        padded = np.concatenate([faces, np.zeros((_BATCH - len(faces), *faces.shape[1:]), faces.dtype)])
        outcome = sum(forward(iresnet.normalise(side))[taps.OUTCOME] for side in (padded, padded[:, :, ::-1]))
        outcome = np.asarray(outcome)[: len(faces)]
        norms = np.linalg.norm(outcome, axis=1, keepdims=True)
        return outcome / np.maximum(norms, np.finfo(np.float32).tiny)

    return embed


def _recall(
    found: overlap.Overlap, planted: list[tuple[int, str]], first_equal: np.ndarray
) -> dict[str, dict[str, float]]:
    """Counts planted copies that were found, with the upper limit (95%) of the share that is missed.

    Of photos with equal pixels the first stands for all.
    """
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    num = len(first_equal) - len(planted)
    result = {}
    for kind in [*overlap.ALTERATIONS, "all"]:
        hits = [(int(first_equal[row]), num + i) in pairs for i, (row, of) in enumerate(planted) if kind in (of, "all")]
        if hits:
            missed = len(hits) - sum(hits)
            limit = scipy.stats.beta.ppf(0.95, missed + 1, sum(hits)) if missed < len(hits) else 1.0
            result[kind] = {"planted": len(hits), "found": sum(hits), "missed_at_most": float(limit)}
    return result


def _write(
    out: Path, table: SampleTable, side: np.ndarray, found: overlap.Overlap, alone: np.ndarray
) -> dict[str, int]:
    """Writes the pairs and the exclusions: photos, and whole people where an earlier side has one of theirs."""
    rows = zip(found.first, found.second, found.reason, found.cosine, strict=True)
    lines = [(table.sample_id[a], table.sample_id[b], reason, f"{cosine:.4f}") for a, b, reason, cosine in rows]
    _write_csv(out / PAIRS, ("first", "second", "reason", "cosine"), lines)
    excluded, across = overlap.leave_out(found, side)
    excluded = np.union1d(excluded, alone)
    _write_csv(
        out / formats.EXCLUDED_SAMPLES, ("sample_id",), [(sample_id,) for sample_id in table.sample_id[excluded]]
    )
    people = np.unique(table.people()[across])
    _write_csv(out / formats.EXCLUDED_PEOPLE, ("identity",), [(person,) for person in people])
    return {"excluded_samples": len(excluded), "excluded_identities": len(people)}


def _read_list(path: Path) -> list[list[str]]:
    """Reads a list of duplicates: names separated by commas, semicolons or tabs, one photo in a line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Expected a list of names at {path}, received: {error}.") from error
    parts = ([name.strip().strip('"') for name in re.split("[,;\t]", line)] for line in lines)
    return [names for part in parts if (names := [name for name in part if name])]


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    formats.write_text(path, text.getvalue())


def _write_review(out: Path, table: SampleTable, found: overlap.Overlap) -> None:
    """Draws the pairs one is least sure of, or without cosines, which would say so, the first; first above second."""
    order = np.argsort(found.cosine, kind="stable")[:_NUM_REVIEWED]
    if not len(order):
        return
    ordered = "the first in order" if np.isnan(found.cosine).all() else "the least certain first"
    reader = images.FaceReader()
    rows = {"photo": found.first[order], "its copy": found.second[order]}
    locations = {name: table.location[chosen].tolist() for name, chosen in rows.items()}
    sheet = {name: [images.FACE.apply(reader.image(place)) for place in places] for name, places in locations.items()}
    plots.save_sheet(out / REVIEW, sheet, f"Taken for one photo, {ordered}")


def _text(config: FindOverlap, report: dict, excluded: dict[str, int]) -> str:
    pairs = ", ".join(f"{count} {reason}" for reason, count in report["pairs"].items()) or "none"
    num_samples, num_people = excluded["excluded_samples"], excluded["excluded_identities"]
    lines = [
        f"{report['num_samples']} photos, {report['num_unreadable']} unreadable; pairs that show one photo: {pairs}; "
        f"{report['across']} of them across databases",
        f"To leave out: {num_samples} photos, {num_people} people of later databases",
    ]
    for kind, counts in report["planted"].items():
        lines.append(
            f"  planted, {kind + ':':14} {counts['found']:4} of {counts['planted']:4} found; "
            f"at most {counts['missed_at_most']:.1%} missed (95%)"
        )
    if config.known:
        lines.append(f"Names in the known lists that are no sample's here: {report['known_names_without_sample']}")
    if config.audited is None:
        lines.append("Without --audited, crops are hardly found unless by 4 to 6%.")
    return "\n".join([*lines, str(config.out / formats.EXCLUDED_SAMPLES)])
