"""What a model's file is said to be, and how far that has been checked: structure, SHA-256, verification."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mint_keras import formats
from mint_keras.audited.cards import Card
from mint_keras.audited.convert import naming
from mint_keras.audited.convert.onnx import Converted
from mint_keras.borders import reading
from mint_keras.records import RefusedError

# The paper's models are published with 0.984 (AgeDB-30) to 0.999 (LFW); conversions gone wrong were seen at 0.90.
MIN_ACCURACY = 0.97


def check_card(card: Card, digest: str, converted: Converted, chosen: Mapping[str, str]) -> None:
    """Refuses a model, with the SHA-256 of its file and the tensors of its taps, that is not what its card says.

    Raises:
        RefusedError: If file, blocks or shapes of taps are others.
    """
    if card.sha256 and digest not in card.sha256:
        known = " or ".join(card.sha256)
        raise RefusedError(f"Expected the file of card {card.name}, SHA-256 {known}, received {digest}.")
    blocks = naming.count_blocks(converted.layers.values())
    if card.blocks and card.blocks != blocks:
        wanted = f"the structure of card {card.name}, an IResNet of {list(card.blocks)} blocks"
        raise RefusedError(f"Expected {wanted}, received {list(blocks) or 'another network'}.")
    received = {tap: tuple(converted.tensors[tensor].tensor.shape[1:]) for tap, tensor in chosen.items()}
    wrong = {tap: (shape, received.get(tap)) for tap, shape in card.taps.items() if received.get(tap) != shape}
    if wrong:
        listed = ", ".join(f"{tap} of {shape} (received {got})" for tap, (shape, got) in wrong.items())
        raise RefusedError(f"Expected the structure of card {card.name}: {listed}.")


def trusted(card: Card | None, digest: str, out: Path) -> str:
    """Says how far the file of a conversion, which goes to `out`, is known to be what its card says.

    Raises:
        RefusedError: If another conversion on the shelf, beside `out`, took another file for the same card.
    """
    if card is None:
        return f"SHA-256 {digest}, of no card"
    if digest in card.sha256:
        return f"SHA-256 {digest}, the one card {card.name} knows"
    for manifest_file in sorted(out.parent.glob(f"*/{formats.MANIFEST}")):
        manifest = formats.read_json(manifest_file)
        with reading(f"a manifest at {manifest_file}"):
            is_same_card = manifest.get("config", {}).get("card") == card.name and manifest_file.parent != out
            if is_same_card and digest not in manifest.get("inputs", {}).values():
                raise RefusedError(
                    f"{manifest_file.parent} was converted from another file for card {card.name}: its SHA-256 are "
                    f"{sorted(manifest['inputs'].values())}, this one's is {digest}. One of them is not {card.title}."
                )
    return f"SHA-256 {digest}, trusted on first use: nobody published the hash of {card.title}"


def add_verification(folder: Path, record: Mapping[str, Any]) -> None:
    """Adds a verification that passes, the content of verification.json, to a conversion's record.

    It shows that the file is a face-recognition model and, where that could be told, scaled right; parity alone cannot.
    """
    if record["accuracy"] >= MIN_ACCURACY:
        pairs = f"{record['num_pairs']} pairs of {record['pairs']}"
        verified = "the file recognises people, but how it wants its pixels is not verified"
        if record["pixels"]["is_right"]:  # accuracy alone passes nearly every wrong scaling
            verified = "file verified"
        verification = f"{verified}: accuracy {record['accuracy']:.4f} on {pairs}"
        document = formats.read_json(folder / formats.PARITY)
        formats.write_json(folder / formats.PARITY, document | {"verification": verification})
