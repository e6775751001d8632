"""The values that cross module borders, and the errors a script turns into an exit code."""

from __future__ import annotations

import collections
import dataclasses
import functools
import html
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from mint_keras import texts

# How names of models in `Scores.model` begin, and of references' embeddings, (n, d); other networks bear their own.
AUDITED, UNTRAINED, REFERENCE = "audited", "untrained", "reference"
# Optional columns of numbers, and the shape of one sample's.
NUMBERS: dict[str, tuple[int, ...]] = {"box": (4,), "landmarks": (5, 2)}
_CHUNK = 50_000


class InputError(ValueError):
    """Input that cannot be used. The message says what was expected, what was received and what to do.

    Attributes:
        done: The report on the rest of the work, where the rest could be done.

    Example:
        >>> raise InputError("Expected a folder of photos, received none.")
        Traceback (most recent call last):
        mint_keras.records.InputError: Expected a folder of photos, received none.
    """

    def __init__(self, message: str, done: str = "") -> None:
        super().__init__(message)
        self.done = done


class NoSamplesError(InputError):
    """A source was read and holds no sample."""


class RefusedError(ValueError):
    """A check failed, so the work was not done (for example: an artefact made from other inputs).

    Example:
        >>> raise RefusedError("The bundle was changed after it was made.")
        Traceback (most recent call last):
        mint_keras.records.RefusedError: The bundle was changed after it was made.
    """


class Shown:
    """A result that is a dataclass.

    Example:
        >>> @dataclasses.dataclass
        ... class Rate(Shown):
        ...     num: int
        ...     of: int
        >>> Rate(1, 4).to_dict()
        {'num': 1, 'of': 4}
        >>> "<td>4</td>" in Rate(1, 4)._repr_html_()
        True
    """

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name, as JSON has them."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the table that it is shown as."""
        return [self.to_dict()]

    def to_frame(self) -> Any:
        """Returns the rows as a dataframe of pandas, where that is installed."""
        import pandas

        return pandas.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
        body = ""
        for row in rows:
            cells = (row.get(name, "") for name in names)
            shown = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
            body += "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in shown) + "</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Sample(NamedTuple):
    """One face or picture, as the readers of databases yield it; no pixels.

    Attributes:
        sample_id: A unique name.
        database: The database it comes from.
        identity: The person, unique within the database. Where nobody knows, `data.people.unknown` of the face's name.
        location: Where `data.images.FaceReader` finds the pixels: a file, `FILE#KEY` inside a container, or lab faces.
        group: What else must stay on one side of a split, where that is more than the identity (two records of one
            person, say); "" means the identity.
        box: Left, top, right, bottom of the face in pixels; () if nobody drew it.
        landmarks: Ten numbers, x and y of both eyes, nose and both corners of the mouth in pixels; () if nobody did.
        attributes: Whatever else the database says, such as age or class.
    """

    sample_id: str
    database: str
    identity: str
    location: str
    group: str = ""
    box: tuple[float, ...] = ()
    landmarks: tuple[float, ...] = ()
    attributes: Mapping[str, str] = {}  # never changed


