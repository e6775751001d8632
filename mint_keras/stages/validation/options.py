"""What a validation is asked for, and the worlds that follow from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mint_keras.data import synthetic, worlds
from mint_keras.records import InputError

QUICK = Path("models/worlds")  # committed scores
TRAIN_SHARE = 3  # a third of the claimed members' photos trains heads, the others are evaluated
_MIN_TRAINING = 66  # photos of each side: what a head's batch takes, and a person more
_NOT_CONTENT = ("out", "quick", "plan", "worlds", "overwrite", "quiet")


@dataclasses.dataclass(frozen=True)
class ValidateAuditor:
    """Options of validate_auditor.py.

    Attributes:
        out: folder for validation.json, validation.md, validation.png, and the models and worlds behind them.
        quick: make nothing, and decide the worlds of models/worlds again from their committed scores.
        plan: say what would be made, what is there already and about how long it takes, and do nothing.
        worlds: make only one world of each of these kinds, as an auditor meets it: a model, lists of samples, a run of
            train_mint.py; and say how audit.py is called on it. neither, shift (without people who were kept out),
            familiar, membership or both.
        num_models: audited models, each trained on people of one of the lab's databases.
        num_null: worlds of each model in which the claimed members were never trained on: neither, shift and familiar
            take turns.
        num_member: worlds of each model in which they were: membership and both take turns.
        claimed: claimed members of a world, and people each model is trained on.
        held_out: people of the claimed members' database who were kept out: the reference.
        externals: people who train the heads, and as many who evaluate them, for the naive reading.
        photos: of each person in a world.
        trained_photos: of each person in a model's training.
        arch: of the audited models.
        resolution: of their faces, in pixels.
        epochs: of their training.
        num_untrained: untrained copies of each, as in audit.py. The next audited model is the foreign one.
        seed: of everything.
        overwrite: replace what --out holds.
        quiet: no progress bars.
    """

    out: Path
    quick: bool = False
    plan: bool = False
    worlds: tuple[str, ...] = ()
    num_models: int = 6
    num_null: int = 10
    num_member: int = 5
    claimed: int = 200
    held_out: int = 150
    externals: int = 50
    photos: int = 2
    trained_photos: int = 5
    arch: str = "mini"
    resolution: int = 48
    epochs: int = 12
    num_untrained: int = 3
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


@dataclasses.dataclass(frozen=True, order=True)
class World:
    """One world: of which audited model, which draw of people and databases, and of which kind (`worlds.KINDS`)."""

    model: int
    number: int
    kind: str

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{self.model}-{self.number:02d}-{self.kind}"

    @property
    def is_member(self) -> bool:
        """Whether the model was trained on the claimed members."""
        return worlds.KINDS[self.kind].is_member

    @classmethod
    def parse(cls, name: str) -> World:
        """Reads a name.

        Raises:
            InputError: if it is none.
        """
        model, _, rest = name.partition("-")
        number, _, kind = rest.partition("-")
        if not (model.isdecimal() and number.isdecimal() and kind in worlds.KINDS):
            raise InputError(f"Expected a world like 1-02-familiar, received {name!r}.")
        return cls(int(model), int(number), kind)


def check(config: ValidateAuditor) -> None:
    """Raises InputError for sizes that make no worlds."""
    if unknown := sorted(set(config.worlds) - set(worlds.KINDS)):
        raise InputError(f"Expected worlds of {list(worlds.KINDS)}, received {unknown}.")
    if config.worlds and (config.quick or config.plan):
        raise InputError("Expected --worlds on its own, received it with --quick or --plan.")
    if not 2 <= config.num_models <= len(synthetic.DATABASES):
        raise InputError(
            f"Expected 2 to {len(synthetic.DATABASES)} audited models, one a database, received {config.num_models}."
        )
    if min(config.num_null, config.num_member) < 1 or not 1 <= config.photos <= config.trained_photos:
        raise InputError(
            f"Expected worlds of both kinds, and 1 to {config.trained_photos} photos of a person, received "
            f"{config.num_null} and {config.num_member} worlds, {config.photos} photos."
        )
    if min(config.claimed // TRAIN_SHARE, config.externals) * config.photos <= _MIN_TRAINING:
        raise InputError(
            f"Expected more than {_MIN_TRAINING} photos of {TRAIN_SHARE} x claimed people, and of externals, to train "
            f"heads on, received {config.claimed} people and {config.externals} externals of {config.photos} photos."
        )


def all_worlds(config: ValidateAuditor) -> list[World]:
    """Returns the worlds of all models: first the null ones of each, kinds taking turns."""
    found = []
    for model in range(1, config.num_models + 1):
        for kinds, first, num in (
            (worlds.NULL, 0, config.num_null),
            (worlds.WITH_MEMBERS, config.num_null, config.num_member),
        ):
            found += [World(model, first + k + 1, kinds[(model + k) % len(kinds)]) for k in range(num)]
    return found


def content(config: ValidateAuditor) -> dict[str, Any]:
    """Returns what of the options decides the results."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_CONTENT}
