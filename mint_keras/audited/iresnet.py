"""IResNet, the backbone of the audited models, as Keras functional models made of built-in layers only.

Source: insightface `recognition/arcface_torch/backbones/iresnet.py`. Input is RGB, (x - 127.5) / 127.5, NHWC.
"""

import dataclasses

import keras
import numpy as np
from keras import layers

from mint_keras.records import InputError

BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}  # torch: eps 1e-5, momentum 0.1 (the other way round)


@dataclasses.dataclass(frozen=True)
class IResNetSpec:
    """Blocks and channels of each stage of an IResNet, and the length of its embedding."""

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)  # the stem has the channels of the first stage
    embedding_size: int = 512


ARCHITECTURES: dict[str, IResNetSpec] = {
    "r18": IResNetSpec((2, 2, 2, 2)),
    "r34": IResNetSpec((3, 4, 6, 3)),
    "r50": IResNetSpec((3, 4, 14, 3)),
    "r100": IResNetSpec((3, 13, 30, 3)),
    "r200": IResNetSpec((6, 26, 60, 6)),
    # For laptops.
    "small": IResNetSpec((1, 1, 1, 1), (16, 32, 64, 128), 64),
    # For worlds of known truth, which are made by the dozen: 165,000 parameters at 48 pixels, trained in 20 s on two
    # cores, a fifth of the time at 112 pixels, and MINT+ finds as much (AUC about 0.8 per photo).
    "mini": IResNetSpec((1, 1, 1, 1), (16, 32, 48, 64), 64),
    # No narrower than 16: with 4 or 8 channels oneDNN's kernels corrupted the heap while training (TensorFlow 2.21, x86
    # with AVX-512: "malloc(): corrupted top size"). TF_ENABLE_ONEDNN_OPTS=0 avoids it at half the speed.
    "tiny": IResNetSpec((1, 1, 1, 1), (16, 16, 16, 16), 16),
}


def iresnet(spec: IResNetSpec, image_size: int = 112, dropout: float = 0.0, name: str = "iresnet") -> keras.Model:
    """Builds an IResNet that maps faces to embeddings (not L2-normalised).

    Args:
        spec: Depth, widths and embedding size, for example of `ARCHITECTURES`.
        image_size: Side of the square input in pixels, a multiple of 2 per stage.
        dropout: Rate before the last dense layer (the released models use 0, 0.4 for r18-r50 in older recipes).
        name: Name of the Keras model.

    Returns:
        A model from (batch, image_size, image_size, 3) to (batch, embedding_size). Block b of stage s has layers
        `stage{s}_block{b}_*`; `audited.taps` finds its outputs by these names.
    """
    images = keras.Input((image_size, image_size, 3), name="image")
    x = _conv3x3(images, spec.widths[0], 1, "stem")
    x = layers.BatchNormalization(**BATCH_NORM, name="stem_bn")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer=_slope(), name="stem_prelu")(x)
    for stage, (num_blocks, width) in enumerate(zip(spec.blocks, spec.widths, strict=True), start=1):
        for block in range(1, num_blocks + 1):
            # The stride sits in the second convolution; there is no activation after the sum.
            prefix, stride = f"stage{stage}_block{block}", 2 if block == 1 else 1
            y = layers.BatchNormalization(**BATCH_NORM, name=f"{prefix}_bn1")(x)
            y = _conv3x3(y, width, 1, f"{prefix}_conv1")
            y = layers.BatchNormalization(**BATCH_NORM, name=f"{prefix}_bn2")(y)
            y = layers.PReLU(shared_axes=[1, 2], alpha_initializer=_slope(), name=f"{prefix}_prelu")(y)
            y = _conv3x3(y, width, stride, f"{prefix}_conv2")
            y = layers.BatchNormalization(**BATCH_NORM, name=f"{prefix}_bn3")(y)
            if stride != 1:
                x = layers.Conv2D(width, 1, stride, use_bias=False, name=f"{prefix}_shortcut")(x)
                x = layers.BatchNormalization(**BATCH_NORM, name=f"{prefix}_shortcut_bn")(x)
            x = layers.Add(name=f"{prefix}_add")([y, x])
    x = layers.BatchNormalization(**BATCH_NORM, name="head_bn")(x)
    # Keras flattens H, W, C; torch flattens C, H, W: a converter must reorder the rows of `fc`.
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(spec.embedding_size, name="fc")(x)
    # torch keeps a gamma frozen at 1; it is counted here too, so that counts and checkpoints agree.
    embedding = layers.BatchNormalization(**BATCH_NORM, name="features")(x)
    return keras.Model(images, embedding, name=name)


def build(arch: str, image_size: int = 112, dropout: float = 0.0) -> keras.Model:
    """Builds one of `ARCHITECTURES`, or raises InputError for another name."""
    if arch not in ARCHITECTURES:
        raise InputError(f"Expected an architecture of {sorted(ARCHITECTURES)}, received {arch!r}.")
    return iresnet(ARCHITECTURES[arch], image_size, dropout, name=arch)


def normalise(faces: np.ndarray) -> np.ndarray:
    """Turns uint8 RGB faces into the input of an IResNet, (x - 127.5) / 127.5, float32."""
    return (np.asarray(faces, np.float32) - 127.5) / 127.5


def _conv3x3(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    # Explicit padding: Keras' "same" pads a strided convolution at the bottom right only, torch on all sides.
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return layers.Conv2D(width, 3, stride, use_bias=False, name=name)(x)


def _slope() -> keras.Initializer:
    # One for each layer: a shared one would get an identity of its own in saved models, and change their bytes.
    return keras.initializers.Constant(0.25)
