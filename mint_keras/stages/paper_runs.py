"""The runs behind the paper's tables: what each trains, on which samples, and what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from mint_keras import formats, paper
from mint_keras.audited import taps as taps_module
from mint_keras.audited import zoo
from mint_keras.commands import make_protocol
from mint_keras.heads import specs
from mint_keras.records import InputError
from mint_keras.report import paper_tables
from mint_keras.stages import mint_options, mint_run, train_classifier
from mint_keras.training import fit_audited as audited_training

LAB, PAPER = paper_tables.LAB, paper_tables.PAPER
LAB_MODELS = {"fr1": zoo.LAB, "fr2": Path("models/lab2"), "fr3": Path("models/lab3")}
# Which drawn database stands for which of the paper's.
_LAB_STAND_INS = ("news=ijbc", "phone=fddb", "webcam=gandiffface", "scan=adience")
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
    """One run of heads. Several cells, also of several tables, may come from one run.

    Attributes:
        model: name of the audited model, for example "fr1".
        case: of the protocol, or `paper_tables.PICTURES` or `NATIVE`.
        size: of the training set, as the paper calls it.
        head: a name of `heads.specs.HEADS`.
        taps: see `mint_options.TrainMint`; () for its default.
        pooling: see `mint_options.TrainMint`.
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


def run_of(source: paper_tables.Source) -> PaperRun:
    """Returns the run that fills a cell. It depends on the cell alone, so that tables asked for later find it."""
    taps: tuple[str, ...]
    if source.head == "vanilla":
        taps = () if (source.size, source.pooling) == ("100k", "max") else ("combination",)
    else:  # conv1 is what most tables want, and what the paper proposes
        taps = ("conv1",) if source.tap == "conv1" else ("conv2", "conv3", "conv4", "combination")
    return PaperRun(source.model, source.case, source.size, source.head, taps, source.pooling)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The databases of tables 8 and 9.

    Attributes:
        members: folder of CIFAR-100, whose part train trains the classifiers.
        externals: folders of Tiny-ImageNet and COCO.
        evaluate: folders of Caltech.
    """

    members: str
    externals: tuple[str, ...]
    evaluate: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where runs lie and what all of them share.

    Attributes:
        out: folder of make_tables.py; runs, classifiers and the lab's protocols lie in it.
        models: folders of the audited face models by name.
        protocols: folder of the protocols.
        pictures: databases for classifiers, if there are any.
        scale: lab or paper.
        num_seeds: trainings of every head.
        seed: the first of them.
        quiet: no progress bars.
    """

    out: Path
    models: Mapping[str, Path]
    protocols: Path
    pictures: Pictures | None
    scale: str
    num_seeds: int
    seed: int
    quiet: bool

    def config(self, run: PaperRun) -> mint_options.TrainMint:
        """Returns the options of train_mint.py for a run."""
        return mint_options.TrainMint(
            head=run.head,  # type: ignore[arg-type] # a name of `specs.HEADS`
            out=self.out / "runs" / run.name,
            taps=run.taps,
            pooling=run.pooling,  # type: ignore[arg-type] # a key of `aad.pooling.POOLINGS`
            num_seeds=self.num_seeds,
            seed=self.seed,
            quiet=self.quiet,
            **(self._picture_options(run) if run.is_of_pictures else self._face_options(run)),
        )

    def _face_options(self, run: PaperRun) -> dict[str, Any]:
        return {"audited": self.models[run.model], "protocol": self.protocols / run.protocol_name}

    def _picture_options(self, run: PaperRun) -> dict[str, Any]:
        assert self.pictures is not None  # noqa: S101 # make_tables.py asks for no such run without
        num_train, num_test = _NUM_PICTURES[self.scale]
        return {
            "audited": self.classifier(run.model).out,
            "externals": self.pictures.externals,
            "evaluate": self.pictures.evaluate,
            "num_train": num_train,
            "num_test": num_test,
            "native_resolution": paper_tables.NATIVE_RESOLUTION if run.case == paper_tables.NATIVE else 0,
        }

    def classifier(self, name: str) -> train_classifier.TrainClassifier:
        """Returns what trains an audited classifier."""
        assert self.pictures is not None  # noqa: S101
        architecture, resolution = paper_tables.split_classifier(name)
        return train_classifier.TrainClassifier(
            data=self.pictures.members,
            out=self.out / "classifiers" / name,
            arch=architecture,
            resolution=resolution,
            learning_rate=audited_training.LEARNING_RATE,
            weight_decay=audited_training.WEIGHT_DECAY,
            seed=self.seed,
            overwrite=False,
            quiet=self.quiet,
            **_CLASSIFIER_TRAINING[self.scale],
        )


