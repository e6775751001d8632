"""What a MINT run is: which model, which samples, which taps and heads. Where it lies is no part of it."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

from mint_keras import formats, shelf
from mint_keras.aad import pooling
from mint_keras.audited import taps as taps_module
from mint_keras.audited import zoo
from mint_keras.borders import beside, find_beside, reading
from mint_keras.data import images
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError

KIND = "mint_run"
# What says where inputs are. What they are is said by their content, so that runs can be moved.
PLACES = ("audited", "protocol", "store", "members", "externals", "evaluate", "held_out")
_MOST_SEEDS = 1000
COMBINATION, COMBINATION_OUTCOME = "combination", "combination+outcome"


class HeadKey(NamedTuple):
    """One training of a run: through which model, on which tap or combination, from which seed."""

    model: str
    name: str
    seed: int

    def path(self, folder: Path, first_seed: int) -> Path:
        """Returns where the head lies in a run's folder; those of the run's own seed have no seed in their path."""
        model = self.model if self.seed == first_seed else f"{self.model}_seed{self.seed}"
        return folder / "heads" / model / self.name / formats.HEAD


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """A MINT run. Its fields are the options of `mint train` of the same names, whose help says more.

    Samples are named as on the command line, or by the folder of a protocol. Empty fields mean the defaults: the lists
    beside the model for members and held-out people, the head's own taps, no shrinking of images.
    """

    head: str
    audited: Path = shelf.LAB
    taps: tuple[str, ...] = ()
    protocol: Path | None = None
    members: str = ""
    externals: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    held_out: str = ""
    num_train: int = 1500
    num_test: int = 500
    num_seeds: int = 3
    native_resolution: int = 0
    pooling: str = pooling.MAX
    baselines: bool = False
    literal: bool = False
    aad: str = "auto"
    store: Path | None = None
    precision: str = "float32"
    backend: str = "auto"
    xla: bool = False
    head_precision: str = "float32"
    head_xla: bool = False
    seed: int = 1

    @property
    def model_folder(self) -> Path:
        """Where the audited model lies: the folder that was named, or the shelf's of that name."""
        return shelf.find(self.audited)

    @property
    def framing(self) -> images.Framing:
        """What images become before the audited model sees them."""
        return zoo.framing(self.audited, self.native_resolution)

    @property
    def groups(self) -> dict[str, list[str]]:
        """The heads by name, with their taps: each tap, the combination, and it with the outcome."""
        spec = specs.find(self.head)
        taps = list(dict.fromkeys(self.taps))
        if not taps and not spec.combines:
            taps = [*self._conv_taps[:1]]  # conv1, as in the paper's Table 7
        elif not taps:
            taps = [*self._conv_taps, *([] if spec.takes_maps else [taps_module.OUTCOME])]
        if not taps:
            raise InputError(f"Expected an audited model with taps of maps, such as conv1, received {self.audited}.")
        if COMBINATION in taps:
            if not spec.combines:
                raise InputError(
                    f"Expected single taps for {self.head}, which has no combination in the paper's Table 7."
                )
            return {tap: list(self._conv_taps) if tap == COMBINATION else [tap] for tap in taps}
        groups = {tap: [tap] for tap in taps}
        maps = [tap for tap in taps if tap != taps_module.OUTCOME]
        if len(maps) > 1 and spec.combines:
            groups[COMBINATION] = maps
            if taps_module.OUTCOME in taps:
                groups[COMBINATION_OUTCOME] = [*maps, taps_module.OUTCOME]
        return groups

    @functools.cached_property
    def _conv_taps(self) -> tuple[str, ...]:
        return zoo.conv_taps(self.audited)

    @property
    def all_taps(self) -> list[str]:
        """The taps whose AAD the heads need."""
        return list(dict.fromkeys(tap for group in self.groups.values() for tap in group))

    @property
    def keys(self) -> list[HeadKey]:
        """All trainings. Heads on maps take minutes each: on the untrained copy, a control, one shows what it gives."""
        seeds = dict.fromkeys((AUDITED, UNTRAINED), range(self.seed, self.seed + self.num_seeds))
        if specs.find(self.head).takes_maps:
            seeds[UNTRAINED] = seeds[UNTRAINED][:1]
        return [HeadKey(model, name, seed) for model in seeds for seed in seeds[model] for name in self.groups]

    def settings(self) -> dict[str, Any]:
        """Returns the fields by name."""
        return dataclasses.asdict(self)

    def stored(self, folder: Path) -> dict[str, Any]:
        """Returns what the manifest of the run's folder says of it, see `borders.absolute_paths`."""

        def place(value: Any) -> Any:
            if isinstance(value, tuple):
                return [place(inner) for inner in value]
            return value and beside(str(value), folder)

        return {name: place(value) if name in PLACES else value for name, value in self.settings().items()}

    def check(self) -> None:
        """Raises InputError for fields that contradict each other."""
        head = specs.find(self.head)
        if head.takes_maps:
            if self.literal and not head.warmup:
                raise InputError(
                    "Expected --literal with the vanilla head, which standardises its inputs, or with a cnn head, "
                    f"whose training warms up; received {self.head}, which is as printed in any case."
                )
            if self.baselines or self.pooling != pooling.MAX:
                raise InputError(
                    f"Expected --baselines and --pooling with the vanilla head only: {self.head} takes maps."
                )
        if not 1 <= self.num_seeds <= _MOST_SEEDS or not 0 <= self.seed <= 2**32 - self.num_seeds:
            raise InputError(
                f"Expected --num-seeds from 1 to {_MOST_SEEDS} and all seeds from 0 to {2**32 - 1}, received "
                f"{self.num_seeds} from {self.seed} on."
            )
        if self.baselines and self.pooling != pooling.MAX:
            raise InputError(f"Expected --baselines with --pooling max, which they look at, received {self.pooling}.")
        if self.baselines and not set(self.all_taps) - {taps_module.OUTCOME}:
            raise InputError("Expected taps with maps for --baselines, received only outcome.")


def read_spec(folder: Path) -> RunSpec:
    """Returns what the run in a folder was made from.

    Raises:
        InputError: if there is none, or one of another version.
    """
    stored = formats.read_manifest(folder, KIND)["config"]
    expected = {field.name for field in dataclasses.fields(RunSpec)}
    if set(stored) != expected:
        raise InputError(
            f"Expected the options {sorted(expected)} in the manifest of {folder}, received {sorted(stored)}."
        )
    with reading(f"the options of a run in the manifest of {folder}"):
        return _spec_of(stored, folder)


def _spec_of(stored: dict[str, Any], folder: Path) -> RunSpec:
    def find(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(find, value))
        return find_beside(value, folder) if isinstance(value, str) else value

    values = {name: find(value) for name, value in stored.items()}
    values |= {name: Path(values[name]) if values[name] else None for name in ("protocol", "store")}
    spec = RunSpec(**{**values, "audited": Path(values["audited"])})
    for name, example in dataclasses.asdict(RunSpec("")).items():
        value = getattr(spec, name)
        is_odd = example is not None and type(value) is not type(example)
        if is_odd or not all(isinstance(one, str) for one in (value if isinstance(value, tuple) else ())):
            raise InputError(f"Expected {type(example).__name__} as {name}, received {value!r}.")
    return spec
