"""Keras extractors as ONNX graphs by tf2onnx, and how ONNX Runtime and OpenVINO run them: fast on a CPU."""

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from mint_keras.audited.runtime import Forward, num_threads, one_by_one

_INPUT = "image"
_OPSET = 17


def open_model(model: onnx.ModelProto) -> Forward:
    """Returns a function from a batch to the named outputs of a model from `to_onnx`, run by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one image a thread
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return one_by_one(
        [lambda image: dict(zip(names, session.run(names, {_INPUT: image}), strict=True))] * num_threads()
    )


def open_in_openvino(model: onnx.ModelProto) -> Forward:
    """Returns a function from a batch to the named outputs of a model from `to_onnx`, run by OpenVINO."""
    import openvino  # an extra

    # One stream a thread; without the hint float32 would become bfloat16 where the processor has that.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": num_threads(), "INFERENCE_NUM_THREADS": num_threads(),
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)

    def open_request() -> Forward:
        request = compiled.create_infer_request()

        def run(image: np.ndarray) -> dict[str, np.ndarray]:
            found = request.infer({_INPUT: image})
            return {output.get_any_name(): np.array(found[output]) for output in compiled.outputs}

        return run

    return one_by_one([open_request() for _ in range(num_threads())])


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
