"""One network in every format, found by its content; what is not read says what to do."""

from __future__ import annotations

import collections
import json
import pickle
import zipfile
from pathlib import Path

import flatbuffers
import h5py
import keras
import numpy as np
import onnx
import pytest
from keras import layers
from tensorflow.lite.python import schema_py_generated as schema

from mint_keras.audited import iresnet, litert, parity, runtime
from mint_keras.audited.cards import ARCFACE, RAW, UNIT, Preprocessing
from mint_keras.audited.convert import doors, pixels, proof, quantised, saved_model, sources
from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert.onnx import Converted
from mint_keras.records import InputError, RefusedError
from studies import every_format
from tests.audited.convert import files
from tests.audited.convert.test_operators import model, node, weights

pytestmark = pytest.mark.usefixtures("untraced")

SIDE = 16
NOISE = np.rint(np.random.default_rng(3).uniform(0, 255, (2, SIDE, SIDE, 3))).astype(np.float32)
STATE = files.random_state(3, blocks=(1,), widths=(16,), side=SIDE)
FLOAT = ["model.keras", "keras_in_disguise.bin", "model.h5", "saved", "fp32.tflite", "fp16.tflite", "backbone.pth"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    network = files.from_state(STATE).model
    network = keras.Model(network.input, network.output["outcome"])
    network.save(folder / "model.keras")
    network.save(folder / "model.h5")
    (folder / "keras_in_disguise.bin").write_bytes((folder / "model.h5").read_bytes())
    network.export(folder / "saved", verbose=False)
    content = litert.to_tflite(keras.Model(network.input, {"outcome": network.output}))
    images = iresnet.normalise(np.random.default_rng(4).uniform(0, 255, (16, SIDE, SIDE, 3)).astype(np.float32))
    for precision in litert.PRECISIONS:
        (folder / f"{precision}.tflite").write_bytes(litert.quantise(content, precision, images))
    wrapped = {f"module.backbone.{key}": array for key, array in STATE.items()}
    head = {"module.head.weight": np.zeros((4, 4), np.float32)}
    checkpoint = {"epoch": 3, "state_dict": collections.OrderedDict(wrapped | head), "optimizer": {"lr": 0.1}}
    files.save_torch_zip(folder / "backbone.pth", checkpoint)
    return folder


def outcome(source: sources.ForeignModel) -> np.ndarray:
    """What a source becomes, once every tap of it has passed against everything that runs it."""
    converted = source.to_keras(source.usual_preprocessing()[0], None, "audited")
    assert list(converted.taps) == ["conv1", "stage1", "outcome"]
    for oracle in source.oracles:
        assert parity.check(converted, converted.taps, oracle, {"noise": NOISE}, (2,))
    cut = keras.Model(converted.model.input, {"outcome": converted.tensors[converted.taps["outcome"]].tensor})
    return runtime.forward(cut)(iresnet.normalise(NOISE))["outcome"]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return np.asarray(files.from_state(STATE).model(iresnet.normalise(NOISE))["outcome"])


@pytest.mark.parametrize("name", FLOAT)
def test_every_format_gives_the_same_network(name: str, shelf: Path, expected: np.ndarray) -> None:
    received = outcome(sources.open_source(shelf / name))
    assert np.linalg.norm(received - expected) < (1e-3 if "fp16" in name else 1e-5) * np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["int8", "int8_dynamic"])
def test_int8_is_dequantised_and_stands_beside_its_interpreter(name: str, shelf: Path, expected: np.ndarray) -> None:
    source = sources.open_source(shelf / f"{name}.tflite")
    assert source.format == "TFLite, int8"
    assert source.graph.notes == (quantised.ROUNDED,)
    assert [oracle.tolerance for oracle in source.oracles] == [parity.EXACT, parity.ROUNDED]
    received = outcome(source)
    assert 1e-5 < np.linalg.norm(received - expected) / np.linalg.norm(expected) < 0.2


