"""What is audited: a run, the scorer that was chosen from it, and who is reported on."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, score_files, shelf
from mint_keras.aad import extract, models, store
from mint_keras.auditing import look as looks
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.heads import specs
from mint_keras.records import AUDITED, InputError, Observations, Scores
from mint_keras.runs.run import Run, heads_of, load_head
from mint_keras.runs.spec import HeadKey, RunSpec
from mint_keras.scorers import baselines, mint_plus
from mint_keras.scorers.contract import Fitted, Needs, Scorer
from mint_keras.scorers.head import Head
from mint_keras.statistics import division, figures, selection
from mint_keras.statistics.selection import Candidate
from mint_keras.training import fit_heads

KIND = "audit"
_MOST_COPIES = 100  # untrained
_STRANGERS = (
    "Nobody was kept out of the training, and it is not known who is on the photos of one side of the comparison "
    "across databases: a scorer cannot be chosen on some people and reported on others, so the run's first stands for "
    "all."
)


@dataclasses.dataclass(frozen=True)
class AuditSpec:
    """What an audit looks at. `mint audit --help` says what each field is.

    Raises:
        InputError: for numbers that would be refused after all else was computed.
    """

    run: Path
    reference: tuple[Path, ...] = ()
    foreign: tuple[Path, ...] = ()
    look: Path | None = None
    unseen_photos: str = ""
    swap: Path | None = None
    nulls: tuple[str, ...] = ()
    robustness: bool = False
    num_untrained: int = 3
    prevalence: float = 0.01
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.prevalence <= 1:
            raise InputError(f"Expected --prevalence from 0 to 1, a share of the photos, received {self.prevalence}.")
        if self.seed < 0 or not 0 <= self.num_untrained <= _MOST_COPIES:
            raise InputError(
                f"Expected --seed of at least 0 and --num-untrained up to {_MOST_COPIES}, received {self.seed} and "
                f"{self.num_untrained}."
            )


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run that is audited.

    Attributes:
        spec: What the audit looks at.
        folder: The folder where the audit keeps what takes long.
        run: The run, with its AAD.
        scores: The scores of the run's heads and baselines.
        scorer: The one of these that was chosen, on people who are not reported on.
        division: The division of the people of its reference, or of its main evaluation if it has no reference.
        look: The network that is the control of how people look, and who it says is who; None without a reference.
        said: What the report says of both.
    """

    spec: AuditSpec
    folder: Path
    run: Run
    scores: Sequence[Scores]
    scorer: Candidate
    division: division.Division
    look: looks.Chosen | None
    said: tuple[str, ...]

    @property
    def has_reference(self) -> bool:
        """Whether there are people of the members' database whom the audited model never saw."""
        return protocols.SAME_DATABASE in self.run.protocol.evaluations()

    @property
    def knows_looks(self) -> bool:
        """Whether there is a network that knows the faces at hand and is not the audited one."""
        return self.look is not None and self.look.folder is not None

    @property
    def recipe(self) -> Scorer:
        """The chosen scorer, to be fitted on what other models give."""
        return recipe_of(self.run, self.scorer)


def recipe_of(run: Run, scorer: Candidate) -> Scorer:
    """Returns a head or baseline of a run, unfitted."""
    if scorer.name == run.spec.head:
        return heads_of(run.spec)[scorer.tap]
    return next(one for one in baselines.scorers_of([scorer.name], run.spec.groups) if one.tap == scorer.tap)


def needed(spec: RunSpec, scorer: Scorer) -> Needs:
    """Returns what a scorer of a run must see: its taps, kept as the run's heads take them."""
    return dataclasses.replace(scorer.needs, pooling="" if specs.find(spec.head).takes_maps else spec.pooling)


