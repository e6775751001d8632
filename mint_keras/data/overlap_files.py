"""What a search for copies leaves on disk: the pairs, and whom to leave out. Protocols read it back."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mint_keras import borders, formats
from mint_keras.data import overlap
from mint_keras.records import RefusedError, SampleTable

PAIRS = "pairs.csv"


class Scan(NamedTuple):
    """What a finished search says: samples and people (as `SampleTable.people`) to leave out, and overlap.json."""

    samples: set[str]
    people: set[str]
    report: dict[str, Any]

    def names(self, table: SampleTable, renamed: SampleTable) -> np.ndarray:
        """Returns which samples of a table are to be left out, shape (n,).

        `renamed` are the same samples as a list of identities calls them: people go under all of their names.
        """
        is_person = np.isin(table.people(), list(self.people))
        is_person = np.isin(renamed.people(), renamed.people()[is_person]) | is_person
        return np.isin(table.sample_id, list(self.samples)) | is_person

    def summary(self, num_samples: int) -> dict[str, Any]:
        """Returns what a protocol keeps of the search, which could choose from so many before any was left out."""
        # The worst kind of copy, for nobody knows of which kind one is.
        missed = [kind["missed_at_most"] for kind in self.report["planted"].values()]
        return {
            "left_out": len(self.samples),
            "left_out_people": len(self.people),
            "num_samples": num_samples,
            "missed_at_most": max(missed, default=None),
            "by_embedding": self.report["audited"] is not None,
            "within": self.report.get("within", True),  # at first every search was
        }


def read_scan(folder: Path, tables: Sequence[SampleTable]) -> Scan:
    """Reads what a search says to leave out, and insists that it has seen every one of the tables.

    Raises:
        InputError: If the folder holds no finished search.
        RefusedError: If the search has not seen a table as it is now.
    """
    formats.read_manifest(folder, formats.OVERLAP)
    report = formats.read_json(folder / formats.OVERLAP_REPORT)
    with borders.reading(f"a report of find_overlap.py in {folder}"):
        searched = dict(report["databases"])
    if unseen := [str(table.database[0]) for table in tables if formats.sha256_table(table) not in searched]:
        raise RefusedError(
            f"{folder} has not searched {unseen} as they are now, but {list(searched.values())}. Run "
            "find_overlap.py over all databases of this protocol, under the same names."
        )
    with borders.reading(f"lists of find_overlap.py in {folder}"):
        samples = borders.read_csv(folder / formats.EXCLUDED_SAMPLES)["sample_id"]
        people = borders.read_csv(folder / formats.EXCLUDED_PEOPLE)["identity"]
    return Scan(set(samples), set(people), report)


def write_found(
    folder: Path, table: SampleTable, found: overlap.Overlap, excluded: np.ndarray, across: np.ndarray
) -> dict[str, int]:
    """Writes the pairs and the two lists of exclusions; returns how many samples and people are left out.

    `excluded` are rows of the table. People of `across`, those that an earlier database has too, go with all photos.
    """
    rows = zip(found.first, found.second, found.reason, found.cosine, strict=True)
    lines = [(table.sample_id[a], table.sample_id[b], reason, f"{cosine:.4f}") for a, b, reason, cosine in rows]
    formats.write_csv(folder / PAIRS, ("first", "second", "reason", "cosine"), lines)
    people = np.unique(table.people()[across])
    formats.write_csv(folder / formats.EXCLUDED_SAMPLES, ("sample_id",), zip(table.sample_id[excluded], strict=True))
    formats.write_csv(folder / formats.EXCLUDED_PEOPLE, ("identity",), zip(people, strict=True))
    return {"excluded_samples": len(excluded), "excluded_identities": len(people)}


def read_known(path: Path) -> list[list[str]]:
    """Reads a published list of duplicates: names separated by commas, semicolons or tabs, one photo in a line."""
    lines = borders.read_text(path).splitlines()
    parts = ([name.strip().strip('"') for name in re.split("[,;\t]", line)] for line in lines)
    return [names for part in parts if (names := [name for name in part if name])]
