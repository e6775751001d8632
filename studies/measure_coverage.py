"""Stage: how often 95% intervals contain the truth, on simulated evaluations whose truth is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mint_keras import formats
from mint_keras.records import InputError
from mint_keras.report import tables
from mint_keras.stages.progress import pace
from mint_keras.statistics import coverage, figures, intervals

KIND = "coverage"
RESULTS, TEXT = "coverage.json", "coverage.md"
_FIGURES = tuple(
    name + suffix for suffix in ("", f", {intervals.DIFFERENCE}") for name in (figures.AUC, figures.BALANCED_ACCURACY)
)
_METHODS = (*intervals.METHODS, coverage.OBUCHOWSKI)


@dataclasses.dataclass(frozen=True)
class MeasureCoverage:
    """Options of measure_coverage.py.

    Attributes:
        out: folder for coverage.json and coverage.md.
        effects: distance between the means of members and externals, in turns of the scorer and of the one it is
            compared with: two numbers for each kind of evaluation.
        num_runs: simulated evaluations of each kind.
        people: members, and as many externals.
        seed: of the simulation.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    out: Path
    effects: tuple[float, ...] = (1.0, 0.5, 0.0, 0.0, 2.5, 1.5, 3.2, 2.0)
    num_runs: int = 2000
    people: int = 50
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def measure_coverage(config: MeasureCoverage) -> str:
    """Simulates the evaluations that are missing, and returns the table.

    Raises:
        InputError: for options that make no evaluation.
        RefusedError: if --out was made with others.
    """
    if config.num_runs < 1 or config.people < 2 or not config.effects or len(config.effects) % 2:
        raise InputError(
            "Expected --effects in pairs, at least one run and two people, received "
            f"{len(config.effects)} effects, {config.num_runs} runs, {config.people} people."
        )
    pairs = list(zip(config.effects[::2], config.effects[1::2], strict=True))
    settings = {name: getattr(config, name) for name in ("effects", "num_runs", "people", "seed")}
    with formats.output_folder(config.out, formats.make_manifest(KIND, {}, settings), config.overwrite):
        path = config.out / RESULTS
        worlds = formats.read_json(path)["worlds"] if path.is_file() else []
        bar = tqdm(pairs, desc="coverage", unit="kind", initial=len(worlds), disable=config.quiet, **pace())
        for effects in pairs[len(worlds) :]:
            found = coverage.measure(config.num_runs, config.people, effects, seed=config.seed)
            rows = [{"figure": key[0], "method": key[1], **dataclasses.asdict(one)} for key, one in found.items()]
            worlds.append({"effects": effects, "num_runs": config.num_runs, "seed": config.seed, "rows": rows})
            formats.write_json(path, {"worlds": worlds})
            bar.update()
        bar.close()
        said = render(formats.read_json(path))
        formats.write_text(config.out / TEXT, f"{said}\n")
    return f"{said}\nWritten: {path}, {TEXT}"


def render(content: dict[str, Any]) -> str:
    """Returns the content of coverage.json as a Markdown table: percent of intervals that contain the truth."""
    rows = [["effects", "true AUC, balanced accuracy", "method", *(name.replace("_", " ") for name in _FIGURES)]]
    for world in content["worlds"]:
        shares = {(row["figure"], row["method"]): row["share"] for row in world["rows"]}
        first, second = world["effects"]
        truth = ", ".join(f"{value:.2f}" for value in coverage.truth(first).values())
        for method in _METHODS:
            cells = [f"{100 * shares[name, method]:.1f}" if (name, method) in shares else "" for name in _FIGURES]
            rows.append([f"{first:g}, {second:g}", truth, method, *cells])
    return tables.format_table(rows)
