"""The study of formats goes on where it stopped, and takes the whole way what it says that it takes."""

from pathlib import Path
from typing import Any

import pytest

from studies import every_format
from studies.every_format import EveryFormat


def test_what_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[tuple[str, str]] = []
    taken: list[str] = []

    def convert(network: str, kind: str, folder: Path) -> dict[str, Any]:
        converted.append((network, kind))
        is_read = (network, kind) != ("FaceNet", "torch")
        return {"tap": "conv1", "relative": 3e-7, "cosine": 1.0} if is_read else {"refused": "Expected other keys."}

    def take_on(folder: Path, look: Path) -> dict[str, Any]:
        taken.append(folder.name)
        return {"heads": 5, "audit": "cannot decide", "bundle": 1}

    monkeypatch.setattr(every_format, "_convert", convert)
    monkeypatch.setattr(every_format, "_take_on", take_on)
    options = {"networks": ("IResNet", "FaceNet"), "overwrite": False}
    every_format.every_format(EveryFormat(tmp_path, formats=("torch",), **options))
    assert converted == [("IResNet", "torch"), ("FaceNet", "torch")]
    assert taken == ["IResNet-torch"]
    made = every_format.every_format(EveryFormat(tmp_path, formats=("onnx", "torch", "keras"), **options))
    assert len(converted) == 6
    assert taken[1:] == ["IResNet-onnx", "IResNet-keras", "FaceNet-onnx", "FaceNet-keras"]
    lines = every_format.render(made.content).splitlines()
    assert "3e-07; all" in lines[2]
    assert [cell.strip() for cell in lines[-3].split("|")[3:4]] == ["refused"]
    assert lines[-1] == "FaceNet, PyTorch state dict: Expected other keys."


@pytest.mark.parametrize("network", every_format.NETWORKS)
def test_state_dicts_have_the_same_weights_for_the_same_seed(network: str) -> None:
    one, other, third = (every_format.state_dict(network, seed) for seed in (1, 1, 2))
    assert all((one[key] == other[key]).all() for key in one)
    assert any((one[key] != third[key]).any() for key in one)
    assert all((value > 0).all() for key, value in one.items() if key.endswith("running_var"))
