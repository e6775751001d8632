"""Embeddings of faces by an audited model: run by Keras, or by ONNX Runtime before it is converted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats, progress, shelf, vectors
from mint_keras.audited import cards, iresnet, runtime, taps, zoo
from mint_keras.data import images
from mint_keras.records import InputError

BATCH_SIZE = 64
# From uint8 RGB faces, (batch, 112, 112, 3), to embeddings that are not normalised, (batch, d).
Embed = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Embedder:
    """A model that embeds faces.

    Attributes:
        embed: The model as a function.
        name: What reports call it.
        sha256: The SHA-256 of its file.
        runtime: Who runs it: keras or onnxruntime.
    """

    embed: Embed
    name: str
    sha256: str
    runtime: str


def open_model(folder: Path) -> Embedder:
    """Opens an audited model, to be run by Keras in exact float32."""
    folder = shelf.find(folder)
    model = zoo.load_audited(folder)
    runtime.exact_float32()
    forward = runtime.forward(taps.extractor(model, [taps.OUTCOME]))
    digest = formats.read_manifest(folder, zoo.KIND)["model_sha256"]
    return Embedder(lambda faces: forward(iresnet.normalise(faces))[taps.OUTCOME], folder.name, digest, "keras")


def open_onnx(path: Path, card_name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Embedder:
    """Opens the file that a model is converted from, to be run by ONNX Runtime.

    Args:
        path: See `convert.sources.open_source`.
        card_name: The card that says how it wants its pixels; "" takes the card that knows the file's SHA-256.
        mean: What the user says of the means of the pixels, see `sources.ForeignModel.choose_preprocessing`.
        std: Their standard deviations in the same way.

    Raises:
        InputError: If it is no model of faces of 112x112.
    """
    # onnx and onnxruntime take seconds to load, and a converted model needs neither.
    from mint_keras.audited import parity
    from mint_keras.audited.convert import sources

    source = sources.open_source(path)
    side = {size or images.IMAGE_SIZE for size in source.graph.input_shape[1:]} - {3}
    if source.is_detector or side != {images.IMAGE_SIZE}:
        raise InputError(f"Expected a model of faces of 112x112, received {path}, which takes or gives others.")
    digest = formats.sha256_file(source.files[0])
    card = cards.load_card(card_name) if card_name else cards.find_card(digest)
    preprocessing, _ = source.choose_preprocessing(mean, std, card)
    session = parity.Oracle(source.oracle_model).session(list(source.graph.outputs.values())[:1])
    return Embedder(lambda faces: session(preprocessing.apply(faces))[0], source.files[0].stem, digest, "onnxruntime")


def open_unit(folder: Path) -> Embed:
    """Opens an audited model to compare photos: embeddings of length 1, the same for a face and its mirror image.

    Raises:
        InputError: If it is no model of faces of 112x112.
    """
    # Models of other sizes are trained to be audited, and thrown away; their embeddings were not tried for this.
    if zoo.framing(folder) != images.FACE:
        raise InputError(f"Expected a model of faces of {images.IMAGE_SIZE} pixels, received {folder} of another size.")
    model = open_model(folder)

    def embed(faces: np.ndarray) -> np.ndarray:
        # In float32: millions of photos are held in memory at once.
        return vectors.unit_rows(embed_batch(model.embed, faces, with_mirrored=True), np.float32)

    return embed


def embed_batch(embed: Embed, faces: np.ndarray, with_mirrored: bool) -> np.ndarray:
    """Embeds at most `BATCH_SIZE` faces; with_mirrored adds the embedding of the mirrored face."""
    # One batch size throughout, as in extraction: outputs differ in the last bits between sizes.
    padded = np.concatenate([faces, np.zeros((BATCH_SIZE - len(faces), *faces.shape[1:]), faces.dtype)])
    found = embed(padded)
    if with_mirrored:
        found = found + embed(padded[:, :, ::-1])
    return np.asarray(found)[: len(faces)]


def embed_all(embed: Embed, faces: Sequence[bytes | Path], with_mirrored: bool) -> np.ndarray:
    """Embeds every image of a verification set once.

    Args:
        embed: The model.
        faces: Encoded images, or files of images, of aligned faces.
        with_mirrored: See `embed_batch`.

    Returns:
        Embeddings, shape (n, d).

    Raises:
        InputError: If an image cannot be read; without it the pairs would not be the published ones.
    """
    parts = []
    with progress.bar(total=len(faces), desc="faces", unit="face") as bar:
        for start in range(0, len(faces), BATCH_SIZE):
            batch: list[np.ndarray] = []
            for position, face in enumerate(faces[start : start + BATCH_SIZE], start):
                try:
                    encoded = face if isinstance(face, bytes) else images.read_bytes(face)
                    batch.append(images.FACE.apply(images.decode(encoded)))
                except InputError as error:
                    where = face if isinstance(face, Path) else f"image {position}"
                    reason = f"Expected every image of the pairs to be readable, received {where}: {error}"
                    raise InputError(reason) from error
            parts.append(embed_batch(embed, np.stack(batch), with_mirrored))
            bar.update(len(batch))
    return np.concatenate(parts)
