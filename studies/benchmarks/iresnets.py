"""An IResNet with random weights whose activations stay in range, for Keras, ONNX Runtime and PyTorch alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mint_keras.audited import iresnet
from mint_keras.audited.convert import torch as torch_layout
from mint_keras.data import synthetic


def faces(num: int) -> np.ndarray:
    """Returns drawn faces, uint8 RGB, shape (num, 112, 112, 3)."""
    drawn = np.stack([synthetic.render(f"synthetic:1/web/{person}/0") for person in range(min(num, 64))])
    return np.resize(drawn, (num, *drawn.shape[1:]))


def random_iresnet(arch: str) -> keras.Model:
    """Builds an architecture; its normalisations have the statistics of faces, as in a trained network."""
    keras.utils.set_random_seed(1)
    model = iresnet.build(arch)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # One pass then sets the statistics, instead of moving them a little.
    for layer in norms:
        layer.momentum = 0.0
    model(iresnet.normalise(faces(16)), training=True)
    return model


def torch_name(layer: str) -> str:
    """Returns arcface_torch's name of a layer of `audited.iresnet`."""
    whole = {"stem": "conv1", "stem_bn": "bn1", "stem_prelu": "prelu", "head_bn": "bn2"}
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", layer)
    if not match:
        return whole.get(layer, layer)
    inner = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"}.get(match[3], match[3])
    return f"layer{match[1]}.{int(match[2]) - 1}.{inner}"


def to_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of an IResNet under arcface_torch's names and in its layout."""
    state: dict[str, np.ndarray] = {}
    for layer in model.layers:
        weights, name = layer.get_weights(), torch_name(layer.name)
        if isinstance(layer, keras.layers.BatchNormalization):
            fields = ("weight", "bias", "running_mean", "running_var")
            state |= {f"{name}.{field}": value for field, value in zip(fields, weights, strict=True)}
        elif isinstance(layer, keras.layers.Dense):
            height, width, channels = model.get_layer("head_bn").output.shape[1:]
            rows = weights[0].reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
            state |= {f"{name}.weight": rows.reshape(len(rows), -1), f"{name}.bias": weights[1]}
        elif isinstance(layer, keras.layers.PReLU):
            state[f"{name}.weight"] = weights[0].reshape(-1)
        elif weights:
            state[f"{name}.weight"] = weights[0].transpose(3, 2, 0, 1)
    return state


def torch_forward(
    state: dict[str, np.ndarray], device: str = "cpu", kind: str = "float32"
) -> Callable[[np.ndarray], dict[str, np.ndarray]] | None:
    """Returns PyTorch's way: the network with hooks on the last convolution's normalisation of every stage.

    It is None without PyTorch, which the project does not need.

    Args:
        state: A state dict of `to_state`.
        device: Where it runs; the CPU, where there is no CUDA.
        kind: The type in which products are computed, a name of PyTorch's.
    """
    try:
        import torch
    except ImportError:
        return None
    module, hooks = _torch_module(torch, state)
    place = torch.device(device if torch.cuda.is_available() else "cpu")
    module.to(place)
    lower = torch.autocast(place.type, getattr(torch, kind), enabled=kind != "float32")
    caught: dict[str, Any] = {}
    for tap, inner in hooks.items():
        inner.register_forward_hook(lambda _, __, output, tap=tap: caught.__setitem__(tap, output.amax((2, 3))))

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode(), lower:
            outcome = module(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(place))
        return {tap: value.float().cpu().numpy() for tap, value in {**caught, "outcome": outcome}.items()}

    return forward


def _torch_module(torch: Any, state: dict[str, np.ndarray]) -> tuple[Any, dict[str, Any]]:
    """Builds arcface_torch's IResNet of a state dict."""
    nn = torch.nn

    def conv(name: str, stride: int, size: int) -> Any:
        out, inside = state[f"{name}.weight"].shape[:2]
        return nn.Conv2d(inside, out, size, stride, size // 2, bias=False)

    def norm(name: str, kind: Any = nn.BatchNorm2d) -> Any:
        return kind(len(state[f"{name}.weight"]))

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self, name: str, stride: int) -> None:
            super().__init__()
            self.bn1, self.conv1, self.bn2 = norm(f"{name}.bn1"), conv(f"{name}.conv1", 1, 3), norm(f"{name}.bn2")
            self.prelu = nn.PReLU(len(state[f"{name}.prelu.weight"]))
            self.conv2, self.bn3 = conv(f"{name}.conv2", stride, 3), norm(f"{name}.bn3")
            inner = f"{name}.downsample"
            self.downsample = nn.Sequential(conv(f"{inner}.0", 2, 1), norm(f"{inner}.1")) if stride == 2 else None

        def forward(self, x: Any) -> Any:
            y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
            return y + (x if self.downsample is None else self.downsample(x))

    parts: dict[str, Any] = {"conv1": conv("conv1", 1, 3), "bn1": norm("bn1"), "prelu": nn.PReLU(64)}
    spec, _ = torch_layout.infer_spec(state)
    for stage, num_blocks in enumerate(spec.blocks, start=1):
        blocks = [Block(f"layer{stage}.{block}", 2 if block == 0 else 1) for block in range(num_blocks)]
        parts[f"layer{stage}"] = nn.Sequential(*blocks)
    parts |= {"bn2": norm("bn2"), "flatten": nn.Flatten(), "fc": nn.Linear(*state["fc.weight"].shape[::-1])}
    parts["features"] = norm("features", nn.BatchNorm1d)
    module = nn.Sequential()
    for name, part in parts.items():
        module.add_module(name, part)
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()}, strict=False)
    return module.eval(), {f"conv{stage}": parts[f"layer{stage}"][-1].bn3 for stage in range(1, len(spec.blocks) + 1)}
