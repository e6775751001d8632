"""Operators with weights: convolutions, normalisation, dense layers."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.operators.windows import padded, padding_of, two_sizes
from mint_keras.audited.convert.values import MAP_ORDER, Builder, Value
from mint_keras.records import InputError

_MOMENTUM = 0.9  # torch's 0.1, for whoever trains further


def conv(b: Builder, node: Node) -> Value:
    """Conv: plain, grouped or depthwise, with explicit padding (torch pads both sides, Keras one)."""
    kernel = b.constant(node, 1)
    bias = b.optional(node, 2)
    strides, dilations = two_sizes(node, "strides"), two_sizes(node, "dilations")
    if kernel.ndim != 4:
        raise InputError(f"Expected a 2-D convolution, received a kernel of shape {kernel.shape} in {node.name!r}.")
    value = padded(b, node, b.map(node), padding_of(b, node, kernel.shape[2:], strides, dilations))
    channels, groups = int(value.tensor.shape[-1]), int(node.attributes.get("group", 1))
    # Asked here, before Keras makes room for weights of that size.
    if kernel.shape[1] * groups != channels or kernel.shape[0] % max(groups, 1):
        raise InputError(
            f"Expected a kernel for {channels} channels in {groups} groups, received {kernel.shape} in {node.name!r}."
        )
    settings = {"strides": strides, "dilation_rate": dilations, "use_bias": bias is not None, "name": b.name(node)}
    weights = [] if bias is None else [bias]
    if groups > 1 and groups == channels:
        if strides[0] != strides[1]:
            raise InputError(f"Expected equal strides in a depthwise convolution, received {strides} in {node.name!r}.")
        # ONNX keeps (channels x multiplier, 1, height, width), Keras (height, width, channels, multiplier).
        split = kernel.reshape(channels, -1, *kernel.shape[2:])
        layer = layers.DepthwiseConv2D(kernel.shape[2:], depth_multiplier=split.shape[1], **settings)
        return b.apply(layer, value, [split.transpose(2, 3, 0, 1), *weights])
    layer = layers.Conv2D(kernel.shape[0], kernel.shape[2:], groups=groups, **settings)
    return b.apply(layer, value, [kernel.transpose(2, 3, 1, 0), *weights])


def batch_normalization(b: Builder, node: Node) -> Value:
    """BatchNormalization with its own statistics."""
    if node.attributes.get("training_mode", 0):
        raise InputError(f"Expected a model exported for inference, received training mode in node {node.name!r}.")
    value = b.input(node)
    value = b.map(node) if len(value.order) == 4 else value
    gamma, beta, mean, variance = (b.constant(node, i) for i in range(1, 5))
    layer = layers.BatchNormalization(
        epsilon=float(node.attributes.get("epsilon", 1e-5)), momentum=_MOMENTUM, name=b.name(node)
    )
    return b.apply(layer, value, [gamma, beta, mean, variance])


def prelu(b: Builder, node: Node) -> Value:
    """PRelu with one slope, or one per channel in any of the layouts that converters write."""
    value = b.input(node)
    value = b.map(node) if len(value.order) == 4 else value
    slope = b.constant(node, 1)
    channels = int(value.tensor.shape[-1])
    # MXNet's converters wrote one slope per channel as (C,), which ONNX would lay along the width; the oracle gets the
    # same reading (`parity`).
    if slope.size not in (1, channels) or slope.size not in (*slope.shape[:2], 1):
        raise InputError(f"Expected one slope per channel, received shape {slope.shape} in node {node.name!r}.")
    shared = [1, 2] if len(value.order) == 4 else None
    layer = layers.PReLU(shared_axes=shared, alpha_initializer=keras.initializers.Constant(0.25), name=b.name(node))
    slopes = np.broadcast_to(slope.reshape(-1), (channels,))
    return b.apply(layer, value, [slopes.reshape(1, 1, -1) if shared else slopes])


def gemm(b: Builder, node: Node) -> Value:
    """Gemm and MatMul: a dense layer; after a flattened map its rows are reordered."""
    attributes = node.attributes
    if attributes.get("transA", 0):
        raise InputError(f"Expected activations as they are in node {node.name!r} (Gemm), received transA=1.")
    kernel = b.constant(node, 1)
    bias = b.optional(node, 2)
    if kernel.ndim != 2:
        raise InputError(f"Expected a matrix of weights in node {node.name!r}, received shape {kernel.shape}.")
    kernel = kernel.T if attributes.get("transB", 0) else kernel
    kernel = kernel * np.float32(attributes.get("alpha", 1.0))
    value = b.values[node.inputs[0]]
    if value.flattened is not None and value.flattened.order == MAP_ORDER:
        # The source flattens C, H, W, Keras H, W, C: the rows of the matrix move instead of the activations.
        _, height, width, channels = value.flattened.tensor.shape
        rows = np.arange(kernel.shape[0]).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
        kernel = kernel[rows]
    else:
        value = b.input(node)
    if value.tensor.shape[-1] != kernel.shape[0]:
        raise InputError(
            f"Expected weights for {value.tensor.shape[-1]} values in node {node.name!r}, received {kernel.shape}."
        )
    weights = [kernel]
    if bias is not None:
        weights.append(np.broadcast_to(bias * np.float32(attributes.get("beta", 1.0)), kernel.shape[1:]))
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None, name=b.name(node))
    return b.apply(layer, Value(value.tensor, value.order), weights)
