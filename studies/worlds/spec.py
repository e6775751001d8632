"""Which worlds there are, and what each of them is drawn from."""

from __future__ import annotations

import dataclasses

from mint_keras import streams
from mint_keras.data import protocol as protocols
from mint_keras.data import synthetic
from mint_keras.records import InputError
from studies.worlds import drawing

# A third of the claimed members' photos trains heads, the others are evaluated.
_TRAIN_SHARE = 3
USABLE = 100  # the network that others begin as; the first of these is the next number
_MORE_OF_FIRST = 4
# Behind all others, whose numbers and seeds stay as they were.
_LATER = ("jpeg75", "sex65", "sex75", "age75", "race75")
# What leads auditors of the drawn models astray; usable networks have all references.
_OF_DRAWN = ("look65", "look75", "other_look75", "pixels75", "photos", "twins", "few", "swapped")
# Photos of each side: what a head's batch takes, and a person more.
_MIN_TRAINING = 66


@dataclasses.dataclass(frozen=True, order=True)
class World:
    """One world.

    Attributes:
        model: The number of the audited model; `USABLE` and more are networks that are any good.
        number: The number of the draw of people and databases.
        kind: A key of `drawing.ALL`.
    """

    model: int
    number: int
    kind: str

    @property
    def name(self) -> str:
        """How its files are called, for example 1-02-familiar."""
        return f"{self.model}-{self.number:02d}-{self.kind}"

    @property
    def is_member(self) -> bool | None:
        """Whether the model was trained on the claimed members; None if on both sides alike."""
        return drawing.ALL[self.kind].is_member

    @classmethod
    def parse(cls, name: str) -> World:
        """Reads a name.

        Raises:
            InputError: if it is none.

        Example:
            >>> World.parse("1-02-familiar")
            World(model=1, number=2, kind='familiar')
        """
        model, _, rest = name.partition("-")
        number, _, kind = rest.partition("-")
        if not (model.isdecimal() and number.isdecimal() and kind in drawing.ALL):
            raise InputError(f"Expected a world like 1-02-familiar, received {name!r}.")
        return cls(int(model), int(number), kind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldsSpec:
    """All worlds of a validation.

    Attributes:
        num_models: Audited models, each trained on people of one of the lab's databases.
        num_null: Worlds of each model in which the claimed members were never trained on: neither, shift and familiar
            take turns.
        num_member: Worlds of each model in which they were: membership and both take turns.
        claimed: Claimed members of a world, and people each model is trained on.
        held_out: People of the claimed members' database who were kept out: the reference.
        externals: People who train the heads, and as many who evaluate them, for the naive reading.
        photos: Photos of each person in a world.
        trained_photos: Photos of each person in a model's training.
        arch: Architecture of the audited models, see train_audited.py.
        resolution: Side of their faces in pixels.
        epochs: Passes of their training.
        num_untrained: Untrained copies of each, as in audit.py. The next audited model is the foreign one.
        num_astray: Null worlds of each model, and of each usable network, of each of the ways in which groups can
            differ without membership.
        usable: Folder of a converted network, such as MobileFaceNet, whose end is trained on people of --faces; ""
            leaves these worlds out.
        trainable: The layer from which on it is trained.
        faces: Photos of people with four photos or more each, such as lfw/train.rec.
        labelled: Faces whose attributes say sex, age and race, such as UTKFace's after prepare_faces.py: what is
            learned from them is guessed of the people of --faces, for references that are skewed by it; "" leaves these
            out.
        num_usable: Networks that are made so, besides the one that they begin as.
        seed: Seed of everything.
    """

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
    num_astray: int = 1
    usable: str = ""
    trainable: str = "conv_046"
    faces: str = ""
    labelled: str = ""
    num_usable: int = 12
    seed: int = 1

    def check(self) -> None:
        """Raises InputError for sizes that make no worlds."""
        most = len(synthetic.DATABASES)
        if not 2 <= self.num_models <= most:
            raise InputError(f"Expected 2 to {most} audited models, one a database, received {self.num_models}.")
        if min(self.num_null, self.num_member) < 1 or not 1 <= self.photos <= self.trained_photos:
            raise InputError(
                f"Expected worlds of both kinds, and 1 to {self.trained_photos} photos of a person, received "
                f"{self.num_null} and {self.num_member} worlds, {self.photos} photos."
            )
        if bool(self.usable) != bool(self.faces) or (self.labelled and not self.faces):
            raise InputError(
                "Expected --usable and --faces together, a network and photos, and --labelled only with them, received "
                "one alone."
            )
        if min(self.claimed // _TRAIN_SHARE, self.externals) * self.photos <= _MIN_TRAINING:
            raise InputError(
                f"Expected more than {_MIN_TRAINING} photos of {_TRAIN_SHARE} x claimed people, and of externals, to "
                f"train heads on, received {self.claimed} people and {self.externals} externals of {self.photos} "
                "photos."
            )

    def all_worlds(self) -> list[World]:
        """Returns the worlds of all models: first the null ones of each, kinds taking turns."""
        found = []
        for model in range(1, self.num_models + 1):
            for kinds, first, num in (
                (drawing.NULL, 0, self.num_null),
                (drawing.WITH_MEMBERS, self.num_null, self.num_member),
            ):
                # Every model begins with another kind, so that few worlds of each model show all kinds.
                found += [World(model, first + k + 1, kinds[(model + k) % len(kinds)]) for k in range(num)]
        return found

    def references(self) -> list[World]:
        """Returns the worlds without externals: those of the drawn models, and all of usable networks."""
        found = []
        numbers = [*range(1, self.num_models + 1)]
        numbers += [*range(USABLE, USABLE + self.num_usable + 1)] if self.usable else []
        for model in numbers:
            kinds = (
                [*_OF_DRAWN]
                if model < USABLE
                else [name for name, of in drawing.REFERENCES.items() if of.is_member is False and name not in _LATER]
            )
            if model == USABLE:
                kinds.remove("swapped")  # it was trained on none of these people
            # Of the network that the others begin as, nobody is a member: it has null worlds only, and more of them.
            num = self.num_astray * (_MORE_OF_FIRST if model == USABLE else 1)
            kinds = [kind for kind in kinds for _ in range(num)]
            kinds += ["used", "all_used", "used_few"] if model > USABLE else []
            later = [name for name in _LATER if self.labelled or drawing.REFERENCES[name].is_recompressed]
            kinds += [name for name in later for _ in range(num)] if model >= USABLE else []
            # Behind the numbers of the worlds with externals.
            first = self.num_null + self.num_member + 1 if model < USABLE else 1
            found += [World(model, first + k, kind) for k, kind in enumerate(kinds)]
        return found

    @property
    def num_train(self) -> int:
        """How many photos of the claimed members train heads."""
        return self.claimed * self.photos // _TRAIN_SHARE

    @property
    def num_test(self) -> int:
        """How many photos of the claimed members evaluate them."""
        return self.claimed * self.photos - self.num_train

    def seed_of(self, world: World) -> int:
        """Returns the seed of a world's split, fits and intervals."""
        # No two worlds share it as long as each model has fewer than 100.
        of_all = 100_000 if world.kind in drawing.REFERENCES else 10_000
        return of_all * self.seed + 100 * world.model + world.number

    def sources(self, world: World, people: drawing.People) -> protocols.Sources:
        """Draws who appears in a world, and returns what an auditor is given of them."""
        sizes = drawing.Sizes(self.claimed, self.held_out, self.externals)
        return drawing.draw(world.kind, people, sizes, streams.stream(self.seed, world.model, world.number))

    def protocol(self, world: World, people: drawing.People) -> protocols.Protocol:
        """Draws who appears in a world, and who plays which part."""
        sources = self.sources(world, people)
        return protocols.make_protocol(sources, self.num_train, self.num_test, self.seed_of(world))
