"""The converter on models of real size, and on real files where they lie beside the project."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from mint_keras import formats
from mint_keras.audited import iresnet
from mint_keras.commands.convert_fr import ConvertFr, convert_fr
from mint_keras.commands.verify_fr import VerifyFr, verify_fr
from mint_keras.data import pickles
from tests.audited.convert import files

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "models").is_dir(), reason="no real models beside the project (../shared/data/models)"
)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak of memory from /proc")
@pytest.mark.long
def test_an_r100_in_3_gb(tmp_path: Path) -> None:
    """Random weights in the dialect of 2021, 260 MB: it fits an auditor's laptop."""
    spec = iresnet.ARCHITECTURES["r100"]
    state = files.random_state(1, spec.blocks, spec.widths, spec.embedding_size, 112)
    model = files.make_onnx(state, files.Dialect(input_shape=("None", 3, 112, 112)))
    del state
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    closing = [adds[index - 1] for index in (3, 16, 46, 49)]
    onnx.save(model, tmp_path / "r100.onnx")
    del model
    options = ["--weights", str(tmp_path / "r100.onnx"), "--out", str(tmp_path / "r100")]
    program = (
        f"import runpy, sys\nsys.path.insert(0, 'scripts')\nsys.argv = ['scripts/convert_fr.py', *{options!r}]\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n    print(open('/proc/self/status').read())\n"
    )
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak is not None
    assert int(peak[1]) < 3e6
    located = json.loads((tmp_path / "r100" / "manifest.json").read_text())["taps"]
    for stage, node in enumerate(closing, start=1):
        assert located[f"stage{stage}"]["tensor"] == node.output[0]
        assert located[f"conv{stage}"]["tensor"] == node.input[0]
    assert "24.18 GFLOPs" in done.stdout
    (tmp_path / "r100.onnx").unlink()


@needs_data
@pytest.mark.parametrize("name", ["mobilefacenet", "scrfd_500m_bnkps", "scrfd_2.5g_bnkps"])
@pytest.mark.long
def test_real_files_are_converted(name: str, tmp_path: Path) -> None:
    text = convert_fr(ConvertFr(DATA / "models" / f"{name}.onnx", tmp_path / name)).text
    assert f"the one card {name} knows" in text
    record = formats.read_json(tmp_path / name / "parity.json")
    assert max(row["relative"] for row in record["records"]) < 1e-5
    taps = {row["tap"] for row in record["records"]}
    assert taps >= ({"conv1", "conv4", "outcome"} if name == "mobilefacenet" else {"score_8", "bbox_16", "kps_32"})


@needs_data
@pytest.mark.long
def test_a_real_model_recognises_real_people_as_its_file_does(tmp_path: Path) -> None:
    weights = DATA / "models" / "mobilefacenet.onnx"
    convert_fr(ConvertFr(weights, tmp_path / "mbf"))
    with open(DATA / "lfw" / "lfw_1200pairs.bin", "rb") as file:
        images, same = pickles.load(file, {}, encoding="bytes")
    some = [i for start in (0, 300) for i in range(start, start + 60)]  # genuine, then impostors
    content = ([images[2 * i + side] for i in some for side in (0, 1)], [same[i] for i in some])
    order = np.random.default_rng(1).permutation(len(some))
    content = ([content[0][2 * i + side] for i in order for side in (0, 1)], [content[1][i] for i in order])
    (tmp_path / "some.bin").write_bytes(pickle.dumps(content, protocol=2))
    verify_fr(VerifyFr(tmp_path / "some.bin", model=tmp_path / "mbf", quiet=True))
    verify_fr(VerifyFr(tmp_path / "some.bin", onnx=weights, out=tmp_path / "onnx", quiet=True))
    ours, theirs = (formats.read_json(tmp_path / name / "verification.json") for name in ("mbf", "onnx"))
    assert ours["accuracy"] > 0.95
    assert all(ours[name] == pytest.approx(theirs[name], abs=5e-5) for name in ("accuracy", "accuracy_std", "auc"))


@pytest.mark.long
def test_bad_files_end_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a model\n")
    done = run("scripts/convert_fr.py", "--weights", text, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Expected an ONNX file")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_file_that_is_not_what_its_card_says_is_refused(tmp_path: Path) -> None:
    dialect = files.Dialect(input_shape=("None", 3, 112, 112))
    onnx.save(files.make_onnx(files.random_state(side=112), dialect), tmp_path / "model.onnx")
    command = ("scripts/convert_fr.py", "--weights", tmp_path / "model.onnx", "--out", tmp_path / "out")
    done = run(*command, "--card", "fr1")
    assert done.returncode == 3
    assert done.stderr.startswith("refused: Expected the structure of card fr1")
    assert run(*command, "--to", "caffe").returncode == 2
