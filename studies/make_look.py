"""Make models/dlib: a strong face network that anybody may pass on, for audits to compare looks with.

The weights are those of dlib's face recognition network, from the npm package @vladmandic/face-api 1.7.15, which keeps
a byte of each. Get it with `npm pack @vladmandic/face-api@1.7.15` and unpack it.

Example:
    python scripts/make_look.py --package package --pairs lfw.bin --out models/dlib
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mint_keras import formats
from mint_keras.commands import Result, verify_fr
from mint_keras.options import Common
from mint_keras.records import RefusedError

if TYPE_CHECKING:
    import keras

WEIGHTS, TENSORS = "face_recognition_model.bin", "face_recognition_model-weights_manifest.json"
SHA256 = {
    WEIGHTS: "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
    TENSORS: "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
}
# In their order; their names begin with the number of their channels, and "down" halves the map.
BLOCKS = (
    "conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3", "conv128_down", "conv128_1",
    "conv128_2", "conv256_down", "conv256_1", "conv256_2", "conv256_down_out",
)  # fmt: skip
# The last convolution of the last block of each size of map; after conv256_2 only one position is left.
TAPS = {"conv1": "conv32_3", "conv2": "conv64_3", "conv3": "conv128_2", "conv4": "conv256_2"}
MEAN, SCALE = (122.782, 117.001, 104.298), 256.0  # dlib's, of RGB in 0..255
# dlib's chip of 150 pixels is 100 of the ArcFace template's: it begins 23 rows below the top and 6 columns from the
# left, and ends 11 rows below the template, which get dlib's mean colour. Chosen of 24 crops on 300 people of LFW of
# whom its pairs have no photo.
CHIP, TOP, SIDES, BELOW = 150, 23, 6, 11
_CARD = """---
library_name: keras
license: cc0-1.0
tags: [face-recognition, mint_keras]
---

# dlib

A face network that is a control only: what a good network that was never asked about sees of the look of two groups.

dlib's face recognition network by Davis E. King, a ResNet of 29 convolutions, {num_parameters:,} parameters.
{verification}
- Input: RGB faces of 112x112 aligned to the ArcFace template, (x - 127.5) / 127.5; the network itself cuts dlib's chip
  of 150x150 out of them. Output: the embedding, 128 numbers, not normalised.
- Trained, says its author, on about 3 million faces of 7,485 people: FaceScrub, the VGG Face dataset, and as many again
  from the internet; "I made sure to avoid overlap with identities in LFW"; 99.38% on LFW's 6,000 pairs with dlib's own
  detector and chips. Nobody published which people: where one side of an audit is among them, it may see that instead
  of a look, and the audit cannot decide.
- The weights are in the public domain (CC0, github.com/davisking/dlib-models). These are the ones of the npm package
  @vladmandic/face-api 1.7.15 (MIT, see `LICENSE`), which keeps 256 values of each tensor:
  `model/{weights}`, SHA-256
  {sha256}.
  Each of its 117 tensors is within half a step of dlib_face_recognition_resnet_model_v1.dat.
- The databases that it was trained on are for research only. This network is here to compare groups of photos, not to
  recognise people.
- `manifest.json` has the command and the SHA-256 of the weights, `verification.json` the figures.
- `laptop.tflite` is the same network with weights of int8, for the laptop's scorer, which asks it whether a folder's
  photos show one person (`mint_keras/edge/resemblance.py`).
"""


@dataclasses.dataclass(frozen=True)
class MakeLook(Common):
    """Options of make_look.py.

    Attributes:
        package: The unpacked npm package, a folder with LICENSE and model/face_recognition_model.bin.
        out: Folder of the audited model.
        pairs: Pairs to say how well it recognises faces, as verify_fr.py takes them; nothing of them is kept.
    """

    package: Path
    out: Path
    pairs: Path | None = None


def make_look(config: MakeLook) -> Result:
    """Makes the folder of an audited model from the package.

    Raises:
        InputError: If the package lacks a file.
        RefusedError: If a file is another than the one this was written for.
    """
    weights = read_weights(config.package / "model")
    from mint_keras.audited import litert, zoo

    settings = {"chip": CHIP, "top": TOP, "sides": SIDES, "below": BELOW, "mean": MEAN, "scale": SCALE}
    manifest = formats.make_manifest(zoo.KIND, SHA256, settings)
    with formats.output_folder(config.out, manifest, config.overwrite):
        model = build(weights)
        formats.save_model(config.out / formats.MODEL, model)
        deflate(config.out / formats.MODEL)
        (config.out / "laptop.tflite").write_bytes(litert.quantise(litert.to_tflite(model), litert.INT8_DYNAMIC))
        digest = formats.sha256_file(config.out / formats.MODEL)
        formats.write_json(config.out / formats.MANIFEST, {**manifest, "model_sha256": digest})
        shutil.copyfile(config.package / "LICENSE", config.out / "LICENSE")
        said = ""
        if config.pairs is not None:
            record = _verify(config.out, config.pairs)
            formats.write_json(config.out / formats.VERIFICATION, record)
            said = (
                f"Verification on {record['num_pairs']:,} pairs of {record['pairs']}, faces of 112x112: accuracy "
                f"{record['accuracy']:.4f}, AUC {record['auc']:.4f}.\n"
            )
        facts = {"num_parameters": model.count_params(), "verification": said}
        card = _CARD.format(**facts, weights=WEIGHTS, sha256=SHA256[WEIGHTS])
        formats.write_text(config.out / "card.md", card)
    return Result(f"{config.out / formats.MODEL}, {model.count_params():,} parameters.\n{said}".strip())


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of the package by name, float32: kept as bytes q, a value is q * scale + min.

    Raises:
        InputError: If a file is missing.
        RefusedError: If a file is another than the one this was written for.
    """
    for name, expected in SHA256.items():
        if (received := formats.sha256_file(folder / name)) != expected:
            raise RefusedError(f"Expected {name} of SHA-256 {expected}, received {received}. Take version 1.7.15.")
    # A list, which `formats.read_json` does not take.
    tensors = json.loads((folder / TENSORS).read_text())[0]["weights"]
    content, start, found = (folder / WEIGHTS).read_bytes(), 0, {}
    for tensor in tensors:
        steps = tensor.get("quantization", {"scale": 1.0, "min": 0.0})
        kind = np.dtype(steps.get("dtype", tensor["dtype"]))
        values = np.frombuffer(content, kind, math.prod(tensor["shape"]), start)
        start += values.nbytes
        found[tensor["name"]] = np.float32(values * steps["scale"] + steps["min"]).reshape(tensor["shape"])
    return found


