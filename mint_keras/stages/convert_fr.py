"""Stage: convert a real audited model to Keras, prove it tap by tap, and save it only if it is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from mint_keras import formats
from mint_keras.audited import cards, iresnet, parity, runtime, taps, zoo
from mint_keras.audited.convert import naming, onnx_export, onnx_tf, sources
from mint_keras.audited.convert.onnx import Converted
from mint_keras.data import images, samples
from mint_keras.records import InputError, ParityRecord, RefusedError
from mint_keras.report import tables

EXTRACTOR = "extractor.onnx"
ONNX_TF = "onnx-tf"
_NUM_IMAGES = 8
_DRAWN_FACES = "synthetic:1/web/0-7/1"


@dataclasses.dataclass(frozen=True)
class ConvertFr:
    """Options of convert_fr.py.

    Attributes:
        weights: the model: .onnx, arcface_torch's backbone.pth or model.pt, or a folder in insightface's layout
            (~/.insightface/models/buffalo_l).
        out: folder for model.keras, manifest.json and parity.json; models/<name of the file> by default.
        card: what the file is said to be: a name of models/cards (fr1, fr2, fr3, buffalo_l ...) or a YAML file. Its
            structure, and its SHA-256 where known, are checked. By default the card that knows the file's SHA-256.
        list_taps: only print the taps: name, shape, layer, node, and operations from the image to there.
        taps: taps of your own as NAME=NODE, by node, tensor or layer name, beside those found (or instead, for an
            equal name).
        mean: mean of the pixels (0..255) the model wants, red green blue, or one number; from the card, or
            insightface's rule, by default.
        std: standard deviation of the pixels, likewise.
        image_size: side of the input where the file leaves it open (112; detectors 640).
        faces: aligned faces to compare on: a folder, .rec file or sample table; faces drawn by the lab by default.
        cross_check: a second opinion: onnx-tf (installs it into ~/.cache/mint_keras the first time), or another file
            of the same model (.onnx beside .pth).
        to: onnx also writes extractor.onnx by tf2onnx, checked in ONNX Runtime.
        export_taps: the taps extractor.onnx keeps; nothing after the deepest remains. All by default.
        seed: seed of the noise to compare on.
        overwrite: replace what --out holds.
        quiet: no effect: nothing here takes long.
    """

    weights: Path
    out: Path | None = None
    card: str = ""
    list_taps: bool = False
    taps: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    image_size: int | None = None
    faces: str = ""
    cross_check: str = ""
    to: Literal["keras", "onnx"] = "keras"
    export_taps: tuple[str, ...] = ()
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def convert_fr(config: ConvertFr) -> str:
    """Converts, compares, saves; or lists the taps."""
    runtime.exact_float32()
    source = sources.open_source(config.weights)
    digests = {file.name: formats.sha256_file(file) for file in source.files}
    digest = digests[source.files[0].name]
    card = cards.load_card(config.card) if config.card else cards.find_card(digest)
    preprocessing, reason = source.choose_preprocessing(config.mean, config.std, card)
    name = source.files[0].stem
    converted = source.to_keras(preprocessing, config.image_size, "".join(c if c.isalnum() else "_" for c in name))
    chosen = _chosen_taps(converted, config.taps)
    if config.list_taps:
        return tap_table(converted, chosen)
    if card is not None:
        _check_card(card, digest, converted, chosen)
    out = config.out or Path("models") / name
    settings = {
        "preprocessing": dataclasses.asdict(preprocessing), "card": card.name if card else "", "taps": chosen,
        "faces": config.faces, "cross_check": config.cross_check, "to": config.to, "seed": config.seed,
        "image_size": list(converted.model.input.shape[1:3]), "export_taps": list(config.export_taps),
    }  # fmt: skip
    manifest = formats.make_manifest(formats.FACE_DETECTOR if source.is_detector else zoo.KIND, digests, settings)
    trust = trusted(card, digest, out)
    with formats.output_folder(out, manifest, config.overwrite):
        if not (out / formats.MODEL).is_file():
            pixels = _pixels(config, converted)
            records, statement = _prove(config, source, converted, chosen, pixels)
            model = taps.with_taps(converted.model, {tap: converted.tensors[t].tensor for tap, t in chosen.items()})
            if config.to == "onnx":
                extractor = taps.extractor(model, config.export_taps or list(chosen))
                records += onnx_export.export(extractor, out / EXTRACTOR, pixels)
            tolerance = {"max_relative": parity.MAX_RELATIVE, "min_cosine": parity.MIN_COSINE}
            rows = [dataclasses.asdict(record) for record in records]
            formats.write_json(out / formats.PARITY, {"statement": statement, "tolerance": tolerance, "records": rows})
            facts = {"source": source.format, "preprocessing_reason": reason, "trust": trust}
            zoo.save_audited(out, model, {**facts, **_located(converted, chosen)}, manifest["kind"])
            _check_saved(out, manifest["kind"], model, pixels)
    record = formats.read_json(out / formats.PARITY)
    lines = [tables.parity_table([ParityRecord(**row) for row in record["records"]])]
    lines += [f"{out / formats.MODEL}: {source.format}; {model_size(converted.model)}", f"Pixels: {reason}."]
    proven = [record[name] for name in ("statement", "verification") if name in record]
    return "\n".join([*lines, f"File: {trust}.", f"Parity: {'; '.join(proven)}."])


def trusted(card: cards.Card | None, digest: str, out: Path) -> str:
    """Says how far the file is known to be what its card says.

    Raises:
        RefusedError: if another conversion on the same shelf took another file for the same card.
    """
    if card is None:
        return f"SHA-256 {digest}, of no card"
    if digest in card.sha256:
        return f"SHA-256 {digest}, the one card {card.name} knows"
    for manifest_file in sorted(out.parent.glob(f"*/{formats.MANIFEST}")):
        manifest = formats.read_json(manifest_file)
        is_same_card = manifest.get("config", {}).get("card") == card.name and manifest_file.parent != out
        if is_same_card and digest not in manifest.get("inputs", {}).values():
            raise RefusedError(
                f"{manifest_file.parent} was converted from another file for card {card.name}: its SHA-256 are "
                f"{sorted(manifest['inputs'].values())}, this one's is {digest}. One of them is not {card.title}."
            )
    return f"SHA-256 {digest}, trusted on first use: nobody published the hash of {card.title}"


def tap_table(converted: Converted, chosen: dict[str, str]) -> str:
    """Returns a text table of taps: name, shape, layer, node, operations from the image to there."""
    rows = [("tap", "shape", "layer", "node", "GFLOPs so far")]
    for tap, tensor in chosen.items():
        value = converted.tensors[tensor]
        cut = keras.Model(converted.model.input, value.tensor)
        shape = "x".join(str(size) for size in value.tensor.shape[1:])
        rows.append((tap, shape, converted.layers[tensor], converted.nodes[tensor], f"{taps.flops(cut) / 1e9:.3f}"))
    return tables.format_table(rows)


def model_size(model: keras.Model) -> str:
    """Returns parameters and operations of a model in words."""
    return f"{model.count_params():,} parameters, {taps.flops(model) / 1e9:.2f} GFLOPs an image"


def _prove(
    config: ConvertFr,
    source: sources.ForeignModel,
    converted: Converted,
    chosen: dict[str, str],
    pixels: dict[str, np.ndarray],
) -> tuple[list[ParityRecord], str]:
    """Compares the conversion with its oracle, and with the second opinion; returns the records and what they prove."""
    oracle = parity.Oracle(source.oracle_model, "graph of the checkpoint" if source.is_checkpoint else "onnxruntime")
    sizes = parity.BATCH_SIZES[:1] if source.is_detector else parity.BATCH_SIZES
    records = parity.check(converted, chosen, oracle, pixels, sizes)
    if config.cross_check:
        records += _cross_check(config, source, converted, chosen, pixels)
    if not source.is_checkpoint:
        return records, "the same file run by ONNX Runtime gives the same values"
    if config.cross_check in ("", ONNX_TF):
        return records, "mapping verified, file not: what checked it was written from the same file (verify_fr.py)"
    return records, f"mapping verified, and {Path(config.cross_check).name} is the same model"


def _check_saved(out: Path, kind: str, model: keras.Model, pixels: dict[str, np.ndarray]) -> None:
    """Loads what was saved and refuses it, and deletes it, if it gives other values than what was proven."""
    images_ = iresnet.normalise(pixels["noise"][:1])
    loaded, proven = (runtime.forward(m)(images_) for m in (zoo.load_audited(out, kind), model))
    wrong = [tap for tap in proven if not parity.is_within(parity.compare(tap, loaded[tap], proven[tap], ("", "", 1)))]
    if wrong:
        (out / formats.MODEL).unlink()
        raise RefusedError(f"{out / formats.MODEL} gives other values for {wrong} than the model that was saved.")


def _pixels(config: ConvertFr, converted: Converted) -> dict[str, np.ndarray]:
    """Returns what to compare on: noise, and faces where the model takes faces."""
    _, height, width, channels = converted.model.input.shape
    is_face = (height, width) == (images.IMAGE_SIZE,) * 2
    num = _NUM_IMAGES if is_face else 2
    noise = np.random.default_rng(config.seed).uniform(0, 255, (num, height, width, channels)).astype(np.float32)
    pixels = {"noise": noise}
    if is_face:
        table = samples.list_samples(config.faces or _DRAWN_FACES)
        reader = images.FaceReader()
        batch = next(reader.batches(table.take(np.arange(min(len(table), 4 * _NUM_IMAGES))), _NUM_IMAGES), None)
        if batch is None:
            raise InputError(f"Expected aligned faces in {config.faces}, received none: {reader.rejected[0].reason}")
        pixels["faces"] = batch[1].astype(np.float32)
    return pixels


def _cross_check(
    config: ConvertFr,
    source: sources.ForeignModel,
    converted: Converted,
    chosen: dict[str, str],
    pixels: dict[str, np.ndarray],
) -> list[ParityRecord]:
    if config.cross_check == ONNX_TF:
        python = onnx_tf.environment()
        return parity.check(converted, chosen, _OnnxTf(source, python), {"noise": pixels["noise"][:1]}, (1,))
    other = sources.open_source(Path(config.cross_check))
    theirs = other.to_keras(other.usual_preprocessing(), config.image_size, "other")
    shared = [tap for tap in chosen if tap in theirs.taps]
    both = [
        runtime.forward(keras.Model(model.model.input, {tap: model.tensors[where[tap]].tensor for tap in shared}))
        for model, where in ((theirs, theirs.taps), (converted, chosen))
    ]
    records = []
    for name, images_ in pixels.items():
        expected, received = (runtime.predict(forward, images_, _NUM_IMAGES) for forward in both)
        made = (other.files[0].name, name, _NUM_IMAGES)
        records += [parity.compare(tap, received[tap], expected[tap], made) for tap in shared]
    wrong = [record for record in records if not parity.is_within(record)]
    if wrong or not shared:
        raise RefusedError(
            f"{source.files[0]} and {other.files[0]} are not the same model: "
            + (f"tap {wrong[0].tap} has relative error {wrong[0].relative:.2g}." if wrong else "no tap in common.")
        )
    return records


class _OnnxTf(parity.Oracle):
    """onnx-tf in an environment of its own."""

    def __init__(self, source: sources.ForeignModel, python: Path) -> None:
        super().__init__(source.oracle_model, ONNX_TF)
        self._input, self._python = source.graph.input, python

    def session(self, tensors: Sequence[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
        def run(images_: np.ndarray) -> list[np.ndarray]:
            feed = np.ascontiguousarray(images_.transpose(0, 3, 1, 2))
            outputs = onnx_tf.run(self._model(), {self._input: feed}, tensors, self._python)
            return [outputs[tensor] for tensor in tensors]

        return run


def _chosen_taps(converted: Converted, own: tuple[str, ...]) -> dict[str, str]:
    chosen = dict(converted.taps or converted.outputs)
    by_name = {tensor: tensor for tensor in converted.tensors}
    by_name |= {name: tensor for names in (converted.layers, converted.nodes) for tensor, name in names.items()}
    for choice in own:
        tap, _, place = choice.partition("=")
        if not tap.isidentifier() or place not in by_name:
            raise InputError(
                f"Expected --taps NAME=NODE with a node, tensor or layer of the model, received {choice!r}."
            )
        chosen[tap] = by_name[place]
    last = {tap: chosen.pop(tap) for tap in ("outcome",) if tap in chosen}
    return {**chosen, **last}


def _check_card(card: cards.Card, digest: str, converted: Converted, chosen: dict[str, str]) -> None:
    if card.sha256 and digest not in card.sha256:
        raise RefusedError(
            f"Expected the file of card {card.name}, SHA-256 {' or '.join(card.sha256)}, received {digest}."
        )
    blocks = naming.count_blocks(converted.layers.values())
    if card.blocks and card.blocks != blocks:
        raise RefusedError(
            f"Expected the structure of card {card.name}, an IResNet of {list(card.blocks)} blocks, received "
            f"{list(blocks) or 'another network'}."
        )
    received = {tap: tuple(converted.tensors[tensor].tensor.shape[1:]) for tap, tensor in chosen.items()}
    wrong = {tap: (shape, received.get(tap)) for tap, shape in card.taps.items() if received.get(tap) != shape}
    if wrong:
        listed = ", ".join(f"{tap} of {shape} (received {got})" for tap, (shape, got) in wrong.items())
        raise RefusedError(f"Expected the structure of card {card.name}: {listed}.")


def _located(converted: Converted, chosen: dict[str, str]) -> dict[str, Any]:
    return {
        "taps": {
            tap: {"layer": converted.layers[tensor], "node": converted.nodes[tensor], "tensor": tensor}
            for tap, tensor in chosen.items()
        },
        "is_iresnet": converted.is_iresnet,
    }
