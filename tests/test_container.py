"""The image of the page: built and run where podman or docker work, and nobody is root in it and nothing floats."""

import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PORT = 8766


def instructions() -> list[tuple[str, str]]:
    """The words of the file with what follows each, continued lines joined."""
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]  # type: ignore[misc]


def test_nobody_is_root_and_nothing_floats() -> None:
    """What hadolint asks for, of the few instructions that are here."""
    found = instructions()
    words = [word for word, _ in found]
    assert words.count("FROM") == words.count("ENTRYPOINT") == 1
    (base,) = [rest for word, rest in found if word == "FROM"]
    assert re.fullmatch(r"\S+:\d+\.\d+\.\d+-\S+", base)
    assert "ADD" not in words
    users = [rest for word, rest in found if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    # Whatever is installed is installed before, and what runs is a list: a shell would swallow signals.
    assert words.index("USER") > max(k for k, word in enumerate(words) if word == "RUN")
    for word, rest in found:
        if word in ("ENTRYPOINT", "CMD"):
            assert rest.startswith('["')
        if word == "RUN" and "pip install" in rest:
            assert "--no-cache-dir" in rest
            assert "-r requirements-" in rest or "--no-deps" in rest
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])


def engine() -> str:
    """Returns what builds images here, "" if nothing does."""
    for name in filter(shutil.which, ("podman", "docker")):
        if subprocess.run([name, "info"], capture_output=True, timeout=30).returncode == 0:
            return name
    return ""


@pytest.mark.long
def test_it_runs_read_only_and_without_capabilities() -> None:
    name = engine()
    if not name:
        pytest.skip("needs podman, or docker with its daemon")
    build = [name, "build", "-q", "-f", "Containerfile", "-t", "mint-page-test", "."]
    if (done := subprocess.run(build, cwd=ROOT, capture_output=True, text=True)).returncode:
        pytest.skip(f"the image cannot be built here: {done.stderr[-200:]}")
    options = ["--rm", "--read-only", "--cap-drop=all", "-d", "-p", f"127.0.0.1:{PORT}:{PORT}"]
    run = [name, "run", *options, "mint-page-test", "--bundle", "lab", "--port", str(PORT)]
    started = subprocess.run(run, capture_output=True, text=True)
    if started.returncode in (125, 126):  # the engine's own: within a container it may build and not run
        pytest.skip(f"no container can be started here: {started.stderr[-200:]}")
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    try:
        for _ in range(60):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("the page does not answer")
    finally:
        subprocess.run([name, "rm", "-f", container], capture_output=True)
