"""What a search for copies leaves on disk: the pairs, and whom to leave out. Protocols read it back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats
from mint_keras.data import overlap
from mint_keras.records import InputError, RefusedError, SampleTable

PAIRS = "pairs.csv"


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a finished search says.

    Attributes:
        samples: The names of the samples to leave out.
        people: The people to leave out, as `SampleTable.people` names them.
        report: The content of overlap.json.
    """

    samples: set[str]
    people: set[str]
    report: dict[str, Any]

    def leave_out(self, table: SampleTable) -> SampleTable:
        """Returns a table without what the search says to leave out."""
        out = np.isin(table.sample_id, list(self.samples)) | np.isin(table.people(), list(self.people))
        return table.take(~out)

    def summary(self, num_samples: int) -> dict[str, Any]:
        """Returns what a protocol keeps of the search.

        Args:
            num_samples: How many samples the protocol could choose from, before any was left out.
        """
        planted = self.report["planted"].get("all")
        return {
            "left_out": len(self.samples),
            "left_out_people": len(self.people),
            "num_samples": num_samples,
            "missed_at_most": planted["missed_at_most"] if planted else None,
            "by_embedding": self.report["audited"] is not None,
        }


def read_scan(folder: Path, tables: Sequence[SampleTable]) -> Scan:
    """Reads what a search says to leave out, and insists that it has seen every one of the tables.

    Raises:
        InputError: If the folder holds no finished search.
        RefusedError: If the search has not seen a table as it is now.
    """
    formats.read_manifest(folder, formats.OVERLAP)
    report = formats.read_json(folder / formats.OVERLAP_REPORT)
    unseen = [str(table.database[0]) for table in tables if formats.sha256_table(table) not in report["databases"]]
    if unseen:
        raise RefusedError(
            f"{folder} has not searched {unseen} as they are now, but {list(report['databases'].values())}. Run "
            "find_overlap.py over all databases of this protocol, under the same names."
        )
    samples = formats.read_csv(folder / formats.EXCLUDED_SAMPLES)["sample_id"]
    people = formats.read_csv(folder / formats.EXCLUDED_PEOPLE)["identity"]
    return Scan(set(samples), set(people), report)


def write_found(
    folder: Path, table: SampleTable, found: overlap.Overlap, excluded: np.ndarray, across: np.ndarray
) -> dict[str, int]:
    """Writes the pairs and the two lists of exclusions.

    Args:
        folder: The output folder.
        table: The samples that were searched.
        found: The pairs.
        excluded: Rows of the table to leave out.
        across: Those of them that an earlier database has too: their people are left out with all their photos.

    Returns:
        The number of samples and of people to leave out.
    """
    rows = zip(found.first, found.second, found.reason, found.cosine, strict=True)
    lines = [(table.sample_id[a], table.sample_id[b], reason, f"{cosine:.4f}") for a, b, reason, cosine in rows]
    formats.write_csv(folder / PAIRS, ("first", "second", "reason", "cosine"), lines)
    formats.write_csv(
        folder / formats.EXCLUDED_SAMPLES, ("sample_id",), [(name,) for name in table.sample_id[excluded]]
    )
    people = np.unique(table.people()[across])
    formats.write_csv(folder / formats.EXCLUDED_PEOPLE, ("identity",), [(person,) for person in people])
    return {"excluded_samples": len(excluded), "excluded_identities": len(people)}


def read_known(path: Path) -> list[list[str]]:
    """Reads a published list of duplicates: names separated by commas, semicolons or tabs, one photo in a line.

    Raises:
        InputError: If the file is no text.
    """
    try:
        # Spreadsheets put a mark in front of UTF-8, which would become part of the first name.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Expected a list of names at {path}, received: {error}.") from error
    parts = ([name.strip().strip('"') for name in re.split("[,;\t]", line)] for line in lines)
    return [names for part in parts if (names := [name for name in part if name])]
