"""The runs behind the paper's tables: what each trains, on which samples, and what it costs."""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from mint_keras import paper, progress, shelf
from mint_keras.audited import taps as taps_module
from mint_keras.audited import zoo
from mint_keras.heads import specs
from mint_keras.report import paper_tables, tables
from mint_keras.runs import report
from mint_keras.runs import run as runs
from mint_keras.runs.run import evaluate, fit_heads, open_run
from mint_keras.runs.spec import RunSpec
from mint_keras.training import classification, fit_audited

LAB, PAPER = paper_tables.LAB, paper_tables.PAPER
LAB_MODELS = {"fr1": shelf.LAB, "fr2": Path("models/lab2"), "fr3": Path("models/lab3")}
# Training samples of each class: what two cores manage. The paper has 50,000, 25,000 and 500.
LAB_SIZES = {"100k": 192, "50k": 128, "1k": 64}
LAB_TEST = 500
# Of tables 8 and 9: samples of each class that train and evaluate the heads, and what trains the classifiers.
_NUM_PICTURES = {LAB: (256, 480), PAPER: (paper.CLASSIFICATION_TRAIN, paper.CLASSIFICATION_TEST)}
_CLASSIFIER_TRAINING: dict[str, dict[str, Any]] = {
    LAB: {"epochs": 6, "batch_size": 64},
    PAPER: {"epochs": 20, "batch_size": 128},
}
_TRAINING_PASSES = 3  # forward, and twice as much backward


@dataclasses.dataclass(frozen=True, order=True)
class PaperRun:
    """One run of heads: an audited model's name, a protocol's case (or `PICTURES`, `NATIVE`) and size, and the heads.

    Several cells, also of several tables, may come from one run.
    """

    model: str
    case: str
    size: str
    head: str
    taps: tuple[str, ...]
    pooling: str

    @property
    def name(self) -> str:
        """The run's folder."""
        taps = self.taps if len(self.taps) == 1 else ()
        pooling = () if self.pooling == "max" else (self.pooling,)
        return "-".join([self.model, self.case, self.size, self.head, *taps, *pooling])

    @property
    def protocol_name(self) -> str:
        """The folder of the run's protocol."""
        return f"{self.model}/{self.case}-{self.size}"

    @property
    def is_of_pictures(self) -> bool:
        """Whether the audited model is a classifier of pictures."""
        return self.case in (paper_tables.PICTURES, paper_tables.NATIVE)


def run_of(cell: paper_tables.CellSource) -> PaperRun:
    """Returns the run that fills a cell. It depends on the cell alone, so that tables asked for later find it."""
    taps: tuple[str, ...]
    if cell.head == "vanilla":
        taps = () if (cell.size, cell.pooling) == ("100k", "max") else ("combination",)
    else:  # conv1 is what most tables want, and what the paper proposes
        taps = ("conv1",) if cell.tap == "conv1" else ("conv2", "conv3", "conv4", "combination")
    return PaperRun(cell.model, cell.case, cell.size, cell.head, taps, cell.pooling)


