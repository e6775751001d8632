"""The run's scorer as it is: nothing is fitted to what it now looks at."""

from __future__ import annotations

import numpy as np

from mint_keras.aad import extract, models, store
from mint_keras.auditing.controls import needed
from mint_keras.auditing.opened import recipe_of
from mint_keras.data import images
from mint_keras.records import AUDITED, Observations
from mint_keras.runs.run import Run, load_head
from mint_keras.runs.spec import HeadKey
from mint_keras.scorers.head import Head
from mint_keras.scorers.protocol import Fitted
from mint_keras.statistics.selection import Candidate
from mint_keras.training import fit_heads


def open_scorer(run: Run, scorer: Candidate) -> Fitted:
    """Returns a scorer of a run as a function of samples with their faces ("pixels"), through the audited model.

    A head that was trained several times is represented by its first training.
    """
    recipe = recipe_of(run, scorer)
    needs = needed(run.spec, recipe)
    spec = models.ModelSpec(
        audited=run.spec.audited,
        taps=needs.taps,
        poolings=(needs.pooling,) if needs.pooling else (),
        signals=needs.signals,
        precision=run.aad.precision,
        xla=run.spec.xla,
    )
    function = {AUDITED: models.face_functions(spec, models.extractors(spec, models.load(spec)))[AUDITED]}

    def see(shown: Observations) -> Observations:
        outputs = extract.run(function, shown[images.PIXELS], extract.BATCH_SIZE)[AUDITED]
        cast = {name: store.cast(values, extract.Layout.dtype, name) for name, values in outputs.items()}
        return Observations(shown.table, cast)

    def in_batches(shown: Observations) -> list[Observations]:
        starts = range(0, len(shown), extract.BATCH_SIZE)
        return [shown.take(np.arange(start, min(start + extract.BATCH_SIZE, len(shown)))) for start in starts]

    if isinstance(recipe, Head):
        logits = fit_heads.logit_model(load_head(run, HeadKey(AUDITED, scorer.tap, run.spec.seed)).model)

        def score_by_head(shown: Observations) -> np.ndarray:
            # Batch by batch: the maps of all faces would not fit the memory.
            inputs = (recipe.inputs(see(batch)) for batch in in_batches(shown))
            floats = ({tap: np.asarray(values, np.float32) for tap, values in given.items()} for given in inputs)
            return np.concatenate([logits.predict_on_batch(given)[:, 0] for given in floats])

        return score_by_head
    rows, is_member = run.protocol.training_rows()
    fitted = recipe.fit(run.aad.seen(AUDITED).take(rows), is_member, run.spec.seed)

    def score_by_baseline(shown: Observations) -> np.ndarray:
        parts = [see(batch).arrays for batch in in_batches(shown)]
        return fitted(Observations(shown.table, {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}))

    return score_by_baseline
