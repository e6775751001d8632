"""Take small random networks of every architecture, in every format, through conversion, heads, an audit and a bundle.

Their weights are random: what is shown is which files work, and how far what they become is from their own runtimes.
They are as small as networks with their blocks can be, and the heads see a few drawn faces: all of it takes some 20
minutes of one processor, in one process, and goes on where it was stopped.

Examples:
    python scripts/every_format.py --out runs/formats
    python scripts/every_format.py --networks FaceNet --formats onnx tflite --out runs/formats
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError, RefusedError
from mint_keras.report import tables
from studies import torch_files

if TYPE_CHECKING:
    import keras
    import numpy as np
    import onnx

KIND = "every_format"
RESULTS = "formats.json"
NETWORKS = ("IResNet", "IR-SE", "MobileFaceNet", "ViT", "FaceNet")
FORMATS = {
    "onnx": "ONNX", "onnx_half": "ONNX, half precision", "onnx_qdq": "ONNX, int8 (QDQ)",
    "onnx_qlinear": "ONNX, int8 (QLinearConv)", "keras": "Keras `.keras`", "h5": "Keras `.h5`",
    "saved_model": "SavedModel", "tflite": "TFLite, float", "tflite_half": "TFLite, half precision",
    "tflite_int8": "TFLite, int8", "torch": "PyTorch state dict",
}  # fmt: skip
_SIDE, _EMBEDDING = 64, 64
_FACE = 112  # pixels a side: bundles hold no smaller faces
_SUFFIXES = {"keras": ".keras", "h5": ".h5", "saved_model": ".saved", "torch": ".pth"}
_MEMBERS, _EXTERNALS, _TAP = "synthetic:1/web/0-39/4", "synthetic:1/news/100-139/4", "conv3"
State = dict[str, "np.ndarray"]


@dataclasses.dataclass(frozen=True)
class EveryFormat(Common):
    """Options of every_format.py.

    Attributes:
        out: Folder for formats.json and the files; what it has is not made again.
        networks: Networks to write.
        formats: Formats to write them in.
        look: Face network that the audits ask how people look; the one at hand by default.
        convert_only: Take nothing further than its conversion; the command without it goes on from there.
    """

    out: Path
    networks: tuple[str, ...] = NETWORKS
    formats: tuple[str, ...] = tuple(FORMATS)
    look: Path | None = None
    convert_only: bool = False


@dataclasses.dataclass(frozen=True)
class Tried(Result):
    """What became of every file: the content of formats.json."""

    content: dict[str, Any]


def every_format(options: EveryFormat) -> Tried:
    """Writes, converts, and takes on what is missing."""
    path = options.out / RESULTS
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, {}), options.overwrite):
        files = formats.read_json(path)["files"] if path.is_file() else []
        done = {(one["network"], one["format"]): one for one in files}
        wanted = [(network, kind) for network in options.networks for kind in options.formats]
        for network, kind in progress.bar(wanted, desc="files", unit="file"):
            folder = options.out / f"{network}-{kind}"
            if (network, kind) not in done:
                done[network, kind] = {"network": network, "format": kind, **_convert(network, kind, folder)}
                formats.write_json(path, {"files": list(done.values())})
            if "tap" in done[network, kind] and "bundle" not in done[network, kind] and not options.convert_only:
                done[network, kind] |= _take_on(folder, options.look or folder / "model")
                formats.write_json(path, {"files": list(done.values())})
    content = {"files": list(done.values())}
    return Tried(f"{render(content)}\nWritten: {path}", content)


def _convert(network: str, kind: str, folder: Path) -> dict[str, Any]:
    """Writes a network in a format, and converts the file."""
    import keras

    from mint_keras.commands.convert_fr import ConvertFr, convert_fr

    keras.utils.set_random_seed(1)
    folder.mkdir(exist_ok=True)
    file = folder / f"model{_SUFFIXES.get(kind, '.tflite' if 'tflite' in kind else '.onnx')}"
    _write(network, kind, file)
    try:
        # Networks that begin with whole numbers or their own scaling say so; of the others it is said here.
        found = convert_fr(ConvertFr(file, folder / "model", pixels="RGB, -1..1", overwrite=True))
    except (InputError, RefusedError) as error:
        return {"refused": str(error).replace(str(file), "the file")}
    # What the file was read as, where it rounds; beside it stands the file as it is.
    own = [r for r in found.records if r.oracle == "float32"] or list(found.records)
    worst = max(own, key=lambda record: record.relative)
    as_is = [r.cosine for r in found.records if r.tap == "outcome" and r.oracle != "float32"]
    return {"tap": worst.tap, "relative": worst.relative, "cosine": min(as_is), "taps": sorted({r.tap for r in own})}


def _take_on(folder: Path, look: Path) -> dict[str, Any]:
    """Trains a head on a converted network, audits it, and exports a bundle."""
    from mint_keras.commands.audit import Audit, audit
    from mint_keras.commands.export_tflite import ExportTflite, export_tflite
    from mint_keras.commands.train_mint import TrainMint, train_mint

    run = TrainMint(
        "vanilla", folder / "run", audited=folder / "model", members=_MEMBERS, externals=(_EXTERNALS,), taps=(_TAP,),
        num_train=64, num_test=16, num_seeds=1, backend="keras", quiet=True, overwrite=True,
    )  # fmt: skip
    audited = Audit(run.out, folder / "audit", look=look, num_untrained=1, quiet=True, overwrite=True)
    exported = ExportTflite(run.out, folder / "bundle", tap=_TAP, quiet=True, overwrite=True, force=True)
    done: dict[str, Any] = {}
    try:
        done["heads"] = len({row.tap for row in train_mint(run).results})
        done["audit"] = audit(audited).outcome
        export_tflite(exported)
        done["bundle"] = sum(file.stat().st_size for file in exported.out.glob("*.tflite"))
    except (InputError, RefusedError) as error:
        done["failed"] = str(error).replace(str(folder), "FOLDER")
    return done


def _write(network: str, kind: str, file: Path) -> None:
    import onnx

    from mint_keras.audited import iresnet, litert

    if kind == "torch":
        return torch_files.write(file, state_dict(network, side=_FACE))
    if "onnx" in kind:
        model = _onnx(network)
        if kind == "onnx_half":
            from onnxruntime.transformers import float16

            model = float16.convert_float_to_float16(model)
        onnx.save(model, file)
        return None if kind in ("onnx", "onnx_half") else quantise(file, kind)
    model = _keras(network)
    if kind in ("keras", "h5"):
        model.save(file)
    elif kind == "saved_model":
        model.export(file, verbose=False)
    else:
        import keras

        precision = {"tflite": "fp32", "tflite_half": "fp16", "tflite_int8": "int8"}[kind]
        content = litert.to_tflite(keras.Model(model.input, {"outcome": model.output}))
        seen = iresnet.normalise(faces(model.input.shape[1]))
        file.write_bytes(litert.quantise(content, precision, seen))
    return None


def _onnx(network: str) -> onnx.ModelProto:
    from mint_keras.audited import onnx_forward
    from mint_keras.audited.convert import torch

    if network in _OF_STATE:
        return torch.to_onnx(state_dict(network, side=_FACE))
    import keras

    model = _keras(network)
    return onnx_forward.to_onnx(keras.Model(model.input, {"outcome": model.output}))


@functools.cache
def _keras(network: str) -> keras.Model:
    return _OF_KERAS[network]() if network in _OF_KERAS else of_state(network, _FACE)


def of_state(network: str, side: int = _SIDE) -> keras.Model:
    """Returns a network of PyTorch in Keras, from RGB, (x - 127.5) / 127.5, to the embedding."""
    import keras

    from mint_keras.audited.cards import ARCFACE
    from mint_keras.audited.convert import onnx, torch

    converted = onnx.to_keras(torch.to_graph(state_dict(network, side=side)), ARCFACE)
    return keras.Model(converted.model.input, converted.model.output["outcome"])


@functools.cache
def faces(side: int, num: int = 16) -> np.ndarray:
    """Returns drawn faces, uint8 RGB, shape (num, side, side, 3)."""
    import numpy as np

    from mint_keras.data import images, synthetic

    framing = images.Framing(side)
    return np.stack([framing.apply(synthetic.render(f"synthetic:1/web/{i}/0")) for i in range(num)])


def quantise(file: Path, kind: str) -> None:
    """Quantises an ONNX file in place, by the ranges of drawn faces."""
    from onnxruntime import InferenceSession, quantization

    from mint_keras.audited import iresnet

    (entry,) = InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()
    is_first = entry.shape[1] == 3
    shown = iresnet.normalise(faces(entry.shape[2]))
    shown = shown.transpose(0, 3, 1, 2) if is_first else shown

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(shown)

        def get_next(self) -> dict[str, np.ndarray] | None:
            face = next(self._left, None)
            return None if face is None else {entry.name: face[None]}

    written = quantization.QuantFormat.QDQ if kind == "onnx_qdq" else quantization.QuantFormat.QOperator
    quantization.quantize_static(file, file, Reader(), quant_format=written, per_channel=True)


def state_dict(network: str, seed: int = 1, side: int = _SIDE) -> State:
    """Returns random weights of a network for images of `side` pixels, under the names of who wrote it in PyTorch."""
    import numpy as np

    rng = np.random.default_rng(seed)
    state: State = {}
    for name, shape in _OF_STATE[network](side) if network in _OF_STATE else _module("input_layer.0", 8, 3, 3, 3):
        kind = name.rpartition(".")[2]
        if kind in ("running_var", "running_mean") or len(shape) == 1:
            low, high = {"running_var": (0.1, 1.5), "weight": (0.2, 1.2)}.get(kind, (-0.3, 0.3))
            state[name] = rng.uniform(low, high, shape).astype(np.float32)
        else:
            state[name] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
    return state


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _module(name: str, *shape: int, bias: bool = False) -> Shapes:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def _norm(name: str, size: int) -> Shapes:
    for field in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{field}", (size,)


def _iresnet(side: int) -> Shapes:
    yield from (*_module("conv1", 8, 3, 3, 3), *_norm("bn1", 8), *_module("prelu", 8))
    before = 8
    for stage, (num, width) in enumerate(((1, 8), (2, 16), (1, 16), (1, 24)), start=1):
        for block in range(num):
            name = f"layer{stage}.{block}"
            yield from (*_norm(f"{name}.bn1", before), *_module(f"{name}.conv1", width, before, 3, 3))
            yield from (*_norm(f"{name}.bn2", width), *_module(f"{name}.prelu", width))
            yield from (*_module(f"{name}.conv2", width, width, 3, 3), *_norm(f"{name}.bn3", width))
            if block == 0:
                shortcut = _module(f"{name}.downsample.0", width, before, 1, 1)
                yield from (*shortcut, *_norm(f"{name}.downsample.1", width))
            before = width
    features = 24 * (side // 16) ** 2
    yield from (*_norm("bn2", 24), *_module("fc", _EMBEDDING, features, bias=True), *_norm("features", _EMBEDDING))


def _mobilefacenet(side: int) -> Shapes:
    def block(name: str, *shape: int, linear: bool = False) -> Shapes:
        yield from (*_module(f"{name}.layers.0", *shape), *_norm(f"{name}.layers.1", shape[0]))
        yield from () if linear else _module(f"{name}.layers.2", shape[0])

    def bottleneck(name: str, before: int, wide: int, after: int) -> Shapes:
        yield from (*block(f"{name}.layers.0", wide, before, 1, 1), *block(f"{name}.layers.1", wide, 1, 3, 3))
        yield from block(f"{name}.layers.2", after, wide, 1, 1, linear=True)

    yield from (*block("layers.0", 16, 3, 3, 3), *block("layers.1", 16, 2, 3, 3))
    for part, (before, wide, after, num) in enumerate(((16, 16, 16, 1), (16, 32, 32, 2), (32, 64, 32, 1)), start=1):
        yield from bottleneck(f"layers.{2 * part}", before, wide, after)
        for i in range(num):
            yield from bottleneck(f"layers.{2 * part + 1}.layers.{i}", after, after, after)
    yield from (
        *block("conv_sep", 32, 32, 1, 1),
        *block("features.layers.0", 32, 1, side // 16, side // 16, linear=True),
    )
    yield from (*_module("features.layers.2", _EMBEDDING, 32), *_norm("features.layers.3", _EMBEDDING))


def _transformer(side: int) -> Shapes:
    width, tokens = 32, (side // 16) ** 2
    yield from (("pos_embed", (1, tokens, width)), ("mask_token", (1, 1, width)))
    yield from _module("patch_embed.proj", width, 3, 16, 16, bias=True)
    for name in (f"blocks.{i}" for i in range(4)):
        yield from (*_module(f"{name}.norm1", width, bias=True), *_module(f"{name}.attn.qkv", 3 * width, width))
        yield from (*_module(f"{name}.attn.proj", width, width, bias=True), *_module(f"{name}.norm2", width, bias=True))
        yield from _module(f"{name}.mlp.fc1", 2 * width, width, bias=True)
        yield from _module(f"{name}.mlp.fc2", width, 2 * width, bias=True)
    yield from (*_module("norm", width, bias=True), *_module("feature.0", width, width * tokens))
    yield from (*_norm("feature.1", width), *_module("feature.2", _EMBEDDING, width), *_norm("feature.3", _EMBEDDING))


_OF_STATE: dict[str, Callable[[int], Shapes]] = {
    "IResNet": _iresnet,
    "MobileFaceNet": _mobilefacenet,
    "ViT": _transformer,
}


def _convolution(x: keras.KerasTensor, width: int, size: int | tuple[int, int], **options: Any) -> keras.KerasTensor:
    from keras import layers

    x = layers.Conv2D(width, size, use_bias=False, **{"padding": "same", **options})(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _embedding(image: keras.KerasTensor, x: keras.KerasTensor) -> keras.Model:
    import keras
    from keras import layers

    x = layers.BatchNormalization()(layers.Dense(_EMBEDDING, use_bias=False)(x))
    return keras.Model(image, layers.UnitNormalization()(x))


def _irse() -> keras.Model:
    """IR-SE, as InsightFace_Pytorch has it: the sum is of a branch that squeeze-and-excitation has weighted."""
    import keras
    from keras import layers

    image = keras.Input((_FACE, _FACE, 3))
    x = _convolution(image, 8, 3)
    for width in (8, 16, 16, 24):
        y = layers.PReLU(shared_axes=(1, 2))(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, 2, "same", use_bias=False)(y))
        gate = layers.Conv2D(width // 4, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.Multiply()([y, layers.Conv2D(width, 1, activation="sigmoid")(gate)])
        x = layers.Add()([y, layers.BatchNormalization()(layers.Conv2D(width, 1, 2, use_bias=False)(x))])
    return _embedding(image, layers.Flatten()(layers.BatchNormalization()(x)))


def _facenet() -> keras.Model:
    """FaceNet's Inception-ResNet at 160 pixels: branches, scaled sums, and L2 at its end."""
    import keras
    from keras import layers

    image = keras.Input((160, 160, 3))
    x = layers.MaxPooling2D(3, 2)(_convolution(_convolution(image, 8, 3, strides=2, padding="valid"), 16, 3))
    for width in (16, 32, 48):
        x = layers.Concatenate()([_convolution(x, width, 3, strides=2, padding="valid"), layers.MaxPooling2D(3, 2)(x)])
        wide = x.shape[-1]
        joined = [_convolution(x, 8, 1), _convolution(_convolution(_convolution(x, 8, 1), 8, (1, 7)), 8, (7, 1))]
        y = layers.Conv2D(wide, 1)(layers.Concatenate()(joined))
        x = layers.ReLU()(layers.Add()([x, layers.Rescaling(0.17)(y)]))
    return _embedding(image, layers.GlobalAveragePooling2D()(x))


