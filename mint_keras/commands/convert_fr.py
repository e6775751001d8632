"""Convert a face-recognition model to Keras, proven tap by tap against its own runtime, or save nothing.

Takes ONNX and Keras files (.keras, .h5), SavedModels, TFLite files (float and int8), arcface_torch's checkpoints, alone
or within those of a training, and folders in insightface's layout, by their content whatever their name. The model
that is saved gives every tap by name: conv1 ... (last convolution of each stage), stage1 ... (after the residual sum),
outcome (the embedding). SCRFD face detectors are converted too.

Example:
    python scripts/convert_fr.py --weights backbone.pth --card fr1 --out models/fr1
    python scripts/convert_fr.py --weights w600k_r50.onnx --list-taps
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mint_keras import formats
from mint_keras.commands import Result
from mint_keras.data import samples
from mint_keras.options import Writing
from mint_keras.records import InputError, ParityRecord

EXTRACTOR = "extractor.onnx"


@dataclasses.dataclass(frozen=True)
class ConvertFr(Writing):
    """Options of convert_fr.py.

    Attributes:
        weights: The model: an ONNX, Keras or TFLite file, arcface_torch's backbone.pth or model.pt, a SavedModel, or a
            folder in insightface's layout (~/.insightface/models/buffalo_l).
        out: Folder for model.keras, manifest.json and parity.json; models/<name of the file> by default.
        download: Where to fetch the file of --weights from if it is not there: https://... or hf://OWNER/REPOSITORY/FILE,
            with its SHA-256 behind as #sha256=HEX unless --card knows it. Without this option nothing asks the network.
        card: What the file is said to be: a name of models/cards (fr1, fr2, fr3, buffalo_l ...) or a YAML file. Its
            structure, and its SHA-256 where known, are checked. By default the card that knows the file's SHA-256.
        list_taps: Only print the taps: name, shape, layer, node, and operations from the image to there.
        taps: Taps of your own as NAME=NODE, by node, tensor or layer name, beside those found (or instead, for an
            equal name).
        pixels: How the model wants its pixels, as verify_fr.py names it: "RGB, 0..1" or "BGR, ImageNet", of -1..1,
            0..1, 0..255 and ImageNet. From the card, what the file tells, or insightface's rule, by default.
        mean: Another mean of the pixels (0..255), red green blue, or one number.
        std: Standard deviation of the pixels, one number or three as for --mean.
        bgr: Whether the model takes blue, green, red, as OpenCV reads them.
        image_size: Side of the input where the file leaves it open (112; detectors 640).
        faces: Aligned faces to compare on: a folder, .rec file or sample table; faces drawn by the lab by default.
        cross_check: A second opinion: onnx-tf (installs it into ~/.cache/mint_keras the first time), or another file
            of the same model (.onnx beside .pth).
        to: onnx also writes extractor.onnx by tf2onnx, checked in ONNX Runtime.
        export_taps: The taps extractor.onnx keeps; nothing after the deepest remains. All by default.
        seed: Seed of the noise to compare on.
    """

    weights: Path
    out: Path | None = None
    download: str = ""
    card: str = ""
    list_taps: bool = False
    taps: tuple[str, ...] = ()
    pixels: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    bgr: bool | None = None
    image_size: int | None = None
    faces: str = ""
    cross_check: str = ""
    to: Literal["keras", "onnx"] = "keras"
    export_taps: tuple[str, ...] = ()
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Conversion(Result):
    """A converted model, how far every tap is from its source, and what that proves; no `out` if taps were listed."""

    out: Path | None = None
    records: tuple[ParityRecord, ...] = ()
    statement: str = ""


def _check_proof(config: ConvertFr, chosen: Mapping[str, Any]) -> None:
    """Raises InputError now, not after the conversion, for what only the proof or the export looks at."""
    from mint_keras.audited.convert import proof, sources

    if config.faces:
        samples.list_samples(config.faces)
    if config.cross_check not in ("", proof.ONNX_TF):
        sources.open_source(Path(config.cross_check))
    if unknown := sorted(set(config.export_taps) - set(chosen)):
        raise InputError(f"Expected --export-taps of {sorted(chosen)}, received {unknown}.")


def convert_fr(config: ConvertFr) -> Conversion:
    """Converts, compares, saves; or lists the taps."""
    from mint_keras.audited import cards, download, runtime, taps, zoo
    from mint_keras.audited.convert import claims, proof, sources
    from mint_keras.report import tables

    runtime.exact_float32()  # else GPUs would round what is proven to TF32
    card = cards.load_card(config.card) if config.card else None
    if config.download:
        download.fetch(config.download, card.sha256 if card else (), config.weights)
    source = sources.open_source(config.weights)
    digests = {file.name: formats.sha256_file(file) for file in source.files}
    # A card knows the file itself, not the external weights that an ONNX file may have beside it.
    digest = digests[source.files[0].name]
    card = card or cards.find_card(digest)
    preprocessing, reason = source.choose_preprocessing(card, config.pixels, config.mean, config.std, config.bgr)
    name, out = source.files[0].stem, config.out or Path("models") / source.files[0].stem
    converted = source.to_keras(preprocessing, config.image_size, "".join(c if c.isalnum() else "_" for c in name))
    chosen = converted.choose_taps(config.taps)
    remarks = converted.remarks(chosen, source.graph.notes)
    if config.list_taps:
        return Conversion("\n".join([tables.format_table(converted.tap_rows(chosen)), *remarks]))
    if card is not None:
        claims.check_card(card, digest, converted, chosen)
    settings = {
        "preprocessing": converted.contract.record(), "card": card.name if card else "", "taps": chosen,
        "faces": config.faces, "cross_check": config.cross_check, "to": config.to, "seed": config.seed,
        "export_taps": list(config.export_taps),
    }  # fmt: skip
    _check_proof(config, chosen)
    manifest = formats.make_manifest(formats.FACE_DETECTOR if source.is_detector else zoo.KIND, digests, settings)
    trust = claims.trusted(card, digest, out)
    with formats.output_folder(out, manifest, config.overwrite):
        if not (out / formats.MODEL).is_file():
            pixels = proof.sample_pixels(converted.model, config.faces or proof.DRAWN_FACES, config.seed)
            records, statement = proof.prove(source, converted, chosen, pixels, config.cross_check, config.image_size)
            model = taps.with_taps(converted.model, {tap: converted.tensors[t].tensor for tap, t in chosen.items()})
            if config.to == "onnx":
                extractor = taps.extractor(model, config.export_taps or list(chosen))
                records += proof.export_onnx(extractor, out / EXTRACTOR, pixels)
            # The record comes before the model: whoever finds a model finds its proof.
            oracles = {
                oracle.name: {"runs": oracle.about, **dataclasses.asdict(oracle.tolerance)} for oracle in source.oracles
            }
            rows = [dataclasses.asdict(record) for record in records]
            formats.write_json(out / formats.PARITY, {"statement": statement, "oracles": oracles, "records": rows})
            located = {tap: converted.locate(tensor) for tap, tensor in chosen.items()}
            facts: dict[str, Any] = {"source": source.format, "preprocessing_reason": reason, "trust": trust}
            facts |= {"taps": located, "is_iresnet": converted.is_iresnet, "remarks": remarks}
            zoo.save_audited(out, model, facts, manifest["kind"])
            # What was written is what was proven: the file is opened and run once more.
            proof.check_saved(out, manifest["kind"], model, pixels["noise"])
    record = formats.read_json(out / formats.PARITY)
    shown = tuple(ParityRecord(**row) for row in record["records"])
    size = f"{converted.model.count_params():,} parameters, {taps.flops(converted.model) / 1e9:.2f} GFLOPs an image"
    proven = "; ".join(record[name] for name in ("statement", "verification") if name in record)
    said = f"Pixels: {reason}.\nFile: {trust}.\nParity: {proven}."
    lines = [tables.parity_table(shown), f"{out / formats.MODEL}: {source.format}; {size}", said, *remarks]
    return Conversion("\n".join(lines), out, shown, record["statement"])