def classifiers(runs: Iterable[PaperRun]) -> list[str]:
    """Returns the names of the classifiers that runs need."""
    return sorted({run.model for run in runs if run.is_of_pictures})


def make_protocols(setting: Setting, runs: Iterable[PaperRun]) -> None:
    """Makes the lab's protocols, or checks that those of the paper's scale are there.

    Raises:
        InputError: if one is missing.
    """
    for run in sorted({(r.model, r.case, r.size, r.protocol_name) for r in runs if not r.is_of_pictures}):
        model, case, size, name = run
        folder = setting.protocols / name
        if setting.scale == LAB:
            _make_lab_protocol(setting, model, case, size, folder)
        elif not (folder / make_protocol.SUMMARY).is_file():
            raise InputError(
                f"Expected {model}'s protocol in {folder}, received none. Make it: python scripts/make_protocol.py "
                f"--case {case} --size {size} --members ... --externals ... --out {folder}"
            )


def _make_lab_protocol(setting: Setting, model: str, case: str, size: str, folder: Path) -> None:
    audited = setting.models[model]
    make_protocol.make_protocol(
        make_protocol.MakeProtocol(
            case=case,  # type: ignore[arg-type] # a name of `cases.PAPER_CASES`
            members=(str(audited / formats.MEMBERS),),
            externals=(*mint_run.LAB_EXTERNALS, *mint_run.LAB_EVALUATE),
            held_out=(str(audited / formats.HELD_OUT),),
            stand_in=_LAB_STAND_INS,
            unscanned=True,  # of drawn people everything is known
            num_train=LAB_SIZES[size],
            num_test=LAB_TEST,
            out=folder,
        )
    )


def gigaflops(setting: Setting, run: PaperRun) -> float:
    """Returns the operations of a run in 1e9: extraction through both models, and every training of every head."""
    config = setting.config(run)
    model = _audited(setting, run)
    taps = mint_options.resolve_taps(config)
    extractor = taps_module.extractor(model, taps)
    num_train, num_samples = _sizes(config, run)
    total = 2 * num_samples * taps_module.flops(extractor)
    shapes = {tap: tuple(extractor.output[tap].shape[1:]) for tap in taps}
    if not specs.find(config.head).takes_maps:
        shapes = {tap: shape[-1:] for tap, shape in shapes.items()}
    groups = mint_options.tap_groups(config)
    for key in mint_options.head_keys(config):
        head = mint_options.build_head(config, {tap: shapes[tap] for tap in groups[key.name]})
        total += _TRAINING_PASSES * specs.find(config.head).epochs * num_train * taps_module.flops(head)
    return total / 1e9


def _audited(setting: Setting, run: PaperRun) -> keras.Model:
    """Returns the audited model of a run; a classifier that is not trained yet with random weights."""
    if run.is_of_pictures:
        return train_classifier.untrained(setting.classifier(run.model))[0]
    return zoo.load_audited(setting.models[run.model])


def _sizes(config: mint_options.TrainMint, run: PaperRun) -> tuple[int, int]:
    """Returns how many samples train a head, and how many there are in all; of pictures at most."""
    if run.is_of_pictures:
        return 2 * config.num_train, 2 * config.num_train + 3 * config.num_test
    protocol = mint_run.make_protocol(config)
    return len(protocol.training_rows()[0]), len(protocol.table)


def classifier_gigaflops(config: train_classifier.TrainClassifier) -> float:
    """Returns the operations of training a classifier in 1e9."""
    model, num_members = train_classifier.untrained(config)
    return _TRAINING_PASSES * config.epochs * num_members * taps_module.flops(model) / 1e9
