"""Scores of what sees pixels only, on the samples of an audit: what it finds is not membership."""

from __future__ import annotations

from pathlib import Path

from mint_keras import formats, score_files
from mint_keras.aad.observe import observe
from mint_keras.data import images
from mint_keras.records import Labelled, SampleTable, Scores
from mint_keras.runs.run import Run
from mint_keras.scorers import blind
from mint_keras.scorers.protocol import Scorer
from mint_keras.training import batches


def score(
    table: SampleTable,
    fitted_on: Labelled,
    scored: Labelled,
    evaluation: str,
    framing: images.Framing,
    seed: int,
    folder: Path,
) -> dict[str, Scores]:
    """Fits both scorers on some samples and scores others; what is there is read.

    The network is left out where there is not a batch of each side to train it on.

    Args:
        table: All samples.
        fitted_on: Rows of the table to fit on.
        scored: Rows of other people.
        evaluation: How their scores name it.
        framing: What images become.
        seed: Seeds the training.
        folder: Where scores.csv and the network's log go.

    Returns:
        Scores by the scorer's name.
    """  # fmt: skip

    def make() -> list[Scores]:
        seen, shown = (
            observe(table.take(rows), blind.features, framing, blind.BATCH_SIZE, is_filled=False)
            for rows, _ in (fitted_on, scored)
        )
        recipes: list[Scorer] = [blind.PixelStatistics()]
        if fitted_on.smaller_side >= batches.CLASS_BATCH:
            recipes.append(blind.PixelNetwork(folder))
        found = [(recipe, recipe.fit(seen, fitted_on.is_member, seed)(shown)) for recipe in recipes]
        samples = table.take(scored.rows)
        return [
            Scores(recipe.name, recipe.tap, evaluation, seed, samples, scored.is_member, logit)
            for recipe, logit in found
        ]

    kept = formats.kept(folder / formats.SCORES, make, score_files.write_scores, score_files.read_scores)
    return {part.scorer: part for part in kept}


def across(run: Run, seed: int, folder: Path) -> dict[str, Scores]:
    """Fits on the heads' training samples and scores the evaluation that the paper reports; see `score`."""
    protocol, main = run.protocol, run.protocol.main_evaluation
    fitted_on, scored = protocol.training_rows(), protocol.evaluations()[main]
    return score(protocol.table, fitted_on, scored, main, run.spec.framing, seed, folder)