def open_scorer(run: Run, scorer: Candidate) -> Fitted:
    """Returns a scorer of a run, as it is, as a function of samples with their faces ("pixels").

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
        **run.aad.engine._asdict(),
    )
    function = {AUDITED: models.face_functions(spec, models.extractors(spec, models.load(spec)))[AUDITED]}

    def seen(shown: Observations) -> Iterator[Observations]:
        for start in range(0, len(shown), extract.BATCH_SIZE):
            batch = shown.take(np.arange(start, min(start + extract.BATCH_SIZE, len(shown))))
            outputs = extract.run(function, batch[images.PIXELS], extract.BATCH_SIZE)[AUDITED]
            # Rounded as a store keeps them, because the scorer was fitted on rounded values.
            cast = {name: store.cast(values, extract.Layout.dtype, name) for name, values in outputs.items()}
            yield Observations(batch.table, cast)

    if isinstance(recipe, Head):
        logits = fit_heads.logit_model(load_head(run, HeadKey(AUDITED, scorer.tap, run.spec.seed)).model)

        def score_by_head(shown: Observations) -> np.ndarray:
            # Batch by batch: the maps of all faces would not fit the memory.
            inputs = (recipe.inputs(batch) for batch in seen(shown))
            floats = ({tap: np.asarray(values, np.float32) for tap, values in given.items()} for given in inputs)
            return np.concatenate([logits.predict_on_batch(given)[:, 0] for given in floats])

        return score_by_head
    rows, is_member = run.protocol.training_rows()
    fitted = recipe.fit(run.aad.seen(AUDITED).take(rows), is_member, run.spec.seed)

    def score_by_baseline(shown: Observations) -> np.ndarray:
        # All at once, because compactness compares a person's photos with one another.
        parts = [batch.arrays for batch in seen(shown)]
        return fitted(Observations(shown.table, {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}))

    return score_by_baseline


def open_audit(spec: AuditSpec, run: Run, folder: Path) -> Opened:
    """Finds out who is who, and chooses a head or baseline of the run by its AUC on people who are not reported on."""
    scores, chosen = score_files.read_scores(run.folder / formats.SCORES), None
    said: tuple[str, ...] = ()
    if protocols.SAME_DATABASE in run.protocol.evaluations():
        given = (run.spec.audited, run.spec.native_resolution, spec.look, folder)
        chosen = looks.choose(run.protocol, *given)
        protocol, left_out = looks.regroup(run.protocol, chosen.groups)
        run, scores = dataclasses.replace(run, protocol=protocol), looks.regrouped(scores, protocol)
        said = (*chosen.said, *left_out)
    evaluations = run.protocol.evaluations()
    # Where only membership differs, if the run has such people: elsewhere the scorer that sees shift best would win.
    evaluation = protocols.SAME_DATABASE if protocols.SAME_DATABASE in evaluations else run.protocol.main_evaluation
    parts = {scorer: scorer.parts(scores, evaluation) for scorer in selection.candidates(scores, evaluation)}
    of_heads = next(iter(parts.values()))
    by_name = {str(scorer): scorer for scorer in parts}
    if evaluation != protocols.SAME_DATABASE and min(figures.count_people(of_heads[0])) < 2:
        # Nothing can be decided without a reference, but the audit is to say so, and what the other side lacks.
        said = (*said, _STRANGERS)
        return Opened(
            spec, folder, run, scores, next(iter(parts)), division.Division(np.empty(0, np.str_)), chosen, said
        )
    divided = division.divide(of_heads[0], spec.seed)
    validation = {str(scorer): divided.choosing(of_scorer) for scorer, of_scorer in parts.items()}
    scorer = by_name[selection.choose(validation, divided.reported(of_heads))]
    return Opened(spec, folder, run, scores, scorer, divided, chosen, said)


def manifest(spec: AuditSpec) -> dict[str, Any]:
    """Returns the manifest of an audit.

    Raises:
        InputError: if two foreign models or references have one name, or something that was named is not there.
    """
    folders: dict[str, Path] = {}
    for role, paths in (("foreign", spec.foreign), ("reference", spec.reference)):
        names = [folder.name for folder in paths]
        if len(set(names)) < len(names):
            raise InputError(f"Expected {role} models in folders of different names, received {names}.")
        folders |= {f"{role} {folder.name}": folder for folder in paths}
    folders |= {name: of for name, of in (("look", spec.look), ("swap", spec.swap)) if of is not None}
    inputs = {"run": formats.sha256_file(spec.run / formats.SCORES)}
    inputs |= {name: formats.sha256_file(shelf.find(folder) / formats.MODEL) for name, folder in folders.items()}
    sources = {"unseen photos": (spec.unseen_photos,) if spec.unseen_photos else (), "nulls": spec.nulls}
    for name, given in sources.items():
        if given:
            inputs[name] = samples.fingerprint(samples.list_all(given))
    # What was given is in the inputs by its content, not its place: where folders were moved it is the same audit.
    settings = {name: getattr(spec, name) for name in ("robustness", "num_untrained", "prevalence", "seed")}
    settings["recipe"] = mint_plus.RECIPE  # an audit of another version does not go on with scores of this one
    return formats.make_manifest(KIND, inputs, settings)
