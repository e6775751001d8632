"""Stage: face verification with a converted model, or with the ONNX file it came from: is this the model it claims?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import tqdm

from mint_keras import formats
from mint_keras.audited import cards, iresnet, parity, runtime, taps, zoo
from mint_keras.audited.convert import sources
from mint_keras.data import images, pairs
from mint_keras.records import InputError
from mint_keras.statistics import verification

KIND = "verification"
# The paper's models are published with 0.984 (AgeDB-30) to 0.999 (LFW); conversions gone wrong were seen at 0.90.
MIN_ACCURACY = 0.97
_BATCH = 64
Embed = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class VerifyFr:
    """Options of verify_fr.py.

    Attributes:
        pairs: insightface's verification file (.bin), LFW's pairs.txt, or a CSV of path, path, 0 or 1.
        model: an audited model: a folder of convert_fr.py or train_audited.py.
        onnx: the file itself instead, run by ONNX Runtime.
        images: folder of the aligned images that a pairs file names; its own by default.
        out: folder for verification.json; by default the converted model's own, else runs/verification-<name>.
        card: of --onnx: how it wants its pixels, a name of models/cards or a YAML file; by default the card that
            knows the file's SHA-256, or insightface's rule.
        mean: of --onnx: mean of the pixels it wants, see convert_fr.py.
        std: of --onnx: standard deviation, likewise.
        flip: add the embedding of the mirrored face, as arcface_torch's evaluation does; twice the time.
        seed: no effect: nothing here is random.
        overwrite: replace what --out holds.
        quiet: no progress bar.
    """

    pairs: Path
    model: Path | None = None
    onnx: Path | None = None
    images: Path | None = None
    out: Path | None = None
    card: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flip: bool = False
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


def verify_fr(config: VerifyFr) -> str:
    """Embeds both faces of every pair and reports how well their distance tells the same person from another."""
    if (config.model is None) == (config.onnx is None):
        raise InputError("Expected either --model or --onnx, received both or neither.")
    table = pairs.read_pairs(config.pairs, config.images)
    embed, name, identity = _model(config)
    digest = formats.sha256_file(config.pairs)
    # A model that was trained here has a verification.json of its own training.
    is_converted = config.model is not None and (config.model / formats.PARITY).is_file()
    out = config.out or (config.model if is_converted else None) or Path("runs") / f"verification-{name}"
    embeddings = _embed_all(table.images, embed, config)
    result = verification.verify(embeddings[table.first], embeddings[table.second], table.genuine, table.folds)
    record = {**result, **identity, "pairs_sha256": digest, "pairs": config.pairs.name, "flip": config.flip}
    if is_converted and out == config.model:
        formats.write_json(out / formats.VERIFICATION, record)
        _complete_parity(out, record)
    else:
        manifest = formats.make_manifest(KIND, {**identity, "pairs": digest}, {"flip": config.flip})
        with formats.output_folder(out, manifest, config.overwrite):
            formats.write_json(out / formats.VERIFICATION, record)
    return _text(name, record, out)


def _model(config: VerifyFr) -> tuple[Embed, str, dict[str, str]]:
    """Returns what embeds pixels, its name, and what identifies it."""
    if config.model is not None:
        model = zoo.load_audited(config.model)
        runtime.exact_float32()
        forward = runtime.forward(taps.extractor(model, [taps.OUTCOME]))
        digest = formats.read_manifest(config.model, zoo.KIND)["model_sha256"]

        def embed(pixels: np.ndarray) -> np.ndarray:
            return forward(iresnet.normalise(pixels))[taps.OUTCOME]

        return embed, config.model.name, {"model_sha256": digest, "runtime": "keras"}
    source = sources.open_source(config.onnx)  # type: ignore[arg-type]
    side = {size or images.IMAGE_SIZE for size in source.graph.input_shape[1:]} - {3}
    if source.is_detector or side != {images.IMAGE_SIZE}:
        raise InputError(f"Expected a model of faces of 112x112, received {config.onnx}, which takes or gives others.")
    digest = formats.sha256_file(source.files[0])
    card = cards.load_card(config.card) if config.card else cards.find_card(digest)
    preprocessing, _ = source.choose_preprocessing(config.mean, config.std, card)
    oracle = parity.Oracle(source.oracle_model)
    session = oracle.session(list(source.graph.outputs.values())[:1])

    def embed_by_onnx(pixels: np.ndarray) -> np.ndarray:
        return session(preprocessing.apply(pixels))[0]

    return embed_by_onnx, source.files[0].stem, {"model_sha256": digest, "runtime": "onnxruntime"}


def _embed_all(faces: list[bytes | Path], embed: Embed, config: VerifyFr) -> np.ndarray:
    """Embeds every image once; all must be readable, or the pairs would not be the published ones."""
    parts = []
    with tqdm.tqdm(total=len(faces), unit="face", disable=config.quiet or None, mininterval=0.5) as bar:
        for batch in _batches(faces):
            # One batch size throughout, as in extraction: outputs differ in the last bits between sizes.
            padded = np.concatenate([batch, np.zeros((_BATCH - len(batch), *batch.shape[1:]), batch.dtype)])
            vectors = embed(padded)
            if config.flip:
                vectors = vectors + embed(padded[:, :, ::-1])
            parts.append(vectors[: len(batch)])
            bar.update(len(batch))
    return np.concatenate(parts)


def _batches(faces: Iterable[bytes | Path]) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for position, face in enumerate(faces):
        try:
            batch.append(images.FACE.apply(images.decode(face if isinstance(face, bytes) else images.read_bytes(face))))
        except InputError as error:
            where = face if isinstance(face, Path) else f"image {position}"
            raise InputError(f"Expected every image of the pairs to be readable, received {where}: {error}") from error
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _complete_parity(folder: Path, record: dict) -> None:
    """A verification that passes shows that the file is a face-recognition model, mapped and scaled right."""
    if record["accuracy"] >= MIN_ACCURACY:
        document = formats.read_json(folder / formats.PARITY)
        document["verification"] = (
            f"file verified: accuracy {record['accuracy']:.4f} on {record['num_pairs']} pairs of {record['pairs']}"
        )
        formats.write_json(folder / formats.PARITY, document)


def _text(name: str, record: dict, out: Path) -> str:
    rates = ", ".join(
        f"{100 * value:.2f}% at FAR {key.removeprefix('tar_at_far_')}"
        for key, value in record.items()
        if key.startswith("tar_at_far_") and value is not None
    )
    passed = (
        ""
        if record["accuracy"] >= MIN_ACCURACY
        else (
            f"\nBelow {MIN_ACCURACY}: not verified. Wrong scaling of pixels (--mean, --std, --card of convert_fr.py), "
            "faces that are not aligned, or a weak model are the usual reasons."
        )
    )
    return (
        f"{name} ({record['runtime']}), {record['num_pairs']} pairs: accuracy {record['accuracy']:.4f} "
        f"+- {record['accuracy_std']:.4f}, AUC {record['auc']:.4f}, TAR {rates}\n{out / formats.VERIFICATION}{passed}"
    )
