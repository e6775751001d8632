"""What an extraction would take, in bytes and in time as measured here; also for a model that one does not have yet."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import keras

from mint_keras.aad import extract, models, plan
from mint_keras.audited import cards, iresnet, runtime, zoo
from mint_keras.data import images, synthetic
from mint_keras.records import AUDITED, UNTRAINED, InputError, SampleTable


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What an extraction would take.

    Attributes:
        num_bytes: The size of the store.
        seconds: The time that it takes on this machine.
        lines: The same for people, model by model and tap by tap.
    """

    num_bytes: int
    seconds: float
    lines: list[str]


def forecast(
    num: int,
    spec: models.ModelSpec,
    whole: Mapping[str, keras.Model],
    layout: extract.Layout,
    shown: SampleTable | None,
    out: Path,
) -> Forecast:
    """Measures how long an extraction takes, and how large it gets.

    Args:
        num: The number of samples to plan for.
        spec: The models.
        whole: The models themselves, from `models.load`.
        layout: Sizes and type. A batch size of 0 tries several.
        shown: Samples to measure on; None takes faces drawn by the lab.
        out: The store's folder, which need not exist.
    """
    cut = models.extractors(spec, whole)
    functions = models.face_functions(spec, cut, runtime.strategy())
    table = synthetic.sample_table("synthetic:1/web/0-7/1") if shown is None else shown
    faces = images.first_faces(table, extract.BATCH_SIZE, layout.framing)
    size = layout.batch_size
    rates = {size: plan.rate(functions, faces, size)} if size else plan.best_batch_size(functions, faces)[1]
    seconds = num / max(rates.values())
    # One face tells the shapes.
    lines = [f"{num:,} samples through {', '.join(cut)}:"]
    for model, named in extract.run(functions, faces[:1], 1).items():
        for name, values in named.items():
            stored = extract.cast(values, layout.dtype, name)
            shape = "x".join(map(str, stored.shape[1:]))
            lines.append(f"  {model + ' ' + name:24} {shape:>10} {stored.dtype}: {num * stored.nbytes / 1e9:9.3f} GB")
    total = num * extract.bytes_per_sample(functions, faces, layout.dtype)
    # The folder need not exist; its disk does.
    existing = next(path for path in [out, *out.resolve().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    lines.append(
        f"  in all {total / 1e9:.1f} GB in {layout.num_shards(num):,} shards; {free / 1e9:.1f} GB are free there."
    )
    speeds = ", ".join(f"{rates[key]:.1f} at {key}" for key in rates)
    lines.append(f"Images per second here, by batch size: {speeds}. All of them: {plan.duration(seconds)}.")
    return Forecast(total, seconds, lines)


def stand_in(card_name: str, untrained_seed: int | None, seed: int) -> tuple[dict[str, keras.Model], str]:
    """Builds a network of a card's architecture with random weights.

    Args:
        card_name: The card of a model that one does not have.
        untrained_seed: See `models.ModelSpec`.
        seed: Seeds the weights.

    Returns:
        The models by name, and what to say of them.

    Raises:
        InputError: If there is no such card, or it does not describe an IResNet.
    """
    if card_name not in cards.card_names():
        raise InputError(
            f"Expected the folder of an audited model, or for --dry-run a card of {cards.card_names()}, received "
            f"{card_name}."
        )
    card = cards.load_card(card_name)
    if not card.blocks:
        raise InputError(f"Expected a card that names the blocks of an IResNet, received {card_name}.")
    keras.utils.set_random_seed(seed)
    # Speed and shapes do not depend on the weights.
    whole = {AUDITED: iresnet.iresnet(iresnet.IResNetSpec(card.blocks))}
    if untrained_seed is not None:
        whole[UNTRAINED] = zoo.untrained_copy(whole[AUDITED], untrained_seed)
    return whole, f"{card.title}: not on the shelf, measured with random weights."
