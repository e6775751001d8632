"""Weights come from an address only if somebody asks, and only the ones that were asked for."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mint_keras.audited import download
from mint_keras.commands.convert_fr import ConvertFr, convert_fr
from mint_keras.records import InputError

CONTENT = b"no weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "weights.onnx").write_bytes(CONTENT)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder))
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def test_a_file_of_the_right_sha256_is_kept_and_not_fetched_again(server: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "weights.onnx"
    download.fetch(f"{server}/weights.onnx#sha256={SHA256}", (), path)
    assert path.read_bytes() == CONTENT
    download.fetch(f"{server}/gone.onnx", (SHA256,), path)


@pytest.mark.parametrize(
    ("address", "known", "reason"),
    [
        ("/weights.onnx#sha256=" + "0" * 64, (), "not kept"),
        ("/weights.onnx", ("1" * 64,), "not kept"),
        ("/gone.onnx#sha256=" + SHA256, (), "Fetch it by hand"),
        ("/weights.onnx", (), "Expected the SHA-256"),
        ("/weights.onnx#sha256=abc", (), "Expected the SHA-256"),
    ],
)
def test_anything_else_leaves_nothing(
    server: str, tmp_path: Path, address: str, known: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        download.fetch(server + address, known, tmp_path / "weights.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/file", "hf://owner/file", "weights.onnx"])
def test_other_addresses_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected an address"):
        download.fetch(f"{address}#sha256={SHA256}", (), tmp_path / "weights.onnx")


def test_an_address_with_a_space_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Fetch it by hand"):
        download.fetch(f"http://localhost/a file#sha256={SHA256}", (), tmp_path / "weights.onnx")


def test_the_hub_is_asked_for_the_file_of_its_main_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def urlopen(place: str, timeout: float) -> object:
        asked.append(place)
        raise download.urllib.error.URLError("no network")

    monkeypatch.setattr(download.urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match="no network"):
        download.fetch(f"hf://owner/model/some folder/w.onnx#sha256={SHA256}", (), tmp_path / "w.onnx")
    assert asked == ["https://huggingface.co/owner/model/resolve/main/some%20folder/w.onnx"]


def test_the_command_fetches_before_it_reads(server: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    with pytest.raises(InputError):  # what came is no model
        convert_fr(ConvertFr(weights=weights, download=f"{server}/weights.onnx#sha256={SHA256}"))
    assert weights.read_bytes() == CONTENT
