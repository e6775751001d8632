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
_REQUEST = re.compile(r"(?:connect|sendto)\(\d+, \{?sa_family=AF_INET6?.*?(?:sin_addr=inet_addr\(\"([^\"]+)|inet_pton)")


def watch(world: World, words: Sequence[str], out: Path) -> Iterator[dict[str, Any]]:
    """Runs commands without a network and with an empty home directory; yields what each of them tried."""
    for word in words:
        home, folder = out / word / "home", out / word / "out"
        home.mkdir(parents=True, exist_ok=True)
        before = _files(out / word)
        options = [option.replace("{}", str(world.folder)) for option in COMMANDS[word]]
        trace = out / word / "trace"
        command = [
            "env", f"HOME={home}",
            "unshare", "-rn", "strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace),
            sys.executable, "-m", "mint_keras.cli", word, *options, "--out", str(folder),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        text = trace.read_text(errors="replace") if trace.is_file() else ""
        requests = [line for line in text.splitlines() if _REQUEST.search(line) and '"127.' not in line]
        written = {path for path in _files(out / word) - before if not path.startswith("out/") and path != "trace"}
        known = tuple(f"home/{cache}" for cache in CACHES)
        elsewhere = sorted(path for path in written if not path.startswith(known))
        lines = (done.stderr.strip().splitlines() or [""])[-1][:200]
        yield {
            "command": word,
            "code": done.returncode,
            "requests": requests[:5],
            "elsewhere": elsewhere[:5],
            "places": places(folder, (str(world.folder), str(out)))[:5],
            "said": lines,
        }


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
