"""Stage: evaluate the heads of an earlier run again, and insist on the same numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mint_keras import formats, score_files
from mint_keras.records import RefusedError, ResultRow
from mint_keras.stages import mint_run, train_mint

KIND = "mint_evaluation"
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class EvaluateMint:
    """Options of evaluate_mint.py.

    Attributes:
        run: folder that train_mint.py wrote.
        out: folder for the new scores.csv and results.jsonl.
        seed: no effect: the run's own seed chooses the samples.
        overwrite: replace what --out holds.
        quiet: no progress bars.
    """

    run: Path
    out: Path
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def evaluate_mint(config: EvaluateMint) -> str:
    """Reloads heads and AAD, runs `model.evaluate`, and compares with the results of the run.

    Raises:
        RefusedError: if a figure differs by more than 1e-6.
    """
    run = mint_run.reopen_run(config.run, config.quiet)
    earlier = score_files.read_results(config.run / formats.RESULTS)
    inputs = {"results": formats.sha256_file(config.run / formats.RESULTS)}
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, {}), config.overwrite):
        scores, results = mint_run.evaluate_heads(run)
        score_files.write_scores(config.out / formats.SCORES, scores)
        score_files.write_results(config.out / formats.RESULTS, results)
    difference = largest_difference(earlier, results)
    if not difference <= TOLERANCE:
        raise RefusedError(
            f"Expected the results of {config.run} again, received some that differ by {difference:g}; the new "
            f"ones are in {config.out}. Another machine or another version of TensorFlow may explain it."
        )
    text = train_mint.summary(run, results)
    return f"{text}\n\nEqual to {config.run / formats.RESULTS} to {difference:.1g}: {config.out / formats.RESULTS}"


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
