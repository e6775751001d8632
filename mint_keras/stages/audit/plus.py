"""Scores of MINT+ on the people of a run's reference, through the audited model and through others in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.aad import views
from mint_keras.audited import zoo
from mint_keras.data import protocol as protocols
from mint_keras.records import Scores
from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import PERSON
from mint_keras.stages import mint_options, mint_run
from mint_keras.stages.audit.dividing import Division, Scorer, calibration

SCORER = Scorer("mint_plus", mint_plus.PHOTO)


def is_possible(run: mint_run.Run, division: Division) -> bool:
    """Returns whether there are enough people on both sides to fit it on."""
    rows, is_member = calibration(run, division)
    people = run.protocol.table.people()[rows]
    return min(len(np.unique(people[side])) for side in (is_member, ~is_member)) >= mint_plus.MIN_PEOPLE


def score(run: mint_run.Run, audited: Path, division: Division, seed: int, out: Path) -> Scores:
    """Fits MINT+ on members and held-out people who are not reported on, and scores those who are.

    Every photo is scored on its own: members and others have unequal numbers of photos, and what compares the photos
    of a person would see that.

    Args:
        run: with held-out people.
        audited: folder of the model to look through.
        division: of the people of the reference.
        seed: of the fit.
        out: folder for scores.csv, which is read if it is there.
    """
    path = out / formats.SCORES
    if path.is_file():
        return formats.read_scores(path)[0]
    table = run.protocol.table
    people = table.people()
    known, is_member = calibration(run, division)
    rows, truth = run.protocol.evaluations()[protocols.SAME_DATABASE]
    is_reported = ~np.isin(people[rows], division.validation)
    function = views.face_function(zoo.load_audited(audited, zoo.kind_of(audited)))

    def read(wanted: np.ndarray) -> dict[str, np.ndarray]:
        _, features = views.read(table.take(wanted), function, framing=mint_options.framing(run.config))
        return {**features, PERSON: people[wanted]}

    fitted = mint_plus.fit(read(known), is_member, level=SCORER.tap, seed=seed)
    logit = fitted(read(rows[is_reported]))
    scores = Scores(
        SCORER.name, SCORER.tap, protocols.SAME_DATABASE, seed, table.take(rows[is_reported]), truth[is_reported], logit
    )
    out.mkdir(parents=True, exist_ok=True)
    formats.write_scores(path, [scores])
    return scores
