"""A list that says who is who: what a check by looking proposes, and what is left of it after a person has looked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mint_keras import borders, formats
from mint_keras.data.people import by_key, key
from mint_keras.records import InputError, SampleTable
from mint_keras.texts import Texts

MERGE, SPLIT, DROP = "merge", "split", "drop"
FILE = "identities.csv"
# In a table the column is called "as", which Python has for itself.
_COLUMNS = ("action", "identity", "sample_id", "as", "cosine", "row")


class Line(NamedTuple):
    """What to do with a person or with a photo. People are called as in `SampleTable.people`.

    Attributes:
        action: `MERGE` calls all photos of an identity as another one. `SPLIT` does so with one photo, also one of
            unknown identity. `DROP` leaves a photo out or, without a sample_id, a person.
        identity: The person.
        sample_id: The photo, "" where all of the person's are meant.
        called: Who it is, "" for dropping.
        cosine: How alike they look.
        row: The row of the sheet that shows it, 0 for none.
    """

    action: str
    identity: str
    sample_id: str = ""
    called: str = ""
    cosine: float = float("nan")
    row: int = 0


def write(path: Path, lines: Sequence[Line]) -> None:
    """Writes a list as CSV."""
    formats.write_csv(path, _COLUMNS, ((*line[:4], f"{line.cosine:.4f}", line.row or "") for line in lines))


def read(path: Path) -> list[Line]:
    """Reads a list; the cosine and the row of the sheet are for those who look.

    Raises:
        InputError: if it is none, or a line asks for something else.
    """
    columns = borders.read_csv(path)
    if missing := [name for name in _COLUMNS[:4] if name not in columns]:
        raise InputError(f"Expected columns {list(_COLUMNS[:4])} in {path}, received a list without {missing}.")
    rows = zip(*(map(str.strip, columns[name]) for name in _COLUMNS[:4]), strict=True)
    lines = [Line(action, identity, sample_id, called) for action, identity, sample_id, called in rows]
    for number, line in enumerate(lines, start=2):
        database = line.identity.partition("/")[0]
        is_called = len(line.called) > len(database) + 1 and line.called.startswith(f"{database}/")
        is_right = {
            MERGE: is_called and not line.sample_id,
            SPLIT: is_called and bool(line.sample_id),
            DROP: not line.called and bool(line.identity or line.sample_id),
        }
        if not is_right.get(line.action):
            raise InputError(
                "Expected to merge an identity or split a sample_id off one, as DATABASE/NAME of the same database, or "
                f"to drop one of them, received {list(line[:4])} in line {number} of {path}."
            )
    return lines


def obey(table: SampleTable, lines: Sequence[Line]) -> tuple[SampleTable, np.ndarray, set[int]]:
    """Obeys a list from top to bottom: what was split off may be merged with somebody else.

    Returns:
        The samples, whose groups say who is who now; which of them are not dropped, shape (n,), bool; and the positions
        of the lines that name somebody here.
    """
    if not lines:
        return table, np.ones(len(table), bool), set()
    names, code = np.unique(table.people(), return_inverse=True)
    before = code.copy()
    number = {name: place for place, name in enumerate(names.tolist())}
    as_read = by_key(names)  # a list may say a name in a spelling that another took the place of

    def named(person: str) -> str:
        database, _, name = person.partition("/")
        return as_read.get(f"{database}/{key(name)}", person)

    place_of = {name: row for row, name in enumerate(table.sample_id.tolist())}
    kept, known = np.ones(len(table), bool), set()
    for position, line in enumerate(lines):
        if line.sample_id:
            rows = np.array([place_of[line.sample_id]] if line.sample_id in place_of else [], int)
        else:
            rows = np.flatnonzero(code == number.get(named(line.identity), -1))
        if not len(rows):
            continue
        known.add(position)
        if line.action == DROP:
            kept[rows] = False
        else:
            code[rows] = number.setdefault(named(line.called), len(number))
    # Names are in order, and those that came later are behind them.
    if (code == before).all():
        return table, kept, known
    group: Any = Texts(np.array([name.partition("/")[2] for name in number]), code)
    return dataclasses.replace(table, group=group), kept, known
