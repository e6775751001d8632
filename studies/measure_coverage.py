r"""Measure how often 95% intervals contain the truth: simulated people, photos and scorers, whose truth is known.

The table of docs/method.md; three minutes of one core for each kind of evaluation. An interrupted command continues.

Examples:
    python scripts/measure_coverage.py --out runs/coverage
    python scripts/measure_coverage.py --cross-fitted --people 60 --effects 0 0.3 0.8 --out runs/coverage-folds
    python scripts/measure_coverage.py --people 20 --effects 1 0.5 --num-runs 500 --out runs/coverage-20
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError
from mint_keras.report import tables

KIND = "coverage"
RESULTS, TEXT = "coverage.json", "coverage.md"


@dataclasses.dataclass(frozen=True)
class MeasureCoverage(Common):
    """Options of measure_coverage.py.

    Attributes:
        out: Folder for coverage.json and coverage.md.
        effects: Distance between the means of members and externals, in turns of the scorer and of the one it is
            compared with: two numbers for each kind of evaluation; one with --cross-fitted.
        cross_fitted: Whether scores are of what is fitted on the same people, fold by fold, as MINT+ is in an audit.
        num_runs: Simulated evaluations of each kind.
        people: Members, and as many externals.
        seed: Seed of the simulation.
    """

    out: Path
    effects: tuple[float, ...] = (1.0, 0.5, 0.0, 0.0, 2.5, 1.5, 3.2, 2.0)
    cross_fitted: bool = False
    num_runs: int = 2000
    people: int = 50
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class CoverageTable(Result):
    """How often intervals contained the truth.

    Attributes:
        content: The content of coverage.json.
    """

    content: dict[str, Any]


def measure_coverage(options: MeasureCoverage) -> CoverageTable:
    """Simulates the evaluations that are missing, and returns the table.

    Raises:
        InputError: for options that make no evaluation.
        RefusedError: if --out was made with others.
    """
    size = 1 if options.cross_fitted else 2  # effects of each kind
    if options.num_runs < 1 or options.people < 2 or not options.effects or len(options.effects) % size:
        raise InputError(
            "Expected --effects in pairs, at least one run and two people, received "
            f"{len(options.effects)} effects, {options.num_runs} runs, {options.people} people."
        )
    from studies import coverage  # SciPy takes a second to load

    kinds = list(zip(*(options.effects[k::size] for k in range(size)), strict=True))
    settings = {name: getattr(options, name) for name in ("effects", "cross_fitted", "num_runs", "people", "seed")}
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, settings), options.overwrite):
        path = options.out / RESULTS
        done = formats.read_json(path)["worlds"] if path.is_file() else []
        with progress.bar(total=len(kinds), desc="coverage", unit="kind", initial=len(done)) as bar:
            for effects in kinds[len(done) :]:
                if options.cross_fitted:
                    found = coverage.measure_cross_fitted(
                        options.num_runs, options.people, effects[0], seed=options.seed
                    )
                else:
                    found = coverage.measure(options.num_runs, options.people, effects, seed=options.seed)
                rows = [{"figure": key[0], "method": key[1], **dataclasses.asdict(one)} for key, one in found.items()]
                done.append({"effects": effects, "num_runs": options.num_runs, "seed": options.seed, "rows": rows})
                formats.write_json(path, {"worlds": done})
                bar.update()
        content = formats.read_json(path)
        said = render(content)
        formats.write_text(options.out / TEXT, f"{said}\n")
    return CoverageTable(f"{said}\nWritten: {path}, {TEXT}", content)


def render(content: dict[str, Any]) -> str:
    """Returns the content of coverage.json as a Markdown table: percent of intervals that contain the truth."""
    from mint_keras.statistics import figures, intervals
    from studies import coverage

    plain = (figures.AUC, figures.BALANCED_ACCURACY)
    if len(content["worlds"][0]["effects"]) == 1:
        rows = [["effect", "method", "auc", "too low", "too high", "mean width"]]
        for kind in content["worlds"]:
            for row in kind["rows"]:
                percent = (f"{100 * row[name]:.1f}" for name in ("share", "too_low", "too_high"))
                rows.append([f"{kind['effects'][0]:g}", row["method"], *percent, f"{row['width']:.3f}"])
        return tables.format_table(rows)
    names = [*plain, *(f"{name}, {intervals.DIFFERENCE}" for name in plain)]
    rows = [["effects", "true AUC, balanced accuracy", "method", *(name.replace("_", " ") for name in names)]]
    for kind in content["worlds"]:
        shares = {(row["figure"], row["method"]): row["share"] for row in kind["rows"]}
        first, second = kind["effects"]
        truth = ", ".join(f"{value:.2f}" for value in coverage.truth(first).values())
        for method in (*intervals.METHODS, coverage.OBUCHOWSKI):
            cells = [f"{100 * shares[name, method]:.1f}" if (name, method) in shares else "" for name in names]
            rows.append([f"{first:g}, {second:g}", truth, method, *cells])
    return tables.format_table(rows)
