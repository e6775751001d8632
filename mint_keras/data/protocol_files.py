"""Protocols on disk: a sample table for every part, and a summary that says how they came about."""

from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats
from mint_keras.borders import reading
from mint_keras.data import cases, sample_tables, samples
from mint_keras.data import protocol as protocols
from mint_keras.data.people import are_unknown
from mint_keras.records import InputError

KIND = "mint_protocol"
SUMMARY = "protocol.json"
NOT_WITHIN = "Altered copies inside a database were not searched for (--within)."


def write_protocol(folder: Path, protocol: protocols.Protocol, summary: dict[str, Any]) -> None:
    """Writes the parts of a protocol into its output folder; the summary comes last and says that all is there."""
    for part, name in enumerate(protocols.PARTS):
        if (protocol.part == part).any():
            sample_tables.write_samples(folder / f"{name}.parquet", protocol.table.take(protocol.part == part))
    formats.write_json(folder / SUMMARY, summary)


def read_protocol(folder: Path) -> tuple[protocols.Protocol, dict[str, Any]]:
    """Reads a protocol back, with its summary, and checks again that no person is in two parts."""
    formats.read_manifest(folder, KIND)
    summary = formats.read_json(folder / SUMMARY)
    names = [name for name in protocols.PARTS if (folder / f"{name}.parquet").is_file()]
    # The last part, the people held out, is the only one that a protocol may lack.
    if missing := sorted(set(protocols.PARTS[:4]) - set(names)):
        raise InputError(f"Expected {missing} in {folder}, received none: make_protocol.py has not finished there.")
    parts = [sample_tables.read_samples(folder / f"{name}.parquet") for name in names]
    part = np.repeat(range(len(parts)), [len(table) for table in parts])
    with reading(f"a protocol of make_protocol.py in {folder}"):
        protocol = protocols.Protocol(samples.join(parts), part, str(summary["evaluation"]), int(summary["seed"]))
    # Files can be edited, and a person on two sides would make every result wrong.
    protocols.check_people(protocol)
    return protocol, summary


def count_parts(protocol: protocols.Protocol) -> dict[str, dict[str, Any]]:
    """Counts images, identities and databases of every part that has samples, by its name."""
    parts = {}
    for part, name in enumerate(protocols.PARTS):
        chosen = protocol.table.take(protocol.part == part)
        if len(chosen):
            databases, counts = np.unique(chosen.database, return_counts=True)
            parts[name] = {
                "images": len(chosen),
                "identities": len(np.unique(chosen.people()[~are_unknown(chosen.people())])),
                "unknown": int(are_unknown(chosen.people()).sum()),
                "databases": dict(zip(databases.tolist(), counts.tolist(), strict=True)),
            }
    return parts


def describe(summary: dict[str, Any]) -> str:
    """Says in a few lines who trains and who evaluates, how that differs from the paper, and what was searched."""
    lines = [f"Case {summary['case']}, evaluation: {summary['evaluation'].replace('_', ' ')}"]
    for name, counts in summary["parts"].items():
        databases = ", ".join(f"{database} {count:,}" for database, count in counts["databases"].items())
        unknown = f", {counts['unknown']:,} of unknown identity" if counts.get("unknown") else ""
        title = f"{name.replace('_', ' ')}:"
        lines.append(
            f"  {title:16} {counts['images']:7,} images, {counts['identities']:6,} identities{unknown} ({databases})"
        )
    lines += [f"  {mine} stands for the paper's {theirs}" for mine, theirs in summary["stand_ins"].items()]
    if summary["scale"] < 1:
        lines.append(
            f"Fewer samples than the paper's: every training size is {summary['scale']:.4f} of it "
            f"({summary['num_train_full']:,} of each class stand for its 50,000)."
        )
    if (num_train := summary["parts"]["train_members"]["images"]) < cases.MIN_TRAIN:
        lines.append(f"Too few to train a head: batches take {cases.MIN_TRAIN} of each class, received {num_train}.")
    if listed := summary.get("identities"):
        lines.append(
            f"Who is who: {listed['obeyed']:,} of {listed['lines']:,} lines of --identities name somebody here."
        )
    return "\n".join([*lines, scan_text(summary["scan"])])


def scan_text(scan: dict[str, Any] | None) -> str:
    """Says what is known of members among the externals."""
    if scan is None:
        return "NOT SCANNED: externals were not searched for members; some may be members."
    missed = scan["missed_at_most"]
    bound = "no copies were planted" if missed is None else f"of planted copies at most {missed:.1%} were missed (95%)"
    said = (
        f"Searched for members among the externals: {scan['left_out']:,} of {scan['num_samples']:,} samples left out; "
        f"{bound}; {'with' if scan['by_embedding'] else 'without'} a face-recognition model."
    )
    return said if scan.get("within", True) else f"{said} {NOT_WITHIN}"
