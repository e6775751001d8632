r"""Are nothing lost, nothing sent and no traceback shown? Kills, hostile files and watched commands, as a table.

Resumable: what is done is in the folder, and the same command goes on from there.

Example:
    python -m studies.reliability --kills 200 --inputs 100000 --out runs/reliability
"""

import collections
import dataclasses
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mint_keras import progress
from mint_keras.options import parse
from mint_keras.records import InputError
from mint_keras.report import tables
from mint_keras.statistics import bounds
from studies.reliability import kills, readers, watching

_WATCHED = ("requests", "elsewhere", "places")
_MARK = "<!-- figures -->"  # around those of a page
_BLOCK = 1000  # files that one process reads


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Options of the study.

    Attributes:
        out: Folder for kills.jsonl, inputs.jsonl, watched.jsonl, summary.json and table.md.
        commands: Only these commands, by the word behind mint.
        targets: Only these formats.
        kills: Disturbances of all commands together.
        inputs: Hostile files of all formats together.
        watch: Run each command without a network and with an empty home directory.
        minutes: Stop after so many; the same command goes on. 0 is until all is done.
        page: Page whose figures are replaced by those of this folder, with the counts in runs/reliability.json beside.
    """

    out: Path
    commands: tuple[str, ...] = tuple(kills.COMMANDS)
    targets: tuple[str, ...] = tuple(readers.TARGETS)
    kills: int = 200
    inputs: int = 100_000
    watch: bool = False
    minutes: int = 0
    page: Path | None = None


def reliability(options: Reliability) -> str:
    """Runs what is not done yet, and returns the table."""
    for given, known in ((options.commands, kills.COMMANDS), (options.targets, readers.TARGETS)):
        if unknown := sorted(set(given) - set(known)):
            raise InputError(f"Expected some of {list(known)}, received {unknown}.")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
    _read_inputs(out, options, end)
    if options.kills or options.watch:
        with kills.prepare(out / "world") as world:
            _disturb(out, options, world, end)
    summary = summarise(out)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = table(summary)
    (out / "table.md").write_text(text + "\n")
    if options.page is not None:
        before, mark, _, mark_after, after = re.split(f"({_MARK})", options.page.read_text())
        options.page.write_text(f"{before}{mark}\n\n{text}\n\n{mark_after}{after}")
        shutil.copyfile(out / "summary.json", options.page.parent / "runs" / "reliability.json")
    return text


def _disturb(out: Path, options: Reliability, world: kills.World, end: float) -> None:
    if options.watch:
        done = {one["command"] for one in _lines(out / "watched.jsonl")}
        left = [word for word in options.commands if word not in done]
        with tempfile.TemporaryDirectory(dir=out) as folder:
            _append(out / "watched.jsonl", watching.watch(world, left, Path(folder)))
    seen = {(one["command"], one["number"]) for one in _lines(out / "kills.jsonl")}
    each = -(-options.kills // len(options.commands))
    tried = kills.run(world, out / "tried", list(options.commands), each, lambda *key: key in seen)
    bar = progress.bar(tried, total=each * len(options.commands), initial=len(seen), desc="kills")
    _append(out / "kills.jsonl", _until(end, bar))


def _until(end: float, found: Iterable[Any]) -> Iterator[Any]:
    """Yields what is found until a time of `time.monotonic`."""
    for one in found:
        yield one
        if time.monotonic() > end:
            return


def _read_inputs(out: Path, options: Reliability, until: float) -> None:
    shares = {name: readers.TARGETS[name].share for name in options.targets}
    wanted = {name: math.ceil(options.inputs * share / sum(shares.values())) for name, share in shares.items()}
    done = collections.Counter(dict.fromkeys(options.targets, 0))
    for one in _lines(out / "inputs.jsonl"):
        done[one["target"]] += one.get("num", 0)
    # In turn: wherever it is stopped, every format had its share.
    work = [(first / wanted[name], name, first) for name in wanted for first in range(done[name], wanted[name], _BLOCK)]
    for _, name, first in _until(until, progress.bar(sorted(work), desc="inputs", unit="block")):
        end = min(first + _BLOCK, wanted[name])
        # The temporary folder is where a file may write.
        with tempfile.TemporaryDirectory() as folder:
            found = list(readers.run(name, first, end, Path(folder).resolve()))
        _append(out / "inputs.jsonl", [*found, {"target": name, "first": first, "num": end - first}])


def summarise(out: Path) -> dict[str, Any]:
    """Returns how often each format, command and watched command was tried, what went wrong, and where."""
    formats: dict[str, collections.Counter[str]] = {}
    sites: collections.Counter[str] = collections.Counter()
    for one in _lines(out / "inputs.jsonl"):
        count = formats.setdefault(one["target"], collections.Counter())
        count["tries"] += one.get("num", 0)
        if "kind" in one:
            count[one["kind"]] += 1
            sites[f"{one['target']} {one['kind']} {one['site']}: {one['error'][:90]}"] += 1
    commands: dict[str, collections.Counter[str]] = {}
    for one in _lines(out / "kills.jsonl"):
        ways = commands.setdefault(one["command"], collections.Counter())
        ways.update({one["way"]: 1, "wrong": int(bool(one["faults"]))})
        sites.update(f"{one['command']} ({one['way']}) {fault}" for fault in one["faults"])
    watched = {}
    for one in _lines(out / "watched.jsonl"):
        watched[one["command"]] = {"code": one["code"], **{what: len(one[what]) for what in _WATCHED}}
        sites.update(f"{one['command']} {what}: {each[:100]}" for what in _WATCHED for each in one[what])
    found = [f"{num} x {site}" for site, num in sites.most_common()]
    return {"formats": formats, "commands": commands, "watched": watched, "found": found}


def table(summary: dict[str, Any]) -> str:
    """Returns what `summarise` counted as tables, and what went wrong as lines."""
    kinds = ("crash", "hang", "memory", "deed")
    of_formats = [["format", "files", *kinds, "at most wrong (95%)"]]
    for name, count in [*summary["formats"].items(), ("all", _sum(summary["formats"]))]:
        wrong = sum(count.get(kind, 0) for kind in kinds)
        limit = f"{100 * bounds.upper_limit(min(wrong, count['tries']), count['tries']):.2g}%" if count["tries"] else ""
        of_formats.append([name, f"{count['tries']:,}", *(str(count.get(kind, 0)) for kind in kinds), limit])
    of_commands = [["command", *kills.WAYS, "wrong afterwards"]]
    for word, count in [*summary["commands"].items(), ("all", _sum(summary["commands"]))]:
        of_commands.append([word, *(str(count.get(way, 0)) for way in (*kills.WAYS, "wrong"))])
    of_watched = [["command without a network", "exit code", "requests", "files elsewhere", "files with paths"]]
    of_watched += [[word, *map(str, count.values())] for word, count in summary["watched"].items()]
    given = (of_formats, summary["formats"]), (of_commands, summary["commands"]), (of_watched, summary["watched"])
    parts = [tables.format_table(part) for part, counted in given if counted]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in summary["found"]) or "Nothing went wrong."])


def _sum(counts: dict[str, Any]) -> collections.Counter[str]:
    total: collections.Counter[str] = collections.Counter({"tries": 0})
    for count in counts.values():
        total.update(count)
    return total


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _append(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with open(path, "a") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    try:
        sys.stdout.write(reliability(parse(Reliability, __doc__ or "", program="python -m studies.reliability")) + "\n")
    except InputError as error:
        sys.exit(f"error: {error}")
