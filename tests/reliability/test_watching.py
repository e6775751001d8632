"""Nothing phones home: the watcher sees what does, and the libraries that would are told not to."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from studies.reliability import watching

ROOT = Path(__file__).resolve().parents[2]
CAN_WATCH = (
    bool(shutil.which("strace")) and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
)
needs_strace = pytest.mark.skipif(not CAN_WATCH, reason="needs strace, and a kernel that lets users unshare")
# What a library that reports its use would do: ask for a name, speak to a machine, leave a file in the home directory.
ASKS = {
    "name": "import socket\ntry:\n    socket.getaddrinfo('telemetry.example.org', 443)\nexcept OSError:\n    pass",
    "machine": "import socket\ns = socket.socket()\ntry:\n    s.connect(('192.0.2.1', 443))\nexcept OSError:\n    pass",
}
SPEAKS_TO_ITSELF = (
    "import socket\na = socket.create_server(('127.0.0.1', 0))\nsocket.socket().connect_ex(a.getsockname())"
)


@needs_strace
@pytest.mark.parametrize("what", ASKS)
def test_the_watcher_sees_a_request(what: str, tmp_path: Path) -> None:
    found = watching.watched([sys.executable, "-c", ASKS[what]], tmp_path / "home", tmp_path / "trace")
    assert (found["code"], found["elsewhere"]) == (0, [])
    assert found["requests"]


@needs_strace
def test_the_watcher_sees_files_and_leaves_this_machine_alone(tmp_path: Path) -> None:
    program = f"{SPEAKS_TO_ITSELF}\nfrom pathlib import Path\nPath.home().joinpath('spy.db').touch()"
    found = watching.watched([sys.executable, "-c", program], tmp_path / "home", tmp_path / "trace")
    assert (found["code"], found["requests"], found["elsewhere"]) == (0, [], ["spy.db"])


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize("is_told", [False, True])
def test_onnx_runtime_reports_nothing_where_we_import_it(is_told: bool, tmp_path: Path) -> None:
    """It does by itself, so that this test can fail; a release that does no longer needs no watching."""
    first = "import mint_keras\n" if is_told else ""
    bare = ["env", *(f"-u{name}" for name in os.environ if name.startswith("ORT_"))]
    program = f"{first}import onnxruntime\nonnxruntime.SessionOptions()"
    found = watching.watched([*bare, sys.executable, "-c", program], tmp_path / "home", tmp_path / "trace")
    assert found["code"] == 0
    if is_told:
        assert (found["requests"], found["elsewhere"]) == ([], [])
    elif not (found["requests"] or found["elsewhere"]):
        pytest.skip("this release of ONNX Runtime asks for nothing")


def test_workers_and_studies_are_told_too() -> None:
    """Workers are started anew: by the environment, or by what they import, whichever machine they are on."""
    seen = "import json, os; print(json.dumps([os.environ.get('ORT_DISABLE_TELEMETRY'), 'onnxruntime' in sys.modules]))"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "RAY_"))}
    for module in ("mint_keras.workers", "studies"):
        program = f"import sys, {module}\n{seen}"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=bare, capture_output=True, text=True)
        assert json.loads(done.stdout) == ["1", False], done.stderr
