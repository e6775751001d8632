r"""What does this machine's GPU give? One command, about eight minutes; the file it writes can be sent to us as it is.

An IResNet with random weights: whether its taps are those of ONNX Runtime on the CPU (parity), how fast it gives its
AAD in each precision, beside ONNX Runtime and PyTorch where they are installed, how far lower precisions turn the AAD
(cosine), and how fast the cnn head trains. TensorFlow is not needed: Keras runs on JAX or PyTorch as well.

Examples:
    python scripts/gpu_check.py --out gpu-check
    python scripts/gpu_check.py --backend jax --out gpu-check-jax
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import importlib.util
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mint_keras import environment, formats
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError
from mint_keras.report import tables

if TYPE_CHECKING:
    import keras
    import onnx

KIND = "gpu_check"
RESULTS, TEXT = "gpu_check.json", "gpu_check.md"
BACKENDS = ("tensorflow", "jax", "torch")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
_TAPS = ("conv1", "conv2", "conv3", "conv4", "outcome")
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "onnxruntime", "onnxruntime-gpu", "numpy")
Row = dict[str, Any]
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class GpuCheck(Common):
    """Options of gpu_check.py.

    Attributes:
        out: Folder for gpu_check.json and gpu_check.md.
        backend: What runs Keras; auto takes the first of tensorflow, jax, torch that is installed.
        archs: Networks, small ones first.
        batch_size: Faces at once.
        num_maps: Samples on which the cnn head trains.
        seconds: Time of each measurement.
        minutes: Begin nothing after so many minutes; what was left out is named.
    """

    out: Path
    backend: Literal["auto", "tensorflow", "jax", "torch"] = "auto"
    archs: tuple[str, ...] = ("r18", "r100")
    batch_size: int = 64
    num_maps: int = 1280
    seconds: float = 5.0
    minutes: float = 7.0


@dataclasses.dataclass(frozen=True)
class Checked(Result):
    """What was measured.

    Attributes:
        content: The content of gpu_check.json.
    """

    content: dict[str, Any]


def gpu_check(options: GpuCheck) -> Checked:
    """Measures everything that there is time for.

    Raises:
        InputError: if there is nothing to run Keras with.
    """
    end = time.monotonic() + 60 * options.minutes
    backend = choose_backend(options.backend)
    environment.use_backend(backend)
    import keras

    if keras.backend.backend() != backend:
        raise InputError(f"Expected Keras on {backend}, received {keras.backend.backend()}, which is loaded already.")
    settings = {name: getattr(options, name) for name in ("archs", "batch_size", "num_maps", "seconds", "minutes")}
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, settings), options.overwrite):
        content: dict[str, Any] = {"machine": _machine(backend), "rows": [], "left_out": []}
        for name, part in _parts(options):
            if time.monotonic() > end:
                content["left_out"].append(name)
                continue
            try:
                content["rows"] += [{"part": name, **row} for row in part()]
            # Whatever a driver or a library raises is what whoever reads the file has to know, beside the other parts.
            except Exception as error:
                content["rows"].append({"part": name, "error": f"{type(error).__name__}: {error}"[:500]})
            formats.write_json(options.out / RESULTS, content)  # a driver may take the process with it
        formats.write_json(options.out / RESULTS, content)
        said = render(content)
        formats.write_text(options.out / TEXT, f"{said}\n")
    return Checked(f"{said}\nWritten: {options.out / RESULTS}, {TEXT}", content)


def choose_backend(asked: str) -> str:
    """Returns what runs Keras.

    Raises:
        InputError: if it is not installed.
    """
    there = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if not there or asked not in ("auto", *there):
        wanted = " or ".join(BACKENDS) if asked == "auto" else asked
        raise InputError(f"Expected {wanted} for Keras to run on, received {', '.join(there) or 'none of them'}.")
    return there[0] if asked == "auto" else asked


def _parts(options: GpuCheck) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    for arch in options.archs:
        yield f"extraction, {arch}", functools.partial(_extraction, arch, options)
    for policy in POLICIES:
        yield f"cnn head, {policy}", functools.partial(_head, policy, options)


def _extraction(arch: str, options: GpuCheck) -> list[Row]:
    """Parity, rates and cosines of one network, maxima of all taps."""
    from mint_keras.audited import folding, iresnet, taps
    from mint_keras.audited.convert import torch as torch_layout
    from studies.benchmarks import iresnets

    model = iresnets.random_iresnet(arch)
    state, images = iresnets.to_state(model), iresnet.normalise(iresnets.faces(options.batch_size))
    extractor = taps.extractor(model, _TAPS, "max")
    runs = {"Keras float32": _forward(extractor)}
    for policy in POLICIES[1:]:
        runs[f"Keras {policy}"] = _forward(folding.recast(folding.fold(extractor), policy))
    if importlib.util.find_spec("onnxruntime"):
        names = {tap: iresnets.torch_name(taps.tap_layers(model)[tap]) for tap in _TAPS}
        runs |= _onnxruntime(torch_layout.to_onnx(state), names)
    for kind in ("float32", "bfloat16"):
        if torch_run := iresnets.torch_forward(state, "cuda", kind):
            runs[f"PyTorch {kind}"] = torch_run
    # The one that is no GPU's, and multiplies in no TF32: what the others are compared with.
    exact = runs["ONNX Runtime, CPU"](images) if "ONNX Runtime, CPU" in runs else runs["Keras float32"](images)
    rows = []
    for name, run in runs.items():
        given = {tap: np.asarray(values, np.float32) for tap, values in run(images).items()}
        taps_found = {tap: _distance(given[tap], exact[tap]) for tap in _TAPS}
        rate = options.batch_size * _per_second(functools.partial(run, images), options.seconds)
        rows.append({"run": name, "rate": rate, "unit": "faces/s", "taps": taps_found})
    return rows


def _forward(model: keras.Model) -> Forward:
    """Returns what the package runs, without XLA; JAX always compiles, and PyTorch never does here."""
    import keras

    if keras.backend.backend() == "tensorflow":
        from mint_keras.audited import runtime

        return runtime.forward(model)
    run: Forward = model.predict_on_batch
    return run


def _distance(given: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    from mint_keras import vectors

    relative = float(np.abs(given - exact).max() / np.abs(exact).max())
    return {"relative": relative, "cosine": float(vectors.cosines(given, exact, of_zeros=1.0).min())}


def _onnxruntime(model: onnx.ModelProto, names: dict[str, str]) -> dict[str, Forward]:
    """Returns ONNX Runtime's way to the tensors of some taps, on each of the CPU and CUDA that it has."""
    import onnx
    import onnxruntime

    there = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values() if name not in there)
    content = model.SerializeToString()

    def on(provider: str) -> Forward:
        session = onnxruntime.InferenceSession(content, providers=[provider])
        entry = session.get_inputs()[0].name

        def forward(images: np.ndarray) -> dict[str, np.ndarray]:
            given = session.run(list(names.values()), {entry: np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
            pooled = (values.max((2, 3)) if values.ndim == 4 else values for values in given)
            return dict(zip(names, pooled, strict=True))

        return forward

    providers = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider"}
    found = onnxruntime.get_available_providers()
    return {f"ONNX Runtime, {name}": on(of) for name, of in providers.items() if of in found}


def _head(policy: str, options: GpuCheck) -> list[Row]:
    """The cnn head on maps like those of an R100's conv1, as Keras fits arrays in memory."""
    import keras

    from mint_keras.heads import cnn

    shape = (56, 56, 64)
    maps = np.random.default_rng(1).normal(size=(options.num_maps, *shape)).astype(np.float32)
    labels = (np.arange(options.num_maps) % 2)[:, None].astype(np.float32)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        head = cnn.build({"conv1": shape})
    finally:
        keras.config.set_dtype_policy(before)
    is_jax = keras.backend.backend() == "jax"
    head.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", jit_compile=is_jax)

    def epoch() -> None:
        head.fit({"conv1": maps}, labels, batch_size=128, verbose=0)

    rate = options.num_maps * _per_second(epoch, options.seconds)
    return [{"run": f"Keras {policy}", "rate": rate, "unit": "samples/s"}]


def _per_second(work: Callable[[], object], seconds: float) -> float:
    """Returns how often a second some work is done, after a first time, which compiles."""
    work()
    start, num = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not num:
        work()
        num += 1
    return num / passed


def _machine(backend: str) -> dict[str, Any]:
    """Says what this runs on, and makes float32 mean float32."""
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
        found = tf.config.list_physical_devices("GPU")
        devices = [str(tf.config.experimental.get_device_details(one).get("device_name")) for one in found]
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
        devices = [one.device_kind for one in jax.devices() if one.platform != "cpu"]
    else:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"backend": backend, "gpus": devices, "versions": versions, "platform": platform.platform()}


def render(content: dict[str, Any]) -> str:
    """Returns the content of gpu_check.json as a table, with the machine above it."""
    machine = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpus = ", ".join(machine["gpus"]) or "none: these are figures of a CPU"
    lines = [f"Keras on {machine['backend']}. GPUs: {gpus}. {versions}."]
    rows = [["part", "run", "rate", "largest relative error", "smallest cosine"]]
    for row in content["rows"]:
        if "error" in row:
            lines.append(f"{row['part']}: {row['error']}")
            continue
        cells = ["", ""]
        if found := row.get("taps"):
            worst = max(found, key=lambda tap: found[tap]["relative"])
            least = min(found, key=lambda tap: found[tap]["cosine"])
            cells = [f"{found[worst]['relative']:.1e} ({worst})", f"{found[least]['cosine']:.6f} ({least})"]
        rows.append([row["part"], row["run"], f"{row['rate']:,.1f} {row['unit']}", *cells])
    if content["left_out"]:
        lines.append(f"No time was left for: {'; '.join(content['left_out'])}.")
    return "\n\n".join(["\n".join(lines), tables.format_table(rows)])
