"""Do members' faces differ from the others' in how they lie in their photos? Heads may tell the sides by this alone."""

from pathlib import Path

import numpy as np

from mint_keras import borders, formats
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, SampleTable
from mint_keras.statistics import metrics

# Columns of what prepare_faces.py writes, and what they are called.
_COLUMNS = {
    "size": "size of the face in its photo (pixels)",
    "residual": "distance of the landmarks from the template (pixels of the crop)",
    "turn": "turn of the face, either way (degrees)",
    "detector_score": "detector's score",
}
_MIN_PHOTOS = 20  # of a side
_MAX_DIFFERENCE = 0.1  # of an AUC from chance: what is less is hardly what a head finds


def compare(protocol: protocols.Protocol) -> list[str]:
    """Says in which of what prepare_faces.py recorded the sides of each evaluation differ; nothing of other faces."""
    lines = []
    recorded = read(protocol.table)
    for evaluation, (rows, is_member) in protocol.evaluations().items():
        for name, column in recorded.items():
            values = np.abs(column[rows])
            members, others = (values[side & np.isfinite(values)] for side in (is_member, ~is_member))
            if min(len(members), len(others)) < _MIN_PHOTOS:
                continue
            sides = np.repeat([True, False], [len(members), len(others)])
            auc = metrics.auc(sides, np.concatenate([members, others]))
            if abs(auc - 0.5) > _MAX_DIFFERENCE:
                lines.append(
                    f"In {evaluation.replace('_', ' ')} the sides differ in the {_COLUMNS[name]}: medians "
                    f"{np.median(members):.3g} and {np.median(others):.3g}, AUC {auc:.3f}. Heads may tell them by this "
                    "alone: --min-size and --max-residual of prepare_faces.py make them more alike."
                )
    return lines


def _is_prepared(folder: Path) -> bool:
    """Says whether a folder is one of prepare_faces.py: others may hold tables of that name, and be anybody's."""
    try:
        return (folder / formats.SAMPLES).is_file() and bool(formats.read_manifest(folder, formats.PREPARED_FACES))
    except InputError:
        return False


def read(table: SampleTable) -> dict[str, np.ndarray]:
    """Returns what was recorded of each sample by column, shape (n,), NaN where nothing was."""
    found = {name: np.full(len(table), np.nan) for name in _COLUMNS}
    # Crops lie in FOLDER/crops/NUMBER/, see `faces.crops`.
    folder = [path.parents[2] if len(path.parents) > 2 else path for path in map(Path, table.location.tolist())]
    for one in dict.fromkeys(folder):
        if not _is_prepared(one):
            continue
        recorded = borders.read_parquet(one / formats.SAMPLES, ["sample_id", *_COLUMNS])
        if "sample_id" not in recorded:
            continue
        place = {name: row for row, name in enumerate(recorded["sample_id"])}
        rows = [row for row, where in enumerate(folder) if where == one and str(table.sample_id[row]) in place]
        for name in _COLUMNS.keys() & recorded.keys():
            values = np.array(recorded[name], np.float64)
            found[name][rows] = values[[place[str(table.sample_id[row])] for row in rows]]
    return found
