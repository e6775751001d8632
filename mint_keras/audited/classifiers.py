"""Classifiers of pictures as audited models (the paper's Appendix A), made of built-in layers only.

Input is RGB, (x - 127.5) / 127.5, as of every audited model. The outputs are the taps: `conv1`, "a convolutional output
close to the input" (Appendix A), and `outcome`, the logits.
"""

from collections.abc import Callable

import keras
from keras import applications, layers

from mint_keras.audited import taps
from mint_keras.records import InputError

CONV1 = "conv1"
# By name: the builder, and the layer behind the tap conv1. Narrow classifiers are clones of these networks, so that
# layers cannot differ from the originals': half a MobileNet has the parameters of its alpha=0.5.
_APPLICATIONS: dict[str, tuple[Callable[..., keras.Model], str]] = {
    "mobilenet": (applications.MobileNet, "conv1_bn"),
    "resnet50": (applications.ResNet50, "conv1_bn"),
    "resnet101": (applications.ResNet101, "conv1_bn"),  # the paper's "ResNet100"
    "densenet121": (applications.DenseNet121, "conv1_bn"),
    "densenet201": (applications.DenseNet201, "conv1_bn"),
    "xception": (applications.Xception, "block1_conv1_bn"),
}
_DIVISORS = {"": 1, "_half": 2, "_quarter": 4, "_eighth": 8}
ARCHITECTURES: dict[str, tuple[str, int]] = {
    **{name + suffix: (name, num) for name in (*_APPLICATIONS, "vit") for suffix, num in _DIVISORS.items()},
    "tiny": ("tiny", 1),
}
_MIN_CHANNELS = 16  # oneDNN corrupted memory below, see `iresnet.ARCHITECTURES`
_STEP = 16
_VIT_BLOCKS, _VIT_WIDTH, _VIT_HEADS, _VIT_GRID = 12, 768, 12, 8  # ViT-Base
_LAYER_NORM = {"epsilon": 1e-6}


def build(arch: str, resolution: int, num_classes: int) -> keras.Model:
    """Builds a classifier with fresh random weights.

    Args:
        arch: A key of `ARCHITECTURES`. `_half`, `_quarter` and `_eighth` have the same layers with that share of the
            channels, but no fewer than 16; `tiny` is for tests.
        resolution: Side of the pictures in pixels, a multiple of 16.
        num_classes: Length of the outcome.

    Returns:
        A model from (batch, resolution, resolution, 3) to {"conv1": (batch, height, width, channels), "outcome":
        (batch, num_classes)}, the outcome before the softmax.

    Raises:
        InputError: The name or the resolution is another.
    """
    if arch not in ARCHITECTURES:
        raise InputError(f"Expected a classifier of {list(ARCHITECTURES)}, received {arch!r} (--arch).")
    if resolution < _STEP or resolution % _STEP:
        raise InputError(f"Expected a resolution that is a multiple of {_STEP} pixels, received {resolution}.")
    name, divisor = ARCHITECTURES[arch]
    images = keras.Input((resolution, resolution, 3), name="image")
    if name == "vit":
        conv1, features = vit(images, resolution // _VIT_GRID, _VIT_WIDTH // divisor, _VIT_HEADS // divisor)
    elif name == "tiny":
        x = layers.Conv2D(_MIN_CHANNELS, 3, 2, padding="same", use_bias=False, name="conv1_conv")(images)
        conv1 = layers.BatchNormalization(name="conv1_bn")(x)
        x = layers.Activation("relu", name="conv1_relu")(conv1)
        x = layers.Conv2D(2 * _MIN_CHANNELS, 3, 2, padding="same", activation="relu", name="conv2_conv")(x)
        features = layers.GlobalAveragePooling2D(name="average")(x)
    else:
        builder, conv1_layer = _APPLICATIONS[name]

        def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
            config = layer.get_config()
            if layer.name == CONV1:  # MobileNet's first layer is called as the tap
                config["name"] = "conv1_conv"
            if "filters" in config:
                config["filters"] = max(min(config["filters"], _MIN_CHANNELS), config["filters"] // divisor)
            if isinstance(layer, layers.AveragePooling2D):
                config["padding"] = "same"  # the same where sides are even; DenseNet at 16 pixels pools a side of 1
            return layer.__class__.from_config(config)

        # Sides are left open: with fixed ones keras.applications refuses pictures below 32 (Xception 71) pixels.
        whole = builder(weights=None, include_top=False, input_shape=(None, None, 3))
        network = keras.models.clone_model(whole, input_tensors=images, clone_function=copy)
        conv1 = network.get_layer(conv1_layer).output
        features = layers.GlobalAveragePooling2D(name="average")(network.output)
    logits = layers.Dense(num_classes, name="logits")(features)
    return taps.with_taps(keras.Model(images, logits, name=arch), {CONV1: conv1, taps.OUTCOME: logits})


def vit(
    images: keras.KerasTensor, patch: int, width: int, num_heads: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Builds a vision transformer without class token: the tokens are averaged.

    Source: arXiv 2010.11929; ViT-Base has patches of 16 pixels, width 768 and 12 heads. Returns the patches'
    convolution, (batch, height, width, channels), and the features, (batch, width).
    """
    patches = layers.Conv2D(width, patch, patch, use_bias=False, name="patches")(images)
    x = layers.Reshape((-1, width), name="tokens")(patches)
    # A position embedding of built-in layers: a bias for each token, and a factor in place of the convolution's bias.
    x = layers.EinsumDense(
        "btd,d->btd", (x.shape[1], width), bias_axes="td", kernel_initializer="ones",
        bias_initializer=keras.initializers.RandomNormal(stddev=0.02), name="positions",
    )(x)  # fmt: skip
    for block in range(1, _VIT_BLOCKS + 1):
        y = layers.LayerNormalization(**_LAYER_NORM, name=f"block{block}_norm1")(x)
        y = layers.MultiHeadAttention(num_heads, width // num_heads, name=f"block{block}_attention")(y, y)
        x = layers.Add(name=f"block{block}_add1")([x, y])
        y = layers.LayerNormalization(**_LAYER_NORM, name=f"block{block}_norm2")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"block{block}_dense1")(y)
        y = layers.Dense(width, name=f"block{block}_dense2")(y)
        x = layers.Add(name=f"block{block}_add2")([x, y])
    x = layers.LayerNormalization(**_LAYER_NORM, name="norm")(x)
    return patches, layers.GlobalAveragePooling1D(name="average")(x)
