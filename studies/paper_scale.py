r"""Rehearse the paper's steps at its sizes: what does each take, in time and in memory?

Writes stand-ins of Glint360K and of the four external databases at their published sizes (see `paper_databases`), and
runs every step as a user does, in a process of its own. What was measured stays in --out: a command adds the steps and
sizes that it names, and an interrupted one continues. All stand-ins take 13 GB.

Examples:
    python scripts/paper_scale.py --out runs/scale
    python scripts/paper_scale.py --share 0.001 --num-extracted 1000 --out runs/scale-small
    python scripts/paper_scale.py --share 0.006 --share-externals 0.1 --steps overlap --out runs/scale
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mint_keras import formats
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError
from mint_keras.report import tables

KIND = "paper_scale"
RESULTS = "paper_scale.json"
_SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# Images (of Adience and FDDB faces) and people, as published; of GANDiffFace as the paper says. FDDB names nobody.
_SIZES = {
    "glint360k": (17_091_657, 360_232),
    "ijbc": (138_836, 3_531),
    "fddb": (2_845, 5_171),
    "gandiffface": (500_000, 10_000),
    "adience": (26_580, 2_284),
}
_EXTERNALS = ("ijbc", "fddb", "gandiffface", "adience")
TITLES = {
    "inspect": "inspect",
    "protocol": "protocol",
    "plan": "extract --dry-run",
    "extract": "extract {num:,} images",
    "train": "train 2 x 210 steps",
    "tables": "tables --plan",
    "overlap": "overlap, {members:,} looked up among {externals:,}",
}
_OF_MEMBERS = ("inspect", "plan", "extract")  # the others list externals, too


@dataclasses.dataclass(frozen=True)
class PaperScale(Common):
    """Options of paper_scale.py.

    Attributes:
        out: Folder for the databases, what the steps write, and paper_scale.json.
        share: Of the published sizes.
        share_externals: Of those of the externals, if it is another.
        num_extracted: Images of Glint360K whose AAD is extracted.
        num_distinct: So many pictures of Glint360K differ; the others repeat them under other names.
        steps: Which steps to measure: inspect, protocol, overlap, plan, extract, train, tables. tables needs protocol.
        seed: Seed of who has how many pictures, and of these.
    """

    out: Path
    share: float = 1.0
    share_externals: float | None = None
    num_extracted: int = 100_000
    num_distinct: int = 2_000_000
    steps: tuple[str, ...] = ("inspect", "protocol", "plan", "extract", "train", "tables", "overlap")
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Rehearsed(Result):
    """What the steps took.

    Attributes:
        content: The content of paper_scale.json.
    """

    content: dict[str, Any]


def paper_scale(options: PaperScale) -> Rehearsed:
    """Writes the databases that are missing, and measures the steps."""
    path = options.out / RESULTS
    settings = {"num_distinct": options.num_distinct, "seed": options.seed}
    if wrong := sorted(set(options.steps) - set(TITLES)):
        raise InputError(f"Expected steps of {list(TITLES)}, received {wrong}.")
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, settings), options.overwrite):
        members, *externals = _write(options)
        num, num_others = (sum(int(folder.parent.name) for folder in some) for some in ([members], externals))
        commands = _commands(options, members, externals)
        content: dict[str, Any] = formats.read_json(path) if path.is_file() else {"steps": []}
        for step in options.steps:
            title = TITLES[step].format(num=min(options.num_extracted, num), members=num, externals=num_others)
            one = {"step": title, "images": num if step in _OF_MEMBERS else num + num_others}
            found = _measure(commands[step], options.out / f"{step}.log")
            content["steps"] = [*(row for row in content["steps"] if row | one != row), one | found]
            formats.write_json(path, content)
    return Rehearsed(f"{render(content)}\nWritten: {path}", content)


def _write(options: PaperScale) -> list[Path]:
    """Writes the databases that are not there; returns their folders, NUMBER/NAME, members first."""
    from studies import paper_databases

    folders = []
    for number, (name, published) in enumerate(_SIZES.items()):
        share = options.share_externals if name in _EXTERNALS and options.share_externals else options.share
        nums = [max(round(share * num), 20) for num in published]
        distinct = () if name in _EXTERNALS else (options.num_distinct,)
        folders.append(options.out / str(nums[0]) / name)
        getattr(paper_databases, f"write_{name}")(folders[-1], *nums, *distinct, options.seed + number)
    return folders


def _commands(options: PaperScale, glint: Path, others: Sequence[Path]) -> dict[str, list[str]]:
    """Returns the script and the options of every step."""
    out, members, externals = options.out, str(glint), list(map(str, others))
    protocol = out / "protocols" / "fr1" / "baseline-100k"
    small = ["--num-train", "448", "--num-test", "256", "--num-seeds", "1"]  # 30 epochs of 7 batches, two heads
    lab = str(_SCRIPTS.parent / "models" / "lab")
    num = str(min(options.num_extracted, int(glint.parent.name)))
    return {
        "inspect": ["inspect_database", members, "--out", str(out / "inspected")],
        "protocol": ["make_protocol", "--case", "baseline", "--members", members, "--externals", *externals,
                     "--unscanned", "--out", str(protocol)],
        "plan": ["extract_aad", "--dry-run", "--samples", members, "--out", str(out / "planned")],
        "extract": ["extract_aad", "--samples", members, "--num-samples", num, "--pooling", "max", "--audited", lab,
                    "--out", str(out / "store")],
        "train": ["train_mint", "--head", "cnn", "--taps", "conv1", "--aad", "live", "--audited", lab, "--members",
                  members, "--externals", *externals[:3], "--evaluate", externals[3], *small, "--out",
                  str(out / "trained")],
        "tables": ["make_tables", "--table", "1", "--scale", "paper", "--plan", "--audited", f"fr1={lab}",
                   "--protocol", str(out / "protocols"), "--out", str(out / "tables")],
        "overlap": ["find_overlap", "--samples", members, *externals, "--out", str(out / "overlap")],
    }  # fmt: skip


def _measure(command: list[str], log: Path) -> dict[str, Any]:
    """Runs a step; returns its time and that of its processors in seconds, and its peak memory in bytes."""
    script, *arguments = command
    start = time.monotonic()
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(  # noqa: S603 # our own scripts
            [sys.executable, str(_SCRIPTS / f"{script}.py"), *arguments, "--overwrite"], stdout=file, stderr=file
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        # The last line of the log, which goes with the folder.
        said = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise InputError(f"Expected {script} to end well, received {process.returncode}: {said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_bytes": used.ru_maxrss * unit,
    }


def render(content: dict[str, Any]) -> str:
    """Returns the content of paper_scale.json as a Markdown table, a row for each step and size."""
    rows = [["step", "images listed", "time", "of processors", "peak memory"]]
    for one in content["steps"]:
        minutes = (f"{one[name] / 60:.1f} min" for name in ("seconds", "cpu_seconds"))
        rows.append([one["step"], f"{one['images']:,}", *minutes, f"{one['peak_bytes'] / 1e9:.2f} GB"])
    return tables.format_table(rows)
