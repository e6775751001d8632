r"""How many databases must heads see until their figures across databases no longer depend on the training's seed?

The lab model's members against one to many external databases at the same number of samples, then against databases
that no head has seen. Every cell is measured as the main job measures it: several trainings, an interval over people
and trainings. What is done stays in --out; an interrupted command continues.

Examples:
    python scripts/num_databases.py --out runs/num-databases
    python scripts/num_databases.py --nums 12 --num-train 4500 --out runs/num-databases-4500
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import AUDITED, UNTRAINED
from mint_keras.report import tables

if TYPE_CHECKING:
    import numpy as np

    from mint_keras.data.protocol import Protocol
    from mint_keras.records import Observations, Scores

KIND = "num_databases"
RESULTS = "num_databases.json"
NAMED = ("news", "phone", "webcam")
NAMED_EXTERNALS = tuple(f"synthetic:1/{name}/{10000 + 1000 * k}-{10199 + 1000 * k}/10" for k, name in enumerate(NAMED))
# No head trains on these; the last is drawn like those that heads train on.
UNSEEN = ("scan", "cctv", "news", "phone", "webcam", "camera901")
FAMILIAR, SAME = "familiar", "same database"
_NARROW = 0.1  # half of an interval that says something
_AT_ONCE = 512  # faces between two files
_MOST = 24  # databases of a choice; choices share none
_TAPS = ("conv1", "conv2", "conv3", "conv4")


@dataclasses.dataclass(frozen=True)
class NumDatabases(Common):
    """Options of num_databases.py.

    Attributes:
        out: Folder for num_databases.json and for what the taps gave.
        nums: How many external databases the heads train on, up to 24; 0 is the three named ones.
        num_choices: How many choices of so many databases, which share none.
        num_seeds: Trainings of each head.
        num_train: Training samples of each class.
        minutes: Begin no training after so many minutes; 0 ends with the last.
    """

    out: Path
    nums: tuple[int, ...] = (0, 3, 6, 12, 24)
    num_choices: int = 2
    num_seeds: int = 3
    num_train: int = 1500
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Measured(Result):
    """What was measured.

    Attributes:
        content: The content of num_databases.json.
    """

    content: dict[str, Any]


def num_databases(options: NumDatabases) -> Measured:
    """Trains the heads that are missing, and measures each on all unseen databases."""
    path, end = options.out / RESULTS, time.monotonic() + 60 * options.minutes
    settings = {"num_train": options.num_train, "num_seeds": options.num_seeds}
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, settings), options.overwrite):
        done = formats.read_json(path)["heads"] if path.is_file() else []
        known = {(one["num"], one["choice"], one["model"], one["tap"]) for one in done}
        groups = [*((tap,) for tap in _TAPS), _TAPS, ("outcome",)]
        choices = [(num, choice) for choice in range(options.num_choices) for num in options.nums if num or not choice]
        missing = [
            (num, choice, model, taps)
            for model in (AUDITED, UNTRAINED)
            for num, choice in choices
            for taps in groups
            if (model == AUDITED or not choice) and (num, choice, model, _name(taps)) not in known
        ]
        if missing:
            protocols = {key: _protocol(*key, options.num_train) for key in choices}
            seen = _look(options.out, protocols)
        for num, choice, model, taps in progress.bar(missing, desc="heads", unit="head"):
            if options.minutes and time.monotonic() > end:
                break
            figures = _measure(protocols[num, choice], seen, model, taps, options.num_seeds)
            done.append({"num": num, "choice": choice, "model": model, "tap": _name(taps), "figures": figures})
            formats.write_json(path, {**settings, "heads": done})
    content = {**settings, "heads": done}
    return Measured(f"{render(content)}\nWritten: {path}", content)


def _name(taps: tuple[str, ...]) -> str:
    return taps[0] if len(taps) == 1 else "combination"


def databases_of(num: int, choice: int) -> list[str]:
    """Returns the names of the databases of a choice; a larger choice begins with the smaller one."""
    return [f"camera{choice * _MOST + k}" for k in range(1, num + 1)] if num else list(NAMED)


def _protocol(num: int, choice: int, num_train: int) -> Protocol:
    from mint_keras.data import protocol, samples
    from mint_keras.runs import run as runs
    from mint_keras.runs.spec import RunSpec

    named = runs.named_samples(RunSpec("vanilla"))
    # Everybody is in one database only, and however many there are, they have as many people and photos in all.
    if num:
        people = -(-num_train // (5 * num))
        first = {name: 100000 + 1000 * int(name.removeprefix("camera")) for name in databases_of(num, choice)}
        externals = [f"synthetic:1/{name}/{start}-{start + people - 1}/5" for name, start in first.items()]
    else:
        externals = list(NAMED_EXTERNALS)
    sources = protocol.Sources(
        samples.list_samples(named["members"][0]),
        samples.list_all(externals),
        samples.list_samples("synthetic:1/scan/13000-13199/5"),
        samples.list_samples(named["held_out"][0]),
    )
    return protocol.make_protocol(sources, num_train, 500, 1)


def _unseen(name: str) -> str:
    start = 40000 + 1000 * UNSEEN.index(name)
    return f"synthetic:1/{name}/{start}-{start + 149}/2"


def _look(out: Path, protocols: Mapping[Any, Protocol]) -> Observations:
    """Returns what all taps of both models give for all samples, kept in `out`."""
    import numpy as np

    from mint_keras.aad import models, observe
    from mint_keras.data import samples
    from mint_keras.records import Observations, concatenate_tables
    from mint_keras.runs.spec import RunSpec

    unseen = [samples.list_samples(_unseen(name)) for name in UNSEEN]
    table = concatenate_tables([*(protocol.table for protocol in protocols.values()), *unseen])
    table = table.take(np.unique(table.sample_id, return_index=True)[1])
    spec = models.ModelSpec(RunSpec("").model_folder, (*_TAPS, "outcome"), ("max",), untrained_seed=1, backend="litert")
    functions = models.face_functions(spec, models.extractors(spec, models.load(spec)))

    def look(faces: np.ndarray) -> dict[str, np.ndarray]:
        return {f"{model}/{name}": one for model, of in functions.items() for name, one in of(faces).items()}

    whom = formats.sha256_json([samples.fingerprint(table), formats.sha256_file(spec.audited / formats.MODEL)])[:16]
    parts = []
    for start in progress.bar(range(0, len(table), _AT_ONCE), desc="faces", unit=f"{_AT_ONCE}"):
        some = table.take(np.arange(start, min(start + _AT_ONCE, len(table))))
        path = out / f"aad-{start}-{whom}.npz"
        if not path.is_file():
            with formats.atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **observe.observe(some, look).arrays)
        with np.load(path) as arrays:
            parts.append(dict(arrays))
    return Observations(table, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _measure(
    protocol: Protocol, seen: Observations, model: str, taps: tuple[str, ...], num_seeds: int
) -> dict[str, Any]:
    """Trains a head from each seed and returns AUC by evaluation: of every training, and the cell's interval."""
    import numpy as np

    from mint_keras.data import samples
    from mint_keras.records import Observations
    from mint_keras.scorers.head import Head, Wanted, fit_together
    from mint_keras.statistics import intervals

    row_of = {name: row for row, name in enumerate(seen.table.sample_id.tolist())}
    arrays = {name.partition("/")[2]: of for name, of in seen.arrays.items() if name.startswith(f"{model}/")}
    through = Observations(seen.table, arrays)

    def rows(table: Any) -> np.ndarray:
        return np.array([row_of[name] for name in table.sample_id.tolist()])

    training, is_member = protocol.training_rows()
    of_run, unseen = rows(protocol.table), {name: rows(samples.list_samples(_unseen(name))) for name in UNSEEN}
    head = Head("vanilla", taps, _name(taps))
    parts: dict[str, list[Scores]] = {}
    shown = through.take(of_run[training])
    for fitted in fit_together([Wanted(head, shown, seed) for seed in range(1, num_seeds + 1)], is_member):
        logit = fitted(through)
        for name, first, second in _evaluations(protocol, of_run, unseen):
            parts.setdefault(name, []).append(_scores(name, fitted.seed, seen, first, second, logit))
    found = {}
    for name, scores in parts.items():
        cell = intervals.estimate(scores, seed=1, names=["auc"], method="student")["auc"]
        each = [round(intervals.plain_figures(one, ["auc"])["auc"], 4) for one in scores]
        found[name] = {"auc": each, "low": round(cell.low, 4), "high": round(cell.high, 4)}
    return found


