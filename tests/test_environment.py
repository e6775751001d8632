"""Settings of Keras that somebody keeps for other work change nothing here."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mint_keras import environment


@pytest.fixture
def without_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process that has not loaded Keras, whose user has a keras.json."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return tmp_path / "keras.json"


@pytest.mark.parametrize(
    "content",
    [
        '{"floatx": "float16"}',
        '{"image_data_format": "channels_first"}',
        '{"epsilon": 1}',
        "nonsense",
        "[1]",
        "[]",
        "[" * 100_000,
        '{"nnx_enabled": true}',
    ],
)
def test_a_keras_json_is_overruled_with_one_line(without_keras: Path, content: str) -> None:
    without_keras.write_text(content)
    with pytest.warns(UserWarning, match=r"own settings, not with .*keras\.json"):
        environment.prepare()
    assert (Path(os.environ["KERAS_HOME"]) / "keras.json").is_file()
    assert os.environ["KERAS_HOME"] != str(without_keras.parent)


def test_a_backend_is_overruled(without_keras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    with pytest.warns(UserWarning, match="KERAS_BACKEND=jax; KERAS_MAX_EPOCHS=1"):
        environment.prepare()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert "KERAS_MAX_EPOCHS" not in os.environ


def test_ordinary_settings_are_left_alone(without_keras: Path) -> None:
    without_keras.write_text('{"floatx": "float32", "backend": "torch", "image_data_format": "channels_last"}')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environment.prepare()
    assert os.environ["KERAS_HOME"] == str(without_keras.parent)


@pytest.mark.long
def test_keras_itself_follows(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "image_data_format": "channels_first", "backend": "jax"}'
    )
    said = "keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format()"
    code = f"import mint_keras, keras; print({said})"
    variables = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=True)
    assert found.stdout.split() == ["tensorflow", "float32", "channels_last"]
    assert found.stderr.count("own settings") == 1


def test_what_libraries_consist_of_is_passed_by_when_garbage_is_collected(tmp_path: Path) -> None:
    """Once: what there is later may be somebody's garbage."""
    (tmp_path / "keras.py").write_text("import gc\nassert not gc.isenabled()\n")
    (tmp_path / "tensorflow.py").write_text(
        "from types import SimpleNamespace as S\nconfig = S(list_physical_devices=lambda kind: [])\n"
        "get_logger = lambda: S(setLevel=lambda level: None)\n"
    )
    code = """if True:
        import gc, sys
        sys.path[:0] = sys.argv[1:]
        from mint_keras import environment
        for again in range(2):
            environment.import_tensorflow()
            print(gc.get_freeze_count() > 0, gc.isenabled())
            gc.unfreeze()
    """
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[1])]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stdout.split() == ["True", "True", "False", "True"], found.stderr
