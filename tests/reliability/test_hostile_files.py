"""A few of the long harness's hostile files by number, and one example of each kind that once went wrong."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mint_keras.audited.convert import torch_file
from mint_keras.data import images, pickles
from mint_keras.data.databases import pictures
from mint_keras.faces import detectors
from mint_keras.records import InputError
from studies.reliability import inputs, readers

LIGHT = (
    "image", "recordio", "verification", "cifar", "csv", "parquet", "bundle", "calibration", "card", "config", "yaml",
    "torch", "torch_legacy", "table", "store", "bundle_folder",
)  # fmt: skip


@pytest.mark.parametrize("name", LIGHT)
def test_hostile_files_are_one_error(name: str, tmp_path: Path) -> None:
    target = readers.TARGETS[name]
    seeds = target.seeds(tmp_path)
    for seed in seeds:  # a valid file is read: else no damage would reach what comes behind the first check
        (tmp_path / f"valid{target.suffix}").write_bytes(seed)
        target.read(tmp_path / f"valid{target.suffix}")
    assert [found for number in range(12) if (found := readers.look(name, number, tmp_path, seeds))] == []


@pytest.mark.parametrize(
    ("name", "number", "said"),
    [
        ("parquet", 3446, "histogram size mismatch"),  # Arrow ended the process, asked for the facts of a column
        ("tflite", 2416, "Invalid tensor index"),
    ],
)
def test_what_the_long_harness_found_is_one_error(name: str, number: int, said: str, tmp_path: Path) -> None:
    target = readers.TARGETS[name]
    assert readers.look(name, number, tmp_path) is None
    with pytest.raises(InputError, match=said):
        target.read(tmp_path / f"hostile{target.suffix}")


def test_leaves_that_were_put_in_are_not_shared(tmp_path: Path) -> None:
    for number in range(600):  # else a later file would hold what an earlier one put into a list, or hold itself
        inputs.damaged_json(np.random.default_rng(number), [b'{"a": [[1], {"b": []}], "c": {"d": [[2]]}}'])
    assert [leaf for leaf in inputs._LEAVES if isinstance(leaf, list | dict)] == [[], {}, [[]]]


def test_a_failure_can_be_made_again(tmp_path: Path) -> None:
    readers.look("csv", 3, tmp_path)
    first = (tmp_path / "hostile.csv").read_bytes()
    readers.look("csv", 4, tmp_path)
    assert (tmp_path / "hostile.csv").read_bytes() != first
    readers.look("csv", 3, tmp_path)
    assert (tmp_path / "hostile.csv").read_bytes() == first


def test_the_harness_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path) -> None:
        raise KeyError(path.name)

    def full(path: Path) -> None:
        raise InputError("Expected less.") from MemoryError()

    for read, kind in ((crash, "crash"), (full, "memory")):
        monkeypatch.setitem(readers.TARGETS, "yaml", readers.Target(".yaml", lambda _: [b"a"], inputs.damaged, read))
        found = readers.look("yaml", 0, tmp_path)
        assert found is not None
        assert found["kind"] == kind


class TestPickles:
    def nested(self) -> bytes:
        """A tuple of itself twice, sixty times over: hashing or writing it takes for ever."""
        return b"\x80\x02K\x01" + b"2\x86" * 60

    @pytest.mark.parametrize(
        "content",
        [
            b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of 16 GB, which C's reader makes
            b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",  # bytes that are declared only
            b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b".",
            b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",  # a frame
            b"\x80\x04\x8f.",  # a set
            b"\x80\x02}(" + b"K\x01" + b"2\x86" * 60 + b"K\x01u.",
            b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x01s.",
            b"\x80\x02(K\x01" + b"2\x86" * 60 + b"K\x01d.",
            b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",  # attributes of our own function
        ],
    )
    def test_few_bytes_stay_few(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(content)
        with pytest.raises(InputError):
            pickles.read_verification(tmp_path / "a.bin")

    def test_a_reference_that_takes_for_ever_to_write_out(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
            archive.writestr("m/data.pkl", self.nested() + b"Q.")
        with pytest.raises(InputError, match="reference to a storage"):
            torch_file.read_checkpoint(tmp_path / "a.pth")

    def test_published_layouts_are_read(self, tmp_path: Path) -> None:
        for content in inputs.verification():
            (tmp_path / "a.bin").write_bytes(content)
            assert pickles.read_verification(tmp_path / "a.bin")[1] == [True, False]
        for is_legacy in (False, True):
            (tmp_path / "a.pth").write_bytes(inputs.checkpoint(is_legacy))
            assert torch_file.read_checkpoint(tmp_path / "a.pth")[0]["b.weight"].tolist() == [0, 1, 2, 3, 4, 5]


class TestCheckpoints:
    def test_one_storage_under_many_names(self, tmp_path: Path) -> None:
        content = zipfile.ZipFile(io.BytesIO(inputs.checkpoint(False))).read("model/data.pkl")
        one = content[content.index(b"ctorch._utils") : content.index(b"X\x08\x00\x00\x00b.weight")]
        one = one.replace(pickle.dumps(4, 2)[2:-1], pickle.dumps(2**20, 2)[2:-1])
        names = b"".join(b"X\x04\x00\x00\x00" + b"%04d" % k + one for k in range(1000))
        with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
            archive.writestr("m/data.pkl", b"\x80\x02}(" + names + b"u.")
            archive.writestr("m/data/0", bytes(4 * 2**20))
        with pytest.raises(InputError, match="4194304000 bytes in a file of"):
            torch_file.read_checkpoint(tmp_path / "a.pth")

    @pytest.mark.parametrize("is_legacy", [False, True])
    @pytest.mark.parametrize("num", [2**62, 2**80, -1])
    def test_sizes_beyond_all(self, is_legacy: bool, num: int, tmp_path: Path) -> None:
        content = inputs.checkpoint(is_legacy)
        if is_legacy:
            old = pickle.dumps(6, 2)[2:-1]
            (tmp_path / "a.pth").write_bytes(content.replace(old + b"N", pickle.dumps(num, 2)[2:-1] + b"N"))
        else:
            with zipfile.ZipFile(io.BytesIO(content)) as old_file, zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
                for name in old_file.namelist():
                    wide = pickle.dumps(num, 2)[2:-1]
                    archive.writestr(name, old_file.read(name).replace(pickle.dumps(6, 2)[2:-1], wide))
        with pytest.raises(InputError):
            torch_file.read_checkpoint(tmp_path / "a.pth")


def test_labels_of_cifar_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": 3}, 2))
    (tmp_path / "train").write_bytes(inputs.cifar()[0])
    with pytest.raises(InputError, match="names and numbers of classes"):
        list(pictures.read_cifar_pickles(tmp_path, "c"))


def test_a_name_with_nul() -> None:
    with pytest.raises(InputError, match="readable file"):
        images.read_bytes(Path("a\0.png"))


def test_a_detector_of_functions_or_loops_is_not_run(tmp_path: Path) -> None:
    import onnx

    for op in ("Loop", "ConstantOfShape"):
        model = onnx.ModelProto.FromString(inputs.network(9, 64))
        model.graph.node[0].op_type = op
        (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match=rf"with \['{op}'\]"):
            detectors.open_detector(str(tmp_path / "a.onnx"))
    model = onnx.ModelProto.FromString(inputs.network(9, 64))
    nodes = [onnx.helper.make_node("Add", ["x", "x"], ["y"])]
    opset = [onnx.helper.make_opsetid("", 13)]
    model.functions.append(onnx.helper.make_function("f", "f0", ["x"], ["y"], nodes, opset))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"with \['f0'\]"):
        detectors.open_detector(str(tmp_path / "a.onnx"))
