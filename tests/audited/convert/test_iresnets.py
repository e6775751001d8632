"""One set of weights, every dialect and both formats of checkpoint: all must give the same network, or be refused."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from mint_keras.audited import iresnet, parity, runtime, taps
from mint_keras.audited.cards import ARCFACE
from mint_keras.audited.convert import graph as graphs
from mint_keras.audited.convert import naming, sources, torch
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert.onnx import Converted
from mint_keras.records import InputError, RefusedError
from tests.audited.convert import files

pytestmark = pytest.mark.usefixtures("untraced")

NOISE = np.random.default_rng(7).uniform(0, 255, (9, files.SIDE, files.SIDE, 3)).astype(np.float32)
TAPS = ["conv1", "conv2", "stage1", "stage2", "outcome"]
BLOCKS = (2, 1)


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return files.random_state(blocks=BLOCKS, widths=(16, 32))


@pytest.fixture(scope="module")
def reference(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the checkpoint gives, once its mapping has passed parity."""
    converted = files.from_state(state)
    parity.check(converted, converted.taps, parity.Oracle(lambda: torch.to_onnx(state)), {"noise": NOISE})
    return outputs(converted)


def outputs(converted: Converted) -> dict[str, np.ndarray]:
    values = converted.cut(converted.taps)(iresnet.normalise(NOISE))
    return {tap: np.asarray(value) for tap, value in values.items()}


