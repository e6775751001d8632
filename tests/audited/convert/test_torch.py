"""State dicts of arcface_torch's networks: what PyTorch itself made of the same weights was noted beside them."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras.audited import iresnet, runtime
from mint_keras.audited.cards import ARCFACE
from mint_keras.audited.convert import onnx as onnx_source
from mint_keras.audited.convert import sources, torch
from mint_keras.records import InputError
from studies import every_format, torch_files

pytestmark = pytest.mark.usefixtures("untraced")

PIXELS = np.rint(np.random.default_rng(7).uniform(0, 255, (2, 64, 64, 3))).astype(np.float32)
# Of PyTorch 2.13 with arcface_torch's modules: the mean size of what hooks caught, and the second face's first numbers.
PYTORCH = {
    "IResNet": (
        {"conv1": 0.53980, "conv2": 0.71356, "conv3": 1.02552, "conv4": 1.55214,
         "stage1": 0.69341, "stage2": 1.29702, "stage3": 1.57484, "stage4": 2.21693, "outcome": 2.52064},
        [1.62674332, 1.07718956, 0.35624146, 2.00233269],
    ),
    "MobileFaceNet": (
        {"conv2": 0.33038, "conv3": 0.57391, "conv4": 0.81422, "stage2": 0.44833, "stage3": 0.98191, "stage4": 1.30405,
         "outcome": 0.83757},
        [-0.66157162, 0.19704178, -4.81363583, -1.45148504],
    ),
    "ViT": (
        {"conv1": 0.46127, "conv2": 0.35852, "conv3": 0.43492, "conv4": 0.28591,
         "stage1": 0.75051, "stage2": 0.94979, "stage3": 1.24633, "stage4": 1.25843, "outcome": 0.64240},
        [-0.41109261, 2.98618937, 2.79437733, -1.15283561],
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", PYTORCH)
def test_every_tap_is_what_pytorch_gives(network: str, tmp_path: Path) -> None:
    torch_files.write(tmp_path / "model.pth", every_format.state_dict(network))
    source = sources.open_source(tmp_path / "model.pth")
    assert source.is_checkpoint
    assert source.format.startswith("PyTorch state dict of arcface_torch, ")
    assert source.graph.notes == ((torch.HEADS,) if network == "ViT" else ())
    converted = source.to_keras(ARCFACE, None, "audited")
    given = runtime.forward(converted.cut(converted.choose_taps(())))(iresnet.normalise(PIXELS))
    sizes, first = PYTORCH[network]
    assert {tap: float(np.abs(given[tap]).mean()) for tap in sizes} == pytest.approx(sizes, abs=1e-5)
    assert given["outcome"][1, :4] == pytest.approx(first, abs=1e-4)
    assert not converted.seems


@pytest.mark.slow
def test_taps_of_a_keras_file_are_where_those_of_its_weights_are(tmp_path: Path) -> None:
    """Also where the next block widens a map before it shrinks it, which only the widths of kernels tell."""
    every_format.of_state("MobileFaceNet").save(tmp_path / "model.keras")
    converted = sources.open_source(tmp_path / "model.keras").to_keras(ARCFACE, None, "audited")
    given = runtime.forward(converted.cut(converted.choose_taps(())))(iresnet.normalise(PIXELS))
    sizes, _ = PYTORCH["MobileFaceNet"]
    assert {tap: float(np.abs(given[tap]).mean()) for tap in sizes} == pytest.approx(sizes, abs=1e-5)


@pytest.mark.parametrize(
    ("network", "key"),
    [("MobileFaceNet", "layers.3.layers.0.layers.1.layers.2.weight"), ("ViT", "blocks.3.norm2.bias")],
)
def test_keys_are_exactly_those_of_the_network(network: str, key: str) -> None:
    state = every_format.state_dict(network)
    with pytest.raises(InputError, match=r"0 missing .* and 1 extra"):
        torch.to_graph({**state, "cls_token": np.zeros((1, 1, 32), np.float32)})
    with pytest.raises(InputError, match="shapes"):
        torch.to_graph({**state, key: np.zeros((2, 2), np.float32)})
    del state[key]
    with pytest.raises(InputError, match="1 missing"):
        torch.to_graph(state)


def test_the_size_of_a_transformer_that_patches_do_not_tell() -> None:
    """12 patches of 9 pixels are 112, as arcface_torch has them, of which 4 pixels are left over."""
    state = every_format.state_dict("ViT")
    state["pos_embed"] = np.zeros((1, 144, 32), np.float32)
    state["patch_embed.proj.weight"] = np.zeros((32, 3, 9, 9), np.float32)
    state["feature.0.weight"] = np.zeros((32, 32 * 144), np.float32)
    converted = onnx_source.to_keras(torch.to_graph(state), ARCFACE)
    assert converted.contract.size == (112, 112)
    with pytest.raises(InputError, match="pos_embed of"):
        torch.to_graph({**state, "pos_embed": np.zeros((1, 145, 32), np.float32)})