def _evaluations(
    protocol: Protocol, of_run: np.ndarray, unseen: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    from mint_keras.data import protocol as parts

    members, held_out = (of_run[protocol.part == part] for part in (parts.TEST_MEMBERS, parts.HELD_OUT))
    for name, rows in unseen.items():
        if name not in protocol.table.database[protocol.part == parts.TRAIN_EXTERNALS]:
            yield name, members, rows
    yield FAMILIAR, held_out, unseen["scan"]
    yield SAME, members, held_out


def _scores(name: str, seed: int, seen: Observations, first: Any, second: Any, logit: Any) -> Scores:
    import numpy as np

    from mint_keras.records import Scores

    both = np.concatenate([first, second])
    is_member = np.arange(len(both)) < len(first)
    return Scores("vanilla", "", name, seed, seen.table.take(both), is_member, logit[both])


def render(content: dict[str, Any]) -> str:
    """Returns the content of num_databases.json as Markdown tables, a column for each number of databases.

    First how wide the cells of every head are, over all choices and unseen databases; then what they say on average, on
    each unseen database and as controls, with the least and the most of the choices.
    """
    nums = sorted({one["num"] for one in content["heads"]})
    names = [f"{num} drawn" if num else f"{len(NAMED)}, {' '.join(NAMED)}" for num in nums]
    taps = sorted({one["tap"] for one in content["heads"]}, key=[*_TAPS, "combination", "outcome"].index)

    def cells(num: int, evaluations: Sequence[str], model: str = AUDITED, tap: str = "") -> list[list[dict[str, Any]]]:
        heads = [one for one in content["heads"] if one["num"] == num and one["model"] == model]
        heads = [one for one in heads if one["tap"] == tap] if tap else heads
        figures = [[one["figures"][name] for name in evaluations if name in one["figures"]] for one in heads]
        return [of for of in figures if of]

    def width(found: list[list[dict[str, Any]]]) -> str:
        half = [(one["high"] - one["low"]) / 2 for of in found for one in of]
        return f"{statistics.median(half):.2f}, {sum(one < _NARROW for one in half)} of {len(half)}" if half else "-"

    def value(found: list[list[dict[str, Any]]]) -> str:
        means = [statistics.mean(auc for one in of for auc in one["auc"]) for of in found]
        return f"{statistics.mean(means):.2f} [{min(means):.2f}, {max(means):.2f}]" if means else "-"

    rows = [["half of the interval", *names]]
    rows += [[tap, *(width(cells(num, UNSEEN, tap=tap)) for num in nums)] for tap in taps]
    rows += [["untrained copy, all heads", *(width(cells(num, UNSEEN, UNTRAINED)) for num in nums)]]
    of = [["AUC of the combination", *names]]
    places = {**{name: (name,) for name in UNSEEN}, FAMILIAR: (FAMILIAR,), SAME: (SAME,)}
    of += [[name, *(value(cells(num, on, tap="combination")) for num in nums)] for name, on in places.items()]
    of += [["untrained copy, scan", *(value(cells(num, ("scan",), UNTRAINED, "combination")) for num in nums)]]
    return f"{tables.format_table(rows)}\n\n{tables.format_table(of)}"
