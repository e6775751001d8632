"""From a model's file to a proven audited model, and to a MINT run on it."""

from __future__ import annotations

import collections
import functools
import json
import pickle
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from mint_keras import cli, formats
from mint_keras.audited import parity, runtime, taps, zoo
from mint_keras.audited.convert import claims, onnx_tf
from mint_keras.commands.convert_fr import Conversion, ConvertFr, convert_fr
from mint_keras.commands.export_tflite import ExportTflite, export_tflite
from mint_keras.commands.train_mint import TrainMint, train_mint
from mint_keras.commands.verify_fr import VerifyFr, verify_fr
from mint_keras.data import synthetic
from mint_keras.records import InputError, RefusedError
from tests.audited.convert import files

SIDE = files.SIDE
TAPS = ["conv1", "conv2", "stage1", "stage2", "outcome"]


def random_state(seed: int) -> dict[str, np.ndarray]:
    return files.random_state(seed, blocks=(2, 1), widths=(16, 32))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network as ONNX and as a checkpoint, and another of the same structure."""
    folder = tmp_path_factory.mktemp("shelf")
    state = random_state(5)
    onnx.save(files.make_onnx(state), folder / "model.onnx")
    files.save_torch_zip(folder / "backbone.pth", collections.OrderedDict(state))
    onnx.save(files.make_onnx(random_state(6)), folder / "other.onnx")
    return folder


@pytest.fixture(scope="module")
def converted(shelf: Path) -> Path:
    made = convert_fr(ConvertFr(shelf / "model.onnx", shelf / "models" / "model", taps=("early=stem_prelu",)))
    assert "| conv1   | onnxruntime | noise (1, 8), faces (1, 8) |" in made.text
    assert "of no card" in made.text
    assert made.out == shelf / "models" / "model"
    assert {record.tap for record in made.records} == {*TAPS, "early"}
    return shelf / "models" / "model"


@pytest.fixture(scope="module")
def again(shelf: Path) -> Conversion:
    """The same file an hour later, with a card that does not know its SHA-256, and as ONNX as well."""
    now, out = time.localtime, shelf / "again" / "one"
    own = {"card": write_card(shelf), "taps": ("early=stem_prelu",), "to": "onnx", "export_taps": ("stage1", "conv1")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "localtime", lambda at=None: now((time.time() if at is None else at) + 3600))
        return convert_fr(ConvertFr(shelf / "model.onnx", out, **own))


def test_the_saved_model_gives_every_tap_of_the_file(converted: Path, shelf: Path) -> None:
    model = zoo.load_audited(converted)
    manifest = formats.read_manifest(converted, zoo.KIND)
    assert list(taps.tap_tensors(model)) == sorted([*TAPS, "early"], key=lambda name: (name == "outcome", name))
    assert manifest["taps"]["conv2"]["layer"] == "stage2_block1_conv2"
    assert manifest["inputs"]["model.onnx"] == formats.sha256_file(shelf / "model.onnx")
    images = np.random.default_rng(1).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    ours = model(images)
    proto = onnx.load(shelf / "model.onnx")
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=manifest["taps"][tap]["tensor"]) for tap in ours if tap != "outcome"
    )
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), settings)
    for tap, values in ours.items():
        theirs = session.run([manifest["taps"][tap]["tensor"]], {"input.1": images.transpose(0, 3, 1, 2)})[0]
        theirs = theirs.transpose(0, 2, 3, 1) if theirs.ndim == 4 else theirs
        assert np.linalg.norm(values - theirs) < 1e-5 * np.linalg.norm(theirs)


def test_the_record_says_what_was_compared(converted: Path) -> None:
    record = json.loads((converted / "parity.json").read_text())
    assert record["statement"].startswith("onnxruntime (the file as it is, ONNX Runtime")
    assert record["statement"].endswith("not optimised) gives the same values")
    assert record["oracles"]["onnxruntime"]["relative"] == 1e-4
    assert {(row["tap"], row["input"], row["batch"]) for row in record["records"]} == {
        (tap, shown, batch) for tap in [*TAPS, "early"] for shown in ("noise", "faces") for batch in (1, 8)
    }
    assert all(row["relative"] < 1e-4 and row["cosine"] > 0.999999 for row in record["records"])
    assert max(row["max_abs"] for row in record["records"]) > 0


def test_the_same_command_again_changes_nothing_and_another_file_is_refused(converted: Path, shelf: Path) -> None:
    before = (converted / "model.keras").stat().st_mtime_ns
    assert "conv1" in convert_fr(ConvertFr(shelf / "model.onnx", converted, taps=("early=stem_prelu",))).text
    assert (converted / "model.keras").stat().st_mtime_ns == before
    with pytest.raises(RefusedError, match="other inputs or settings: preprocessing"):
        convert_fr(ConvertFr(shelf / "other.onnx", converted))


def test_the_same_file_converted_twice_is_the_same_model_file(converted: Path, again: Conversion) -> None:
    assert again.out is not None
    assert (again.out / "model.keras").read_bytes() == (converted / "model.keras").read_bytes()


def test_listing_taps_writes_nothing(shelf: Path, tmp_path: Path) -> None:
    first_sum = next(node.name for node in onnx.load(shelf / "model.onnx").graph.node if node.op_type == "Add")
    own = (f"sum={first_sum}",)
    text = convert_fr(ConvertFr(shelf / "model.onnx", tmp_path / "out", list_taps=True, taps=own)).text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0] == ["tap", "shape", "layer", "node", "GFLOPs so far"]
    by_tap = {row[0]: row for row in rows[2:]}
    assert by_tap["conv1"][1:3] == ["16x16x16", "stage1_block2_conv2"]
    assert by_tap["stage2"][1:3] == ["8x8x32", "stage2_block1_add"]
    assert by_tap["sum"][2:4] == ["stage1_block1_add", first_sum]
    assert float(by_tap["conv1"][4]) < float(by_tap["conv2"][4]) <= float(by_tap["outcome"][4])
    assert not (tmp_path / "out").exists()
    for choice in ("nowhere=layer17", "stem_prelu", "bad name=stem_prelu"):
        with pytest.raises(InputError, match="NAME=NODE"):
            convert_fr(ConvertFr(shelf / "model.onnx", tmp_path / "out", taps=(choice,)))


@pytest.mark.slow
def test_a_checkpoint_is_verified_only_by_verification(shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "checkpoint"
    assert "mapping verified, file not" in convert_fr(ConvertFr(shelf / "backbone.pth", out)).text
    write_pairs(tmp_path / "lfw.bin", same_image=True)
    text = verify_fr(VerifyFr(tmp_path / "lfw.bin", model=out, num_ranked=0, quiet=True)).text
    assert "(keras), 20 pairs: accuracy 1.0000" in text
    assert "Pixels: nothing was compared" in text
    recognises = "the file recognises people, but how it wants its pixels is not verified: accuracy 1.0000 on 20 pairs"
    assert formats.read_json(out / "parity.json")["verification"].startswith(recognises)
    assert f"file not: what checked it was written from the same file (verify_fr.py); {recognises}" in (
        convert_fr(ConvertFr(shelf / "backbone.pth", out)).text
    )
    record = formats.read_json(out / "verification.json")
    claims.add_verification(out, record | {"pixels": {"is_right": True}})
    assert formats.read_json(out / "parity.json")["verification"].startswith("file verified: accuracy 1.0000")


@pytest.mark.slow
def test_a_checkpoint_is_verified_by_another_file(shelf: Path, tmp_path: Path) -> None:
    # The other file is shown its pixels as this one, not as insightface's rule has it.
    checked = ConvertFr(
        shelf / "backbone.pth", tmp_path / "b", pixels="BGR, 0..1", cross_check=str(shelf / "model.onnx")
    )
    text = convert_fr(checked).text
    assert "mapping verified, and model.onnx is the same model" in text
    assert "Pixels: BGR, 0..1, as the command says." in text
    said = formats.read_manifest(tmp_path / "b", zoo.KIND)["config"]["preprocessing"]
    assert (said["mean"], said["std"], said["bgr"]) == ([0.0] * 3, [255.0] * 3, True)
    assert "| conv2   | model.onnx" in text


def test_two_files_that_are_not_the_same_model(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"are not the same model: tap conv1 has relative error"):
        convert_fr(ConvertFr(shelf / "backbone.pth", tmp_path / "out", cross_check=str(shelf / "other.onnx")))
    assert not (tmp_path / "out" / "model.keras").exists()


@pytest.mark.slow
def test_a_file_that_loads_as_something_else_is_deleted(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = zoo.load_audited

    def load_damaged(path: Path, kind: str = zoo.KIND) -> keras.Model:
        model = load(path, kind)
        layer = model.get_layer("stage2_block1_conv1")
        layer.set_weights([1.01 * weight for weight in layer.get_weights()])
        return model

    monkeypatch.setattr(zoo, "load_audited", load_damaged)
    with pytest.raises(RefusedError, match=r"gives other values for \['conv2', 'stage2', 'outcome'\]"):
        convert_fr(ConvertFr(shelf / "model.onnx", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def write_card(folder: Path, **changes: object) -> str:
    content = {
        "title": "a test", "licence": "none", "get": "nowhere", "preprocessing": {"mean": 127.5, "std": 127.5},
        "blocks": [2, 1], "taps": {"conv1": [16, 16, 16]},
    }  # fmt: skip
    (folder / "card.yaml").write_text(json.dumps(content | changes))
    return str(folder / "card.yaml")


def test_cards_check_structure_and_sha256(shelf: Path, tmp_path: Path) -> None:
    weights, out = shelf / "model.onnx", tmp_path / "models" / "one"
    for changes, reason in (
        ({"blocks": [3, 13, 30, 3]}, r"blocks, received \[2, 1\]"),
        ({"taps": {"conv1": [16, 16, 64]}}, r"conv1 of \(16, 16, 64\) \(received \(16, 16, 16\)\)"),
        ({"taps": {"conv5": [4, 4, 64]}}, "received None"),
        ({"sha256": ["0" * 64]}, "SHA-256 0000"),
    ):
        with pytest.raises(RefusedError, match=reason):
            convert_fr(ConvertFr(weights, out, card=write_card(tmp_path, **changes)))
    with pytest.raises(RefusedError, match="card fr1, an IResNet"):
        convert_fr(ConvertFr(weights, out, card="fr1"))
    assert not out.exists()


def test_a_card_without_sha256_trusts_the_first_file_and_above_tolerance_nothing_is_saved(
    again: Conversion, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "trusted on first use: nobody published the hash of a test" in again.text
    beside, card = shelf / "again", str(shelf / "card.yaml")
    with pytest.raises(RefusedError, match="was converted from another file for card card"):
        convert_fr(ConvertFr(shelf / "other.onnx", beside / "two", card=card))
    monkeypatch.setattr(parity, "is_within", lambda *_: False)
    with pytest.raises(RefusedError, match="Nothing was saved"):  # the card knows this file by now
        convert_fr(ConvertFr(shelf / "model.onnx", beside / "three", card=card))
    assert not (beside / "three" / "model.keras").exists()


def test_a_truncated_extractor_as_onnx(again: Conversion, shelf: Path) -> None:
    assert again.out is not None
    assert "| stage1  | keras (extractor.onnx) |" in again.text
    session = onnxruntime.InferenceSession(again.out / "extractor.onnx")
    assert {entry.name for entry in session.get_outputs()} == {"conv1", "stage1"}
    assert (again.out / "extractor.onnx").stat().st_size < (shelf / "model.onnx").stat().st_size / 2
    images = np.random.default_rng(1).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    received = session.run(["stage1"], {"image": images})[0]
    expected = zoo.load_audited(again.out)(images)["stage1"]
    assert np.linalg.norm(received - expected) < 1e-5 * np.linalg.norm(expected)


def test_scaling_of_pixels_is_built_in(converted: Path, shelf: Path, tmp_path: Path) -> None:
    """Whatever the file wants, and its card says, the model that is saved takes (x - 127.5) / 127.5."""
    own = {"mean": (120.0, 110.0, 100.0), "std": (60.0,)}
    known = write_card(tmp_path, sha256=[formats.sha256_file(shelf / "model.onnx")])
    text = convert_fr(ConvertFr(shelf / "model.onnx", tmp_path / "a", card=known, **own)).text
    assert "the one card card knows" in text
    assert "scaled as the command says" in text
    pixels = np.random.default_rng(1).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    wide = zoo.load_audited(tmp_path / "a")((pixels - 127.5) / 127.5)["conv1"]
    plain = zoo.load_audited(converted)((pixels - np.float32([120, 110, 100])) / 60)["conv1"]
    assert np.linalg.norm(wide - plain) < 1e-5 * np.linalg.norm(plain)
    for mean, std in (((1.0, 2.0), (1.0,)), ((1.0,), (0.0,)), ((1.0,), ()), ((float("nan"),), (1.0,))):
        with pytest.raises(InputError, match="Expected --mean and --std"):
            convert_fr(ConvertFr(shelf / "model.onnx", tmp_path / "c", mean=mean, std=std))


def write_pairs(path: Path, same_image: bool) -> None:
    """20 pairs of lab faces: the same image twice, or different people."""
    faces = [synthetic.render(f"synthetic:1/web/{i}/0") for i in range(20)]
    encoded = [cv2.imencode(".png", face[:, :, ::-1])[1].tobytes() for face in faces]
    content: list[bytes] = []
    for i in range(20):
        content += [encoded[i], encoded[i if i % 2 == 0 and same_image else (i + 7) % 20]]
    path.write_bytes(pickle.dumps((content, [i % 2 == 0 for i in range(20)]), protocol=2))


def test_verification_of_model_and_file_agree(
    converted: Path, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path / "pairs.bin", same_image=False)
    given = ["--pairs", str(tmp_path / "pairs.bin"), "--model", str(converted), "--out", str(tmp_path / "keras")]
    assert cli.main(["verify", *given, "--num-ranked", "0", "--quiet"]) == cli.REFUSED
    assert "Below 0.97: not verified" in capsys.readouterr().out
    assert "verification" not in formats.read_json(converted / "parity.json")
    verify_fr(
        VerifyFr(tmp_path / "pairs.bin", onnx=shelf / "model.onnx", out=tmp_path / "onnx", num_ranked=0, quiet=True)
    )
    keras_record, onnx_record = (formats.read_json(tmp_path / name / "verification.json") for name in ("keras", "onnx"))
    for name in ("accuracy", "auc", "accuracy_std"):
        assert keras_record[name] == pytest.approx(onnx_record[name], abs=1e-4)
    assert (keras_record["runtime"], onnx_record["runtime"]) == ("keras", "onnxruntime")
    flipped = verify_fr(
        VerifyFr(tmp_path / "pairs.bin", model=converted, out=tmp_path / "flip", flip=True, num_ranked=0)
    )
    assert "accuracy" in flipped.text
    assert not flipped.is_passed
    assert flipped.record == formats.read_json(tmp_path / "flip" / "verification.json")


def test_verification_needs_one_model_and_readable_images(converted: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.bin", same_image=False)
    for choice in ({}, {"model": converted, "onnx": converted}):
        with pytest.raises(InputError, match="either --model or --onnx"):
            verify_fr(VerifyFr(tmp_path / "pairs.bin", **choice))
    content = pickle.loads((tmp_path / "pairs.bin").read_bytes())
    content[0][3] = b"no image"
    (tmp_path / "pairs.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="image 3"):
        verify_fr(VerifyFr(tmp_path / "pairs.bin", model=converted, quiet=True))


@pytest.mark.long
def test_a_mint_on_a_converted_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = files.Dialect(input_shape=("None", 3, 112, 112))
    onnx.save(files.make_onnx(files.random_state(5, side=112), dialect), tmp_path / "model.onnx")
    convert_fr(ConvertFr(tmp_path / "model.onnx", model := tmp_path / "model"))
    monkeypatch.setattr(runtime, "measure", functools.partial(runtime.measure, seconds=0.2))
    options = {
        "audited": model, "members": "synthetic:1/web/0-29/4", "externals": ("synthetic:1/news/100-129/4",),
        "evaluate": ("synthetic:1/scan/200-219/2",), "held_out": "synthetic:1/web/40-59/2", "num_train": 70,
        "num_test": 20, "num_seeds": 1, "quiet": True,
    }  # fmt: skip
    text = train_mint(TrainMint("vanilla", tmp_path / "run", ("conv4",), precision="mixed_bfloat16", **options)).text
    assert "AAD in mixed_bfloat16" in text
    measured = formats.read_json(tmp_path / "run" / "precision.json")
    assert measured["cosine"]["conv4_max"] > 0.99
    assert formats.read_manifest(tmp_path / "run" / "aad", "aad")["config"]["precision"] == "mixed_bfloat16"
    export_tflite(ExportTflite(tmp_path / "run", tmp_path / "bundle", "conv4", quiet=True))
    assert formats.read_json(tmp_path / "bundle" / formats.MANIFEST)["parity"]["max_logit_difference"] < 1e-4
    again = train_mint(TrainMint("vanilla", tmp_path / "run", ("conv4",), precision="mixed_bfloat16", **options))
    assert "conv4" in again.text
    assert formats.read_json(tmp_path / "run" / "precision.json") == measured


def test_a_network_that_is_no_iresnet(tmp_path: Path) -> None:
    """Depthwise convolutions: the taps are the last convolution at each resolution."""
    from tests.audited.convert.test_operators import node, weights

    nodes = [
        node("Conv", "x a", "c1", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]), node("Relu", "c1", "r1"),
        node("Conv", "r1 b", "c2", group=16, kernel_shape=[3, 3], pads=[1] * 4), node("Relu", "c2", "r2"),
        node("Conv", "r2 c", "c3", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]), node("Relu", "c3", "r3"),
        node("GlobalAveragePool", "r3", "g"), node("Flatten", "g", "f"), node("Gemm", "f d", "y"),
    ]  # fmt: skip
    initialisers = {
        "a": weights(16, 3, 3, 3), "b": weights(16, 1, 3, 3), "c": weights(8, 16, 3, 3), "d": weights(8, 4),
    }  # fmt: skip
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "mobile",
        [info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [info("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in initialisers.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, tmp_path / "mobile.onnx")
    convert_fr(ConvertFr(tmp_path / "mobile.onnx", tmp_path / "out", image_size=48))
    model = zoo.load_audited(tmp_path / "out")
    assert {tap: tuple(t.shape[1:]) for tap, t in taps.tap_tensors(model).items()} == {
        "conv1": (24, 24, 16), "conv2": (12, 12, 8), "outcome": (4,),
    }  # fmt: skip
    assert formats.read_manifest(tmp_path / "out", zoo.KIND)["taps"]["conv1"]["tensor"] == "c2"
    assert isinstance(model, keras.Model)


def test_the_environment_of_onnx_tf_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("onnx-tf==1.10.0\n")
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        python = tmp_path / "cache" / "onnx-tf" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(onnx_tf, "_run", run)
    first = onnx_tf.environment(requirements, tmp_path / "cache")
    assert first == tmp_path / "cache" / "onnx-tf" / "bin" / "python"
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert onnx_tf.environment(requirements, tmp_path / "cache") == first
    assert len(commands) == 2
    requirements.write_text("onnx-tf==1.10.0\nonnx<1.15\n")
    onnx_tf.environment(requirements, tmp_path / "cache")
    assert len(commands) == 4  # other requirements: made anew


def test_onnx_tf_that_fails_says_why(shelf: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'KeyError: Fancy' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(InputError, match="received: KeyError: Fancy"):
        onnx_tf.run(onnx.load(shelf / "model.onnx"), {"input.1": np.zeros((1, 3, SIDE, SIDE))}, ["123"], python)


@pytest.mark.slow
def test_verification_of_what_is_not_a_converted_face_model(audited_folder: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.bin", same_image=True)
    before = (audited_folder / "verification.json").read_bytes()
    verify_fr(
        VerifyFr(tmp_path / "pairs.bin", model=audited_folder, out=tmp_path / "trained", num_ranked=0, quiet=True)
    )
    with pytest.raises(InputError, match="Choose another --out"):
        verify_fr(VerifyFr(tmp_path / "pairs.bin", model=audited_folder, out=audited_folder, quiet=True))
    assert (audited_folder / "verification.json").read_bytes() == before
    small = files.make_onnx(random_state(1), files.Dialect(input_shape=("n", 3, SIDE, SIDE)))
    onnx.save(small, tmp_path / "small.onnx")
    found = verify_fr(VerifyFr(tmp_path / "pairs.bin", onnx=tmp_path / "small.onnx", out=tmp_path / "o", num_ranked=0))
    assert found.record["accuracy"] == 1.0
