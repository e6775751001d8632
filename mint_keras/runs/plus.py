"""MINT+ of a run: what the embeddings that the run has anyway say where only membership differs."""

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
    if run.aad.fronts or OUTCOME not in run.aad.seen(AUDITED).arrays:
        return []
    photos, people = division.limited(division.of_reference(run.protocol), run.spec.seed), run.protocol.table.people()
    asked = {mint_plus.PHOTO: photos}
    num, several = division.equal_photos(
        photos, verdict.MIN_PEOPLE, people, run.protocol.table.sample_id, run.spec.seed
    )
    if num:
        asked[mint_plus.OF_PERSON] = several
    found = []
    for level, (rows, is_member) in asked.items():
        for model in (AUDITED, UNTRAINED):
            seen = run.aad.seen(model).take(rows)
            seen = Observations(seen.table, {OUTCOME: np.asarray(seen[OUTCOME][:])})
            recipe = mint_plus.MintPlus(level=level)
            try:
                found.append(cross_fit(recipe, seen, is_member, protocols.SAME_DATABASE, run.spec.seed, model))
            except InputError:  # too few people
                return []
    return found
