"""Makes heads ready for int8, or small in a zip file, by training them further with tensorflow-model-optimization.

That library works on Keras 2 (`tf_keras`) only, so a head is rebuilt there. Nothing else here imports Keras 2.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mint_keras import paper
from mint_keras.records import InputError
from mint_keras.training import batches

QAT, PRUNED = "qat", "pruned"
SPARSITY = 0.9
_EPOCHS = 5
# The head is trained already, so it takes small steps.
_LEARNING_RATE = paper.LEARNING_RATE / 10
_STANDARDISE = "standardise"


def is_supported(head: keras.Model) -> bool:
    """Tells whether `compress` knows all layers of a head: vanilla ones and those with one convolution."""
    return all(isinstance(layer, (*_COPIED, *_LEFT_OUT)) for layer in head.layers)


def compress(kind: str, head: keras.Model, data: batches.LabelledAad, seed: int) -> keras.Model:
    """Trains a copy of a head further with the training AAD of its run, so that it loses less when it is made smaller.

    "qat" trains five epochs with the rounding of int8 (quantisation-aware training); "pruned" trains five epochs in
    which the smallest nine tenths of the weights become 0. The copy's batch normalisation is folded into the layers
    around it and does nothing.

    Raises:
        InputError: if the head has other layers than the vanilla and cnn ones.
    """
    if not is_supported(head):
        raise InputError(f"Expected a vanilla or cnn head for {kind}, received {head.name!r} with other layers.")
    import tensorflow_model_optimization as tfmot
    import tf_keras

    keras.utils.set_random_seed(seed)
    folded = fold_normalisation(head)
    dataset, steps = batches.train_dataset(data, seed)
    standardise = [layer.output for layer in folded.layers if layer.name == _STANDARDISE]
    front = keras.Model(folded.input, {_STANDARDISE: standardise[0]}) if standardise else lambda features: features
    # The head learns its own scores, without dropout. With labels, dropout and the L1 penalty five epochs made another
    # head of the lab's: AUC across databases 0.34 lower, where rounding alone had raised it by 0.05. On training faces
    # rounding moves the logits by 0.0136 on average, after training with it by 0.0130, and pruning by 0.004.
    dataset = dataset.map(lambda features, _: (front(features), head(features, training=False)))
    tail = _rebuild(folded)
    if kind == QAT:
        prefix, callbacks = "quant_", []
        wrapped = tfmot.quantization.keras.quantize_model(tail)
    else:
        prefix, callbacks = "", [tfmot.sparsity.keras.UpdatePruningStep()]
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, SPARSITY, 0, steps * _EPOCHS // 2, frequency=1)

        def prune(layer: Any) -> Any:
            # Not the last, which has 128 weights only.
            if layer.name == "logit" or not layer.weights:
                return layer
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

        wrapped = tf_keras.models.clone_model(tail, clone_function=prune)
    loss = tf_keras.losses.BinaryCrossentropy(from_logits=True)
    wrapped.compile(tf_keras.optimizers.Adam(_LEARNING_RATE), loss)
    # The dataset is shuffled already.
    wrapped.fit(dataset, steps_per_epoch=steps, epochs=_EPOCHS, callbacks=callbacks, verbose=0, shuffle=False)
    trained = wrapped if kind == QAT else tfmot.sparsity.keras.strip_pruning(wrapped)
    for layer in folded.layers:
        if isinstance(layer, (layers.Dense, layers.Conv2D)):
            layer.set_weights([value.numpy() for value in trained.get_layer(prefix + layer.name).trainable_weights])
    return folded


def fold_normalisation(head: keras.Model) -> keras.Model:
    """Returns a copy of a head whose batch normalisation is in the dense layers around it; itself it does nothing.

    The scores are the head's but for rounding (1e-6). Quantisation-aware training refuses it behind a dense layer.

    Its division goes into the layer before, which its ReLU allows: the L1 penalty makes those weights so small (1e-3)
    that the first steps of a fine-tuning would overrun them. The rest goes into the layer behind.
    """
    folded = keras.models.clone_model(head)
    folded.set_weights(head.get_weights())
    for layer in folded.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # set_weights leaves out what it computes from its weights
    for before, norm, dropout, dense in zip(*(folded.layers[start:] for start in range(4)), strict=False):
        if not isinstance(norm, layers.BatchNormalization):
            continue
        kinds = [type(layer) for layer in (before, dropout, dense)]
        if kinds != [layers.Dense, layers.Dropout, layers.Dense] or before.activation is not keras.activations.relu:
            raise InputError(f"Expected {norm.name} between dense layers, behind a ReLU, received {kinds}.")
        # Both sides take a part of it, so that weights keep the scale that training gave them.
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in norm.get_weights())
        deviation = np.sqrt(variance + norm.epsilon)
        before.set_weights([value / deviation for value in before.get_weights()])
        kernel, bias = (np.asarray(value, np.float64) for value in dense.get_weights())
        dense.set_weights([gamma[:, None] * kernel, bias + (beta - gamma * mean / deviation) @ kernel])
        norm.set_weights([np.ones_like(gamma), 0 * beta, 0 * mean, np.ones_like(variance) - norm.epsilon])
    return folded


def _rebuild(head: keras.Model) -> Any:
    """Returns a folded head in Keras 2, from its standardised inputs to the logit, with copied weights."""
    import tf_keras

    starts = [layer for layer in head.layers if layer.name == _STANDARDISE]
    starts = starts or [layer for layer in head.layers if isinstance(layer, layers.InputLayer)]
    inputs = {layer.name: tf_keras.Input(layer.output.shape[1:], name=layer.name) for layer in starts}
    made: dict[int, Any] = {id(layer.output): inputs[layer.name] for layer in starts}
    copies = []
    for layer in head.layers:
        sources = [made.get(id(tensor)) for tensor in tf.nest.flatten(layer.input)]
        if id(layer.output) in made or not sources or None in sources:  # before the standardised inputs
            continue
        if isinstance(layer, _LEFT_OUT):
            made[id(layer.output)] = sources[0]
            continue
        kind = next(kind for kind in _COPIED if isinstance(layer, kind))
        settings = {name: layer.get_config()[name] for name in ("name", *_COPIED[kind])}
        copy = getattr(tf_keras.layers, kind.__name__)(**settings)
        made[id(layer.output)] = copy(sources if len(sources) > 1 else sources[0])
        copies.append((copy, layer))
    model = tf_keras.Model(inputs, made[id(head.get_layer("logit").output)])
    for copy, layer in copies:
        copy.set_weights(layer.get_weights())
    return model


# Layers that are copied, and the settings that both versions of Keras call the same.
_COPIED: Mapping[type, tuple[str, ...]] = {
    layers.Dense: ("units", "activation"),
    layers.Conv2D: ("filters", "kernel_size", "activation"),
    layers.MaxPooling2D: ("pool_size",),
    layers.Flatten: (),
    layers.Concatenate: (),
}
# Layers that do nothing to a folded head's logit outside of training, or stand before the standardised inputs.
_LEFT_OUT = (layers.Activation, layers.BatchNormalization, layers.Dropout, layers.InputLayer, layers.Normalization)
