"""The CNN MINT model: one convolution over the maps of a tap (paper, Sec. IV-B3 and Table 7)."""

import functools
from collections.abc import Callable, Mapping

import keras
from keras import layers

from mint_keras import paper
from mint_keras.records import InputError

EPOCHS = paper.CNN_EPOCHS
KERNEL = paper.KERNEL_SIZE
# The paper leaves the size of the pool open; with 2 a head on R100's conv1 has 2.9 million parameters.
POOL = 2
# The dense layer sees thousands of values that are never negative: a first step of Adam, 1e-3 a weight whatever the
# gradient, moves its units by tens, and all of them may end where no gradient comes back.
WARMUP = 24  # steps
Convolution = Callable[..., layers.Layer]
LITERAL: Convolution = functools.partial(layers.Conv2D, paper.NUM_FILTERS)


def build(
    shapes: Mapping[str, tuple[int, ...]], convolution: Convolution = LITERAL, kernel: int = KERNEL
) -> keras.Model:
    """Builds the head for one tap, or for the combination: one convolution per tap, concatenated.

    Args:
        shapes: Shape (height, width, channels) of each tap.
        convolution: Makes the layer over a tap's maps from kernel, activation and name; by default the paper's.
        kernel: Side of its filters.

    Returns:
        A model from {tap: (batch, height, width, channels)} to scores (batch, 1); its layer "logit" gives the score
        before the sigmoid. The dense layer has as many units as the taps have channels (960 for R100's conv1..4).

    Raises:
        InputError: A tap gives vectors (the outcome) or maps smaller than the kernel and the pool need.
    """
    smallest = kernel + POOL - 1
    for tap, shape in shapes.items():
        if len(shape) != 3 or min(shape[:2]) < smallest:
            hint = "Choose conv or stage taps (--taps), or --head vanilla."
            wanted = f"maps of at least {smallest}x{smallest} for the cnn head"
            raise InputError(f"Expected {wanted}, received {tap} of shape {shape}. {hint}")
    inputs = {tap: keras.Input(shape, name=tap) for tap, shape in shapes.items()}
    branches = []
    for tap, maps in inputs.items():
        x = convolution(kernel, activation="relu", name=f"{tap}_conv")(maps)
        x = layers.MaxPooling2D(POOL, name=f"{tap}_pool")(x)
        branches.append(layers.Flatten(name=f"{tap}_flatten")(x))
    x = layers.Concatenate(name="combination")(branches) if len(branches) > 1 else branches[0]
    x = layers.Dense(sum(shape[-1] for shape in shapes.values()), activation="relu", name="hidden")(x)
    x = layers.Dropout(paper.DROPOUT, name="dropout")(x)
    x = layers.Dense(1, name="logit")(x)
    score = layers.Activation("sigmoid", name="score")(x)
    return keras.Model(inputs, score, name="cnn")
