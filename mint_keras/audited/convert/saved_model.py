"""SavedModels: TensorFlow graphs, asked first for operations that do more than compute, then read as TFLite."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mint_keras.audited import parity
from mint_keras.audited.convert.tflite import TfliteFile
from mint_keras.borders import reading
from mint_keras.records import InputError

FILE = "saved_model.pb"
_REMEDY = 'Write the model where it is built: model.save("model.keras"), or tf2onnx, --saved-model FOLDER'
_MAX_GRAPH = 2**29  # bytes
# What a network for images computes with: nothing that reads or writes files, runs Python or reaches other machines.
_COMPUTES = """
    Abs Add AddN AddV2 AvgPool BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BroadcastTo Cast Concat ConcatV2 Const
    Conv2D DepthwiseConv2dNative Einsum Elu Equal Erf Erfc Exp ExpandDims Fill Floor FusedBatchNormV3 GatherV2 Greater
    GreaterEqual Identity IdentityN L2Loss LeakyRelu Less LessEqual Log LogicalAnd LogicalNot MatMul Max MaxPool Maximum
    Mean Min Minimum MirrorPad Mul Neg NoOp OnesLike Pack Pad PadV2 PartitionedCall Placeholder Pow Prod Range Rank
    ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt
    Select SelectV2 Selu Shape Sigmoid Size Slice Softmax Softplus SpaceToBatchND Split SplitV Sqrt Square
    SquaredDifference Squeeze StatefulPartitionedCall StopGradient StridedSlice Sub Sum Tanh Tile Transpose Unpack
    VarHandleOp ZerosLike
"""


def read(folder: Path) -> tuple[TfliteFile, parity.Oracle]:
    """Reads the serving function of a SavedModel, and returns it with an oracle that runs it as it is.

    Raises:
        InputError: The folder holds none, or one that does more than compute, or operations that TFLite has not.
    """
    with reading(f"a SavedModel in {folder}"):
        if (folder / FILE).stat().st_size > _MAX_GRAPH:
            raise InputError(f"Expected a graph of at most {_MAX_GRAPH} bytes in {folder}, received a larger one.")
        described = saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes())
        objects = [entry for graph in described.meta_graphs for entry in graph.object_graph_def.nodes]
        kinds = {entry.WhichOneof("kind") for entry in objects}
        # Loading runs what makes tables and reads files, and what objects bring to restore themselves.
        if not objects or kinds & {"asset", "resource"} or any(len(entry.saveable_objects) for entry in objects):
            wanted = f"a SavedModel of TensorFlow 2 without tables and other files in {folder}"
            raise InputError(f"Expected {wanted}, received another one. {_REMEDY}.")
        loaded = tf.saved_model.load(folder)
        if not (names := sorted(loaded.signatures)):
            raise InputError(f"Expected a SavedModel with a signature in {folder}, received none. {_REMEDY}.")
        signature = loaded.signatures["serving_default" if "serving_default" in names else names[0]]
        graph = signature.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        if acting := sorted({node.op for node in nodes} - set(_COMPUTES.split())):
            raise InputError(f"Expected a SavedModel that only computes in {folder}, received {acting}. {_REMEDY}.")
        converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], loaded)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = bytes(converter.convert())
        except Exception as error:  # the converter has no error class of its own
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"Expected TFLite's operations in {folder}, received: {reason} {_REMEDY}.") from error
    file = TfliteFile(content)
    return file, _Signature(signature, loaded, [entry.name for entry in file.model.graph.output])


class _Signature(parity.Oracle):
    """Runs a SavedModel as it is, which gives its one output only."""

    def __init__(self, signature: Any, loaded: object, outputs: Sequence[str]) -> None:
        about = f"the SavedModel as it is, TensorFlow {tf.__version__}"
        # The order of several is TensorFlow's.
        super().__init__(name="tensorflow", about=about, only=outputs if len(outputs) == 1 else ())
        self._signature, self._loaded = signature, loaded  # the weights live as long as what was loaded

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        (name,) = self._signature.structured_input_signature[1]

        def run(images: np.ndarray) -> list[np.ndarray]:
            found = [self._signature(**{name: tf.constant(image[None])}) for image in images.astype(np.float32)]
            return [np.concatenate([np.asarray(next(iter(outputs.values()))) for outputs in found])]

        return run