@dataclasses.dataclass(frozen=True)
class SampleTable:
    """Samples as columns of n rows; see `Sample` for what they hold. Optional columns are None where no sample has any.

    Text is of shape (n,): arrays of str, or `Texts`, which act as such and take megabytes for millions. Boxes are
    (n, 4) and landmarks (n, 5, 2), float32, NaN where there are none; attributes are JSON objects as text. The names
    travel with every array that is made from the samples.
    """

    sample_id: np.ndarray
    database: np.ndarray
    identity: np.ndarray
    location: np.ndarray
    group: np.ndarray | None = None
    box: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    attributes: np.ndarray | None = None

    def __post_init__(self) -> None:
        sizes = {name: len(column) for name, column in self.columns().items()}
        if len(set(sizes.values())) != 1:
            raise InputError(f"Expected columns of one length, received {sizes}.")

    def __len__(self) -> int:
        return len(self.sample_id)

    def columns(self) -> dict[str, np.ndarray]:
        """Returns the columns that there are, by name."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: column for name, column in columns.items() if column is not None}

    def take(self, rows: np.ndarray) -> SampleTable:
        """Returns the given rows (indices or a boolean mask)."""
        return SampleTable(**{name: column[rows] for name, column in self.columns().items()})

    def people(self) -> np.ndarray:
        """Returns `database/group` of every sample, shape (n,): the unit that splits respect, usually the identity."""
        group = self.identity if self.group is None else np.where(self.group == "", self.identity, self.group)
        return texts.paired(self.database, group)


def tabulate(samples: Iterable[Sample]) -> SampleTable:
    """Collects what a reader yields into a table.

    Raises:
        NoSamplesError: if it yields nothing.
    """
    stream, tables = iter(samples), []
    # Columns take a tenth of what the same rows take as Python objects.
    while rows := list(itertools.islice(stream, _CHUNK)):
        tables.append(_columns(rows))
    if not tables:
        raise NoSamplesError("Expected at least one sample, received none.")
    return concatenate_tables(tables)


def concatenate_tables(tables: Sequence[SampleTable]) -> SampleTable:
    """Returns one table with the rows of all, in order."""
    if len(tables) == 1:
        return tables[0]
    parts = [table.columns() for table in tables]
    present = dict.fromkeys(name for columns in parts for name in columns)
    sizes = list(map(len, tables))
    return SampleTable(**{
        name: np.concatenate([
            columns[name] if name in columns else _EMPTY[name](num) for columns, num in zip(parts, sizes, strict=True)
        ])
        for name in present
    })  # fmt: skip


def _columns(rows: list[Sample]) -> SampleTable:
    columns: dict[str, Any] = {name: texts.packed(getattr(row, name) for row in rows) for name in Sample._fields[:4]}
    if any(row.group for row in rows):
        columns["group"] = texts.packed(row.group for row in rows)
    for name, shape in NUMBERS.items():
        if any(getattr(row, name) for row in rows):
            missing = (np.nan,) * int(np.prod(shape))
            values = [getattr(row, name) or missing for row in rows]
            columns[name] = np.array(values, np.float32).reshape(-1, *shape)
    if any(row.attributes for row in rows):
        columns["attributes"] = texts.packed(json.dumps(row.attributes, sort_keys=True) for row in rows)
    return SampleTable(**columns)


# What stands in an optional column of so many samples that have nothing there.
_EMPTY: dict[str, Callable[[int], Any]] = {
    "group": lambda num: texts.packed([""])[np.zeros(num, int)],
    "attributes": lambda num: texts.packed(["{}"])[np.zeros(num, int)],
    **{
        name: functools.partial(lambda num, shape: np.broadcast_to(np.float32(np.nan), (num, *shape)), shape=shape)
        for name, shape in NUMBERS.items()
    },
}


class Labelled(NamedTuple):
    """Rows of a table, and what each of them is (claimed to be).

    Attributes:
        rows: Row numbers, shape (n,), int.
        is_member: Which of them are members' rows, shape (n,), bool.

    Example:
        >>> Labelled(np.array([3, 5, 8]), np.array([True, False, True])).smaller_side
        1
    """

    rows: np.ndarray
    is_member: np.ndarray

    def where(self, kept: np.ndarray) -> Labelled:
        """Returns those rows that a mask of shape (n,) keeps."""
        return Labelled(self.rows[kept], self.is_member[kept])

    @property
    def smaller_side(self) -> int:
        """How many rows the side with fewer of them has."""
        return int(min(np.count_nonzero(self.is_member), np.count_nonzero(~self.is_member)))


@dataclasses.dataclass(frozen=True)
class Observations:
    """What a model, or whatever else looked, gave for some samples, row by row.

    Attributes:
        table: The samples, n rows.
        arrays: What was seen by name, each of shape (n, ...): taps, signals, embeddings of views, statistics of pixels.
            NumPy arrays, or arrays on the disk that are read when rows are asked for (`aad.store.ShardedArray`).

    Example:
        >>> table = tabulate([Sample("a", "web", "Ann", ""), Sample("b", "web", "Bob", "")])
        >>> seen = Observations(table, {"outcome": np.eye(2)})
        >>> seen.take(np.array([1]))["outcome"]
        array([[0., 1.]])
    """

    table: SampleTable
    arrays: Mapping[str, Any]

    def __repr__(self) -> str:
        who = f"{len(np.unique(self.people())):,} people, {', '.join(np.unique(self.table.database).tolist())}"
        return f"Observations({len(self):,} photos, {who}; {', '.join(self.arrays)})"

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, name: str) -> Any: ...

    @overload
    def __getitem__(self, name: np.ndarray) -> Observations: ...

    def __getitem__(self, name: str | np.ndarray) -> Any:
        """Returns an array by its name, or some rows (see `take`).

        Raises:
            InputError: if there is no such array.
        """
        if not isinstance(name, str):
            return self.take(name)
        if name not in self.arrays:
            raise InputError(f"Expected {name!r} among what was observed, received only {sorted(self.arrays)}.")
        return self.arrays[name]

    def take(self, rows: np.ndarray) -> Observations:
        """Returns the given rows (indices or a boolean mask); arrays on the disk stay there."""
        of = self.arrays.items()
        taken = {name: one[rows] if isinstance(one, np.ndarray) else one.take(rows) for name, one in of}
        return Observations(self.table.take(rows), taken)

    def people(self) -> np.ndarray:
        """Returns the person of every row, shape (n,); see `SampleTable.people`."""
        return self.table.people()

    def adding(self, **arrays: Any) -> Observations:
        """Returns the same samples with further arrays of n rows."""
        return Observations(self.table, {**self.arrays, **arrays})


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A file that could not be used, and why."""

    location: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Scores(Shown):
    """What one scorer gave for the samples of one evaluation; a higher score means more likely a member.

    Attributes:
        scorer: Who scored, for example "vanilla".
        tap: What it looked at, for example "conv1" or "combination".
        evaluation: Which comparison this is, for example "unseen_database"; the seed is the run's.
        samples: The scored samples, n rows, each once.
        is_member: What each sample is (claimed to be), shape (n,), bool; None where nobody knows.
        logit: The score before the sigmoid, shape (n,), float32, finite: whatever cannot be scored is left out before.
        model: Through which model it looked: `AUDITED`, `UNTRAINED` (or a numbered copy) or another model's name.
        num_folds: Of cross-fitting, whose intervals are wider; 0 where the scorer was fitted on other people or nobody.
    """

    scorer: str
    tap: str
    evaluation: str
    seed: int
    samples: SampleTable
    is_member: np.ndarray | None
    logit: np.ndarray
    model: str = AUDITED
    num_folds: int = 0

    def __post_init__(self) -> None:
        who, ids, num = f"{self.scorer!r} on {self.tap!r}", self.samples.sample_id.tolist(), len(self.samples)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            logit = np.asarray(self.logit).astype(np.float32, copy=False)
        truth = np.zeros(num, bool) if self.is_member is None else np.asarray(self.is_member)
        if not logit.shape == truth.shape == (num,) or truth.dtype != bool:
            received = f"{logit.shape} and {truth.dtype} {truth.shape}"
            raise InputError(f"Expected {num} logits of {who} and as many truth values or none, received {received}.")
        # What is no number is neither above nor below any other: figures would come out, and be wrong.
        if len(wrong := np.flatnonzero(~np.isfinite(logit))):
            one = f"{logit[wrong[0]]} for {ids[wrong[0]]!r}. Leave these samples out, and say how many they are."
            raise InputError(f"Expected finite logits of {who}, received {len(wrong)} of {num} not, such as {one}")
        if twice := [name for name, count in collections.Counter(ids).items() if count > 1]:
            raise InputError(f"Expected unique samples of {who}, received {len(twice)} twice, such as {twice[0]!r}.")
        object.__setattr__(self, "logit", logit)

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row for each sample, see `Shown`."""
        is_member = [None] * len(self.logit) if self.is_member is None else self.is_member.tolist()
        names = ("sample_id", "person", "is_member", "logit")
        columns = (self.samples.sample_id.tolist(), self.samples.people().tolist(), is_member, self.logit.tolist())
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    @property
    def score(self) -> np.ndarray:
        """The membership score in [0, 1], shape (n,), float64: for showing. Above logits of about 37 all are 1."""
        return sigmoid(self.logit)


@dataclasses.dataclass(frozen=True)
class ResultRow(Shown):
    """One line of results.jsonl: one scorer, model, tap, evaluation and seed (see `Scores`), and what it is worth.

    Accuracy (at 0.5), cross-entropy and loss, which adds the head's L1 penalty, are those of `model.evaluate`, or of
    the scores of baselines, which have no Keras model. AUC and TPR at 1% FPR always come from the scores.
    """

    scorer: str
    tap: str
    evaluation: str
    seed: int
    num_members: int
    num_externals: int
    accuracy: float
    loss: float
    cross_entropy: float
    auc: float
    tpr_at_1_fpr: float
    model: str = AUDITED


@dataclasses.dataclass(frozen=True)
class ParityRecord:
    """How far one tap of a converted model is from its source, run by an oracle such as "onnxruntime"."""

    tap: str
    oracle: str
    input: str  # "faces" or "noise"
    batch: int  # images that Keras got at once
    max_abs: float  # the largest absolute difference
    relative: float  # ||ours - theirs|| / ||theirs||, over all samples
    cosine: float  # the smallest between ours and theirs of a sample


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-logit)) in float64, without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logit, np.float64)))
