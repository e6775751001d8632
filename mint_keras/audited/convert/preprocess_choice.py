"""Decides how an audited model wants its pixels: what the user says, what its card says, or insightface's rule."""

from __future__ import annotations

import numpy as np

from mint_keras.audited.cards import Card
from mint_keras.audited.convert.sources import Source
from mint_keras.audited.preprocessing import Preprocessing
from mint_keras.records import InputError


def choose(
    mean: tuple[float, ...], std: tuple[float, ...], card: Card | None, source: Source
) -> tuple[Preprocessing, str]:
    """Decides how a model wants its pixels, and says why.

    Raises:
        InputError: for numbers that are no scaling.
    """
    if not mean and not std:
        if card is not None:
            return card.preprocessing, f"scaled as the card {card.name} says"
        usual = source.usual_preprocessing()
        return usual, (
            f"scaled as insightface's rule has it, (x - {usual.mean[0]:g}) / {usual.std[0]:g}; nobody said so of this "
            "file: verify_fr.py shows whether it is right, --mean and --std change it"
        )
    if {len(mean), len(std)} - {1, 3} or not all(np.isfinite([*mean, *std])) or min(std) <= 0:
        raise InputError(f"Expected --mean and --std of 1 or 3 numbers, --std above 0, received {mean} and {std}.")
    wide_mean, wide_std = (values if len(values) == 3 else values * 3 for values in (mean, std))
    return Preprocessing(wide_mean, wide_std), "scaled as the command says"  # type: ignore[arg-type]
