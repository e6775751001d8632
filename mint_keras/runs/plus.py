"""MINT+ of a run: what the embeddings that the run has anyway say where only membership differs."""

import contextlib
import itertools

import numpy as np

from mint_keras.audited.taps import OUTCOME
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, UNTRAINED, InputError, Observations, Scores
from mint_keras.runs.run import Run
from mint_keras.scorers import mint_plus
from mint_keras.scorers.contract import cross_fit
from mint_keras.statistics import division, verdict


def scores(run: Run) -> list[Scores]:
    """Returns cross-fitted scores of members and others of their own database, by photo and by person.

    It sees less than MINT+ of an audit, which shows the model changed faces too. There are none for runs without
    embeddings, without such people, or with too few of them.
    """
    photos = division.limited(division.of_reference(run.protocol), run.spec.seed)
    if not photos.smaller_side or run.aad.fronts or OUTCOME not in run.aad.seen(AUDITED).arrays:
        return []
    table, asked, found = run.protocol.table, {mint_plus.PHOTO: photos}, []
    num, several = division.equal_photos(photos, verdict.MIN_PEOPLE, table.people(), table.sample_id, run.spec.seed)
    if num:
        asked[mint_plus.OF_PERSON] = several
    for (level, (rows, is_member)), model in itertools.product(asked.items(), (AUDITED, UNTRAINED)):
        seen = run.aad.seen(model).take(rows)
        embeddings = Observations(seen.table, {OUTCOME: np.asarray(seen[OUTCOME][:])})
        where = (protocols.SAME_DATABASE, run.spec.seed, model)
        with contextlib.suppress(InputError):  # too few people
            found.append(cross_fit(mint_plus.MintPlus(level=level), embeddings, is_member, *where))
    return found
