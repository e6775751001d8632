"""Scores of what sees pixels only, on the samples of an audit: what it finds is not membership."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mint_keras import formats, score_files
from mint_keras.data import images
from mint_keras.records import SampleTable, Scores
from mint_keras.scorers import blind
from mint_keras.stages import mint_options, mint_run
from mint_keras.stages.audit.dividing import Side
from mint_keras.training import batches

TAP = "pixels"
STATISTICS, NETWORK = "pixel statistics", "pixel network"


def score(
    table: SampleTable, fitted_on: Side, scored: Side, evaluation: str, framing: images.Framing, seed: int, out: Path
) -> dict[str, Scores]:
    """Fits both scorers on some samples and scores others; what is there is read.

    The network is left out where there is not a batch of each side to train it on.

    Args:
        table: with all samples.
        fitted_on: rows and membership.
        scored: likewise, of other people.
        evaluation: how their scores name it.
        framing: what images become.
        seed: of the training.
        out: folder for scores.csv and the network's log.

    Returns:
        Scores by the scorer's name.
    """
    path = out / formats.SCORES
    if not path.is_file():
        (_, seen), (_, shown) = (blind.read(table.take(rows), framing) for rows, _ in (fitted_on, scored))
        truth = fitted_on[1]
        fitted = {STATISTICS: blind.fit_statistics(seen, truth)}
        if min(np.count_nonzero(truth), np.count_nonzero(~truth)) >= batches.CLASS_BATCH:
            fitted[NETWORK] = blind.fit_pixels(seen, truth, seed, out)
        out.mkdir(parents=True, exist_ok=True)
        samples = table.take(scored[0])
        score_files.write_scores(
            path, [Scores(name, TAP, evaluation, seed, samples, scored[1], one(shown)) for name, one in fitted.items()]
        )
    return {part.scorer: part for part in score_files.read_scores(path)}


def across(run: mint_run.Run, seed: int, out: Path) -> dict[str, Scores]:
    """Fits on the heads' training samples and scores the evaluation that the paper reports; see `score`."""
    main, framing = run.protocol.main_evaluation, mint_options.framing(run.config)
    return score(
        run.protocol.table, run.protocol.training_rows(), run.protocol.evaluations()[main], main, framing, seed, out
    )
