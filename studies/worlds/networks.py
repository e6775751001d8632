"""The audited models of the worlds, and what they and the networks beside them make of everybody who may appear."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from mint_keras import formats, progress
from mint_keras.aad import pooling, views
from mint_keras.aad.observe import observe
from mint_keras.audited import recalibration, taps, zoo
from mint_keras.commands.train_audited import TrainAudited, train_audited
from mint_keras.data import images, sample_tables, samples, splits, synthetic
from mint_keras.records import AUDITED, UNTRAINED, Observations, SampleTable, concatenate_tables
from mint_keras.scorers import blind
from mint_keras.statistics import findings
from studies import arrays
from studies.worlds import drawing
from studies.worlds.drawing import PIXELS
from studies.worlds.spec import WorldsSpec

FOREIGN = "foreign"
LOOK = Path("lab2")  # on the shelf: it knows drawn faces of 112 pixels, and none of these people
_MAXIMA = tuple(pooling.array_name(tap, pooling.MAX) for tap in taps.CONV_TAPS)
# What MINT+ looks at by default where it judges people, and what the naive head does. The rest is large.
_KEPT = (taps.OUTCOME, views.COSINES, views.NORM_RATIOS, *_MAXIMA)
# Databases of the people of one audited model: its own, one to train heads on and one to evaluate them.
_NUM_DATABASES = 3
# Numbers of people: who was trained on comes before.
_FIRST_OTHER, _FIRST_SPARE = 1000, 5000
# People of each database who give untrained copies their statistics, and appear in no world.
_NUM_SPARE = 40


@dataclasses.dataclass(frozen=True)
class PeopleSeen:
    """What networks make of the people of one audited model.

    Attributes:
        people: Who may appear in its worlds.
        by_network: What was observed of all of their samples, by network: `PIXELS`, `AUDITED`, untrained copies, and a
            foreign model.
        traits: What is guessed of people, log-odds by `drawing.TRAITS` and by person; empty where nothing is.
    """

    people: drawing.People
    by_network: Mapping[str, Observations]
    traits: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def of(self, table: SampleTable) -> dict[str, Observations]:
        """Returns what each network made of some of the samples, in their order."""
        everybody = next(iter(self.by_network.values())).table
        place = {name: row for row, name in enumerate(everybody.sample_id.tolist())}
        rows = np.array([place[name] for name in table.sample_id.tolist()])
        return {network: seen.take(rows) for network, seen in self.by_network.items()}


@dataclasses.dataclass(frozen=True)
class WorldsLab:
    """The audited models of worlds, numbered from 1.

    Attributes:
        spec: The worlds.
        out: The folder of the validation.
    """

    spec: WorldsSpec
    out: Path

    def folder(self, number: int) -> Path:
        """Returns where an audited model lies."""
        return self.out / "models" / str(number)

    def is_trained(self, number: int) -> bool:
        """Returns whether an audited model is there."""
        return (self.folder(number) / formats.VERIFICATION).is_file()

    def train(self, number: int) -> None:
        """Trains an audited model unless it is there; a training that was interrupted continues."""
        if self.is_trained(number):
            return
        spec = self.spec
        options = TrainAudited(
            f"{self._prefix(number)}/{databases(number)[0]}/0-{2 * spec.claimed - 1}/{spec.trained_photos}",
            self.folder(number),
            arch=spec.arch,
            resolution=spec.resolution,
            epochs=spec.epochs,
            batch_size=64,
            seed=spec.seed + number,
        )
        with progress.hidden():
            train_audited(options)

    def people(self, number: int) -> drawing.People:
        """Returns who may appear in the worlds of a trained model."""
        spec = self.spec
        members = sample_tables.read_samples(self.folder(number) / formats.MEMBERS)
        chosen = splits.choose_photos(members.people(), members.sample_id, spec.photos, spec.seed)
        num = spec.claimed + spec.held_out + 2 * spec.externals
        others = {name: self._draw(number, name, _FIRST_OTHER, num) for name in databases(number)}
        return drawing.People(members.take(chosen), others)

    def num_looked(self, number: int) -> int:
        """Returns how many networks have looked at the people of a model."""
        return len([path for path in (self.folder(number) / "features").glob("*.npz") if path.stem != PIXELS])

    def look(self, number: int) -> PeopleSeen:
        """Shows all people of a trained model to it and to the networks beside it; what was seen before is read."""
        spec, folder = self.spec, self.folder(number)
        people = self.people(number)
        table = concatenate_tables([people.members, *people.others.values()])
        # The next audited model, which was trained on other people of another database.
        beside = 1 + number % spec.num_models
        networks: dict[str, Callable[[], keras.Model]]
        networks = {AUDITED: functools.partial(zoo.load_audited, folder)}
        for copy in range(1, spec.num_untrained + 1):
            networks[f"{UNTRAINED}_{copy}"] = functools.partial(self._untrained, number, copy)
        networks[f"{FOREIGN}_{beside}"] = functools.partial(zoo.load_audited, self.folder(beside))
        networks[findings.LOOK] = functools.partial(zoo.load_audited, LOOK)
        # Drawn once for all networks of a size, and not at all if everything was seen before.
        faces = functools.cache(functools.partial(self._faces, table))

        def seen_by(network: str) -> Mapping[str, np.ndarray]:
            if network == PIXELS:
                seen = observe(faces(spec.resolution), blind.features, batch_size=blind.BATCH_SIZE, is_filled=False)
                return {blind.STATISTICS: seen[blind.STATISTICS]}
            size = images.IMAGE_SIZE if network == findings.LOOK else spec.resolution
            seen = observe(faces(size), views.face_function(networks[network]()))
            return {name: seen[name] for name in _KEPT}

        found = {}
        for network in progress.bar((PIXELS, *networks), desc=f"model {number}", unit="network"):
            path = folder / "features" / f"{network}.npz"
            kept = formats.kept(path, functools.partial(seen_by, network), arrays.write, arrays.read)
            found[network] = Observations(table, kept)
        return PeopleSeen(people, found)

    def _prefix(self, number: int) -> str:
        return f"{synthetic.PREFIX}{100 * self.spec.seed + number}"

    def _draw(self, number: int, database: str, first: int, num: int) -> SampleTable:
        return samples.list_samples(f"{self._prefix(number)}/{database}/{first}-{first + num - 1}/{self.spec.photos}")

    def _faces(self, table: SampleTable, size: int) -> Observations:
        _, faces = images.read_faces(table, images.Framing(size), blind.BATCH_SIZE)
        return Observations(table, {images.PIXELS: faces})

    def _untrained(self, number: int, copy: int) -> keras.Model:
        spare = [self._draw(number, name, _FIRST_SPARE, _NUM_SPARE) for name in databases(number)]
        faces = self._faces(concatenate_tables(spare), self.spec.resolution)[images.PIXELS]
        return recalibration.recalibrated_copy(zoo.load_audited(self.folder(number)), faces, self.spec.seed + copy)


def databases(number: int) -> list[str]:
    """Returns the databases of an audited model: first the one that it was trained on."""
    names = list(synthetic.DATABASES)
    return [names[(number - 1 + k) % len(names)] for k in range(_NUM_DATABASES)]
