"""Settings of Keras that somebody keeps for other work change nothing here."""

import gc
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


@pytest.mark.slow
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


def test_what_libraries_consist_of_is_passed_by_when_garbage_is_collected() -> None:
    gc.unfreeze()
    environment.import_tensorflow()
    assert gc.get_freeze_count() > 100_000
    assert gc.isenabled()
