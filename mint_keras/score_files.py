"""Scores and results on disk: scores.csv (or Parquet, where that is large) and results.jsonl; older files are read too.

Since 0.2 both name the model that gave a score (`Scores.model`); scores.csv also keeps the `group` of a sample, so that
two records of one person stay one person in every statistic.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mint_keras import borders, formats
from mint_keras.records import AUDITED, UNTRAINED, InputError, NoSamplesError, ResultRow, SampleTable, Scores

SCORE_COLUMNS = (
    "scorer", "model", "tap", "evaluation", "seed", "sample_id", "database", "identity", "group", "is_member", "score",
    "logit", "folds",
)  # fmt: skip
_KEY = SCORE_COLUMNS[:5]  # what the rows of one `Scores` share
_TRUTH = {"true": True, "false": False, True: True, False: False}  # text in CSV, truth values in Parquet


def scorer_and_model(name: str) -> tuple[str, str]:
    """Splits the scorer's name of a file from before 0.2, which had the model in it.

    Example:
        >>> scorer_and_model("vanilla_untrained"), scorer_and_model("mint_plus:foreign_2"), scorer_and_model("vanilla")
        (('vanilla', 'untrained'), ('mint_plus', 'foreign_2'), ('vanilla', 'audited'))
    """
    scorer, _, model = name.partition(":")
    if model:
        return scorer, model
    return (name.removesuffix(f"_{UNTRAINED}"), UNTRAINED) if name.endswith(f"_{UNTRAINED}") else (name, AUDITED)


def write_scores(path: Path, scores: Iterable[Scores]) -> None:
    """Writes scores; score and logit keep every digit, so that statistics over the file are exact.

    Args:
        path: Ends in .csv or .parquet, which decides the format.
        scores: The scores of one or several scorers.

    Raises:
        NoSamplesError: if there is no score.
    """
    scores = list(scores)
    if not sum(len(part.logit) for part in scores):
        raise NoSamplesError(f"Expected at least one score to write to {path}, received none: nothing could be scored.")
    if path.suffix != ".parquet":
        formats.write_csv(path, SCORE_COLUMNS, (row for part in scores for row in _rows(part)))
        return
    import pyarrow
    import pyarrow.parquet

    values = zip(*(row for part in scores for row in _rows(part)), strict=True)
    columns = dict(zip(SCORE_COLUMNS, map(list, values), strict=True))
    del columns["score"]  # a function of the logit
    columns["is_member"] = pyarrow.array(map(_TRUTH.get, columns["is_member"]), pyarrow.bool_())
    table = pyarrow.table({**columns, "logit": np.array(columns["logit"]).astype(np.float32)})
    with formats.atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def _rows(part: Scores) -> Iterator[tuple[object, ...]]:
    samples = part.samples
    nothing = [""] * len(samples)
    group = nothing if samples.group is None else samples.group.tolist()
    is_member = nothing if part.is_member is None else np.where(part.is_member, "true", "false").tolist()
    names = (samples.sample_id.tolist(), samples.database.tolist(), samples.identity.tolist())
    key = (part.scorer, part.model, part.tap, part.evaluation, part.seed)
    for *known, score, logit in zip(*names, group, is_member, part.score, part.logit, strict=True):
        yield (*key, *known, float(score), np.float32(logit), part.num_folds)  # as text they keep every digit


def read_scores(path: Path) -> list[Scores]:
    """Reads scores back, one entry per scorer, model, tap, evaluation and seed, in file order.

    Raises:
        InputError: if columns or rows are missing, a number or truth value cannot be read, or the rows of one entry are
            no `Scores`: a logit is not finite, a sample is there twice, or the truth of some samples only is known.
    """
    columns: dict[str, list] = {}
    if path.suffix == ".parquet":
        columns = borders.read_parquet(path, SCORE_COLUMNS)
    else:
        columns |= borders.read_csv(path)
    optional = ("model", "group", "folds", "score")  # the first three came with 0.2; the score is the logit's
    if missing := [name for name in SCORE_COLUMNS if name not in columns and name not in optional]:
        raise InputError(
            f"Expected a scores file with columns {list(SCORE_COLUMNS)}, received {path} without {missing}."
        )
    if not columns["logit"]:
        raise NoSamplesError(f"Expected at least one score in {path}, received the empty table.")
    if "model" not in columns:
        pairs = [scorer_and_model(name) for name in columns["scorer"]]
        columns |= {"scorer": [scorer for scorer, _ in pairs], "model": [model for _, model in pairs]}
    columns.setdefault("group", [""] * len(columns["scorer"]))
    columns.setdefault("folds", [0] * len(columns["scorer"]))
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*(columns[name] for name in _KEY), strict=True)):
        groups.setdefault(key, []).append(row)
    try:
        with borders.reading("numbers and true/false"):
            return [_scores_of(columns, key, rows) for key, rows in groups.items()]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _scores_of(columns: dict[str, list], key: tuple[str, ...], rows: list[int]) -> Scores:
    names = ("sample_id", "database", "identity", "group")
    sample_id, database, identity, group = (
        np.array(["" if (value := columns[name][row]) is None else value for row in rows], np.str_) for name in names
    )
    samples = SampleTable(sample_id, database, identity, np.full(len(rows), ""), group if group.any() else None)
    truth = [columns["is_member"][row] for row in rows]
    unknown = [row for row, value in enumerate(truth) if value in ("", None)]
    if 0 < len(unknown) < len(rows):
        raise InputError(
            f"Expected the truth of all samples of {key[0]!r} on {key[2]!r} or of none, received {len(unknown)} of "
            f"{len(rows)} without, such as {str(sample_id[unknown[0]])!r}."
        )
    return Scores(
        scorer=key[0],
        model=key[1],
        tap=key[2],
        evaluation=key[3],
        seed=int(key[4]),
        samples=samples,
        is_member=None if unknown else np.array([_TRUTH[value] for value in truth]),
        logit=np.array([columns["logit"][row] for row in rows]).astype(np.float64),
        num_folds=max(int(columns["folds"][row]) for row in rows),
    )


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Writes results.jsonl: one JSON object a line."""
    formats.write_text(path, "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows))


def read_results(path: Path) -> list[ResultRow]:
    """Reads results.jsonl.

    Raises:
        InputError: if the file is missing or a line does not hold exactly the fields of a result.
    """
    with borders.reading(f"results at {path}"):
        rows = [json.loads(line) for line in borders.read_text(path).splitlines()]
        for row in rows:
            if "model" not in row:  # before 0.2 it was in the scorer's name
                row["scorer"], row["model"] = scorer_and_model(row["scorer"])
        return [ResultRow(**row) for row in rows]