def test_integers_are_judged_by_faces_whose_ranges_they_have(shelf: Path) -> None:
    source = sources.open_source(shelf / "int8.tflite")
    converted, oracle = source.to_keras(ARCFACE, None, "audited"), source.oracles[-1]
    oracle.tolerance = parity.Tolerance(1e-6, 1.0)
    for shown, said in (({"noise": NOISE, "faces": NOISE}, "on faces has"), ({"noise": NOISE}, "on noise has")):
        with pytest.raises(RefusedError, match=f"tap outcome {said}"):
            parity.check(converted, {"outcome": converted.outputs["outcome"]}, oracle, shown, (2,))


@pytest.fixture(scope="module")
def quantised_iresnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Converted, parity.Oracle, list[np.ndarray]]:
    """What a file of int8 becomes, its interpreter, and the weights of the first convolution."""
    path = tmp_path_factory.mktemp("iresnet") / "model.tflite"
    every_format._write("IResNet", "tflite_int8", path)
    source = sources.open_source(path)
    converted = source.to_keras(ARCFACE, None, "audited")
    first = next(layer for layer in converted.model.layers if isinstance(layer, layers.Conv2D))
    return converted, source.oracles[-1], first.get_weights()


@pytest.mark.parametrize("change", ["right", "red and blue", "grey", "transposed"])
def test_a_wrong_reading_is_seen_on_faces_where_noise_is_cut_off(
    change: str, quantised_iresnet: tuple[Converted, parity.Oracle, list[np.ndarray]]
) -> None:
    converted, oracle, (kernel, *others) = quantised_iresnet
    first = next(layer for layer in converted.model.layers if isinstance(layer, layers.Conv2D))
    grey = np.repeat(kernel.mean(2, keepdims=True), 3, 2)
    changed = {"red and blue": kernel[:, :, ::-1], "grey": grey, "transposed": kernel.transpose(1, 0, 2, 3)}
    first.set_weights([changed.get(change, kernel), *others])
    faces = every_format.faces(converted.model.input.shape[1], 8)
    noise = np.rint(np.random.default_rng(3).uniform(0, 255, faces.shape)).astype(np.float32)
    taps = {"outcome": converted.outputs["outcome"]}
    shown = {"faces": faces.astype(np.float32), "noise": noise}
    if change == "right":
        assert parity.check(converted, taps, oracle, shown, (8,))
        return
    with pytest.raises(RefusedError, match="tap outcome on faces less their mean has"):
        parity.check(converted, taps, oracle, shown, (8,))


@pytest.mark.parametrize(("name", "is_of_faces"), [("int8", True), ("int8_dynamic", False), ("fp32", False)])
def test_fixed_ranges_are_those_of_faces(name: str, is_of_faces: bool, shelf: Path) -> None:
    oracle = sources.open_source(shelf / f"{name}.tflite").oracles[-1]
    assert oracle.is_of_faces == is_of_faces
    assert ("on faces" in proof._how_close(oracle)) == is_of_faces


def test_tflite_operators_against_the_interpreter() -> None:
    """Fused activations, paddings, pools, means, dense layers on maps, concatenations: every tensor of the file."""
    from mint_keras.audited.convert.tflite import TfliteFile

    x = images = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.ZeroPadding2D(((0, 1), (1, 0)))(x))
    y = layers.AveragePooling2D(2, padding="same")(layers.ReLU(6.0)(y))
    weight = layers.Dense(16, activation="sigmoid")(layers.Dense(4, activation="tanh")(keras.ops.mean(y, (1, 2), True)))
    y = layers.Concatenate()([layers.Multiply()([y, weight]), layers.MaxPooling2D(3, 1, padding="same")(y)])
    y = layers.Add()([y, layers.Conv2D(32, 1)(y)])
    y = layers.Dense(5)(layers.Flatten()(y))
    network = keras.Model(images, {"outcome": layers.Softmax()(y)})
    file = TfliteFile(litert.to_tflite(network))
    converted = onnx_source.to_keras(graphs.parse(file.model), ARCFACE)
    noise = NOISE[:, :12, :12]
    for oracle in (parity.Oracle(lambda: file.model), file.oracle()):
        known = {f"t{i}": tensor for i, tensor in enumerate(converted.tensors)}
        assert parity.check(converted, known, oracle, {"noise": noise}, (2,))


