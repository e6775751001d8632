"""The heads by name: whatever trains, evaluates or exports one need not know which it is."""

import dataclasses
import functools
from collections.abc import Callable

import keras

from mint_keras.heads import cnn, vanilla, variants
from mint_keras.heads.names import HeadName as HeadName
from mint_keras.records import InputError


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """What a run has to know of a head."""

    build: Callable[..., keras.Model]  # makes the head from {tap: shape}
    epochs: int = cnn.EPOCHS
    takes_maps: bool = True  # whether it looks at maps; otherwise it looks at the maximum of every channel
    warmup: int = 0  # steps over which the learning rate rises to the paper's
    combines: bool = False  # whether several taps together train one too; Table 7 of the paper has one tap only


HEADS = {
    "vanilla": HeadSpec(vanilla.build, vanilla.EPOCHS, takes_maps=False, combines=True),
    "cnn": HeadSpec(cnn.build, warmup=cnn.WARMUP, combines=True),
    **{name: HeadSpec(build, warmup=cnn.WARMUP) for name, build in variants.CNN.items()},
    "resnet50": HeadSpec(variants.build_resnet50),
    "resnet50_reduced": HeadSpec(variants.build_resnet50_reduced),
    "vit": HeadSpec(variants.build_vit),
    "vit_reduced": HeadSpec(functools.partial(variants.build_vit, size=variants.REDUCED)),
}


def find(name: str) -> HeadSpec:
    """Returns a head by its name, or raises InputError: a run of another version may name one that is not here."""
    if name not in HEADS:
        raise InputError(f"Expected a head of {', '.join(HEADS)}, received {name!r}.")
    return HEADS[name]
