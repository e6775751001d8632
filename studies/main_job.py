r"""Where the main job's time goes, of one or more versions of this repository on one machine.

A version is a folder with `mint_keras` in it. Wall times mean something only with nothing else beside them.

Example:
    python -m studies.main_job --roots ../before . --names before after --runs runs/main-job --out main-job.json
"""

import argparse
import functools
import importlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_WATCHED = "--watched"  # how it calls itself in the process of a version
REST, ALL = "start, libraries, networks, engine", "in all"
# Functions that every version has. What one calls of the others is theirs.
STAGES = {
    "mint_keras.aad.extract.extract": "faces and both networks",
    "mint_keras.runs.run.fit_heads": "42 heads",
    "mint_keras.runs.run.evaluate": "evaluation",
    "mint_keras.runs.report.write": "scores, results, pictures",
    "mint_keras.runs.plus.scores": "MINT+",
    "mint_keras.report.run_table.measure": "intervals",
}
Spent = dict[str, list[float]]  # seconds, processor seconds


class Watch:
    """What stages of this process take: those of the main thread wall and processor time, others processor time."""

    def __init__(self, begun: float) -> None:
        self.spent: Spent = {name: [0.0, 0.0] for name in (REST, *STAGES.values())}
        self._last, self._running = [begun, 0.0], [REST]

    def turn(self) -> None:
        """Gives what has passed since the last turn to the stage that is running."""
        for k, now in enumerate((time.time(), time.process_time())):
            self.spent[self._running[-1]][k] += now - self._last[k]
            self._last[k] = now

    def timed(self, function: Any, name: str) -> Any:
        """Returns a function that is timed as a stage."""

        @functools.wraps(function)
        def run(*args: Any, **keywords: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():  # beside another stage
                start = time.thread_time()
                found = function(*args, **keywords)
                self.spent[name][1] += time.thread_time() - start
                self._last[1] += time.thread_time() - start
                return found
            self.turn()
            self._running.append(name)
            try:
                return function(*args, **keywords)
            finally:
                self.turn()
                self._running.pop()

        return run


def watched(begun: float, record: Path, out: str) -> None:
    """Runs the job of the `mint_keras` that this process finds, and writes what its stages took."""
    from mint_keras import cli, environment

    environment.prepare()
    with environment.hidden_notices():  # as the command would load them
        modules = {path: importlib.import_module(path.rpartition(".")[0]) for path in STAGES}
    watch = Watch(begun)
    for path, name in STAGES.items():
        function = path.rpartition(".")[2]
        setattr(modules[path], function, watch.timed(getattr(modules[path], function), name))
    sys.argv = ["train_mint.py", "--head", "vanilla", "--quiet", "--out", out]
    code = cli.script("train_mint.py")
    watch.turn()
    whole = {ALL: [time.time() - begun, time.process_time()]}
    record.write_text(json.dumps(watch.spent | whole))
    sys.exit(code)


def measure(root: Path, folder: Path) -> Spent:
    """Runs the job of a version in a process of its own, into a new folder."""
    folder.mkdir(parents=True)
    record, begun = folder / "spent.json", str(time.time())
    paths = f"PYTHONPATH={root.resolve()}"
    command = [
        "env",
        paths,
        sys.executable,
        str(Path(__file__).resolve()),
        _WATCHED,
        begun,
        str(record),
        str(folder / "run"),
    ]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return dict(json.loads(record.read_text()))


def render(content: dict[str, Spent]) -> str:
    """Returns what versions took as a Markdown table: seconds, and processor seconds."""
    from mint_keras.report import tables

    rows = [
        [stage, *("{:.1f} ({:.1f})".format(*of[stage]) for of in content.values())]
        for stage in (REST, *STAGES.values(), ALL)
    ]
    return tables.format_table([["seconds (of processors)", *content], *rows])


def main() -> None:
    """Measures the versions that the command line names, and keeps what is there of others."""
    from mint_keras import formats

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", nargs="+", type=Path, required=True)
    parser.add_argument("--names", nargs="+", required=True)
    parser.add_argument("--runs", type=Path, required=True, help="a new folder for what the jobs leave behind")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    content = formats.read_json(options.out) if options.out.is_file() else {}
    for name, root in zip(options.names, options.roots, strict=True):
        content[name] = measure(root, options.runs.resolve() / name)
    formats.write_json(options.out, content)
    sys.stdout.write(f"{render(content)}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == [_WATCHED]:
        watched(float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        main()