_OF_KERAS: dict[str, Callable[[], keras.Model]] = {"IR-SE": _irse, "FaceNet": _facenet}


def render(content: dict[str, Any]) -> str:
    """Returns the content of formats.json as a Markdown table, formats by networks, and what was refused, and why."""
    found = {(one["network"], one["format"]): one for one in content["files"]}
    networks = [name for name in NETWORKS if any(key[0] == name for key in found)]
    rows = [["format", *networks]]
    refusals: dict[str, list[str]] = {}
    for kind, title in FORMATS.items():
        rows.append([title, *(_cell(found.get((network, kind), {})) for network in networks)])
        for network in networks:
            one = found.get((network, kind), {})
            for said in (one[key] for key in ("refused", "failed") if key in one):
                refusals.setdefault(said, []).append(f"{network}, {title}")
    return "\n".join([tables.format_table(rows), *(f"\n{'; '.join(who)}: {said}" for said, who in refusals.items())])


def _cell(one: dict[str, Any]) -> str:
    if not one:
        return ""
    if "refused" in one:
        return "refused"
    said = f"{one['relative']:.0e}" + (f", as it is {one['cosine']:.3f}" if one["cosine"] < 0.9999 else "")
    steps = ("heads", "audit", "bundle")
    last = "all" if "bundle" in one else ", ".join(step for step in steps if step in one) or "conversion"
    return said + (f"; {last}" if "failed" not in one else f"; {last}, then failed")