def deflate(file: Path) -> None:
    """Compresses a `.keras` file, which Keras reads as well: 256 values of each tensor need no four bytes."""
    with formats.atomic_path(file) as small, zipfile.ZipFile(file) as source, zipfile.ZipFile(small, "w") as target:
        for entry in source.infolist():
            target.writestr(entry, source.read(entry), zipfile.ZIP_DEFLATED)


def build(weights: dict[str, np.ndarray]) -> keras.Model:
    """Builds the network: from faces of the ArcFace template to its taps and the embedding, as converted models do it.

    Args:
        weights: The tensors by name, see `read_weights`.

    Returns:
        A model from (batch, 112, 112, 3), RGB, (x - 127.5) / 127.5, to {tap: (batch, height, width, channels)} and
        outcome, (batch, 128). The layer `chip` gives what dlib's network takes, the layers `NAME_out` the blocks.
    """
    import keras
    from keras import layers

    from mint_keras.audited import taps
    from mint_keras.data import images

    faces = keras.Input((images.IMAGE_SIZE, images.IMAGE_SIZE, 3), name="image")
    offsets = [(127.5 - mean) / SCALE for mean in MEAN]
    x = layers.Rescaling(127.5 / SCALE, offsets, name="colours")(faces)
    x = layers.Cropping2D(((TOP, 0), (SIDES, SIDES)), name="crop")(x)
    x = layers.ZeroPadding2D(((0, BELOW), (0, 0)), name="below")(x)
    x = layers.Resizing(CHIP, CHIP, name="chip")(x)
    x = _convolution(x, weights, "conv32_down", 2)
    x = layers.MaxPooling2D(3, 2, name="pool")(layers.ReLU(name="conv32_down_relu")(x))
    found = {}
    for block in BLOCKS:
        is_down = "down" in block
        y = _convolution(x, weights, f"{block}/conv1", 2 if is_down else 1)
        y = _convolution(layers.ReLU(name=f"{block}_relu")(y), weights, f"{block}/conv2", 1)
        found[block] = y
        if is_down:
            x = layers.AveragePooling2D(2, name=f"{block}_pool")(x)
            # dlib adds maps of different sizes as if the smaller one had zeros at the bottom, on the right and behind.
            if lacking := x.shape[1] - y.shape[1]:
                y = layers.ZeroPadding2D(((0, lacking), (0, lacking)), name=f"{block}_pad")(y)
            if x.shape[3] < y.shape[3]:
                zeros = layers.Rescaling(0.0, name=f"{block}_zeros")(x)
                x = layers.Concatenate(name=f"{block}_channels")([x, zeros])
        x = layers.ReLU(name=f"{block}_out")(layers.Add(name=f"{block}_add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    last = layers.Dense(weights["fc"].shape[1], use_bias=False, name="fc")
    outcome = last(x)
    last.set_weights([weights["fc"]])
    tensors = {tap: found[block] for tap, block in TAPS.items()}
    return taps.with_taps(keras.Model(faces, outcome, name="dlib"), {**tensors, taps.OUTCOME: outcome})


def _convolution(x: keras.KerasTensor, weights: dict[str, np.ndarray], name: str, stride: int) -> keras.KerasTensor:
    """A convolution, and what dlib made of its batch normalisation: a factor and an offset of each channel."""
    from keras import layers

    kernel, bias = weights[f"{name}/conv/filters"], weights[f"{name}/conv/bias"]
    factor, offset = weights[f"{name}/scale/weights"], weights[f"{name}/scale/biases"]
    size, name = kernel.shape[0], name.replace("/", "_")
    # dlib pads no convolution that halves. Factors stay apart: multiplied into kernels, these would not compress; and
    # no BatchNormalization, whose running statistics would be made up.
    convolution = layers.Conv2D(kernel.shape[3], size, stride, "same" if stride == 1 else "valid", name=name)
    scaled = layers.DepthwiseConv2D(1, use_bias=False, name=f"{name}_scale")
    x = scaled(convolution(x))
    # The offset in front of the factor: TensorFlow 2.21 fails to fuse depthwise convolution, bias and ReLU.
    convolution.set_weights([kernel, bias + offset / factor])
    scaled.set_weights([factor.reshape(1, 1, -1, 1)])
    return x


def _verify(folder: Path, pairs: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        return verify_fr.verify_fr(verify_fr.VerifyFr(pairs=pairs, model=folder, out=Path(out), num_ranked=0)).record
