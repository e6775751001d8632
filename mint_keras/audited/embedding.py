"""Embeddings of faces by an audited model: run by Keras, or by ONNX Runtime before it is converted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mint_keras import formats, progress, shelf, vectors
from mint_keras.audited import cards, conventions, iresnet, runtime, taps, zoo
from mint_keras.borders import reading
from mint_keras.data import images
from mint_keras.records import InputError

BATCH_SIZE = 64
# From RGB faces in 0..255, (batch, 112, 112, 3), to embeddings that are not normalised, (batch, d).
Embed = Callable[[np.ndarray], np.ndarray]


class Embedder(NamedTuple):
    """A model that embeds faces.

    Attributes:
        embed: Runs it; faces may be float32.
        name: Its name in reports.
        sha256: Of its file.
        runtime: Who runs it.
        pixels: How it scales what it is given.
        framing: What photos become before it sees them.
        moments: What goes into its first normalisation, see `conventions.first_moments`; None where that is not known.
        is_whole: Whether it takes whole numbers of 0..255 only, so that other scalings cannot be shown to it.
    """

    embed: Embed
    name: str
    sha256: str
    runtime: str
    pixels: cards.Preprocessing
    framing: images.Framing = images.FACE
    moments: tuple[conventions.Moments, np.ndarray] | None = None
    is_whole: bool = False


def open_model(folder: Path) -> Embedder:
    """Opens an audited model, to be run by Keras in exact float32."""
    folder = shelf.find(folder)
    model = zoo.load_audited(folder)
    runtime.exact_float32()
    forward = runtime.forward(taps.extractor(model, [taps.OUTCOME]))
    manifest = formats.read_manifest(folder, zoo.KIND)
    with reading(f"a scaling of pixels in the manifest of {folder}"):
        said = manifest["config"].get("preprocessing", {})
        kept = {field: said[field] for field in ("mean", "std", "bgr") if field in said}
        pixels = cards.Preprocessing(**kept) if kept else cards.ARCFACE

    def embed(faces: np.ndarray) -> np.ndarray:
        return forward(iresnet.normalise(faces))[taps.OUTCOME]

    moments = conventions.first_moments(model)
    return Embedder(embed, folder.name, manifest["model_sha256"], "keras", pixels, zoo.framing(folder), moments)


def open_onnx(
    path: Path, card_name: str = "", named: str = "", mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> Embedder:
    """Opens a face model of `convert.sources.open_source`, to be run as it is by its own runtime.

    The user's name for it, mean and std, the named card, or else the card that knows the file's SHA-256 say how it
    wants its pixels (`sources.ForeignModel.choose_preprocessing`).
    """
    # onnx and onnxruntime take seconds to load, and a converted model needs neither.
    from mint_keras.audited.convert import pixels, sources

    source = sources.open_source(path)
    digest = formats.sha256_file(source.files[0])
    card = cards.load_card(card_name) if card_name else cards.find_card(digest)
    preprocessing, _ = source.choose_preprocessing(card, named, mean, std)
    contract = pixels.contract(source.graph.input_shape, preprocessing, None, images.IMAGE_SIZE)
    if source.is_detector:
        raise InputError(f"Expected a face-recognition model, received {path}, which finds faces.")
    oracle = source.oracles[-1]
    session = oracle.session(list(source.graph.outputs.values())[:1])

    def embed(faces: np.ndarray) -> np.ndarray:
        return session(contract.apply(faces))[0]

    framing = images.Framing(max(contract.size))
    is_whole = source.graph.takes_integers or source.scale is not None
    return Embedder(embed, source.files[0].stem, digest, oracle.name, preprocessing, framing, is_whole=is_whole)


def open_unit(folder: Path) -> Embed:
    """Opens an audited model to compare photos: embeddings of length 1, the same for a face and its mirror image."""
    framing = zoo.framing(folder)
    # Smaller ones are trained to be audited, and thrown away; their embeddings were not tried for this.
    if not framing.is_face or framing.size < images.IMAGE_SIZE:
        raise InputError(f"Expected a model of faces of {images.IMAGE_SIZE} pixels or more, received {folder}.")
    model = open_model(folder)

    def embed(faces: np.ndarray) -> np.ndarray:
        shown = np.stack([framing.apply(face) for face in faces])
        # In float32: millions of photos are held in memory at once.
        return vectors.unit_rows(embed_batch(model.embed, shown, with_mirrored=True), np.float32)

    return embed


def embed_batch(embed: Embed, faces: np.ndarray, with_mirrored: bool) -> np.ndarray:
    """Embeds at most `BATCH_SIZE` faces; with_mirrored adds the embedding of the mirrored face."""
    # One batch size throughout, as in extraction: outputs differ in the last bits between sizes.
    padded = np.concatenate([faces, np.zeros((BATCH_SIZE - len(faces), *faces.shape[1:]), faces.dtype)])
    found = embed(padded)
    if with_mirrored:
        found = found + embed(padded[:, :, ::-1])
    return np.asarray(found)[: len(faces)]


def embed_all(
    embed: Embed, faces: Sequence[bytes | Path], with_mirrored: bool, framing: images.Framing = images.FACE
) -> np.ndarray:
    """Embeds every image of a verification set once: aligned faces, encoded or in files, to embeddings, (n, d)."""
    parts, batch = [], []
    for position, face in enumerate(progress.bar(faces, desc="faces", unit="face")):
        try:
            encoded = face if isinstance(face, bytes) else images.read_bytes(face)
            batch.append(framing.apply(images.decode(encoded)))
        except InputError as error:  # without it the pairs would not be the published ones
            where = face if isinstance(face, Path) else f"image {position}"
            reason = f"Expected every image of the pairs to be readable, received {where}: {error}"
            raise InputError(reason) from error
        if len(batch) == BATCH_SIZE or position + 1 == len(faces):
            parts.append(embed_batch(embed, np.stack(batch), with_mirrored))
            batch = []
    return np.concatenate(parts)
