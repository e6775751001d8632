"""A bundle: one folder to carry to a laptop, with one TFLite file and the manifest that describes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mint_keras import formats
from mint_keras.records import InputError

KIND = "bundle"
SCORER = "scorer.tflite"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        path: its folder.
        head: the MINT model inside, for example "vanilla".
        tap: what the head looks at.
        seed: of the run it was made from.
    """

    path: Path
    head: str
    tap: str
    seed: int


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle and checks that its model is the one the manifest describes.

    Raises:
        InputError: if the folder is no bundle.
        RefusedError: if the model was changed.
    """
    manifest = formats.read_checked_manifest(path, KIND, SCORER)
    try:
        return Bundle(path, manifest["head"], manifest["config"]["tap"], int(manifest["seed"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"Expected head, tap and seed in the manifest of {path}, received none: {error}.") from error
