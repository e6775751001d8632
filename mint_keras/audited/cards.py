"""Cards of audited models (models/cards/*.yaml): what a file is said to be, and how it wants its pixels scaled."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import shelf
from mint_keras.borders import read_yaml, reading
from mint_keras.records import InputError

_REQUIRED = {"title", "preprocessing", "licence", "get"}
_KNOWN = _REQUIRED | {"sha256", "taps", "blocks", "paper", "training", "files", "published", "inferred", "sources"}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """(pixel - mean) / std, per channel, pixels in 0..255.

    Attributes:
        mean: Of red, green and blue, in whichever order the model takes them.
        std: Likewise.
        bgr: Whether the model takes blue, green and red, as OpenCV reads them.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Scales RGB pixels of 0..255, shape (..., 3), to float32 in the model's order of colours."""
        scaled = (np.asarray(pixels, np.float32) - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return scaled[..., ::-1] if self.bgr else scaled


# Insightface divides by 127.5 in front of recognition models and by 128 in front of detectors.
ARCFACE = Preprocessing((127.5,) * 3, (127.5,) * 3)
SCRFD = Preprocessing((127.5,) * 3, (128.0,) * 3)
RAW = Preprocessing((0.0,) * 3, (1.0,) * 3)
UNIT = Preprocessing((0.0,) * 3, (255.0,) * 3)


@dataclasses.dataclass(frozen=True)
class Card:
    """What is known of an audited model; models/README.md explains the fields."""

    name: str  # name of the card's file
    title: str  # the model with its training set and loss
    preprocessing: Preprocessing  # how the model wants its pixels
    sha256: tuple[str, ...]  # its file's SHA-256 in every version known; empty if nobody published one
    taps: dict[str, tuple[int, ...]]  # shape of each tap without the batch, height, width, channels
    blocks: tuple[int, ...]  # residual blocks of each stage of an IResNet; empty for other networks
    about: dict[str, Any]  # everything else, for people: training, files, licence, published figures, where to get it


def card_names() -> list[str]:
    """Returns the names of the cards on the shelf."""
    return sorted(path.stem for path in shelf.path("cards").glob("*.yaml"))


def find_card(sha256: str) -> Card | None:
    """Returns the card that knows a file by its SHA-256."""
    files = (file for file in shelf.path("cards").glob("*.yaml") if sha256.encode() in file.read_bytes())
    return next((card for card in (load_card(file.stem) for file in sorted(files)) if sha256 in card.sha256), None)


def load_card(name_or_path: str) -> Card:
    """Reads a card of models/cards by its name, such as "fr1", or a YAML file of your own."""
    is_name = name_or_path in card_names()
    path = shelf.path("cards") / f"{name_or_path}.yaml" if is_name else Path(name_or_path)
    if not path.is_file() or path.suffix not in (".yaml", ".yml"):
        raise InputError(f"Expected a card, one of {card_names()} or a YAML file, received {name_or_path!r}.")
    content = read_yaml(path)
    if not _REQUIRED <= set(content) <= _KNOWN:
        received = sorted(map(str, content))
        fields = f"{sorted(_REQUIRED)}, and if you like {sorted(_KNOWN - _REQUIRED)}"
        raise InputError(f"Expected a card with {fields}, in {path}, received {received}.")
    with reading(f"a card as models/README.md describes it in {path}"):
        return _card(path.stem, content)


def _card(name: str, content: dict[str, Any]) -> Card:
    scaling: dict[str, Any] = {"bgr": bool(content["preprocessing"].get("bgr", False))}
    for key in ("mean", "std"):
        value = content["preprocessing"][key]
        values = tuple(float(v) for v in (value if isinstance(value, list) else [value] * 3))
        if len(values) != 3:
            raise ValueError(f"{value} as numbers of red, green and blue")
        scaling[key] = values
    if min(scaling["std"]) <= 0 or not np.isfinite([*scaling["mean"], *scaling["std"]]).all():
        raise ValueError(f"std {scaling['std']}")
    sha256 = tuple(content.get("sha256", ()))
    if not all(isinstance(digest, str) and len(digest) == 64 for digest in sha256):
        raise ValueError(f"sha256 {sha256}")
    return Card(
        name=name,
        title=str(content["title"]),
        preprocessing=Preprocessing(**scaling),
        sha256=sha256,
        taps={str(tap): tuple(int(size) for size in shape) for tap, shape in content.get("taps", {}).items()},
        blocks=tuple(int(num) for num in content.get("blocks", ())),
        about={key: value for key, value in content.items() if key not in ("title", "preprocessing", "sha256")},
    )
