"""Shows an audited model its pixels in other ways than it was converted for, and sees which one it was trained with."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from mint_keras.audited import iresnet, runtime
from mint_keras.audited.cards import ARCFACE, RAW, UNIT, Preprocessing

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_SCALINGS = {"-1..1": ARCFACE, "0..1": UNIT, "0..255": RAW, "ImageNet": IMAGENET}
# What --pixels takes, and what rankings print.
NAMED = {
    f"{colours}, {name}": dataclasses.replace(scaling, bgr=colours == "BGR")
    for name, scaling in _SCALINGS.items()
    for colours in ("RGB", "BGR")
}
# Nobody can tell 127.5 from 128 as a divisor, and to no tap does it matter.
_SAME = 0.02
Moments = Callable[[np.ndarray], np.ndarray]


def candidates(built: Preprocessing) -> dict[str, Preprocessing]:
    """Returns the conventions by name; the one that a model was built for is among them, and first."""
    name = next((name for name, scaling in NAMED.items() if is_same(scaling, built)), "as converted")
    return {name: built, **{other: scaling for other, scaling in NAMED.items() if other != name}}


def is_same(one: Preprocessing, other: Preprocessing) -> bool:
    """Tells whether two scalings are the same but for what no test can see."""
    ends = np.array([[0.0] * 3, [255.0] * 3])
    first, second = one.apply(ends), other.apply(ends)
    return one.bgr == other.bgr and bool(np.abs(first - second).max() <= _SAME * np.ptp(first))


def shown(pixels: np.ndarray, wanted: Preprocessing, built: Preprocessing) -> np.ndarray:
    """Returns pixels which a model that scales in one way sees as if it scaled in another.

    Args:
        pixels: RGB in 0..255, (..., 3).
        wanted: How they are to be seen.
        built: How the model scales what it is given.

    Returns:
        RGB in the model's own 0..255, which may lie outside, float32.
    """
    scaled = wanted.apply(pixels)
    straight = scaled[..., ::-1] if built.bgr else scaled
    return straight * np.array(built.std, np.float32) + np.array(built.mean, np.float32)


def first_moments(model: keras.Model) -> tuple[Moments, np.ndarray] | None:
    """Returns what the first batch normalisation of maps is given, and what it saw in training.

    Returns:
        A function from RGB pixels in 0..255, (n, side, side, 3), to the mean, and the mean of the squares, of every
        channel in every face, (n, 2, channels); the running mean and variance, (2, channels). None where exporters
        have folded all of them into convolutions.
    """
    norms = (layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    norm = next((layer for layer in norms if len(layer.input.shape) == 4), None)
    if norm is None:
        return None
    mean = layers.GlobalAveragePooling2D(name=f"{norm.name}_mean")(norm.input)
    squares = layers.Multiply(name=f"{norm.name}_squares")([norm.input, norm.input])
    square = layers.GlobalAveragePooling2D(name=f"{norm.name}_square")(squares)
    forward = runtime.forward(keras.Model(model.input, {"mean": mean, "square": square}))

    def moments(pixels: np.ndarray) -> np.ndarray:
        seen = forward(iresnet.normalise(pixels))
        return np.stack([seen["mean"], seen["square"]], axis=1)

    return moments, np.stack([np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)])