@pytest.mark.parametrize(("kind", "is_read"), [("SHAPE", True), ("EXP", False)])
def test_operators_that_no_output_depends_on(kind: str, is_read: bool, shelf: Path, tmp_path: Path) -> None:
    """The interpreter runs them with the others: what computes shapes stands in many files, the rest is refused."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs((shelf / "fp32.tflite").read_bytes(), 0))
    graph, code, unread = tree.subgraphs[0], schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    tree.operatorCodes.append(code)
    given = schema.TensorT()
    given.type, given.shape, given.name, given.buffer = (2 if is_read else 0), [4], b"unread", 0
    graph.tensors.append(given)
    unread.opcodeIndex, unread.inputs = len(tree.operatorCodes) - 1, list(graph.inputs)
    unread.outputs = [len(graph.tensors) - 1]
    graph.operators.append(unread)
    builder = flatbuffers.Builder()
    builder.Finish(tree.Pack(builder), b"TFL3")
    (tmp_path / "model.tflite").write_bytes(bytes(builder.Output()))
    if is_read:
        assert sources.open_source(tmp_path / "model.tflite").format == "TFLite, float"
    else:
        assert f"that an output depends on, received {kind}" in refusal(tmp_path / "model.tflite")


def test_damaged_files_are_refused_in_one_line_or_read_as_something(shelf: Path, tmp_path: Path) -> None:
    rng, content = np.random.default_rng(1), (shelf / "int8.tflite").read_bytes()
    refusals: list[str] = []
    for place in range(60):
        damaged = bytearray(content if place else content[: len(content) // 2])
        for position in rng.integers(0, len(damaged), 40):
            damaged[position] = rng.integers(256)
        (tmp_path / "model.tflite").write_bytes(bytes(damaged))
        try:
            sources.open_source(tmp_path / "model.tflite")
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert not [reason for reason in refusals if "\n" in reason]


def nested() -> keras.Model:
    """A network of a backbone within a network, with layers named as our taps and layers used twice."""
    inner = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 255)(inner)
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="conv1")(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.Add()([x, layers.Conv2D(16, 1)(x)]) * 0.5
    backbone = keras.Model(inner, x)
    images = keras.Input((SIDE, SIDE, 3))
    shared = layers.Dense(16)
    y = shared(shared(layers.GlobalAveragePooling2D()(backbone(images))))
    return keras.Model(images, layers.Dense(8, name="outcome")(y))


def test_a_keras_model_within_another_is_written_out(tmp_path: Path) -> None:
    nested().save(tmp_path / "model.keras")
    source = sources.open_source(tmp_path / "model.keras")
    assert source.usual_preprocessing()[0] == RAW  # it divides by 255 itself
    converted = source.to_keras(RAW, None, "audited")
    assert {"conv1", "stage1", "outcome"} <= set(converted.taps)
    assert parity.check(converted, converted.taps, source.oracles[0], {"noise": NOISE}, (1, 2))
    converted.model.save(tmp_path / "converted.keras")
    assert (
        keras.saving.load_model(tmp_path / "converted.keras", safe_mode=True).count_params() == nested().count_params()
    )


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        sources.open_source(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize(
    ("content", "kind", "remedy"),
    [
        (b'<?xml version="1.0"?><net name="m" version="11">', "OpenVINO", "Name the ONNX"),
        (b"7767517\n75 83\n", "ncnn", "made from"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}      ", "safetensors", "torch.save(safetensors.torch.load_file"),
        (b"\x1f\x8b\x08\x00", "gzip", "Unpack"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
        (b'{"nodes": []}', "JSON", "made from"),
        (b"PK\x03\x04 and no more", "truncated", "Copy it again"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(40), "TFLite", "TFLite"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "Keras", "Keras"),
        (b"", "an empty file", "Export the model again"),
    ],
)  # fmt: skip
def test_what_is_not_read_says_what_to_do(content: bytes, kind: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    reason = refusal(tmp_path / "model.onnx")
    assert kind in reason
    assert remedy in reason


def test_archives_and_folders_that_are_not_read(tmp_path: Path) -> None:
    script = zipped(tmp_path / "model.pt", "model/data.pkl", "model/constants.pkl", "model/code/__torch__.py")
    assert 'torch.jit.load("model.pt", "cpu"); torch.onnx.export(' in refusal(script)
    assert "Unpack it" in refusal(zipped(tmp_path / "a.zip", "model.onnx"))
    (tmp_path / "ir").mkdir()
    (tmp_path / "ir" / "model.xml").write_text("<net/>")
    assert "OpenVINO" in refusal(tmp_path / "ir")
    assert doors.recognise(tmp_path) == doors.PACK


def test_whole_modules_are_refused_with_the_line_that_saves_them_right(tmp_path: Path) -> None:
    (tmp_path / "whole.pth").write_bytes(pickle.dumps(collections.Counter("a"), protocol=2))
    reason = refusal(tmp_path / "whole.pth")
    assert "asks for collections.Counter: not read." in reason
    assert 'torch.load("whole.pth", "cpu", weights_only=False); torch.save(' in reason


def test_keras_files_with_code_or_without_a_model(tmp_path: Path) -> None:
    images = keras.Input((SIDE, SIDE, 3))
    plain = keras.Model(images, layers.Conv2D(4, 3)(images))
    plain.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for kind, module, reason in (("Lambda", "keras.layers", "a Lambda layer"), ("Mine", "my.net", "my.net.Mine")):
        config = json.loads(parts["config.json"])
        config["config"]["layers"][1] |= {"class_name": kind, "module": module}
        with zipfile.ZipFile(tmp_path / "code.keras", "w") as archive:
            for name, content in (parts | {"config.json": json.dumps(config).encode()}).items():
                archive.writestr(name, content)
        assert reason in refusal(tmp_path / "code.keras")
        assert 'model.export("folder")' in refusal(tmp_path / "code.keras")
    plain.save_weights(tmp_path / "a.weights.h5")
    assert "weights alone" in refusal(tmp_path / "a.weights.h5")
    grey = keras.Input((SIDE, SIDE, 1))
    keras.Model(grey, layers.Conv2D(4, 3)(grey)).save(tmp_path / "grey.h5")
    assert "one of 1 channel(s): this is no network for faces in colour" in refusal(tmp_path / "grey.h5")


def test_weights_of_a_keras_file_lie_in_it_and_are_not_larger(tmp_path: Path) -> None:
    images = keras.Input((SIDE, SIDE, 3))
    keras.Model(images, layers.Conv2D(4, 3)(images)).save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["model_weights"]["elsewhere"] = h5py.ExternalLink("secret.h5", "/")
    assert "received a link" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["model_weights"]["elsewhere"]
        file["model_weights"].create_dataset("bomb", (2**40,), "f4", chunks=(2**20,))
    assert "about as large as their file" in refusal(tmp_path / "a.h5")


def test_a_saved_model_that_acts_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    class Acting(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3))])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            tf.io.write_file(str(tmp_path / "witness"), "was here")
            return tf.reduce_mean(images, (1, 2))

    module = Acting()
    tf.saved_model.save(module, tmp_path / "acting", signatures=module.__call__.get_concrete_function())
    assert "only computes" in refusal(tmp_path / "acting")
    assert "['WriteFile']" in refusal(tmp_path / "acting")
    assert not (tmp_path / "witness").exists()
    (tmp_path / "acting" / saved_model.FILE).write_bytes(b"\xff" * 50)
    assert "SavedModel" in refusal(tmp_path / "acting")


CONV = node("Conv", "s w", "c", kernel_shape=[3, 3])


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([node("Sub", "x m", "a"), node("Mul", "a d", "s")],
         {"m": np.float32([127.5]), "d": np.float32([1 / 128])}, RAW),
        ([node("Div", "x d", "s")], {"d": np.float32([255])}, RAW),
        ([node("Sub", "x m", "a"), node("Div", "a d", "s")], {"m": np.float32([0.5]), "d": np.float32([0.5])}, UNIT),
        ([node("BatchNormalization", "x g b m v", "s")],
         {"g": weights(3), "b": weights(3), "m": np.float32([0.02, -0.1, 0]), "v": np.float32([0.3] * 3)}, ARCFACE),
        ([node("BatchNormalization", "x g b m v", "s")],
         {"g": weights(3), "b": weights(3), "m": np.float32([120, 104, 100]), "v": np.float32([4000] * 3)}, RAW),
        ([node("Identity", "x", "s")], {}, ARCFACE),
    ],
)  # fmt: skip
def test_a_graph_tells_how_it_wants_its_pixels(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], expected: Preprocessing
) -> None:
    made = model([*nodes, CONV], {"w": weights(4, 3, 3, 3), **constants})
    assert (pixels.told(graphs.parse(made)) or pixels.usual(is_detector=False))[0] == expected


@pytest.mark.parametrize("bgr", [False, True])
def test_oblong_inputs_and_other_orders_of_colours_are_in_the_model(bgr: bool) -> None:
    """112x96 is the middle of 112x112, the crop that both templates share; everything else sees RGB squares."""
    made = model([node("Conv", "x w", "c", kernel_shape=[3, 3])], {"w": weights(4, 3, 3, 3)})
    made.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 8
    converted = onnx_source.to_keras(graphs.parse(made), Preprocessing((100, 110, 120), (50, 60, 70), bgr))
    assert converted.model.input.shape == (None, 12, 12, 3)
    assert converted.contract.record() == {
        "mean": (100, 110, 120), "std": (50, 60, 70), "bgr": bgr, "size": [12, 8],
        "crop": "aligned to the ArcFace template at 12 pixels, of which the middle 12x8 is used",
    }  # fmt: skip
    noise = {"noise": NOISE[:, :12, :12]}
    assert parity.check(converted, converted.outputs, parity.Oracle(lambda: made), noise, (2,))


def test_the_oracle_runs_the_file_as_it_is() -> None:
    """Slopes (C,) lie along the width, as the standard has it; where they cannot, MXNet meant channels."""
    slopes = {"w": weights(10, 3, 3, 3), "p": np.linspace(-1, 1, 10, dtype=np.float32)}
    made = model([node("Conv", "x w", "c", kernel_shape=[3, 3]),
                  node("PRelu", "c p", "y")], slopes)  # fmt: skip
    converted = onnx_source.to_keras(graphs.parse(made), ARCFACE)
    oracle, noise = parity.Oracle(lambda: made), {"noise": NOISE[:, :12, :12]}
    assert parity.check(converted, converted.outputs, oracle, noise, (1,))
    assert "MXNet" not in oracle.about
    narrow = model([node("Conv", "x w", "c", kernel_shape=[5, 5]), node("PRelu", "c p", "y")],
                   {"w": weights(10, 3, 5, 5), "p": slopes["p"]})  # fmt: skip
    oracle = parity.Oracle(lambda: narrow)
    converted = onnx_source.to_keras(graphs.parse(narrow), ARCFACE)
    assert parity.check(converted, converted.outputs, oracle, noise, (1,))
    assert "slopes (C,), which run as one per channel" in oracle.about


def test_near_zero_a_sigmoid_is_known_to_its_last_bits_only() -> None:
    bias = {"w": weights(4, 3, 3, 3), "m": np.float32([16])}
    made = model(
        [node("Conv", "x w", "c", kernel_shape=[3, 3]), node("Sub", "c m", "d"), node("Sigmoid", "d", "y")], bias
    )
    converted = onnx_source.to_keras(graphs.parse(made), ARCFACE)
    noise = {"noise": NOISE[:, :12, :12]}
    records = parity.check(converted, converted.outputs, parity.Oracle(lambda: made), noise, (1,))
    assert max(record.relative for record in records) > parity.EXACT.relative
