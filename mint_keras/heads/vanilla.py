"""The vanilla MINT model: an MLP over the maximum of every channel (paper, Sec. IV-B3)."""

from collections.abc import Mapping

import keras
from keras import layers

from mint_keras import paper

EPOCHS = paper.VANILLA_EPOCHS


def build(shapes: Mapping[str, tuple[int, ...]], literal: bool = False) -> keras.Model:
    """Builds the head for one tap, or for the combination of several.

    Args:
        shapes: Shape of each tap's AAD without the batch: (channels,) if pooled, else (height, width, channels).
        literal: Whether to build exactly the layers the paper names. By default a layer "standardise" stands in front,
            to be adapted on the training AAD.

    Returns:
        A model from {tap: (batch, ...)} to scores (batch, 1); its layer "logit" gives the score before the sigmoid.
    """
    inputs = {tap: keras.Input(shape, name=tap) for tap, shape in shapes.items()}
    pooled = [layers.GlobalMaxPooling2D(name=f"{x.name}_max")(x) if len(x.shape) == 4 else x for x in inputs.values()]
    x = layers.Concatenate(name="combination")(pooled) if len(pooled) > 1 else pooled[0]
    # Without it small runs sit at an accuracy of 0.50 with an AUC of 0.90: the moving averages of "hidden_bn" lag.
    if not literal:
        x = layers.Normalization(name="standardise")(x)
    penalty = keras.regularizers.L1(paper.L1)
    x = layers.Dense(paper.DENSE_UNITS, activation="relu", kernel_regularizer=penalty, name="hidden")(x)
    x = layers.BatchNormalization(name="hidden_bn")(x)
    x = layers.Dropout(paper.DROPOUT, name="dropout")(x)
    x = layers.Dense(1, name="logit")(x)
    score = layers.Activation("sigmoid", name="score")(x)
    return keras.Model(inputs, score, name="vanilla")
