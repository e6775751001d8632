"""Audited models that are trained for the measurement, and photos of which everything is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mint_keras import formats, progress
from mint_keras.aad import views
from mint_keras.aad.observe import observe
from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.commands.train_audited import TrainAudited, train_audited
from mint_keras.data import sample_tables, synthetic
from mint_keras.records import REFERENCE, InputError, Observations, concatenate_tables
from studies import arrays

_DATABASE = "web"


@dataclasses.dataclass(frozen=True)
class KnownPhotos:
    """Photos of the people of an audited model, n rows.

    Attributes:
        seen: What they show to MINT+. Of those trained on there are as many photos that were used as were not, and of
            the others as many as were used.
        is_member: Whether the person was trained on, (n,), bool.
        is_used: Whether the photo was, (n,), bool.
    """

    seen: Observations
    is_member: np.ndarray
    is_used: np.ndarray

    def where(self, kept: np.ndarray) -> KnownPhotos:
        """Returns those that a mask of shape (n,) keeps."""
        return KnownPhotos(self.seen.take(np.flatnonzero(kept)), self.is_member[kept], self.is_used[kept])

    @property
    def people(self) -> np.ndarray:
        """The person of every photo, (n,)."""
        return self.seen.people()


def train(number: int, people: int, photos: int, folder: Path, **settings: object) -> Path:
    """Trains the audited model of a world unless it is there.

    Args:
        number: The number of the drawn people, who differ from those of every other number.
        people: How many there are; half of them are trained on.
        photos: How many photos of each.
        folder: Where the model goes.
        settings: Those of `TrainAudited`.
    """
    source = f"{synthetic.PREFIX}{number}/{_DATABASE}/0-{people - 1}/{photos}"
    with progress.hidden():
        train_audited(TrainAudited(source, folder, batch_size=64, **settings))  # type: ignore[arg-type]
    return folder


def look(model: Path, reference: Path | None, kept_at: Path) -> KnownPhotos:
    """Shows the people of an audited model to it; what was seen before is read again.

    Args:
        model: The folder of the model, which was trained on lab faces.
        reference: The folder of a model that was not trained on these people, or None.
        kept_at: The file for what they give.
    """
    members, held_out = (sample_tables.read_samples(model / name) for name in (formats.MEMBERS, formats.HELD_OUT))
    place, _, photos = str(formats.read_manifest(model, zoo.KIND)["config"].get("data")).rpartition("/")
    if not synthetic.is_synthetic(place):
        raise InputError(f"Expected a model trained on lab faces, of whom more can be drawn, received {model}.")
    everything = synthetic.sample_table(f"{place}/{2 * int(photos)}")
    is_of_member = np.isin(everything.people(), members.people())
    unseen = everything.take(is_of_member & ~np.isin(everything.sample_id, members.sample_id))
    table = concatenate_tables([members, unseen, held_out])

    def show() -> Mapping[str, np.ndarray]:
        found = dict(observe(table, views.face_function(zoo.load_audited(model)), zoo.framing(model)).arrays)
        if reference is not None:
            embed = runtime.forward(taps.extractor(zoo.load_audited(reference), [taps.OUTCOME]))

            def look_at(faces: np.ndarray) -> dict[str, np.ndarray]:
                return embed(iresnet.normalise(faces))

            # Published figures were made in batches of this size, the last one smaller; others differ in the last bits.
            seen = observe(table, look_at, zoo.framing(reference), batch_size=256, is_filled=False)
            found[REFERENCE] = seen[taps.OUTCOME]
        return found

    seen = Observations(table, formats.kept(kept_at, show, arrays.write, arrays.read))
    rows = np.arange(len(table))
    return KnownPhotos(seen, rows < len(members) + len(unseen), rows < len(members))
