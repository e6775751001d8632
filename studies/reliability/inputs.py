"""Hostile files by number: a valid file of each format, damaged in a way that the number decides."""

import copy
import io
import json
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mint_keras.data import sample_tables
from mint_keras.records import Sample, tabulate

# What readers trip over: sizes, signs and lengths at the ends of their ranges.
_INTEGERS = (
    0,
    1,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)
_WORDS = (b"nan", b"-1", b"1e999", b"=cmd()", b"\x00", b"\x1b[2J", b"\xff\xfe", b"null", b"[" * 5000, b"9" * 5000,
          b"*a", b"&a [*a]", b"'", b'"', b",", b"../../x", b"A" * 70000, b"true", b"{}", b"\r\n")  # fmt: skip
_SIZES = (0, -1, 2**40, 3)
_LEAVES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1e308,
    math.nan,
    "",
    "x",
    "../x",
    "\x1b[2J",
    "A" * 10000,
    [],
    {},
    [[]],
)


def damaged(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns one of some files with a few bytes changed, moved, taken out or put in, or joined with another one."""
    content = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 5)):
        size = len(content)
        # Headers are where sizes stand, so half of the changes are there.
        at = int(rng.integers(min(size, 64) if rng.random() < 0.5 else size)) if size else 0
        length = int(rng.integers(1, 17))
        match rng.integers(8):
            case 0:
                content[at : at + 1] = bytes([(content[at] if size else 0) ^ (1 << int(rng.integers(8)))])
            case 1:
                content[at : at + length] = rng.bytes(length)
            case 2:
                del content[at : at + length * int(rng.integers(1, 40))]
            case 3:
                content[at:at] = content[at : at + length * 8] * int(rng.integers(1, 20))
            case 4:
                kind = ("<I", ">I", "<Q", "<H")[rng.integers(4)]
                value = _INTEGERS[rng.integers(len(_INTEGERS))] % 2 ** (8 * struct.calcsize(kind))
                content[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
            case 5:
                content[at:at] = _WORDS[rng.integers(len(_WORDS))]
            case 6:
                del content[at:]
            case _:
                other = seeds[rng.integers(len(seeds))]
                content[at:] = other[int(rng.integers(len(other) + 1)) :]
    return bytes(content)


def damaged_text(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns a text file with words in the place of others, or damaged like any file."""
    if rng.random() < 0.4:
        return damaged(rng, seeds)
    content = seeds[rng.integers(len(seeds))]
    for _ in range(rng.integers(1, 4)):
        found = list(re.finditer(rb"[\w.+-]+", content))
        if found:
            one = found[rng.integers(len(found))]
            content = content[: one.start()] + _WORDS[rng.integers(len(_WORDS))] + content[one.end() :]
    return content


def damaged_json(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns a JSON file with a leaf or branch that is missing or something else, or damaged like any text."""
    if rng.random() < 0.3:
        return damaged_text(rng, seeds)
    value = json.loads(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 4)):
        place = value
        while isinstance(place, dict | list) and place:
            key = list(place)[rng.integers(len(place))] if isinstance(place, dict) else int(rng.integers(len(place)))
            if rng.random() < 0.5 or not isinstance(place[key], dict | list) or not place[key]:
                if isinstance(place, dict) and rng.random() < 0.3:
                    del place[key]
                else:
                    place[key] = copy.deepcopy(_LEAVES[rng.integers(len(_LEAVES))])
                break
            place = place[key]
    return json.dumps(value).encode()


def random_pickle(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns operations of pickles in a row that nobody wrote, or a pickle damaged like any file."""
    if rng.random() < 0.6:
        return damaged(rng, seeds)
    names = [b"numpy\nndarray\n", b"os\nsystem\n", b"builtins\neval\n", b"collections\nOrderedDict\n",
             b"torch._utils\n_rebuild_tensor_v2\n", b"numpy.core.multiarray\nscalar\n", b"numpy\ndtype\n"]  # fmt: skip
    parts = [b"\x80\x02"]
    for _ in range(rng.integers(2, 40)):
        small, size = bytes([int(rng.integers(4))]), struct.pack("<I", _INTEGERS[rng.integers(12)])
        choices = [
            b"(", b")", b"]", b"}", b"N", b"K" + small, b"q" + small, b"h" + small, b"\x85", b"\x86", b"\x87", b"2",
            b"0",
            b"a", b"e", b"s", b"u", b"t", b"l", b"d", b"R", b"b", b"Q", b"o", b"\x81", b"U\x02id",
            b"X\x01\x00\x00\x00a", b"r" + size, b"j" + size, b"X" + size, b"B" + size, b"\x8b" + size,
            b"\x96" + size * 2, b"\x95" + size * 2, b"\x94", b"\x93", b"\x8f", b"\x90",
            b"c" + names[rng.integers(len(names))],
        ]  # fmt: skip
        parts.append(choices[rng.integers(len(choices))])
    return b"".join([*parts, b"."])


def in_zip(damage: Callable, rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns an archive with one damaged entry, or a damaged archive."""
    if rng.random() < 0.4:
        return damaged(rng, seeds)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seeds[rng.integers(len(seeds))])) as source, zipfile.ZipFile(target, "w") as out:
        names = source.namelist()
        wrong = names[rng.integers(min(len(names), 3))]
        for name in names:
            content = source.read(name)
            out.writestr(name, damage(rng, [content]) if name == wrong else content)
    return target.getvalue()


def damaged_onnx(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns a model with other operators, attributes, shapes or wiring, or damaged like any file."""
    if rng.random() < 0.3:
        return damaged(rng, seeds)
    model = onnx.ModelProto.FromString(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.5 and model.graph.node:
            _damage_node(rng, model.graph)
        else:
            _damage_tensor(rng, model.graph)
    return model.SerializeToString()


def _damage_node(rng: np.random.Generator, graph: onnx.GraphProto) -> None:
    at = int(rng.integers(len(graph.node)))
    node, other = graph.node[at], graph.node[rng.integers(len(graph.node))]
    match rng.integers(5):
        case 0:
            node.op_type = ("Conv", "Gemm", "Reshape", "Loop", "Expand", "f", "Resize", "Pad")[rng.integers(8)]
        case 1:
            for one in node.attribute[:1]:
                one.i = _SIZES[rng.integers(4)]
                one.ints[:] = [_SIZES[rng.integers(4)] for _ in one.ints]
        case 2:
            node.input[rng.integers(len(node.input))] = other.output[0] if rng.random() < 0.7 else "nowhere"
        case 3:
            node.output[0] = other.output[0]
        case _:
            del graph.node[at]


def _damage_tensor(rng: np.random.Generator, graph: onnx.GraphProto) -> None:
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    shape = graph.input[0].type.tensor_type.shape.dim
    match rng.integers(3):
        case 0 if tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = _SIZES[rng.integers(4)]
        case 1:
            shape[rng.integers(len(shape))].dim_value = _SIZES[rng.integers(4)]
        case _:
            tensor.data_type = int(rng.integers(0, 25))


# --- valid files -----------------------------------------------------------------------------------------------------


def pictures() -> list[bytes]:
    """Returns one picture in every format that OpenCV writes."""
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    return [
        cv2.imencode(suffix, image)[1].tobytes()
        for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm", ".jp2")
    ]


def record_file() -> bytes:
    """Returns a RecordIO file of three pictures."""
    records = []
    for key, picture in enumerate(pictures()[:3]):
        body = struct.pack("<IfQQ", 0, float(key), key, 0) + picture
        records.append(struct.pack("<II", 0xCED7230A, len(body)) + body + bytes(-len(body) % 4))
    return b"".join(records)


def checkpoint(is_legacy: bool) -> bytes:
    """Returns what `torch.save` writes of two tensors, in one of its formats."""

    def pickled(value: Any) -> bytes:
        return pickle.dumps(value, protocol=2)

    def tensor(key: str, num: int) -> bytes:
        reference = b"(" + b"".join(pickled(x)[2:-1] for x in ("storage",)) + b"ctorch\nFloatStorage\n"
        reference += b"".join(pickled(x)[2:-1] for x in (key, "cpu", num)) + (b"N" if is_legacy else b"") + b"tQ"
        rest = b"".join(pickled(x)[2:-1] for x in (0, (num,), (1,), False))
        return b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + rest + b"ccollections\nOrderedDict\n)RtR"

    def named(name: str) -> bytes:
        return b"X" + struct.pack("<I", len(name)) + name.encode()

    state = b"\x80\x02}(" + named("a.weight") + tensor("0", 4) + named("b.weight") + tensor("1", 6) + b"u."
    values = {"0": np.arange(4, dtype="<f4").tobytes(), "1": np.arange(6, dtype="<f4").tobytes()}
    if is_legacy:
        head = b"".join(map(pickled, (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})))
        sized = b"".join(struct.pack("<Q", len(value) // 4) + value for value in values.values())
        return head + state + pickled(list(values)) + sized
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("model/data.pkl", state)
        for key, value in values.items():
            archive.writestr(f"model/data/{key}", value)
    return target.getvalue()


def network(num_outputs: int, side: int) -> bytes:
    """Returns a small ONNX model of one output, or with the nine of a face detector."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        "slope": np.full((4, 1, 1), 0.1),
        "head": rng.normal(size=(4 * side**2, 8)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu" if num_outputs == 1 else "Relu", ["c", "slope"][: 3 - min(num_outputs, 2)], ["r"]),
    ]
    names = ["out"]
    if num_outputs == 1:
        nodes += [helper.make_node("Flatten", ["r"], ["f"]), helper.make_node("MatMul", ["f", "head"], ["out"])]
    else:
        del weights["head"], weights["slope"]
        names = [f"{role}{stride}" for role in ("score", "box", "points") for stride in (8, 16, 32)]
        for name in names:
            stride, width = int(re.sub(r"\D", "", name)), {"s": 1, "b": 4, "p": 10}[name[0]]
            weights[f"w_{name}"] = rng.normal(size=(2 * width, 4, 1, 1))
            nodes += [
                helper.make_node("AveragePool", ["r"], [f"p_{name}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
                helper.make_node("Conv", [f"p_{name}", f"w_{name}"], [f"c_{name}"]),
                helper.make_node("Transpose", [f"c_{name}"], [f"t_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{name}", f"s_{name}"], [name]),
            ]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    if num_outputs > 1:
        widths = {name: {"s": 1, "b": 4, "p": 10}[name[0]] for name in names}
        tensors += [numpy_helper.from_array(np.array([-1, width]), f"s_{name}") for name, width in widths.items()]
    info = helper.make_tensor_value_info
    inputs = [info("x", TensorProto.FLOAT, [1, 3, side, side])]
    outputs = [info(name, TensorProto.FLOAT, [None, None]) for name in names]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def verification() -> list[bytes]:
    """Returns a set of two pairs in several protocols."""
    return [pickle.dumps((pictures()[:4], [True, False]), protocol) for protocol in (2, 4, 5)]


def cifar() -> list[bytes]:
    """Returns a part of CIFAR-100 and its names of classes."""
    content = {b"data": bytes(2 * 3072), b"fine_labels": [0, 1], b"filenames": [b"a.png", b"b.png"]}
    return [pickle.dumps(content, 2), pickle.dumps({b"fine_label_names": [b"apple", b"bear"]}, 2)]


def tables(folder: Path) -> tuple[bytes, bytes]:
    """Returns a sample table as Parquet and as CSV."""
    rows = [Sample(f"d/{k}", "d", f"p{k}", f"{k}.png", box=(1, 2, 3, 4), attributes={"age": str(k)}) for k in range(5)]
    sample_tables.write_samples(folder / "seed.parquet", tabulate(rows))
    lines = [f'd/{k},d,p{k},{k}.png,,1 2 3 4,"{{""age"": ""{k}""}}"' for k in range(5)]
    header = "sample_id,database,identity,location,group,box,attributes"
    return (folder / "seed.parquet").read_bytes(), "\n".join([header, *lines, ""]).encode()


def damaged_json_or_bytes(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Returns a part of a `.keras` file: its JSON with other layers and values, or whatever it is with other bytes."""
    if not seeds[0].startswith(b"{"):
        return damaged(rng, seeds)
    if rng.random() < 0.3:  # layers that would run a stranger's code
        name = (b'"Lambda"', b'"TFSMLayer"', b'"os.system"', b'"Custom"')[rng.integers(4)]
        return re.sub(rb'"(ReLU|PReLU|Conv2D|BatchNormalization|Add)"', name, seeds[0], count=int(rng.integers(1, 4)))
    return damaged_json(rng, seeds)


def request(method: str, target: str, body: bytes = b"") -> bytes:
    """Returns a request of the page's own script; whoever sends it puts the port in the place of PORT."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def requests() -> list[bytes]:
    """Returns a request of every kind that the page answers, of the batch BATCH."""
    return [
        *(request("POST", "/batches/BATCH/photos?name=a.png", picture) for picture in pictures()[:2]),
        *(request("GET", target) for target in ("/", "/page.js", "/batches/BATCH", "/batches/BATCH/report")),
        request("POST", "/batches"),
        request("DELETE", "/batches/BATCH"),
    ]
