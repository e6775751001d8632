"""Runs that are disturbed: one line, the right exit code, and the same command goes on."""

import dataclasses
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import typing
from pathlib import Path

import pytest

from mint_keras import borders, cli, commands, formats, locks, options
from mint_keras.commands.audit import Audit
from mint_keras.commands.score import Score
from mint_keras.records import InputError

ROOT = Path(__file__).resolve().parents[2]


class TestFolders:
    manifest = formats.make_manifest("thing", {}, {})

    def test_another_process_is_told_who_has_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(locks, "PATIENCE", 0.0)
        program = (
            "import sys, time\nfrom pathlib import Path\nfrom mint_keras import formats\n"
            f"with formats.alone(Path({str(tmp_path / 'a')!r})):\n    print('here', flush=True)\n    time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"here\n"
            try:
                with (
                    pytest.raises(InputError, match=rf"another run \(process {other.pid}\) writes into"),
                    formats.output_folder(tmp_path / "a", self.manifest),
                ):
                    pass
            finally:
                other.kill()
        with formats.output_folder(tmp_path / "a", self.manifest):  # the lock went with its process
            (tmp_path / "a" / "x").touch()

    def test_whoever_has_it_for_a_moment_is_waited_for(self, tmp_path: Path) -> None:
        has_it = threading.Event()

        def read() -> None:
            with formats.alone(tmp_path / "a"):
                (tmp_path / "a" / "x").touch()
                has_it.set()
                time.sleep(0.2)

        other = threading.Thread(target=read)
        other.start()
        assert has_it.wait(10)
        with formats.alone(tmp_path / "a"):
            pass
        other.join()

    def test_the_same_process_may_open_it_again(self, tmp_path: Path) -> None:
        with formats.alone(tmp_path / "a"), formats.output_folder(tmp_path / "a", self.manifest):
            (tmp_path / "a" / "x").touch()
        assert (tmp_path / "a" / "x").is_file()

    def test_bad_input_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="bad"), formats.alone(tmp_path / "a"):
            raise InputError("bad")
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("is_work_lost", [False, True])
    def test_a_disk_that_fails_while_something_is_read_costs_no_work(self, is_work_lost: bool, tmp_path: Path) -> None:
        def read() -> None:
            with borders.reading("a part"):
                raise ValueError("no part") if is_work_lost else OSError(5, "Input/output error")

        with pytest.raises(InputError), formats.output_folder(tmp_path / "a", self.manifest):
            (tmp_path / "a" / "hours of work").touch()
            read()
        assert (tmp_path / "a" / "hours of work").exists() != is_work_lost
        with pytest.raises(InputError), formats.output_folder(tmp_path / "b", self.manifest):
            read()
        assert not (tmp_path / "b").exists()  # nothing but the manifest was there

    def test_a_folder_of_the_users_stays(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "empty")
        with pytest.raises(InputError, match="bad"), formats.output_folder(tmp_path / "link", self.manifest):
            raise InputError("bad")
        assert (tmp_path / "link").is_dir()
        assert not list((tmp_path / "empty").iterdir())

    def test_a_folder_that_is_gone_at_the_end_is_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(InputError, match="somebody removed it"),
            formats.output_folder(tmp_path / "a", self.manifest),
        ):
            (tmp_path / "a").rename(tmp_path / "b")

    def test_what_a_kill_left_is_removed_at_any_depth(self, tmp_path: Path) -> None:
        out = tmp_path / "a"
        with formats.output_folder(out, self.manifest):
            for name in ("heads/1/.head.abcdefg1.keras", "parts/.0001.abc_efg1.json", "heads/.keep"):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).touch()
            (out / "heads/1/.weights.abcdefg1").mkdir()
        with formats.output_folder(out, self.manifest):
            assert [path.name for path in sorted(out.rglob(".*"))] == [".keep"]

    def test_a_full_disk_says_where(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No space") as found, formats.atomic_path(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")
        assert found.value.filename == str(tmp_path / "a.txt")
        assert not list(tmp_path.iterdir())


def test_libraries_are_told_to_keep_quiet() -> None:
    program = "import os, mint_keras; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['RAY_USAGE_STATS_ENABLED'])"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "RAY_"))}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=bare, capture_output=True, text=True)
    assert done.stdout == "1 0\n"


