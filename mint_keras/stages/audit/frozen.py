"""The run's scorer as it is: nothing is fitted to what it now looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from mint_keras.aad import extract, models, pooling
from mint_keras.aad.models import AUDITED
from mint_keras.audited import taps
from mint_keras.data import images
from mint_keras.heads import specs
from mint_keras.records import SampleTable
from mint_keras.scorers.baselines import BASELINES, FIRST_MAXIMA, MAXIMA, PERSON
from mint_keras.stages import mint_options, mint_run, run_baselines
from mint_keras.stages.audit import controls
from mint_keras.stages.audit.dividing import Scorer
from mint_keras.training import fit_heads as heads

# From faces, (n, size, size, 3), uint8, and the person of each, (n,), to logits, (n,), float32.
FaceScorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
_Outputs = Mapping[str, np.ndarray]
_Decide = Callable[[Iterator[_Outputs], np.ndarray], np.ndarray]


def open_scorer(run: mint_run.Run, scorer: Scorer) -> FaceScorer:
    """Returns a scorer of a run as a function of faces, through the audited model.

    Of a head that was trained several times, the first.
    """
    config = run.config
    groups, chosen, signals = controls.needed(config, scorer)
    spec = models.ModelSpec(
        audited=config.audited,
        taps=tuple(chosen),
        poolings=() if specs.find(config.head).takes_maps else (config.pooling,),
        signals=signals,
        precision=run.aad.manifest["config"]["precision"],
        xla=config.xla,
    )
    function = {AUDITED: models.face_functions(spec, models.extractors(spec, models.load(spec)))[AUDITED]}
    decide = _of_baseline(run, scorer, groups) if scorer.name in BASELINES else _of_head(run, scorer, groups)

    def batches(faces: np.ndarray) -> Iterator[_Outputs]:
        for start in range(0, len(faces), extract.BATCH_SIZE):
            outputs = extract.run(function, faces[start : start + extract.BATCH_SIZE], extract.BATCH_SIZE)[AUDITED]
            yield {name: extract.cast(values, extract.Layout.dtype, name) for name, values in outputs.items()}

    return lambda faces, people: decide(batches(faces), people)


def read(run: mint_run.Run, table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
    """Reads faces as the audited model of a run takes them.

    Returns:
        The usable rows of the table, (n,), and their faces, (n, size, size, 3), uint8.
    """
    reader = images.FaceReader(mint_options.framing(run.config))
    size = reader.framing.size
    rows, faces = [np.empty(0, int)], [np.empty((0, size, size, 3), np.uint8)]
    for some_rows, some_faces in reader.batches(table, extract.BATCH_SIZE):
        rows.append(some_rows)
        faces.append(some_faces)
    return np.concatenate(rows), np.concatenate(faces)


def _of_head(run: mint_run.Run, scorer: Scorer, groups: Mapping[str, list[str]]) -> _Decide:
    key = mint_options.HeadKey(AUDITED, scorer.tap, run.config.seed)
    logits = heads.logit_model(mint_run.load_head(mint_options.head_path(run.config, key)))
    named = _named(run.config, groups[scorer.tap])

    def decide(batches: Iterator[_Outputs], people: np.ndarray) -> np.ndarray:
        del people
        inputs = ({tap: np.asarray(batch[name], np.float32) for tap, name in named.items()} for batch in batches)
        return np.concatenate([logits.predict_on_batch(given)[:, 0] for given in inputs])

    return decide


def _of_baseline(run: mint_run.Run, scorer: Scorer, groups: Mapping[str, list[str]]) -> _Decide:
    group = next(iter(groups.values()), [])
    fitted, named = run_baselines.fit(run.protocol, run.aad, scorer.name, group), _named(run.config, group)

    def decide(batches: Iterator[_Outputs], people: np.ndarray) -> np.ndarray:
        parts = list(batches)
        features = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if group:
            maxima = np.concatenate([features[name] for name in named.values()], axis=1)
            features |= {MAXIMA: maxima, FIRST_MAXIMA: maxima}
        return fitted({**features, PERSON: people})

    return decide


def _named(config: mint_options.TrainMint, group: list[str]) -> dict[str, str]:
    """Returns how the extractor names what it gives for each tap."""
    kind = "" if specs.find(config.head).takes_maps else config.pooling
    return {tap: pooling.array_name(tap, kind, tap != taps.OUTCOME) for tap in group}