def convert(path: Path) -> tuple[sources.ForeignModel, Converted]:
    source = sources.open_source(path)
    return source, source.to_keras(source.usual_preprocessing()[0], files.SIDE, "audited")


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize("name", files.DIALECTS)
def test_every_dialect_gives_the_network_of_the_checkpoint(
    name: str, state: dict[str, np.ndarray], reference: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(files.make_onnx(state, files.DIALECTS[name]), path)
    source, converted = convert(path)
    assert list(converted.taps) == TAPS
    records = parity.check(converted, converted.taps, source.oracles[0], {"noise": NOISE})
    assert {record.batch for record in records} == {1, 8}
    received = outputs(converted)
    assert max(relative(received[tap], reference[tap]) for tap in TAPS) < 1e-5
    assert converted.is_iresnet
    assert naming.count_blocks(converted.layers.values()) == BLOCKS


def test_layers_have_the_names_of_our_own_iresnet(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    onnx.save(files.make_onnx(state, files.Dialect(folded=False, noise=True, opset=18)), tmp_path / "unfolded.onnx")
    onnx.save(files.make_onnx(state), tmp_path / "folded.onnx")
    ours = {layer.name for layer in files.from_state(state).model.layers if layer.weights}
    unfolded, folded = (
        {layer.name for layer in convert(tmp_path / name)[1].model.layers if layer.weights}
        for name in ("unfolded.onnx", "folded.onnx")
    )
    assert unfolded == ours
    assert folded < ours
    assert not [name for name in folded if "bn2" in name or "bn3" in name or name == "stem_bn"]


def test_external_weights(state: dict[str, np.ndarray], reference: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = files.make_onnx(state, files.DIALECTS["torch 2 dynamo"])
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    source, converted = convert(path)
    assert [file.name for file in source.files] == ["model.onnx", "model.onnx.data"]
    assert relative(outputs(converted)["outcome"], reference["outcome"]) < 1e-5
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(InputError, match="valid ONNX model"):
        sources.open_source(path)


def test_weights_in_half_precision(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    onnx.save(files.make_onnx(state, files.Dialect(half=True, opset=13)), path)
    source, converted = convert(path)
    records = parity.check(converted, converted.taps, source.oracles[0], {"noise": NOISE})
    assert max(record.relative for record in records) < 1e-5
    rounded = {key: array.astype(np.float16) for key, array in state.items()}
    assert not np.array_equal(rounded["fc.weight"], state["fc.weight"])


def test_mxnet_graph_that_scales_its_pixels(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Sub and Mul in front, epsilon 2e-5, slopes (C,): pixels go in as they are, and our model still takes -1..1."""
    path = tmp_path / "mxnet.onnx"
    dialect = files.Dialect(mxnet=True, epsilon=2e-5, slopes="C", folded=False, opset=9, numeric_names=False)
    onnx.save(files.make_onnx(state, dialect), path)
    source, converted = convert(path)
    assert source.usual_preprocessing()[0].std == (1.0, 1.0, 1.0)
    assert converted.is_iresnet
    assert list(converted.taps) == TAPS
    parity.check(converted, converted.taps, source.oracles[0], {"noise": NOISE})
    plain = dataclasses.replace(dialect, mxnet=False)
    onnx.save(files.make_onnx(state, plain), path)
    assert relative(outputs(converted)["conv2"], outputs(convert(path)[1])["conv2"]) < 1e-5


@pytest.mark.parametrize("save", [files.save_torch_zip, files.save_torch_legacy])
def test_both_formats_of_checkpoint(save, state, reference, tmp_path: Path) -> None:
    save(tmp_path / "backbone.pth", collections.OrderedDict(state))
    _, converted = convert(tmp_path / "backbone.pth")
    received = outputs(converted)
    assert all(np.array_equal(received[tap], reference[tap]) for tap in TAPS)
    save(tmp_path / "model.pt", {f"module.{key}": array for key, array in state.items()})
    assert np.array_equal(outputs(convert(tmp_path / "model.pt")[1])["outcome"], reference["outcome"])


def test_taps_are_the_nodes_of_the_file(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    """conv1 and conv2 are the last Conv of each stage, stage1 and stage2 the last Add, counted in the file itself."""
    model = files.make_onnx(state)
    onnx.save(model, tmp_path / "model.onnx")
    source, converted = convert(tmp_path / "model.onnx")
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    closing = [adds[index - 1] for index in np.cumsum(BLOCKS)]
    assert [converted.taps[f"stage{i}"] for i in (1, 2)] == [node.output[0] for node in closing]
    convolutions = {node.output[0]: node for node in model.graph.node if node.op_type == "Conv"}
    assert [converted.taps[f"conv{i}"] for i in (1, 2)] == [node.input[0] for node in closing]
    assert all(node.input[0] in convolutions for node in closing)
    assert source.graph.nodes


def test_a_missing_and_an_extra_key_are_refused(state: dict[str, np.ndarray]) -> None:
    for key in ("layer1.1.bn2.running_var", "prelu.weight", "fc.bias", "features.weight", "layer2.0.downsample.1.bias"):
        with pytest.raises(InputError, match=key):
            files.from_state({name: array for name, array in state.items() if name != key})
    with pytest.raises(InputError, match=r"1 extra \['head.weight'\]"):
        files.from_state({**state, "head.weight": np.zeros(3, np.float32)})
    counters = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    assert files.from_state(counters).is_iresnet
    for key in ("layer1.0.num_batches", "layer1.0.conv1.num_batches_tracked", "num_batches_tracked"):
        with pytest.raises(InputError, match="1 extra"):
            files.from_state({**state, key: np.zeros(1)})
    with pytest.raises(InputError, match="keys of an IResNet, MobileFaceNet or vision transformer"):
        torch.infer_spec({"weight": np.zeros(3)})
    with pytest.raises(InputError, match="shapes"):
        files.from_state({**state, "bn1.bias": np.zeros(5, np.float32)})


def test_depth_and_sizes_are_read_off_the_keys() -> None:
    state = files.random_state(2, blocks=(1, 3), widths=(16, 24), embedding=5, side=16)
    spec, side = torch.infer_spec(state)
    assert (spec.blocks, spec.widths, spec.embedding_size, side) == ((1, 3), (16, 24), 5, 16)


def transposed_conv(state: dict[str, np.ndarray], converted: Converted) -> str:
    layer = converted.model.get_layer("stage2_block1_conv2")
    layer.set_weights([layer.get_weights()[0].transpose(1, 0, 2, 3)])
    return "stage2_block1_conv2"


def swapped_slopes(state: dict[str, np.ndarray], converted: Converted) -> str:
    one, other = (converted.model.get_layer(name) for name in ("stage1_block1_prelu", "stage1_block2_prelu"))
    weights = one.get_weights(), other.get_weights()
    one.set_weights(weights[1])
    other.set_weights(weights[0])
    return "stage1_block1_prelu"


def wrong_epsilon(state: dict[str, np.ndarray], converted: Converted) -> str:
    converted.model.get_layer("stage2_block1_bn1").epsilon = 1e-3
    return "stage2_block1_bn1"


def channels_first_fc(state: dict[str, np.ndarray], converted: Converted) -> str:
    converted.model.get_layer("fc").set_weights([state["fc.weight"].T, state["fc.bias"]])
    return "fc"


@pytest.mark.parametrize("mutate", [transposed_conv, swapped_slopes, wrong_epsilon, channels_first_fc])
def test_a_wrong_mapping_is_refused_and_its_layer_named(mutate, state: dict[str, np.ndarray]) -> None:
    converted = files.from_state(state)
    layer = mutate(state, converted)
    with pytest.raises(RefusedError, match=rf"first layer that differs is layer '{layer}'.*Nothing was saved"):
        parity.check(converted, converted.taps, parity.Oracle(lambda: torch.to_onnx(state)), {"noise": NOISE})


def test_a_converted_model_gives_its_taps_to_extractors(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    onnx.save(files.make_onnx(state), tmp_path / "model.onnx")
    converted = convert(tmp_path / "model.onnx")[1]
    tensors = {tap: converted.tensors[tensor].tensor for tap, tensor in converted.taps.items()}
    model = taps.with_taps(converted.model, tensors)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert list(taps.tap_tensors(loaded)) == TAPS
    extractor = taps.extractor(loaded, ["conv1"], "max")
    assert taps.flops(extractor) < taps.flops(loaded)
    assert not [layer for layer in extractor.layers if layer.name.startswith("stage2")]
    expected = outputs(converted)["conv1"].max(axis=(1, 2))
    received = runtime.forward(extractor)(iresnet.normalise(NOISE))["conv1"]
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="conv9"):
        taps.extractor(loaded, ["conv9"])


def test_parse_refuses_other_opsets_and_inputs(state: dict[str, np.ndarray]) -> None:
    for opset in (6, 24):
        model = files.make_onnx(state, files.Dialect(opset=11))
        model.opset_import[0].version = opset
        with pytest.raises(InputError, match=f"opset {opset}"):
            graphs.parse(model)
    with pytest.raises(InputError, match="RGB images"):
        graphs.parse(files.make_onnx(state, files.Dialect(input_shape=(1, 4, 32, 32))))
    with pytest.raises(InputError, match="image size"):
        onnx_source.to_keras(graphs.parse(files.make_onnx(state)), ARCFACE, image_size=64)
