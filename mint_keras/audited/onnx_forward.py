"""Keras extractors as ONNX graphs by tf2onnx, and how ONNX Runtime runs them: a third runtime, fast on a CPU."""

import keras
import onnx
import onnxruntime
import tensorflow as tf

from mint_keras.audited.runtime import Forward

_INPUT = "image"
_OPSET = 17


def forward(extractor: keras.Model) -> Forward:
    """Returns a function from a batch to the named outputs, run by ONNX Runtime."""
    return open_model(to_onnx(extractor))


def open_model(model: onnx.ModelProto) -> Forward:
    """Returns a function from a batch to the named outputs of a model from `to_onnx`."""
    options = onnxruntime.SessionOptions()
    # Workers that share a machine are told by TensorFlow's setting how many threads each of them may take.
    options.intra_op_num_threads = tf.config.threading.get_intra_op_parallelism_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {_INPUT: images}), strict=True))


def to_onnx(extractor: keras.Model) -> onnx.ModelProto:
    """Converts a model with named outputs; the batch stays open."""
    import tf2onnx  # slow to import

    @tf.function(input_signature=[tf.TensorSpec((None, *extractor.input.shape[1:]), tf.float32, name=_INPUT)])
    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = extractor(images, training=False)
        # tf2onnx names an output after its tensor, not after its key.
        return {tap: tf.identity(outputs[tap], name=tap) for tap in extractor.output}

    model, _ = tf2onnx.convert.from_function(run, input_signature=run.input_signature, opset=_OPSET)
    return model
