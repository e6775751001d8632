"""ONNX operators as Keras layers, one short function each; `OPERATORS` is the list of what is supported.

Source of the semantics: https://onnx.ai/onnx/operators/
"""

from keras import layers

from mint_keras.audited.convert.operators import axes, pointwise, windows
from mint_keras.audited.convert.values import Operator

OPERATORS: dict[str, Operator] = {
    "Add": pointwise.arithmetic,
    "AveragePool": windows.pool(layers.AveragePooling2D),
    "BatchNormalization": pointwise.batch_normalization,
    "Clip": pointwise.clip,
    "Concat": axes.concat,
    "Conv": windows.conv,
    "Div": pointwise.arithmetic,
    "Flatten": axes.flatten,
    "Gemm": pointwise.gemm,
    "GlobalAveragePool": windows.global_pool(layers.GlobalAveragePooling2D),
    "GlobalMaxPool": windows.global_pool(layers.GlobalMaxPooling2D),
    "HardSigmoid": pointwise.hard_sigmoid,
    "HardSwish": pointwise.activation("hard_silu"),
    "LeakyRelu": pointwise.leaky_relu,
    "MatMul": pointwise.gemm,
    "MaxPool": windows.pool(layers.MaxPooling2D),
    "Mul": pointwise.arithmetic,
    "Neg": pointwise.neg,
    "PRelu": pointwise.prelu,
    "Pad": windows.pad,
    "ReduceMax": windows.reduction(layers.GlobalMaxPooling2D),
    "ReduceMean": windows.reduction(layers.GlobalAveragePooling2D),
    "Relu": pointwise.relu,
    "Reshape": axes.reshape,
    "Resize": windows.resize,
    "Sigmoid": pointwise.activation("sigmoid"),
    "Squeeze": axes.squeeze,
    "Sub": pointwise.arithmetic,
    "Tanh": pointwise.activation("tanh"),
    "Transpose": axes.transpose,
    "Unsqueeze": axes.unsqueeze,
    "Upsample": windows.resize,
}