class Pictures(NamedTuple):
    """The databases of tables 8 and 9: CIFAR-100, whose part "train" trains the classifiers, and their externals."""

    members: str
    externals: tuple[str, ...]
    evaluate: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where runs lie (in `out`, with classifiers and the lab's protocols) and what all of them share."""

    out: Path
    models: Mapping[str, Path]
    protocols: Path
    pictures: Pictures | None
    scale: str
    num_seeds: int
    seed: int

    def folder(self, run: PaperRun) -> Path:
        """Returns the folder of a run."""
        return self.out / "runs" / run.name

    def spec(self, run: PaperRun) -> RunSpec:
        """Returns what a run is."""
        shared = RunSpec(run.head, taps=run.taps, pooling=run.pooling, num_seeds=self.num_seeds, seed=self.seed)
        if not run.is_of_pictures:
            return dataclasses.replace(
                shared, audited=self.models[run.model], protocol=self.protocols / run.protocol_name
            )
        assert self.pictures is not None  # noqa: S101 # nobody asks for such a run without
        num_train, num_test = _NUM_PICTURES[self.scale]
        return dataclasses.replace(
            shared,
            audited=self.classifier_folder(run.model),
            externals=self.pictures.externals,
            evaluate=self.pictures.evaluate,
            num_train=num_train,
            num_test=num_test,
            native_resolution=paper_tables.NATIVE_RESOLUTION if run.case == paper_tables.NATIVE else 0,
        )

    def classifier_folder(self, name: str) -> Path:
        """Returns the folder of an audited classifier."""
        return self.out / "classifiers" / name

    def classifier(self, name: str) -> classification.ClassifierSpec:
        """Returns what an audited classifier is."""
        assert self.pictures is not None  # noqa: S101
        architecture, resolution = paper_tables.split_classifier(name)
        return classification.ClassifierSpec(
            data=self.pictures.members,
            arch=architecture,
            resolution=resolution,
            learning_rate=fit_audited.LEARNING_RATE,
            weight_decay=fit_audited.WEIGHT_DECAY,
            seed=self.seed,
            **_CLASSIFIER_TRAINING[self.scale],
        )

    def has_classifier(self, name: str) -> bool:
        """Returns whether an audited classifier is trained."""
        return classification.is_finished(self.classifier(name), self.classifier_folder(name))

    def is_finished(self, run: PaperRun) -> bool:
        """Returns whether the scores of a run are there."""
        spec = self.spec(run)
        return spec.model_folder.is_dir() and runs.is_finished(spec, self.folder(run))

    def gigaflops(self, run: PaperRun) -> float:
        """Returns the operations of a run in 1e9: extraction through both models, every training of every head."""
        spec = self.spec(run)
        if run.is_of_pictures:  # a classifier that is not trained yet has random weights
            model = classification.untrained(self.classifier(run.model))[0]
            num_train, num_samples = 2 * spec.num_train, 2 * spec.num_train + 3 * spec.num_test  # at most
        else:
            model = zoo.load_audited(spec.audited)
            protocol = runs.choose_samples(spec)
            num_train, num_samples = len(protocol.training_rows().rows), len(protocol.table)
        extractor = taps_module.extractor(model, spec.all_taps)
        total = 2 * num_samples * taps_module.flops(extractor)
        shapes = {tap: tuple(extractor.output[tap].shape[1:]) for tap in spec.all_taps}
        if not specs.find(spec.head).takes_maps:
            shapes = {tap: shape[-1:] for tap, shape in shapes.items()}
        recipes = runs.heads_of(spec)
        for key in spec.keys:
            recipe = recipes[key.name]
            head = recipe.build({tap: shapes[tap] for tap in recipe.taps})
            total += _TRAINING_PASSES * specs.find(spec.head).epochs * num_train * taps_module.flops(head)
        return total / 1e9

    def classifier_gigaflops(self, name: str) -> float:
        """Returns the operations of training a classifier in 1e9."""
        spec = self.classifier(name)
        model, num_members = classification.untrained(spec)
        return _TRAINING_PASSES * spec.epochs * num_members * taps_module.flops(model) / 1e9

    def finish(self, runs: Sequence[PaperRun]) -> None:
        """Trains the classifiers and runs that are not finished."""
        for name in progress.bar(classifiers(runs), desc="classifiers"):
            if not self.has_classifier(name):
                classification.train_classifier(self.classifier(name), self.classifier_folder(name))
                keras.utils.clear_session()  # else its graphs stay in memory
        for run in progress.bar(runs, desc="runs", unit="run"):
            if self.is_finished(run):
                continue
            opened = open_run(self.spec(run), self.folder(run))
            fit_heads(opened, opened.spec.keys)
            report.write(opened, *evaluate(opened))
            keras.utils.clear_session()
            if specs.find(run.head).takes_maps:
                # Maps fill the disk, and nothing but the scores is needed again.
                shutil.rmtree(self.folder(run) / "aad")

    def describe(self, runs: Sequence[PaperRun]) -> str:
        """Says what would run, and what it costs."""
        rows, costs = [["run", "state", "heads", "GFLOP"]], []
        for name in classifiers(runs):
            costs.append(0.0 if self.has_classifier(name) else self.classifier_gigaflops(name))
            rows.append([f"training of {name}", "to do" if costs[-1] else "finished", "", f"{costs[-1]:,.0f}"])
        for run in runs:
            costs.append(0.0 if self.is_finished(run) else self.gigaflops(run))
            num_heads = str(len(self.spec(run).keys))
            rows.append([run.name, "to do" if costs[-1] else "finished", num_heads, f"{costs[-1]:,.0f}"])
        hours = ", ".join(f"{sum(costs) / rate / 3600:.1f} h at {rate:,} GFLOP/s" for rate in (100, 5000))
        table = tables.format_table(rows)
        return f"{table}\n\nTo do: {sum(costs):,.0f} GFLOP, {hours} (two CPU cores, one GPU)."


def classifiers(wanted: Iterable[PaperRun]) -> list[str]:
    """Returns the names of the classifiers that runs need."""
    return sorted({run.model for run in wanted if run.is_of_pictures})
