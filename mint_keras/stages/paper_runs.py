"""The runs behind the paper's tables: what each trains, on which protocol, and what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from mint_keras import formats
from mint_keras.audited import taps as taps_module
from mint_keras.audited import zoo
from mint_keras.heads import specs
from mint_keras.records import InputError
from mint_keras.report import paper_tables
from mint_keras.stages import make_protocol, mint_options, mint_run

LAB, PAPER = paper_tables.LAB, paper_tables.PAPER
LAB_MODELS = {"fr1": zoo.LAB, "fr2": Path("models/lab2"), "fr3": Path("models/lab3")}
# Which drawn database stands for which of the paper's.
_LAB_STAND_INS = ("news=ijbc", "phone=fddb", "webcam=gandiffface", "scan=adience")
# Training samples of each class: what two cores manage. The paper has 50,000, 25,000 and 500.
LAB_SIZES = {"100k": 192, "50k": 128, "1k": 64}
LAB_TEST = 500
_TRAINING_PASSES = 3  # forward, and twice as much backward


@dataclasses.dataclass(frozen=True, order=True)
class PaperRun:
    """One run of heads. Several cells, also of several tables, may come from one run.

    Attributes:
        model: name of the audited model, for example "fr1".
        case: of the protocol.
        size: of the training set, as the paper calls it.
        head: a name of `heads.specs.HEADS`.
        taps: see `mint_options.TrainMint`; () for its default.
    """

    model: str
    case: str
    size: str
    head: str
    taps: tuple[str, ...]

    @property
    def name(self) -> str:
        """The run's folder."""
        taps = f"-{self.taps[0]}" if len(self.taps) == 1 else ""
        return f"{self.model}-{self.case}-{self.size}-{self.head}{taps}"

    @property
    def protocol_name(self) -> str:
        """The folder of the run's protocol."""
        return f"{self.model}/{self.case}-{self.size}"


def run_of(model: str, source: paper_tables.Source) -> PaperRun:
    """Returns the run that fills a cell. It depends on the cell alone, so that tables asked for later find it."""
    taps: tuple[str, ...]
    if source.head == "vanilla":
        taps = () if source.size == "100k" else ("combination",)
    else:  # conv1 is what most tables want, and what the paper proposes
        taps = ("conv1",) if source.tap == "conv1" else ("conv2", "conv3", "conv4", "combination")
    return PaperRun(model, source.case, source.size, source.head, taps)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where runs lie and what all of them share.

    Attributes:
        out: folder of make_tables.py; runs and the lab's protocols lie in it.
        models: folders of the audited models by name.
        protocols: folder of the protocols.
        scale: lab or paper.
        num_seeds: trainings of every head.
        seed: the first of them.
        quiet: no progress bars.
    """

    out: Path
    models: Mapping[str, Path]
    protocols: Path
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
            audited=self.models[run.model],
            protocol=self.protocols / run.protocol_name,
            num_seeds=self.num_seeds,
            seed=self.seed,
            quiet=self.quiet,
        )


def make_protocols(setting: Setting, runs: Iterable[PaperRun]) -> None:
    """Makes the lab's protocols, or checks that those of the paper's scale are there.

    Raises:
        InputError: if one is missing.
    """
    for run in sorted({(r.model, r.case, r.size, r.protocol_name) for r in runs}):
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


def gigaflops(config: mint_options.TrainMint) -> float:
    """Returns the operations of a run in 1e9: extraction through both models, and every training of every head."""
    model = zoo.load_audited(config.audited)
    taps = mint_options.resolve_taps(config)
    extractor = taps_module.extractor(model, taps)
    protocol = mint_run.make_protocol(config)
    num_train = len(protocol.training_rows()[0])
    total = 2 * len(protocol.table) * taps_module.flops(extractor)
    shapes = {tap: tuple(extractor.output[tap].shape[1:]) for tap in taps}
    if not specs.find(config.head).takes_maps:
        shapes = {tap: shape[-1:] for tap, shape in shapes.items()}
    groups = mint_options.tap_groups(config)
    for key in mint_options.head_keys(config):
        head = mint_options.build_head(config, {tap: shapes[tap] for tap in groups[key.name]})
        total += _TRAINING_PASSES * specs.find(config.head).epochs * num_train * taps_module.flops(head)
    return total / 1e9