class TestConfigs:
    def parse(self, text: str, path: Path, kind: type = Score, *more: str) -> object:
        path.write_text(text)
        return options.parse(kind, "", ["--config", str(path), *more])

    def test_options_of_a_file(self, tmp_path: Path) -> None:
        text = "bundle: b\npaths: [a, c]\nalbums: true\noverwrite: false\nmin_score: 0.25\nthreads: 3\nout: null\n"
        config = self.parse(text, tmp_path / "c.yaml")
        assert config == Score(Path("b"), ("a", "c"), albums=True, min_score=0.25, threads=3)
        assert self.parse("bundle: b\npaths: a\n", tmp_path / "c.yaml").paths == ("a",)  # type: ignore[attr-defined]
        config = self.parse("bundle: b\nthreads: 3\n", tmp_path / "c.yaml", Score, "--threads", "4")
        assert config.threads == 4  # type: ignore[attr-defined] # the command line comes later

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('bundle: b\noverwrite: "false"\n', "true or false, without quotes"),
            ("bundle: b\noverwrite: 1\n", "true or false"),
            ("bundle: b\nthreads: null\n", "a text or a number as threads"),
            ("bundle: [b]\n", "a text or a number as bundle"),
            ("bundle: b\npaths: []\n", "a list of texts or numbers"),
            ("bundel: b\n", "did you mean bundle"),
            ("bundle: b\nmin_score: .nan\n", "min-score"),
            ("bundle: b\nthreads: -1\n", "threads"),
            ("bundle: b\nx: &a [1]\ny: *a\n", "aliases"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as ended:
            self.parse(text, tmp_path / "c.yaml")
        assert ended.value.code == 2
        assert said in capsys.readouterr().err

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf", "x"])
    def test_no_number_is_none(self, value: str) -> None:
        with pytest.raises(SystemExit):
            options.parse(Audit, "", ["--run", "r", "--out", "o", f"--prevalence={value}"])


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_end_in_one_line(name: str, code: int, tmp_path: Path) -> None:
    program = (
        "import sys, time, types\nfrom mint_keras import cli\nimport mint_keras.commands.inspect_database as module\n"
        "def wait(config):\n    print('here', flush=True)\n    time.sleep(60)\n"
        "module.inspect_database = wait\nsys.exit(cli.main(['inspect', 'x']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        time.sleep(0.1)
        os.kill(process.pid, getattr(signal, name))
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (code, "interrupted: the same command continues from here\n")


def test_signals_are_heard_before_anything_is_imported_and_no_more_when_all_is_done() -> None:
    """Between the first line of Python and the end of a process there is no moment at which one would not say so."""
    program = (
        "import os, signal, sys\nfrom mint_keras import cli\nassert 'numpy' not in sys.modules\n"
        "sys.argv = ['mint', '--version']\ncode = cli.main()\n"
        "for name in ('SIGINT', 'SIGTERM', 'SIGHUP'):\n    os.kill(os.getpid(), getattr(signal, name))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("end", "code"), [("return", 0), ("raise KeyboardInterrupt", 130), ("raise OSError", 1), ("raise ValueError", 1)]
)
def test_a_thread_at_work_in_cpp_does_not_change_how_a_process_ends(end: str, code: int, tmp_path: Path) -> None:
    """As faces that are still drawn when somebody interrupts; OpenCV comes back to Python all the time there."""
    program = f"""if True:
        import sys, time, types
        import cv2, numpy
        from mint_keras import cli, workers
        import mint_keras.commands.inspect_database as module
        def draw():
            while True:
                cv2.blur(numpy.zeros((64, 64), numpy.uint8), (3, 3))
        def inspect(config):
            workers.beside(draw)
            time.sleep(0.1)
            if config:
                {end}
        module.inspect_database = lambda config: inspect(config) or types.SimpleNamespace(text="", is_passed=True)
        sys.argv = ["mint", "inspect", "x"]
        sys.exit(cli.main())
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "terminate" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux says what a process hears")
def test_a_closed_terminal_does_not_end_the_process_that_clears_up(tmp_path: Path) -> None:
    # A new one would not know what the one before it had to clear up, and say so in a traceback.
    script = """if True:
        import sys
        from multiprocessing import resource_tracker
        from pathlib import Path
        from mint_keras import progress
        from mint_keras.faces import crops, parts
        from mint_keras.records import Sample, tabulate
        progress.bar(total=1).close()
        assert resource_tracker._resource_tracker._pid is None, "a bar has started one"
        nobody = tabulate([Sample("a", "b", "c", "d")]).take([])
        settings = crops.CropSettings("stored", "", "", 0.5, 0.5, 0.0, "png")
        parts.write_parts(nobody, settings, Path(sys.argv[1]), 1)
        print(Path(f"/proc/{resource_tracker._resource_tracker._pid}/status").read_text())
    """
    words = [sys.executable, "-c", script, str(tmp_path)]
    said = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    blocked = re.findall(r"SigBlk:\s*(\w+)", said)
    assert int(blocked[0], 16) & 1 << (signal.SIGHUP - 1)


def test_who_calls_a_command_keeps_the_own_signals() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert cli.main(["--version"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "mint_keras.cli", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def bad_words() -> list[tuple[str, str, str]]:
    """A value of each kind of nonsense for every option of every command, by the types that it declares itself."""
    found = []
    for word, command in commands.COMMANDS.items():
        module = importlib.import_module(f"mint_keras.commands.{command.module}")
        kind = getattr(module, commands.options_class(command.module))
        types = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            declared = str(types[field.name])
            values = ["x" * 2000, "a\x1b[2J\nb"] if "Literal" in declared else []
            values += ["nan", "-1", "4294967296", "1e999", "x\x1b[2J"] if types[field.name] is int else []
            values += ["nan", "inf", "1e39", "-1e39", "x\x1b[2J", ""] if "float" in declared else []
            found += [(word, f"--{field.name.rstrip('_').replace('_', '-')}", value) for value in values]
    return found


def test_no_option_takes_nonsense(capsys: pytest.CaptureFixture) -> None:
    """Where a type says what it takes, nothing has begun before it is refused, in one line."""
    words = bad_words()
    assert len({word for word, _, _ in words}) >= 14
    for word, flag, value in words:
        with pytest.raises(SystemExit) as ended:
            cli.main([word, f"{flag}={value}"])
        said = capsys.readouterr().err
        assert (ended.value.code, said.count("\n")) == (2, 1), (word, flag, value, said)
        assert said.strip().isprintable()
        assert len(said) < 600
        assert flag.strip("-").replace("-", "_") in said.replace("-", "_"), said


def test_errors_are_one_short_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["inspect", str(tmp_path / ("\x1b[2J" + "x" * 200 + "\n") / ("y" * 200))]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) <= 508
    assert said.strip().isprintable()
