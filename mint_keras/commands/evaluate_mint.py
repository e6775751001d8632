"""Evaluate the heads of an earlier run again by model.evaluate, and insist on the same numbers.

Example:
    python scripts/evaluate_mint.py --run runs/lab-vanilla --out runs/lab-vanilla-again
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mint_keras import formats, score_files
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import RefusedError, ResultRow

KIND = "mint_evaluation"
# The same machine gives the same digits; another one adds in another order.
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class EvaluateMint(Common):
    """Options of evaluate_mint.py.

    Attributes:
        run: Folder that train_mint.py wrote.
        out: Folder for the new scores.csv, results.jsonl and table.json.
    """

    run: Path
    out: Path


@dataclasses.dataclass(frozen=True)
class Evaluated(Result):
    """What the second evaluation gave: new results, and their largest difference from the run's own."""

    results: Sequence[ResultRow]
    difference: float


def evaluate_mint(options: EvaluateMint) -> Evaluated:
    """Reloads heads and AAD, runs `model.evaluate`, and compares with the results of the run."""
    from mint_keras.runs import report, run

    opened = run.reopen(options.run)
    earlier = score_files.read_results(options.run / formats.RESULTS)
    inputs = {"results": formats.sha256_file(options.run / formats.RESULTS)}
    with formats.output_folder(options.out, formats.make_manifest(KIND, inputs, {}), options.overwrite):
        scores, results = run.evaluate(opened)
        table = report.table_of(opened, scores)
        score_files.write_scores(options.out / formats.SCORES, scores)
        score_files.write_results(options.out / formats.RESULTS, results)
        formats.write_json(options.out / report.TABLE, table.to_dict())
    difference = largest_difference(earlier, results)
    if not difference <= TOLERANCE:
        raise RefusedError(
            f"Expected the results of {options.run} again, received some that differ by {difference:g}; the new "
            f"ones are in {options.out}. Another machine or another version of TensorFlow may explain it."
        )
    text = report.summary(opened, results, table)
    same = f"Equal to {options.run / formats.RESULTS} to {difference:.1g}: {options.out / formats.RESULTS}"
    return Evaluated(f"{text}\n\n{same}", results, difference)


def largest_difference(earlier: Sequence[ResultRow], results: Sequence[ResultRow]) -> float:
    """Returns the largest difference between two lists of results; infinite if they are not of the same things."""
    if len(earlier) != len(results):
        return float("inf")
    largest = 0.0
    for before, after in zip(earlier, results, strict=True):
        for field in dataclasses.fields(ResultRow):
            old, new = getattr(before, field.name), getattr(after, field.name)
            if isinstance(old, float):
                largest = max(largest, abs(old - new))
            elif old != new:
                return float("inf")
    return largest
