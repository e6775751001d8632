"""The MINT models of Table 7: the CNN with fewer and more parameters, ResNet50 and a ViT, on the maps of one tap."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import keras
from keras import layers

from mint_keras.heads import cnn
from mint_keras.records import InputError

Shapes = Mapping[str, tuple[int, ...]]


def _with_filters(num_filters: int) -> functools.partial[keras.Model]:
    # The whole head grows with the number of filters, not only its convolution: its dense layer sees their maps.
    return functools.partial(cnn.build, convolution=functools.partial(layers.Conv2D, num_filters))


def _counted(filters_per_channel: int, kernel: int) -> functools.partial[keras.Model]:
    # Table 7's counts are those of a convolution whose filters see one channel each: 64 x 5 x 5 + 64 = 1.7K.
    convolution = functools.partial(layers.DepthwiseConv2D, depth_multiplier=filters_per_channel)
    return functools.partial(cnn.build, convolution=convolution, kernel=kernel)


CNN = {
    "cnn_third": _with_filters(21),
    "cnn_x3": _with_filters(192),
    "cnn_x10": _with_filters(640),
    "cnn_counted_third": _counted(1, 3),
    "cnn_counted": _counted(1, 5),
    "cnn_counted_x3": _counted(3, 5),
    "cnn_counted_x10": _counted(11, 5),
}


def build_resnet50(shapes: Shapes) -> keras.Model:
    """Builds Keras' ResNet50 over the maps of one tap, of any size, with average pooling and one output."""
    x = _input("resnet50", shapes)
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=x, pooling="avg")
    return _head("resnet50", x, network.output)


def build_resnet50_reduced(shapes: Shapes) -> keras.Model:
    """Builds ResNet50 with a quarter of the filters in every convolution, see `build_resnet50`."""

    # A clone of Keras' ResNet50 and no second implementation, so that the layers cannot differ. None gets fewer than 16
    # filters, below which oneDNN corrupts memory (`audited.iresnet`).
    def narrow(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["filters"] //= 4
        return layer.__class__.from_config(config)

    return keras.models.clone_model(build_resnet50(shapes), clone_function=narrow)


class VitSize(NamedTuple):
    """The size of a Vision Transformer."""

    width: int  # numbers per token; the MLPs have four times as many units
    depth: int
    num_heads: int
    num_patches: int  # along the longer side of the maps, at most


BASE = VitSize(width=768, depth=12, num_heads=12, num_patches=14)
REDUCED = VitSize(width=128, depth=4, num_heads=4, num_patches=7)
DROPOUT = 0.1


def build_vit(shapes: Shapes, size: VitSize = BASE) -> keras.Model:
    """Builds a Vision Transformer (arXiv 2010.11929) over the maps of one tap, of any size.

    Like ViT-B/16 on 224x224 pixels, it sees 14x14 patches: of 4x4 on R100's conv1, of 2x2 on conv2, single positions
    on conv3. It averages the tokens, and has no class token.
    """
    inputs = _input("vit", shapes)
    x = _patches(inputs, size.num_patches)
    # One bias for each position: the projection of the patches and the embedding of their positions in one layer.
    embedding = layers.EinsumDense(
        "btd,de->bte",
        output_shape=(x.shape[1], size.width),
        bias_axes="te",
        bias_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name="embedding",
    )
    x = layers.Dropout(DROPOUT, name="embedding_dropout")(embedding(x))
    for number in range(1, size.depth + 1):
        name = f"block{number}"
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_attention_norm")(x)
        y = layers.MultiHeadAttention(size.num_heads, size.width // size.num_heads, name=f"{name}_attention")(y, y)
        y = layers.Dropout(DROPOUT, name=f"{name}_attention_dropout")(y)
        x = layers.Add(name=f"{name}_attention_add")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_mlp_norm")(x)
        y = layers.Dense(4 * size.width, activation="gelu", name=f"{name}_mlp_1")(y)
        y = layers.Dropout(DROPOUT, name=f"{name}_mlp_1_dropout")(y)
        y = layers.Dense(size.width, name=f"{name}_mlp_2")(y)
        y = layers.Dropout(DROPOUT, name=f"{name}_mlp_2_dropout")(y)
        x = layers.Add(name=f"{name}_mlp_add")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    return _head("vit", inputs, layers.GlobalAveragePooling1D(name="average")(x))


def _patches(x: keras.KerasTensor, most: int) -> keras.KerasTensor:
    """Cuts maps into at most `most` x `most` square patches: (batch, patches, numbers in each)."""
    # By moving axes, because no built-in layer cuts patches.
    _, height, width, channels = x.shape
    side = -(-max(height, width) // most)
    rows, columns = -(-height // side), -(-width // side)
    padding = ((0, rows * side - height), (0, columns * side - width))
    x = layers.ZeroPadding2D(padding, name="pad")(x)
    x = layers.Reshape((rows, side, columns, side * channels), name="rows")(x)
    x = layers.Permute((1, 3, 2, 4), name="columns")(x)
    return layers.Reshape((rows * columns, side * side * channels), name="patches")(x)


def _input(name: str, shapes: Shapes) -> keras.KerasTensor:
    if len(shapes) != 1:
        raise InputError(f"Expected one tap for the {name} head, received {len(shapes)}: {', '.join(shapes)}.")
    ((tap, shape),) = shapes.items()
    if len(shape) != 3:
        hint = "Choose conv or stage taps (--taps), or --head vanilla."
        raise InputError(f"Expected maps for the {name} head, received {tap} of shape {shape}. {hint}")
    return keras.Input(shape, name=tap)


def _head(name: str, inputs: keras.KerasTensor, features: keras.KerasTensor) -> keras.Model:
    x = layers.Dense(1, name="logit")(features)
    return keras.Model({inputs.name: inputs}, layers.Activation("sigmoid", name="score")(x), name=name)
