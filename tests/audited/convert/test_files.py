"""Hostile and broken files: one clear line each, nothing runs, nothing is read outside the file's folder."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mint_keras.audited.cards import UNIT
from mint_keras.audited.convert import sources, torch_file
from mint_keras.records import InputError
from tests.audited.convert import files


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return files.random_state(3, blocks=(1,), widths=(16,), side=16)


@pytest.fixture
def model_file(state: dict[str, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(files.make_onnx(state, files.Dialect(input_shape=("n", 3, 16, 16))), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        source = sources.open_source(path)
        source.to_keras(source.usual_preprocessing()[0], None, "audited")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_onnx(model_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("This is a text file that somebody renamed.\n")
    assert "Expected an ONNX file" in refusal(text)
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert "an empty file" in refusal(tmp_path / "empty.onnx")
    content = model_file.read_bytes()
    for length in (100, len(content) // 2, len(content) - 10):
        model_file.write_bytes(content[:length])
        assert "model.onnx" in refusal(model_file)
    assert "not found" in refusal(tmp_path / "absent.onnx")
    rng = np.random.default_rng(1)
    for _ in range(30):  # flipped bytes: refused in one line, or converted into something, but nothing worse
        damaged = bytearray(content)
        for position in rng.integers(0, 3000, 5):
            damaged[position] = rng.integers(256)
        model_file.write_bytes(bytes(damaged))
        with contextlib.suppress(InputError):
            source = sources.open_source(model_file)
            source.to_keras(source.usual_preprocessing()[0], None, "audited")


def test_nodes_may_stand_before_what_they_read(model_file: Path) -> None:
    """As runtimes take them; converters to half precision leave casts behind their readers."""
    model, ordered = onnx.load(model_file), sources.open_source(model_file).graph
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, model_file)
    source = sources.open_source(model_file)
    assert sorted(node.name for node in source.graph.nodes) == sorted(node.name for node in ordered.nodes)
    assert source.oracles[0].session([*source.graph.outputs.values()])(np.zeros((1, 16, 16, 3), np.float32))[0].any()
    model.graph.node[0].input[0] = model.graph.node[0].output[0]
    onnx.save(model, model_file)
    assert "Expected a valid ONNX model" in refusal(model_file)


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_a_custom_operator_is_named_with_what_is_supported(domain: str, model_file: Path) -> None:
    model = onnx.load(model_file)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    custom = next(node for node in model.graph.node if node.op_type == "PRelu")
    custom.op_type, custom.domain = "FancyRelu", domain
    onnx.save(model, model_file)
    reason = refusal(model_file)
    assert f"operator {domain}{'.' if domain else ''}FancyRelu in node '{custom.name}'" in reason
    assert "'AveragePool', 'BatchNormalization'" in reason


def test_external_weights_stay_in_the_folder(model_file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(100_000))
    inner = tmp_path / "inner"
    inner.mkdir()
    for location in ("../secret.bin", str(secret)):
        model = onnx.load(model_file)
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        (inner / "model.onnx").write_bytes(model.SerializeToString())
        assert "Expected a valid ONNX model" in refusal(inner / "model.onnx")


class _Runs:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.witness}",)


def zipped(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED, name: str = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)
    return path


def test_a_malicious_pickle_does_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    attack = pickle.dumps({"conv1.weight": _Runs(witness)}, protocol=2)
    pickle.loads(attack)
    assert witness.is_file()  # it works where nobody is careful
    witness.unlink()
    header = b"".join(
        pickle.dumps(item, protocol=2) for item in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    (tmp_path / "legacy.pth").write_bytes(header + attack)
    (tmp_path / "bare.pth").write_bytes(attack)
    zipped(tmp_path / "zip.pth", attack)
    for name in ("legacy.pth", "bare.pth", "zip.pth"):
        assert "asks for posix.system" in refusal(tmp_path / name)
    for source in (
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"ctorch.serialization\nload\n(S'x'\ntR.",
        b"c__builtin__\ngetattr\n.",
    ):
        assert "asks for" in refusal(zipped(tmp_path / "other.pth", source))
    assert not witness.exists()


def test_broken_checkpoints(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    for save in (files.save_torch_zip, files.save_torch_legacy):
        path = tmp_path / f"{save.__name__}.pth"
        save(path, collections.OrderedDict(state))
        content = path.read_bytes()
        for length in (0, 5, 300, len(content) // 2, len(content) - 40):
            path.write_bytes(content[:length])
            assert path.name in refusal(path)
    (tmp_path / "text.pth").write_text("no checkpoint")
    assert "text.pth" in refusal(tmp_path / "text.pth")
    assert "without data.pkl" in refusal(zipped(tmp_path / "other.pth", b"", name="readme.txt"))
    compressed = zipped(tmp_path / "bomb.pth", bytes(10**6), zipfile.ZIP_DEFLATED)
    assert "never compressed" in refusal(compressed)
    files.save_torch_zip(tmp_path / "nested.pth", {"epoch": 3, "other": collections.OrderedDict(state)})
    assert "dict with keys ['epoch', 'other']" in refusal(tmp_path / "nested.pth")
    files.save_torch_zip(tmp_path / "list.pth", [1, 2])
    assert "received list" in refusal(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (-1, (2,), (1,)), (0, (2, 2), (2, -1)), (0, (2,), (1, 1))],
)
def test_tensors_stay_within_their_storage(offset: int, size: tuple, stride: tuple, tmp_path: Path) -> None:
    """A tensor of more than its storage holds would read foreign memory."""
    whole = np.arange(4, dtype=np.float32)
    content = io.BytesIO()
    pickler = files._TorchPickler(content, {}, legacy=False)
    storage = files._Storage(whole)
    arguments = (storage, offset, size, stride, False, collections.OrderedDict())

    class Tensor:
        def __reduce__(self) -> tuple:
            return files._Global("torch._utils", "_rebuild_tensor_v2"), arguments

    pickler.dump({"a": Tensor()})
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content.getvalue())
        archive.writestr("archive/data/0", whole.tobytes())
    with pytest.raises(InputError, match="tensor"):
        torch_file.read_checkpoint(path)


def test_kinds_of_numbers_and_views(tmp_path: Path) -> None:
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    arrays = {
        "half": np.float16([1.5, -2]), "double": np.float64([3.25]), "count": np.array(7), "view": transposed,
    }  # fmt: skip
    files.save_torch_zip(tmp_path / "model.pth", arrays)
    received = torch_file.read_checkpoint(tmp_path / "model.pth")[0]
    for key, array in arrays.items():
        np.testing.assert_array_equal(received[key], array)
    assert {key: array.dtype.name for key, array in received.items()} == {
        "half": "float32", "double": "float32", "count": "int64", "view": "float32",
    }  # fmt: skip


def test_a_folder_as_insightface_keeps_it(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    """The recognition model is found by its graph among detector, landmark and attribute models."""
    big = files.random_state(4, blocks=(1, 1), widths=(16, 16), embedding=64, side=112)
    pack = tmp_path / "models" / "buffalo_x"
    pack.mkdir(parents=True)
    onnx.save(files.make_onnx(big, files.Dialect(input_shape=("None", 3, 112, 112))), pack / "w600k.onnx")
    onnx.save(files.make_onnx(state, files.Dialect(input_shape=("None", 3, 16, 16))), pack / "genderage.onnx")
    landmarks = files.random_state(4, blocks=(1, 1), widths=(16, 16), embedding=212, side=192)
    onnx.save(files.make_onnx(landmarks, files.Dialect(input_shape=("None", 3, 192, 192))), pack / "2d106det.onnx")
    (pack / "1k3d68.onnx").write_bytes(b"broken")
    assert sources.open_source(pack).files == [pack / "w600k.onnx"]
    assert "Its folder buffalo_x has some" in refusal(pack.parent)
    (pack / "w600k.onnx").unlink()
    assert "Expected a recognition model" in refusal(pack)


def test_the_user_names_how_pixels_go_in(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    onnx.save(files.make_onnx(state), tmp_path / "model.onnx")
    source = sources.open_source(tmp_path / "model.onnx")
    assert source.choose_preprocessing(None, "RGB, 0..1")[0] == UNIT
    assert source.choose_preprocessing(None, "BGR, ImageNet")[0].bgr
    for wrong in ({"name": "0..1"}, {"name": "RGB, 0..1", "bgr": True}, {"name": "RGB, 0..1", "std": (1.0,)}):
        with pytest.raises(InputError, match=r"Expected --pixels, one of \['RGB, -1..1'"):
            source.choose_preprocessing(None, **wrong)
