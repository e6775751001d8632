"""The audited models of the worlds, and what they make of all people who may appear there."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.aad import pooling, views
from mint_keras.audited import recalibration, taps, zoo
from mint_keras.commands.train_audited import TrainAudited, train_audited
from mint_keras.data import images, samples, splits, synthetic, tables, worlds
from mint_keras.records import AUDITED, UNTRAINED, SampleTable, concatenate_tables
from mint_keras.scorers import blind
from mint_keras.stages.progress import pace
from mint_keras.stages.validation.options import ValidateAuditor

PIXELS = "pixels"
FOREIGN = "foreign"
MAXIMA = {tap: pooling.array_name(tap, pooling.MAX) for tap in taps.CONV_TAPS}
_KEPT = (taps.OUTCOME, views.COSINES, views.NORM_RATIOS, *MAXIMA.values())
_NUM_DATABASES = 3  # of the people of one audited model: its own and two more
_FIRST_OTHER, _FIRST_SPARE = 1000, 5000  # numbers of people: who was trained on comes before
_NUM_SPARE = 40  # of each database; they give untrained copies their statistics and appear in no world
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Seen:
    """What networks make of the people of one audited model.

    Attributes:
        people: of its worlds.
        table: all of their samples, n rows.
        features: by network (`AUDITED`, untrained copies, a foreign model, `PIXELS`) and name, n rows each.
    """

    people: worlds.People
    table: SampleTable
    features: Mapping[str, Mapping[str, np.ndarray]]

    def rows(self, table: SampleTable) -> np.ndarray:
        """Returns where samples are in the table; all of them must be there."""
        place = {name: row for row, name in enumerate(self.table.sample_id.tolist())}
        return np.array([place[name] for name in table.sample_id.tolist()])


def folder(config: ValidateAuditor, number: int) -> Path:
    """Returns where an audited model lies."""
    return config.out / "models" / str(number)


def train(config: ValidateAuditor, number: int) -> Path:
    """Trains an audited model unless it is there; a training that was interrupted continues."""
    out = folder(config, number)
    if not (out / formats.VERIFICATION).is_file():
        source = f"{_prefix(config, number)}/{databases(number)[0]}/0-{2 * config.claimed - 1}/{config.trained_photos}"
        train_audited(
            TrainAudited(
                source, out, arch=config.arch, resolution=config.resolution, epochs=config.epochs, batch_size=64,
                seed=config.seed + number, quiet=True,
            )
        )  # fmt: skip
    return out


def databases(number: int) -> list[str]:
    """Returns the databases of an audited model: first the one that it was trained on."""
    names = list(synthetic.DATABASES)
    return [names[(number - 1 + k) % len(names)] for k in range(_NUM_DATABASES)]


def people(config: ValidateAuditor, number: int) -> worlds.People:
    """Returns who may appear in the worlds of a trained model."""
    members = tables.read_samples(folder(config, number) / formats.MEMBERS)
    chosen = splits.choose_photos(members.people(), members.sample_id, config.photos, config.seed)
    num = config.claimed + config.held_out + 2 * config.externals
    others = {name: _draw(config, number, name, _FIRST_OTHER, num) for name in databases(number)}
    return worlds.People(members.take(chosen), others)


def num_looked(config: ValidateAuditor, number: int) -> int:
    """Returns how many networks have looked at the people of a model."""
    return len([path for path in (folder(config, number) / "features").glob("*.npz") if path.stem != PIXELS])


def look(config: ValidateAuditor, number: int) -> Seen:
    """Shows all people of a trained model to it and to the networks beside it; what was seen before is read again."""
    who = people(config, number)
    table = concatenate_tables([who.members, *who.others.values()])
    beside = 1 + number % config.num_models
    networks: dict[str, Callable[[], keras.Model]]
    networks = {AUDITED: functools.partial(zoo.load_audited, folder(config, number))}
    for copy in range(1, config.num_untrained + 1):
        networks[f"{UNTRAINED}_{copy}"] = functools.partial(_untrained, config, number, copy)
    networks[f"{FOREIGN}_{beside}"] = functools.partial(zoo.load_audited, folder(config, beside))
    out = folder(config, number) / "features"
    missing = [name for name in (PIXELS, *networks) if not _path(out, name).is_file()]
    faces = _faces(config, table) if missing else np.empty(0)
    for name in tqdm(missing, desc=f"model {number}", unit="network", disable=config.quiet, **pace()):
        found: dict[str, Any] = _statistics(faces) if name == PIXELS else _run(networks[name](), faces)
        with formats.atomic_path(_path(out, name)) as temporary:
            np.savez(temporary, **found)
    return Seen(who, table, {name: _read(_path(out, name)) for name in (PIXELS, *networks)})


def _prefix(config: ValidateAuditor, number: int) -> str:
    return f"{synthetic.PREFIX}{100 * config.seed + number}"


def _draw(config: ValidateAuditor, number: int, database: str, first: int, num: int) -> SampleTable:
    return samples.list_samples(f"{_prefix(config, number)}/{database}/{first}-{first + num - 1}/{config.photos}")


def _faces(config: ValidateAuditor, table: SampleTable) -> np.ndarray:
    reader = images.FaceReader(images.Framing(config.resolution))
    return np.concatenate([faces for _, faces in reader.batches(table, _BATCH)])


def _untrained(config: ValidateAuditor, number: int, copy: int) -> keras.Model:
    spare = [_draw(config, number, name, _FIRST_SPARE, _NUM_SPARE) for name in databases(number)]
    faces = _faces(config, concatenate_tables(spare))
    return recalibration.recalibrated_copy(zoo.load_audited(folder(config, number)), faces, config.seed + copy)


def _run(model: keras.Model, faces: np.ndarray) -> dict[str, np.ndarray]:
    found = views.run(views.face_function(model), faces)
    return {name: found[name] for name in _KEPT}


def _statistics(faces: np.ndarray) -> dict[str, np.ndarray]:
    starts = range(0, len(faces), _BATCH)
    parts = [blind.features(faces[start : start + _BATCH])[blind.STATISTICS] for start in starts]
    return {blind.STATISTICS: np.concatenate(parts)}


def _path(out: Path, network: str) -> Path:
    return out / f"{network}.npz"


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
