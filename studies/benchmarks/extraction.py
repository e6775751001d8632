"""How fast AAD is extracted: against other runtimes, the machine's limit, and itself in other precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnxruntime

from mint_keras.audited import backends, iresnet, runtime, taps
from mint_keras.audited.convert import torch as torch_layout
from studies.benchmarks import iresnets
from studies.benchmarks.measurement import Bench, Measurement, in_turns

_TAPS = (*taps.CONV_TAPS, taps.OUTCOME)


def extraction(bench: Bench) -> Iterator[Measurement]:
    """An IResNet-100 (quick: 18) with random weights, maxima of all taps at once."""
    arch, sizes, rounds = ("r18", (1, 8), 2) if bench.quick else ("r100", (1, 8, 32), 3)
    model = iresnets.random_iresnet(arch)
    state = iresnets.to_state(model)
    images = iresnet.normalise(iresnets.faces(max(sizes)))
    extractor, cut = (taps.extractor(model, names, "max") for names in (_TAPS, ["conv1"]))
    exact = runtime.forward(extractor)
    functions = {
        "keras": exact,
        "backend": backends.open_forward(extractor, backend=backends.ONNXRUNTIME),
        "onnxruntime": _onnxruntime(state),
        "torch": iresnets.torch_forward(state),
        "cut, keras": runtime.forward(cut),
        "cut, backend": backends.open_forward(cut, backend=backends.ONNXRUNTIME),
    }
    rates = _best_rates(functions, images, sizes, rounds)
    peer, title = rates["onnxruntime"], f"{arch.upper()} float32"
    against = "ONNX Runtime, the file"
    yield Measurement(f"{title}, Keras", rates["keras"], peer, "images/s", against, "0.9")
    yield Measurement(f"{title}, --backend onnxruntime", rates["backend"], peer, "images/s", against, "1.0")
    if "torch" in rates:
        yield Measurement(f"{title}, Keras", rates["keras"], rates["torch"], "images/s", "PyTorch, hooks")
    ours = max(rates["keras"], rates["backend"])
    gflops = taps.flops(extractor) / 1e9 * ours
    yield Measurement(f"{title}, best of ours", gflops, _peak(), "GFLOP/s", "largest matrix product")
    # An R18 has fewer blocks behind conv1, so that less is saved.
    target = "" if bench.quick else "10"
    short = max(rates["cut, keras"], rates["cut, backend"])
    yield Measurement(f"{title} cut at conv1, best of ours", short, ours, "images/s", "all taps", target)
    # A lower precision is worth its speed only beside the smallest cosine, over images and taps, that it costs.
    for precision, target in (("mixed_bfloat16", "1.7"), (backends.INT8, "")):
        lower = backends.open_forward(extractor, precision)
        both = {"lower": lower, "exact": exact}
        rates = in_turns({name: _work(function, images, len(images)) for name, function in both.items()}, rounds)
        cosine = runtime.smallest_cosines(lower(images), exact(images))
        text = ", ".join(f"{tap} {value:.4f}" for tap, value in cosine.items())
        name = f"{arch.upper()} {precision} (cosine {text})"
        yield Measurement(name, rates["lower"], rates["exact"], "images/s", "float32, Keras", target)


def _work(function: Callable[[np.ndarray], object], images: np.ndarray, batch_size: int) -> Callable[[], int]:
    def work() -> int:
        for start in range(0, len(images), batch_size):
            function(images[start : start + batch_size])
        return len(images)

    return work


def _onnxruntime(state: dict[str, np.ndarray]) -> Callable[[np.ndarray], object]:
    content = torch_layout.to_onnx(state).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: np.ascontiguousarray(images.transpose(0, 3, 1, 2))})


def _best_rates(
    functions: dict[str, Callable[[np.ndarray], object] | None],
    images: np.ndarray,
    batch_sizes: Sequence[int],
    rounds: int,
) -> dict[str, float]:
    """Returns the images per second of each function, None left out, at the batch size that suits it best."""
    works = {
        (name, size): _work(function, images, size)
        for name, function in functions.items()
        if function is not None
        for size in batch_sizes
    }
    best: dict[str, float] = {}
    for (name, _), rate in in_turns(works, rounds).items():
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
