"""How fast AAD is extracted: against other runtimes, the machine's limit, and itself in other precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import onnxruntime

from mint_keras.audited import backends, iresnet, runtime, taps
from mint_keras.audited.convert import torch as torch_layout
from mint_keras.stages.benchmarks import networks
from mint_keras.stages.benchmarks.measure import Measurement, Setting, in_turns

_TAPS = (*taps.CONV_TAPS, taps.OUTCOME)
_BATCHES = (1, 8, 32)
_AT_LEAST = 8


def extraction(setting: Setting) -> Iterator[Measurement]:
    """An IResNet-100 (quick: 18) with random weights, maxima of all taps at once."""
    arch, rounds = ("r18", 2) if setting.quick else ("r100", 3)
    model = networks.random_iresnet(arch)
    state = networks.to_state(model)
    images = iresnet.normalise(networks.faces(max(_BATCHES)))
    extractor = taps.extractor(model, _TAPS, "max")
    exact = runtime.forward(extractor)
    works: dict[tuple[str, int], Callable[[], int]] = {}
    peers = {"onnxruntime": _onnxruntime(state), "torch": networks.torch_forward(state)}
    ours = {"keras": exact, "backend": backends.open_forward(extractor, backend=backends.ONNXRUNTIME)}
    for name, function in (ours | peers).items():
        if function is not None:
            works |= {(name, size): _work(function, images[:size]) for size in _BATCHES}
    rates = _best(in_turns(works, rounds))
    peer, title = rates["onnxruntime"], f"{arch.upper()} float32"
    against = "ONNX Runtime, the file"
    yield Measurement(f"{title}, Keras", rates["keras"], peer, "images/s", against, "0.9")
    yield Measurement(f"{title}, --backend onnxruntime", rates["backend"], peer, "images/s", against, "1.0")
    if "torch" in rates:
        yield Measurement(f"{title}, Keras", rates["keras"], rates["torch"], "images/s", "PyTorch, hooks")
    gflops = taps.flops(extractor) / 1e9 * max(rates["keras"], rates["backend"])
    yield Measurement(f"{title}, best of ours", gflops, _peak(), "GFLOP/s", "largest matrix product")
    yield from _precisions(extractor, exact, images, arch.upper(), rounds)
    target = "" if setting.quick else "10"  # an R18 has fewer blocks behind conv1
    short = runtime.forward(taps.extractor(model, ["conv1"]))
    cut = in_turns({"short": _work(short, images), "whole": _work(exact, images)}, rounds)
    yield Measurement(f"{arch.upper()} cut at conv1, maps", cut["short"], cut["whole"], "images/s", "all taps", target)


def _precisions(
    extractor: keras.Model, exact: runtime.Forward, images: np.ndarray, title: str, rounds: int
) -> Iterator[Measurement]:
    """Rates of lower precisions with the smallest cosine of a tap, over images and taps, that each costs."""
    for precision, target in (("mixed_bfloat16", "1.7"), (backends.INT8, "")):
        lower = backends.open_forward(extractor, precision)
        rates = in_turns({"lower": _work(lower, images), "exact": _work(exact, images)}, rounds)
        cosine = runtime.smallest_cosines(lower(images), exact(images))
        text = ", ".join(f"{tap} {value:.4f}" for tap, value in cosine.items())
        name = f"{title} {precision} (cosine {text})"
        yield Measurement(name, rates["lower"], rates["exact"], "images/s", "float32, Keras", target)


def _work(function: Callable[[np.ndarray], object], images: np.ndarray) -> Callable[[], int]:
    """Runs at least 8 images, in batches as large as the images given."""

    def work() -> int:
        num = 0
        while num < _AT_LEAST:
            function(images)
            num += len(images)
        return num

    return work


def _onnxruntime(state: dict[str, np.ndarray]) -> Callable[[np.ndarray], object]:
    content = torch_layout.to_onnx(state).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: np.ascontiguousarray(images.transpose(0, 3, 1, 2))})


def _best(rates: dict[tuple[str, int], float]) -> dict[str, float]:
    best: dict[str, float] = {}
    for (name, _), rate in rates.items():
        best[name] = max(best.get(name, 0.0), rate)
    return best


def _peak() -> float:
    """Returns the GFLOP/s of a product of two large matrices, the most this machine gives."""
    import tensorflow as tf

    size = 3072
    a = tf.random.stateless_normal((size, size), (1, 2))
    b = np.asarray(a)
    works = {"tensorflow": lambda: int(tf.matmul(a, a).shape[0]), "numpy": lambda: len(b @ b)}
    rates = in_turns(works, 3)
    return max(rates.values()) / size * 2 * size**3 / 1e9
