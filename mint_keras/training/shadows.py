"""Shadows: models trained like an audited one, each on people who were drawn by lot, as references of an audit."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from mint_keras import formats, streams
from mint_keras.audited import zoo
from mint_keras.data import images, sample_tables
from mint_keras.records import SampleTable
from mint_keras.training import checkpoints, fine_tuning, fit_audited
from mint_keras.training.fit_audited import AuditedTraining

FOLDER, WHO = "shadows", "shadows.csv"


def coin_flips(people: np.ndarray, share: float, seed: int, number: int) -> np.ndarray:
    """Returns which photos a shadow is trained on, (n,), bool: all or none of a person's, by a coin flip each.

    Whoever is in has nothing to do with anybody else, nor with who is a member: the references' null is exact.
    """
    names, who = np.unique(people, return_inverse=True)
    return (streams.stream(seed, streams.SHADOWS, number).random(len(names)) < share)[who]


def train_shadows(
    first: Callable[[], keras.Model],
    table: SampleTable,
    framing: images.Framing,
    settings: AuditedTraining,
    num: int,
    share: float,
    out: Path,
) -> None:
    """Trains shadows in numbered folders, with the list of their members; what is there is not trained again.

    Args:
        first: Makes the model that each shadow begins as; where only its end is trained, the same one every time.
        table: Everybody who may be trained on.
        framing: What images become before a model sees them.
        settings: How each is trained; its seed, and the coins, come from the seed and the shadow's number.
        num: How many there are to be; more of them leave the first ones as they are.
        share: The chance of a person to be in a shadow.
        out: The folder; `WHO` there says by person who is in which shadow.
    """
    people = table.people()
    is_in = [coin_flips(people, share, settings.seed, number) for number in range(1, num + 1)]
    names, where = np.unique(people, return_index=True)
    rows = [[name, *(int(one[row]) for one in is_in)] for name, row in zip(names.tolist(), where, strict=True)]
    formats.write_csv(out / WHO, ["person", *(f"shadow_{number}" for number in range(1, num + 1))], rows)
    folders = {number: out / FOLDER / str(number) for number in range(1, num + 1)}
    missing = {number: folder for number, folder in folders.items() if not (folder / formats.MODEL).is_file()}
    if not missing:
        return
    made = formats.read_manifest(out, zoo.KIND)
    with fit_audited.decoded(table, framing, out) as (used, pixels, _):
        shown: np.ndarray = pixels
        batch_of: Callable[..., np.ndarray] = fit_audited.batch_of_faces
        if settings.trainable:  # the frozen part is every shadow's, and sees every face once
            trunk = fine_tuning.split_at(first(), settings.trainable).trunk
            shown = fine_tuning.maps_of(trunk, pixels, fine_tuning.FLIPS[: 1 + settings.flips], out / "maps.npy")
            batch_of = fine_tuning.batch_of_maps

        def batch(mine: np.ndarray, chosen: np.ndarray, flip: np.ndarray) -> np.ndarray:
            return batch_of(shown, mine[chosen], flip)

        for number, folder in missing.items():
            manifest = formats.make_manifest(zoo.KIND, made["inputs"], {**made["config"], "shadow": number})
            mine = np.flatnonzero(np.isin(used.sample_id, table.sample_id[is_in[number - 1]]))
            labels = np.unique(used.people()[mine], return_inverse=True)[1]
            with formats.output_folder(folder, manifest):
                numbered = dataclasses.replace(settings, seed=settings.seed + number)
                checkpoints.seed_everything(numbered.seed)
                model = first()
                whole = contextlib.nullcontext((None, model))
                with fine_tuning.in_training(model, settings.trainable) if settings.trainable else whole as (_, tail):
                    fit_audited.fit_audited(tail, mine, labels, numbered, folder, batch)
                sample_tables.write_samples(folder / formats.MEMBERS, used.take(mine))
                zoo.save_audited(folder, model, {"num_members": len(mine)})
    (out / "maps.npy").unlink(missing_ok=True)
