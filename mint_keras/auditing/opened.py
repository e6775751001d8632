"""What is audited: a run, the scorer that was chosen from it, and who is reported on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mint_keras import formats, score_files, shelf
from mint_keras.data import protocol as protocols
from mint_keras.data import samples
from mint_keras.records import InputError, Scores
from mint_keras.runs.run import Run, heads_of
from mint_keras.scorers import baselines
from mint_keras.scorers.protocol import Scorer
from mint_keras.statistics import division, selection
from mint_keras.statistics.selection import Candidate

KIND = "audit"


@dataclasses.dataclass(frozen=True)
class AuditSpec:
    """What an audit looks at. `mint audit --help` says more of each field.

    Attributes:
        run: The folder of the run that is audited.
        foreign: Folders of models of the same task that were not trained on these members.
        unseen_photos: Other photos of the members' people, which the audited model was not trained on; "" for none.
        swap: The folder of a model that was trained on other people of the members' own database.
        nulls: Further databases of which nobody is a member.
        robustness: Whether photos that were changed are scored too.
        num_untrained: How many untrained copies of the audited model the scorer must beat.
        prevalence: The share of members that is believed among photos like those tested.
        seed: Seeds the division of people, copies and intervals.
    """

    run: Path
    foreign: tuple[Path, ...] = ()
    unseen_photos: str = ""
    swap: Path | None = None
    nulls: tuple[str, ...] = ()
    robustness: bool = False
    num_untrained: int = 3
    prevalence: float = 0.01
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run that is audited.

    Attributes:
        spec: What the audit looks at.
        folder: Where it keeps what takes long.
        run: The run, with its AAD.
        scores: Of the run's heads and baselines.
        scorer: The one of these that was chosen, on people who are not reported on.
        division: Of the people of its reference; of its main evaluation, if it has no reference.
    """

    spec: AuditSpec
    folder: Path
    run: Run
    scores: Sequence[Scores]
    scorer: Candidate
    division: division.Division

    @property
    def has_reference(self) -> bool:
        """Whether there are people of the members' database whom the audited model never saw."""
        return protocols.SAME_DATABASE in self.run.protocol.evaluations()

    @property
    def recipe(self) -> Scorer:
        """The chosen scorer, to be fitted on what other models give."""
        return recipe_of(self.run, self.scorer)


def recipe_of(run: Run, scorer: Candidate) -> Scorer:
    """Returns a head or baseline of a run, unfitted."""
    if scorer.name == run.spec.head:
        return heads_of(run.spec)[scorer.tap]
    return next(one for one in baselines.scorers_of([scorer.name], run.spec.groups) if one.tap == scorer.tap)


def open_audit(spec: AuditSpec, run: Run, folder: Path) -> Opened:
    """Chooses among the run's heads and baselines by their AUC on people who are not reported on."""
    scores = score_files.read_scores(run.folder / formats.SCORES)
    evaluations = run.protocol.evaluations()
    evaluation = protocols.SAME_DATABASE if protocols.SAME_DATABASE in evaluations else run.protocol.main_evaluation
    parts = {scorer: scorer.parts(scores, evaluation) for scorer in selection.candidates(scores, evaluation)}
    of_heads = next(iter(parts.values()))
    divided = division.divide(of_heads[0], spec.seed)
    by_name = {str(scorer): scorer for scorer in parts}
    validation = {str(scorer): divided.choosing(of_scorer) for scorer, of_scorer in parts.items()}
    scorer = by_name[selection.choose(validation, divided.reported(of_heads))]
    return Opened(spec, folder, run, scores, scorer, divided)


def manifest(spec: AuditSpec) -> dict[str, Any]:
    """Returns the manifest of an audit.

    Raises:
        InputError: if two foreign models have one name, or something that was named is not there.
    """
    names = [folder.name for folder in spec.foreign]
    if len(set(names)) < len(names):
        raise InputError(f"Expected foreign models in folders of different names, received {names}.")
    folders = {f"foreign {folder.name}": folder for folder in spec.foreign}
    if spec.swap is not None:
        folders["swap"] = spec.swap
    inputs = {"run": formats.sha256_file(spec.run / formats.SCORES)}
    inputs |= {name: formats.sha256_file(shelf.find(folder) / formats.MODEL) for name, folder in folders.items()}
    sources = {"unseen photos": (spec.unseen_photos,) if spec.unseen_photos else (), "nulls": spec.nulls}
    for name, given in sources.items():
        if given:
            inputs[name] = samples.fingerprint(samples.list_all(given))
    settings = {name: getattr(spec, name) for name in ("robustness", "num_untrained", "prevalence", "seed")}
    return formats.make_manifest(KIND, inputs, settings)
