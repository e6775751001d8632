"""ONNX operators as Keras layers, one short function each; `OPERATORS` is the list of what is supported.

Source of the semantics: https://onnx.ai/onnx/operators/
"""

import keras
from keras import layers

from mint_keras.audited.convert.graph import Node
from mint_keras.audited.convert.operators import axes, pointwise, windows
from mint_keras.audited.convert.values import Operator

OPERATORS: dict[str, Operator] = {
    "Abs": pointwise.function(keras.ops.abs),
    "Add": pointwise.arithmetic,
    "AveragePool": windows.pool(layers.AveragePooling2D),
    "BatchNormalization": pointwise.batch_normalization,
    "Clip": pointwise.clip,
    "Concat": axes.concat,
    "Conv": windows.conv,
    "Div": pointwise.arithmetic,
    "Elu": pointwise.one_layer(lambda node, name: layers.ELU(float(node.attributes.get("alpha", 1.0)), name=name)),
    "Erf": pointwise.function(keras.ops.erf),
    "Exp": pointwise.function(keras.ops.exp),
    "Expand": axes.expand,
    "Flatten": axes.flatten,
    "Gather": axes.gather,
    "Gelu": pointwise.gelu,
    "Gemm": pointwise.gemm,
    "GlobalAveragePool": windows.global_pool(layers.GlobalAveragePooling2D),
    "GlobalMaxPool": windows.global_pool(layers.GlobalMaxPooling2D),
    "HardSigmoid": pointwise.hard_sigmoid,
    "HardSwish": pointwise.activation("hard_silu"),
    "LayerNormalization": pointwise.layer_normalization,
    "LeakyRelu": pointwise.leaky_relu,
    "LpNormalization": windows.unit,
    "MatMul": pointwise.gemm,
    "Max": pointwise.arithmetic,
    "MaxPool": windows.pool(layers.MaxPooling2D),
    "Min": pointwise.arithmetic,
    "Mish": pointwise.activation("mish"),
    "Mul": pointwise.arithmetic,
    "Neg": pointwise.neg,
    "PRelu": pointwise.prelu,
    "Pad": windows.pad,
    "Pow": pointwise.arithmetic,
    "Reciprocal": pointwise.function(keras.ops.reciprocal),
    "ReduceL2": windows.reduction(None, keras.ops.sum, before=keras.ops.square, after=keras.ops.sqrt),
    "ReduceMax": windows.reduction(layers.GlobalMaxPooling2D, keras.ops.max),
    "ReduceMean": windows.reduction(layers.GlobalAveragePooling2D, keras.ops.mean),
    "ReduceMin": windows.reduction(None, keras.ops.min),
    "ReduceSum": windows.reduction(None, keras.ops.sum),
    "ReduceSumSquare": windows.reduction(None, keras.ops.sum, before=keras.ops.square),
    "Relu": pointwise.relu,
    "Reshape": axes.reshape,
    "Resize": windows.resize,
    "Sigmoid": pointwise.activation("sigmoid"),
    "Slice": axes.slice_,
    "Softmax": pointwise.softmax,
    "Softplus": pointwise.activation("softplus"),
    "Split": axes.split,
    "Sqrt": pointwise.function(keras.ops.sqrt),
    "Squeeze": axes.squeeze,
    "Sub": pointwise.arithmetic,
    "Sum": pointwise.arithmetic,
    "Tanh": pointwise.activation("tanh"),
    "Transpose": axes.transpose,
    "Unsqueeze": axes.unsqueeze,
    "Upsample": windows.resize,
}


def remedy(node: Node) -> str:
    """Says what whoever has a file with an operator that is not supported may do."""
    if node.op.startswith(("QLinear", "QGemm")) or node.op.endswith(("Integer", "NBits")):
        return "The float model is needed, or one quantised with QuantizeLinear and DequantizeLinear (QDQ)."
    if node.proto.domain not in ("", "ai.onnx"):
        return "Export the model without the optimisations of a runtime, whose operators these are."
    return "Export the network alone, without what comes before and behind it, or ask for this operator."
