"""Watches commands: which requests they make, what they write elsewhere, and what they say of where files lie."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studies.reliability.kills import COMMANDS, World

# What docs/reliability.md names, under the home directory.
CACHES = (".keras", ".config/matplotlib", ".cache/matplotlib", ".cache/mint_keras", ".cache/fontconfig")
_CALLS = "connect,sendto,sendmsg,sendmmsg"
_ASKED = re.compile(r"sa_family=AF_INET6?, sin6?_port=htons\((\d+)\)")
_HERE = re.compile(r'"(127\.[\d.]+|::1|::ffff:127\.[\d.]+)"')
_NAMES = "53"  # of a server of names, which may be this machine's and ask others


def watch(world: World, words: Sequence[str], out: Path) -> Iterator[dict[str, Any]]:
    """Runs commands without a network and with an empty home directory; yields what each of them tried."""
    for word in words:
        folder = out / word / "out"
        options = [option.replace("{}", str(world.folder)) for option in COMMANDS[word]]
        words_given = [sys.executable, "-m", "mint_keras.cli", word, *options, "--out", str(folder)]
        deeds = watched(words_given, out / word / "home", out / f"{word}.trace")
        found = places(folder, (str(world.folder), str(out)))[:5]
        yield {"command": word, **deeds, "places": found}


def watched(command: Sequence[str], home: Path, trace: Path) -> dict[str, Any]:
    """Runs a command without a network and with an empty home directory; returns what it asked for and wrote there."""
    home.mkdir(parents=True, exist_ok=True)
    watcher = ["unshare", "-rn", "strace", "-f", "-qq", "-e", f"trace={_CALLS}", "-o", str(trace)]
    done = subprocess.run(["env", f"HOME={home}", *watcher, *command], capture_output=True, text=True)  # noqa: S603, S607
    lines = trace.read_text(errors="replace").splitlines() if trace.is_file() else []
    requests = [line for line in lines if (to := _ASKED.search(line)) and (to[1] == _NAMES or not _HERE.search(line))]
    elsewhere = sorted(path for path in _files(home) if not path.startswith(CACHES))
    said = (done.stderr.strip().splitlines() or [""])[-1][:200]
    return {"code": done.returncode, "requests": requests[:5], "elsewhere": elsewhere[:5], "said": said}


def places(folder: Path, known: Sequence[str]) -> list[str]:
    """Returns the files of a folder that name one of some places of this machine."""
    import pyarrow.parquet

    found = []
    for name in sorted(_files(folder)):
        path = folder / name
        texts = [path.read_bytes()]
        if path.suffix == ".parquet":
            texts = [str(pyarrow.parquet.read_table(path).to_pylist()).encode()]
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                texts = [archive.read(inner) for inner in archive.namelist()]
        if any(place.encode() in text for place in known for text in texts):
            found.append(name)
    return found


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
