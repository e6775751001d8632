"""Scores of what sees pixels only, on the samples of a run: what it finds is not membership."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mint_keras.data import protocol as protocols
from mint_keras.records import Scores
from mint_keras.scorers import blind
from mint_keras.stages import mint_options, mint_run
from mint_keras.stages.audit import dividing
from mint_keras.stages.audit.dividing import Division
from mint_keras.training import batches

TAP = "pixels"
STATISTICS, NETWORK = "pixel statistics", "pixel network"
Side = tuple[np.ndarray, np.ndarray]  # rows of a run's table, and who of them is a member


def on_reference(run: mint_run.Run, division: Division, seed: int, out: Path) -> dict[str, Scores]:
    """Trains on members and held-out people who are not reported on, and scores those who are.

    The network is left out where there is not a batch of each side to train it on.

    Args:
        run: with held-out people.
        division: of its people.
        seed: of the training.
        out: folder for its log.

    Returns:
        Scores of the reported people by the scorer's name.
    """
    rows, is_member = run.protocol.evaluations()[protocols.SAME_DATABASE]
    is_reported = ~np.isin(run.protocol.table.people()[rows], division.validation)
    training = dividing.calibration(run, division)
    return _score(run, training, (rows[is_reported], is_member[is_reported]), protocols.SAME_DATABASE, seed, out)


def across(run: mint_run.Run, seed: int, out: Path) -> dict[str, Scores]:
    """Trains on the heads' training samples and scores the evaluation that the paper reports; see `on_reference`."""
    main = run.protocol.main_evaluation
    return _score(run, run.protocol.training_rows(), run.protocol.evaluations()[main], main, seed, out)


def _score(run: mint_run.Run, training: Side, evaluation: Side, name: str, seed: int, out: Path) -> dict[str, Scores]:
    framing = mint_options.framing(run.config)
    (_, seen), (_, shown) = (blind.read(run.protocol.table.take(rows), framing) for rows, _ in (training, evaluation))
    fitted = {STATISTICS: blind.fit_statistics(seen, training[1])}
    if min(np.count_nonzero(training[1]), np.count_nonzero(~training[1])) >= batches.CLASS_BATCH:
        fitted[NETWORK] = blind.fit_pixels(seen, training[1], seed, out / name)
    table = run.protocol.table.take(evaluation[0])
    return {
        scorer: Scores(scorer, TAP, name, seed, table, evaluation[1], score(shown)) for scorer, score in fitted.items()
    }
